//! What nodes of tiers say to each other, made by hand: for nodes of other versions, and for none at all.

use aws_lc_rs::hmac;

/// The key that the nodes of some tiers share.
#[derive(Debug)]
pub struct TierKey(hmac::Key);

impl TierKey {
    /// The key with this secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// The value of `Larder-Tier` in a GET for a target of `www.example.com`.
    #[must_use]
    pub fn introduce(&self, target: &str, text: &str) -> String {
        let parts = ["larder tier 1 request", "GET", "www.example.com", target];
        self.sign(&parts, text)
    }

    /// The value of `Larder-Tier` in the answer to a request with this one.
    #[must_use]
    pub fn vouch(&self, introduction: &str, status: u16, text: &str) -> String {
        let (_, request) = introduction.rsplit_once("; sig=").expect("a signature");
        let status = status.to_string();
        self.sign(&["larder tier 1 response", request, &status], text)
    }

    /// Whether the answer to a request with this introduction is by who has the key.
    #[must_use]
    pub fn is_of(&self, introduction: &str, status: u16, voucher: &str) -> bool {
        let (text, _) = voucher.rsplit_once("; sig=").unwrap_or_default();
        self.vouch(introduction, status, text) == voucher
    }

    fn sign(&self, parts: &[&str], text: &str) -> String {
        let mut signed = Vec::new();
        for part in parts.iter().chain([&text]) {
            signed.extend(part.len().to_le_bytes());
            signed.extend(part.bytes());
        }
        let tag = hmac::sign(&self.0, &signed);
        let digits: Vec<String> = tag.as_ref().iter().map(|it| format!("{it:02x}")).collect();
        format!("{text}; sig={}", digits.concat())
    }
}
