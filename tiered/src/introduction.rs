//! What a node of a tier says of itself and of its client when it asks a node of the next one.

use std::net::IpAddr;

use crate::forwarded::Scheme;
use crate::landmark::Landmark;
use crate::parameters::{Reader, Unreadable, Writer};

/// Nodes of tiers that a request may pass, each asking the next. After them, the origin is asked.
pub const TIERS_MAX: u8 = 3;
/// How far the clocks of two nodes may be apart, in milliseconds.
pub const SKEW_MAX: u64 = 30_000;
/// Addresses of a client and the proxies before it that are passed on.
const PATH_MAX: usize = 16;

/// Where the node that asks is, seen from the one that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// In a tier before it: nearer to clients.
    Before,
    /// In the same tier of one site, which shares its keys.
    Beside,
}

impl Asker {
    const BESIDE: &str = "beside";
}

/// What a node of a tier says when it asks another one. It is a field of the request, and signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Who asks.
    pub node: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Tiers that the request has passed, with this one.
    pub hops: u8,
    /// Where it is, seen from the one that is asked. Who does not say so is before it.
    pub asker: Asker,
    /// The scheme of the client's request.
    pub scheme: Scheme,
    /// The client, and the trusted proxies between it and the first node.
    pub path: Vec<IpAddr>,
    /// The log of purges that the node follows, where that is a shared one.
    pub log: Option<String>,
    /// The last message of it that the node has read, where the node says so.
    pub here: Option<Landmark>,
    /// A purge in that log that the answer must not be older than.
    pub least: Option<Landmark>,
}

impl Introduction {
    /// The field's value, without its signature.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut writer = Writer::new();
        writer.add("node", &self.node);
        writer.add("at", self.at);
        writer.add("hops", self.hops);
        if self.asker == Asker::Beside {
            writer.add("from", Asker::BESIDE);
        }
        writer.add("scheme", self.scheme.as_str());
        if !self.path.is_empty() {
            let path: Vec<_> = self
                .path
                .iter()
                .take(PATH_MAX)
                .map(IpAddr::to_string)
                .collect();
            writer.add("for", path.join(","));
        }
        writer.add_some("log", self.log.as_ref());
        writer.add_some("here", self.here);
        // Its place alone is what older nodes read.
        writer.add_some("least", self.least.map(|least| least.place));
        writer.add_some("mark", self.least.filter(|least| least.print.is_some()));
        writer.finish()
    }

    /// Reads a field's value, without its signature.
    ///
    /// # Errors
    /// [`Unreadable`] where it is none, or another version's.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let reader = Reader::new(text)?;
        let scheme = match reader.required("scheme")? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(Unreadable::Malformed),
        };
        let path = reader.text("for").unwrap_or_default();
        let path = path.split(',').filter(|address| !address.is_empty());
        let path: Result<Vec<IpAddr>, _> = path.map(str::parse).collect();
        let path = path.map_err(|_bad| Unreadable::Malformed)?;
        if path.len() > PATH_MAX {
            return Err(Unreadable::Malformed);
        }
        Ok(Self {
            node: reader.required("node")?.to_owned(),
            at: reader.required_number("at")?,
            hops: reader.required_number("hops")?,
            asker: match reader.text("from") {
                Some(Asker::BESIDE) => Asker::Beside,
                _ => Asker::Before,
            },
            scheme,
            path,
            log: reader.text("log").map(str::to_owned),
            here: reader.landmark("here")?,
            least: least(&reader)?,
        })
    }

    /// Whether it was written at about `now`, in milliseconds since 1970: an old one may be somebody else's by now.
    #[must_use]
    pub const fn is_timely(&self, now: u64) -> bool {
        self.at.abs_diff(now) <= SKEW_MAX
    }
}

/// The purge that an answer must not be older than: its place, and, by those who say so, which message it is.
fn least(reader: &Reader<'_>) -> Result<Option<Landmark>, Unreadable> {
    let Some(place) = reader.number("least")? else {
        return Ok(None);
    };
    match reader.landmark("mark")? {
        None => Ok(Some(Landmark::unknown(place))),
        Some(mark) if mark.place == place => Ok(Some(mark)),
        Some(_) => Err(Unreadable::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction() -> Introduction {
        Introduction {
            node: "edge-1".to_owned(),
            at: 1_700_000_000_000,
            hops: 1,
            asker: Asker::Beside,
            scheme: Scheme::Https,
            path: vec!["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()],
            log: Some("01J".to_owned()),
            here: "13-00000000000000ab".parse().ok(),
            least: "12-00000000000000cd".parse().ok(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let full = introduction();
        assert_eq!(
            full.to_text(),
            "v=1; node=edge-1; at=1700000000000; hops=1; from=beside; scheme=https; for=192.0.2.1,::1; log=01J; here=13-00000000000000ab; least=12; mark=12-00000000000000cd"
        );
        assert_eq!(Introduction::parse(&full.to_text()), Ok(full.clone()));
        let bare = Introduction {
            asker: Asker::Before,
            path: Vec::new(),
            log: None,
            here: None,
            least: Some(Landmark::unknown(12)),
            ..full
        };
        assert_eq!(Introduction::parse(&bare.to_text()), Ok(bare));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let good = introduction().to_text();
        let bad = |from: &str, to: &str| Introduction::parse(&good.replace(from, to));
        assert_eq!(bad("v=1", "v=2"), Err(Unreadable::Version));
        for (from, to) in [
            ("v=1; ", ""),
            ("v=1", "v=1; v=1"),
            ("node=edge-1; ", ""),
            ("at=1", "at=-1"),
            ("hops=1", "hops=256"),
            ("https", "ftp"),
            ("::1", "::x"),
            ("least=12", "least="),
            ("least=12", "least"),
            ("least=12", "least=13"),
            ("here=13", "here=x"),
            (
                "for=",
                "for=10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.9,10.0.0.10,10.0.0.11,10.0.0.12,10.0.0.13,10.0.0.14,10.0.0.15,",
            ),
        ] {
            assert_eq!(bad(from, to), Err(Unreadable::Malformed), "{from} {to}");
        }
        assert!(Introduction::parse(&"x".repeat(4_096)).is_err());
        // A later version may say more.
        assert!(bad("hops", "more=1; hops").is_ok());
        let above = bad("from=beside", "from=above");
        assert_eq!(above.map(|it| it.asker), Ok(Asker::Before));
    }

    #[test]
    fn an_old_one_is_not_timely() {
        let introduction = introduction();
        assert!(introduction.is_timely(introduction.at + SKEW_MAX));
        assert!(introduction.is_timely(introduction.at - SKEW_MAX));
        assert!(!introduction.is_timely(introduction.at + SKEW_MAX + 1));
        assert!(!introduction.is_timely(0));
    }
}
