//! What stands in the log of a fleet, and under which subjects.
//!
//! ```text
//! STREAM.log.site.NAME   a purge that touches one site only
//! STREAM.log.all         any other purge
//! STREAM.log.tick        once a second, so that a lag shows
//! STREAM.log.genesis     the first message of a log
//! STREAM.status.NODE     not in the log: what a node has applied
//! ```
//! An account may be given some sites only: what stands under a site's subject never touches another one.

use bytes::Bytes;
use purge_api::{Mode, Order, Scope};
use serde::{Deserialize, Serialize};

/// The version of messages that this program writes.
const VERSION: u32 = 1;

/// A purge in the log.
#[derive(Debug, Serialize)]
struct Written<'a> {
    v: u32,
    node: &'a str,
    purge: &'a Order,
}

/// A purge in the log, as this or another version wrote it.
#[derive(Debug, Deserialize)]
struct Read {
    v: u32,
    purge: Order,
}

/// What a message of the log means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// A purge; of one site only, where one is named.
    Purge { order: Order, site: Option<String> },
    /// Something that this version does not understand. To be safe it counts as a purge of all it could touch.
    Unknown { order: Order, site: Option<String> },
    /// Nothing to apply.
    Nothing,
}

/// The subjects of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Subjects {
    stream: String,
}

impl Subjects {
    pub(crate) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
        }
    }

    /// Everything in the log.
    pub(crate) fn log(&self) -> String {
        format!("{}.log.>", self.stream)
    }

    pub(crate) fn tick(&self) -> String {
        format!("{}.log.tick", self.stream)
    }

    pub(crate) fn genesis(&self) -> String {
        format!("{}.log.genesis", self.stream)
    }

    pub(crate) fn purge(&self, site: Option<&str>) -> String {
        match site {
            Some(site) => format!("{}.log.site.{}", self.stream, escape(site)),
            None => format!("{}.log.all", self.stream),
        }
    }

    pub(crate) fn status(&self, node: &str) -> String {
        format!("{}.status.{}", self.stream, escape(node))
    }

    /// What all nodes tell of themselves.
    pub(crate) fn all_status(&self) -> String {
        format!("{}.status.*", self.stream)
    }

    /// What a message of the log means. `id` is the one that it was published with.
    pub(crate) fn meaning(&self, subject: &str, payload: &[u8], id: &str) -> Meaning {
        let below = subject
            .strip_prefix(&self.stream)
            .and_then(|rest| rest.strip_prefix(".log."));
        let site = match below {
            Some("tick" | "genesis") => return Meaning::Nothing,
            Some(rest) => rest.strip_prefix("site.").and_then(unescape),
            None => None,
        };
        match serde_json::from_slice::<Read>(payload) {
            Ok(Read { v: VERSION, purge }) if purge.id == id => {
                Meaning::Purge { order: purge, site }
            }
            Ok(_) | Err(_) => Meaning::Unknown {
                order: everything(id, site.clone()),
                site,
            },
        }
    }
}

/// A purge of all that a message could touch.
pub(super) fn everything(id: &str, site: Option<String>) -> Order {
    let scope = site.map_or(Scope::All, Scope::Site);
    Order {
        id: id.to_owned(),
        scopes: vec![scope],
        mode: Mode::Hard,
        reason: Some("a message that this version does not understand".to_owned()),
        actor: None,
        by: "-".to_owned(),
        accepted_at: String::new(),
    }
}

/// The purge as it stands in the log.
pub(crate) fn write(order: &Order, node: &str) -> Bytes {
    let written = Written {
        v: VERSION,
        node,
        purge: order,
    };
    serde_json::to_vec(&written).unwrap_or_default().into()
}

/// A name as one token of a subject: what may not stand there, and `=`, in hexadecimal digits.
fn escape(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => token.push(char::from(byte)),
            _ => token.push_str(&format!("={byte:02X}")),
        }
    }
    token
}

fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('=');
    let mut name = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        name.push(u8::from_str_radix(digits, 16).ok()?);
        name.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        let body = br#"{"tags":["a"],"site":"my.site"}"#;
        Order::parse(body, "the-id".to_owned(), "now".to_owned()).unwrap()
    }

    #[test]
    fn a_name_is_one_token_and_comes_back() {
        for name in ["main", "my.site", "a b*>", "=2E", "grün", ""] {
            let token = escape(name);
            assert!(
                token
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte)),
                "{token}"
            );
            assert_eq!(unescape(&token).as_deref(), Some(name));
        }
        for odd in ["=", "=2", "=ZZ", "=FF"] {
            assert_eq!(unescape(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_purge_is_understood_under_its_subject() {
        let subjects = Subjects::new("S");
        let payload = write(&order(), "n");
        let meaning = subjects.meaning("S.log.site.my=2Esite", &payload, "the-id");
        let site = Some("my.site".to_owned());
        assert_eq!(
            meaning,
            Meaning::Purge {
                order: order(),
                site
            }
        );
        assert_eq!(subjects.purge(Some("my.site")), "S.log.site.my=2Esite");
        assert_eq!(subjects.meaning("S.log.tick", b"", "t"), Meaning::Nothing);
        assert_eq!(
            subjects.meaning("S.log.genesis", b"", "g"),
            Meaning::Nothing
        );
    }

    #[test]
    fn what_is_not_understood_is_a_purge_of_all_that_it_could_touch() {
        let subjects = Subjects::new("S");
        let payload = write(&order(), "n");
        let newer = String::from_utf8(payload.to_vec())
            .unwrap()
            .replace("\"v\":1", "\"v\":2");
        let odd: [(&[u8], &str); 5] = [
            (newer.as_bytes(), "the-id"),
            (&payload, "another-id"),
            (
                br#"{"v":1,"node":"n","purge":{"id":"the-id","scopes":[{"planet":"Mars"}]}}"#,
                "the-id",
            ),
            (b"", "the-id"),
            (b"\xff", "the-id"),
        ];
        for (payload, id) in odd {
            let scopes = |subject| match subjects.meaning(subject, payload, id) {
                Meaning::Unknown { order, .. } => order.scopes,
                other => panic!("{other:?}"),
            };
            assert_eq!(scopes("S.log.site.a"), [Scope::Site("a".to_owned())]);
            assert_eq!(scopes("S.log.all"), [Scope::All]);
            assert_eq!(scopes("S.log.new.kind"), [Scope::All]);
        }
    }
}
