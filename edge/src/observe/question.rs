//! What may be asked of `GET /v1/explain`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::downstream::{Facts, Scheme, Shown};
use crate::exchange::Request;
use crate::node::Node;
use crate::queries::Content;

/// What is asked about.
#[derive(Debug)]
pub(super) struct Wanted {
    /// A request as it would come.
    bytes: Vec<u8>,
    url: String,
    method: String,
    scheme: Scheme,
    ahead: Duration,
}

/// Which question a query asks.
#[derive(Debug)]
pub(super) enum Question {
    WhatIf(Wanted),
    /// About a past request, by its number.
    Past(String),
}

impl Question {
    /// Reads a query.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let (mut url, mut id) = (None, None);
        let mut method = "GET".to_owned();
        let mut fields = Vec::new();
        let mut ahead = Duration::ZERO;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "url" => url = Some(value.into_owned()),
                "id" => id = Some(value.into_owned()),
                "method" => method = value.into_owned(),
                "header" => fields.push(value.into_owned()),
                "at" => ahead = duration(&value)?,
                other => return Err(format!("there is no parameter {other:?}")),
            }
        }
        match (url, id) {
            (Some(url), None) => {
                let asked = Wanted::new(url, method, &fields, ahead)?;
                Ok(Self::WhatIf(asked))
            }
            (None, Some(id)) => Ok(Self::Past(id)),
            _ => Err("either url or id is needed".to_owned()),
        }
    }
}

impl Wanted {
    fn new(
        url: String,
        method: String,
        fields: &[String],
        ahead: Duration,
    ) -> Result<Self, String> {
        let rest = |scheme: &str| url.get(scheme.len()..).filter(|_| url.starts_with(scheme));
        let (scheme, rest) = match (rest("http://"), rest("https://")) {
            (Some(rest), _) => (Scheme::Http, rest),
            (_, Some(rest)) => (Scheme::Https, rest),
            _ => return Err(format!("{url:?} is no absolute URL of http or https")),
        };
        let start = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(start);
        let target = target.split('#').next().unwrap_or_default();
        let slash = if target.starts_with('/') { "" } else { "/" };
        let mut head = format!("{method} {slash}{target} HTTP/1.1\r\nHost: {host}\r\n");
        for field in fields {
            if field.contains(['\r', '\n']) {
                return Err(format!("{field:?} is no header field"));
            }
            head.push_str(field);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        Ok(Self {
            bytes: head.into_bytes(),
            url,
            method,
            scheme,
            ahead,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// How long from now it would come.
    pub(super) const fn ahead(&self) -> Duration {
        self.ahead
    }

    /// The request, as the node would take it.
    ///
    /// # Errors
    /// Why it would refuse it.
    pub(super) fn request(&self, node: &Node) -> Result<Request, String> {
        let refused = |why: &str| format!("the node would refuse this request: {why}");
        let parsed = wire::parse_request(&self.bytes, &node.in_force().limits.wire);
        let parsed = parsed.map_err(|refusal| refused(refusal.token()))?;
        let wire::Parsed::Complete { head, .. } = parsed else {
            return Err(refused("it is not complete"));
        };
        let site = node.in_force().sites.find(&head.authority.host).cloned();
        let site = site.ok_or_else(|| refused("unknown-host: no site answers for it (421)"))?;
        if node.guard.check(&head.headers).is_err() {
            return Err(refused("it has been here before (508)"));
        }
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let facts = Facts {
            client: nobody,
            local: nobody,
            scheme: self.scheme,
            tls: None,
            shown: Shown::Nothing,
        };
        let asked = (Arc::new(head), Arc::new(facts), Content::default());
        Ok(Request::new(asked, site, node.learnt()))
    }
}

/// `90`, `90s`, `5m`, `1h`, `2d`, with or without a `+`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time ahead: 90s, +5m, 1h, 2d");
    let amount = text.trim().trim_start_matches('+');
    let (digits, unit) = match amount.find(|it: char| !it.is_ascii_digit()) {
        Some(end) => amount.split_at(end),
        None => (amount, "s"),
    };
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = digits.parse().ok().ok_or_else(wrong)?;
    let seconds = count.checked_mul(seconds).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn times_ahead() {
        let seconds = |text| duration(text).map(|it| it.as_secs()).ok();
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("+5m"), Some(300));
        assert_eq!(seconds("1h"), Some(3600));
        assert_eq!(seconds("2d"), Some(172_800));
        for wrong in ["", "h", "-1h", "1w", "1h30m", "99999999999999999999d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_question_is_about_a_url_or_a_past_request() {
        let asked = Question::parse("url=https%3A%2F%2Fe.example%3Fq%3D1%23f&header=A:%20b&at=1h");
        let Ok(Question::WhatIf(wanted)) = asked else {
            panic!("{asked:?}");
        };
        let head = String::from_utf8(wanted.bytes).unwrap();
        assert_eq!(
            head,
            "GET /?q=1 HTTP/1.1\r\nHost: e.example\r\nA: b\r\n\r\n"
        );
        assert!(matches!(Question::parse("id=1"), Ok(Question::Past(_))));
        for wrong in [
            "",
            "url=/a",
            "url=ftp://e/",
            "id=1&url=http://e/",
            "url=http://e/&header=a%0d%0ab:%20c",
            "x=1",
        ] {
            assert!(Question::parse(wrong).is_err(), "{wrong}");
        }
    }
}
