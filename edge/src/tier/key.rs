//! How nodes of tiers prove that they belong together: by a secret that they share, and what is signed with it, or by the
//! certificates of their connections.

use std::path::Path;

use aws_lc_rs::hmac;
use http::{HeaderName, Method, StatusCode};

use crate::downstream::Shown;

/// The field in which nodes of tiers tell each other things. It comes from nobody else, and goes to nobody else.
pub(crate) const LARDER_TIER: HeaderName = HeaderName::from_static("larder-tier");
/// Characters of the shortest secret.
const SECRET_MIN: usize = 32;
/// What stands in place of a signature where certificates prove everything.
const CERTIFIED: &str = "certificate";
/// What is signed begins with what it is: a signature of one thing is none of another.
const REQUEST: &[u8] = b"larder tier 1 request";
const RESPONSE: &[u8] = b"larder tier 1 response";

/// How nodes prove that they belong to the tiers.
#[derive(Debug)]
pub(crate) enum Proof {
    /// By a secret that all of them have.
    Key(Box<Key>),
    /// By certificates, which both ends of every connection between them show.
    Certificates,
}

impl Proof {
    pub(crate) fn sign_request(&self, asked: Asked<'_>, introduction: &str) -> String {
        match self {
            Self::Key(key) => key.sign_request(asked, introduction),
            Self::Certificates => CERTIFIED.to_owned(),
        }
    }

    /// Whether a request is another node's, which has shown this on its connection.
    pub(crate) fn is_request(
        &self,
        (asked, shown): (Asked<'_>, Shown),
        introduction: &str,
        signature: &str,
    ) -> bool {
        match self {
            Self::Key(key) => key.is_request(asked, introduction, signature),
            Self::Certificates => shown == Shown::Certificate && signature == CERTIFIED,
        }
    }

    /// Signs an answer to a request, which is known by its own signature.
    pub(crate) fn sign_response(&self, request: &str, status: StatusCode, voucher: &str) -> String {
        match self {
            Self::Key(key) => key.sign_response(request, status, voucher),
            Self::Certificates => CERTIFIED.to_owned(),
        }
    }

    /// Whether an answer is another node's. With certificates, every connection to one has proven it.
    pub(crate) fn is_response(
        &self,
        request: &str,
        (status, voucher, signature): (StatusCode, &str, &str),
    ) -> bool {
        match self {
            Self::Key(key) => key.is_response(request, (status, voucher, signature)),
            Self::Certificates => signature == CERTIFIED,
        }
    }
}

/// A secret.
pub(crate) struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// What of a request is signed beside the introduction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub method: &'a Method,
    pub authority: &'a str,
    /// Path and query.
    pub target: &'a str,
}

impl Key {
    /// Reads the secret in a file: what stands in it, without white space around it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let secret = text.trim();
        if secret.len() < SECRET_MIN {
            return Err(format!(
                "{shown}: a key has at least {SECRET_MIN} characters"
            ));
        }
        Ok(Self::new(secret.as_bytes()))
    }

    fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn sign_request(&self, asked: Asked<'_>, introduction: &str) -> String {
        self.sign(&request_parts(asked, introduction))
    }

    fn is_request(&self, asked: Asked<'_>, introduction: &str, signature: &str) -> bool {
        self.verify(&request_parts(asked, introduction), signature)
    }

    /// Signs an answer to a request, which is known by its own signature.
    fn sign_response(&self, request: &str, status: StatusCode, voucher: &str) -> String {
        self.sign(&response_parts(request, status, voucher))
    }

    fn is_response(
        &self,
        request: &str,
        (status, voucher, signature): (StatusCode, &str, &str),
    ) -> bool {
        self.verify(&response_parts(request, status, voucher), signature)
    }

    fn sign(&self, signed: &[u8]) -> String {
        let tag = hmac::sign(&self.0, signed);
        let digits = b"0123456789abcdef";
        let digits = tag.as_ref().iter().flat_map(|byte| {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            [char::from(digits[high]), char::from(digits[low])]
        });
        digits.collect()
    }

    fn verify(&self, signed: &[u8], signature: &str) -> bool {
        let Some(tag) = decode(signature) else {
            return false;
        };
        // It takes as long whatever is wrong.
        hmac::verify(&self.0, signed, &tag).is_ok()
    }
}

fn request_parts(asked: Asked<'_>, introduction: &str) -> Vec<u8> {
    let method = asked.method.as_str().as_bytes();
    let authority = asked.authority.as_bytes();
    framed(&[
        REQUEST,
        method,
        authority,
        asked.target.as_bytes(),
        introduction.as_bytes(),
    ])
}

fn response_parts(request: &str, status: StatusCode, voucher: &str) -> Vec<u8> {
    let status = status.as_str().as_bytes();
    framed(&[RESPONSE, request.as_bytes(), status, voucher.as_bytes()])
}

/// Parts that cannot run into each other.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::with_capacity(256);
    for part in parts {
        all.extend_from_slice(&part.len().to_le_bytes());
        all.extend_from_slice(part);
    }
    all
}

fn decode(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (plain && digits.len().is_multiple_of(2)).then(|| pairs.map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked {
        method: &Method::GET,
        authority: "www.example.com",
        target: "/a?b",
    };

    #[test]
    fn a_signature_is_of_one_request_and_one_key() {
        let (key, other) = (Key::new(b"one"), Key::new(b"other"));
        let signature = key.sign_request(ASKED, "v=1; node=a");
        assert!(key.is_request(ASKED, "v=1; node=a", &signature));
        assert!(!other.is_request(ASKED, "v=1; node=a", &signature));
        assert!(!key.is_request(ASKED, "v=1; node=b", &signature));
        let elsewhere = Asked {
            authority: "www.example.co",
            target: "m/a?b",
            ..ASKED
        };
        assert!(!key.is_request(elsewhere, "v=1; node=a", &signature));
        for bad in ["", "0", "zz", "+1", &signature[2..], "é"] {
            assert!(!key.is_request(ASKED, "v=1; node=a", bad), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_of_one_request() {
        let key = Key::new(b"one");
        let signature = key.sign_response("aa", StatusCode::OK, "v=1");
        let is = |request, status, voucher| key.is_response(request, (status, voucher, &signature));
        assert!(is("aa", StatusCode::OK, "v=1"));
        assert!(!is("ab", StatusCode::OK, "v=1"));
        assert!(!is("aa", StatusCode::NOT_FOUND, "v=1"));
        assert!(!is("aa", StatusCode::OK, "v=2"));
    }
}
