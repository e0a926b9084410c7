//! An operator of NATS servers who vouches for accounts and users: credentials as JSON Web Tokens, signed with `NKeys`.

use std::fmt::Write as _;

use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with one account.
pub struct NatsOperator {
    operator: KeyPair,
    account: KeyPair,
}

impl std::fmt::Debug for NatsOperator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsOperator").finish_non_exhaustive()
    }
}

impl Default for NatsOperator {
    fn default() -> Self {
        Self::new()
    }
}

impl NatsOperator {
    /// One with fresh keys.
    #[must_use]
    pub fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
        }
    }

    /// What a server's configuration needs to know.
    #[must_use]
    pub fn configuration(&self) -> String {
        let system = KeyPair::new_account();
        let operator = token(
            &self.operator,
            &self.operator,
            &json!({ "type": "operator", "version": 2, "system_account": system.public_key() }),
        );
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1,
        });
        let mut storing = limits.clone();
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            storing[limit] = json!(-1);
        }
        let mut text = format!(
            "operator: {operator}\nsystem_account: {}\n",
            system.public_key()
        );
        text += "resolver: MEMORY\nresolver_preload: {\n";
        for (account, limits) in [(&system, limits), (&self.account, storing)] {
            let claims = json!({ "type": "account", "version": 2, "limits": limits });
            let signed = token(&self.operator, account, &claims);
            writeln!(text, "  {}: {signed}", account.public_key()).expect("strings grow");
        }
        text + "}\n"
    }

    /// The credentials file of a user who may do everything in the account.
    #[must_use]
    pub fn credentials(&self) -> String {
        let user = KeyPair::new_user();
        let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let signed = token(&self.account, &user, &claims);
        let seed = user.seed().expect("a key of our own");
        format!(
            "-----BEGIN NATS USER JWT-----\n{signed}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// What `issuer` says of `subject`.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": "tests", "iat": 1, "name": "tests",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
    });
    let [header, body] = [header, body].map(|part| base64url(part.to_string().as_bytes()));
    let signed = format!("{header}.{body}");
    let signature = issuer.sign(signed.as_bytes()).expect("a key of our own");
    format!("{signed}.{}", base64url(&signature))
}

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for place in 0..=group.len() {
            let digit = bits >> (18 - 6 * place) & 0x3f;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}
