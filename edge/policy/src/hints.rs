//! Early hints (RFC 8297): the links of a response that are worth telling before it is there.

use http::header::{self, HeaderMap, HeaderValue};
use http::method::Method;
use http::{StatusCode, Version};

use crate::cache_control::{Directives, Flag, Scope};
use crate::fields;
use crate::settings::Settings;

/// Links that are remembered of one response.
pub const LINKS_MAX: usize = 16;
/// Bytes that they may have together.
pub const LINK_BYTES_MAX: usize = 2048;

/// The relations that a client can act on at once.
const RELATIONS: [&str; 4] = ["preload", "preconnect", "modulepreload", "dns-prefetch"];

/// Who is sent early hints.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Everybody whose protocol has them.
    #[default]
    Everybody,
    /// Who speaks HTTP/2 or later.
    ///
    /// RFC 8297 §3: some clients of HTTP/1.1 take a 103 for the response.
    Http2,
    /// Nobody.
    Nobody,
}

impl Audience {
    /// Whether a client that speaks `version` is sent early hints. HTTP/1.0 has no interim responses at all (RFC 9110
    /// §15.2).
    pub fn has(self, version: Version) -> bool {
        match self {
            Self::Everybody => version >= Version::HTTP_11,
            Self::Http2 => version >= Version::HTTP_2,
            Self::Nobody => false,
        }
    }
}

/// What the next request for the same may be told early. None where the response teaches nothing: it is no answer to
/// a GET, or may be for one user only.
pub fn learn(
    (method, request): (&Method, &HeaderMap),
    (status, response): (StatusCode, &HeaderMap),
    settings: &Settings,
) -> Option<Vec<HeaderValue>> {
    if *method != Method::GET || !status.is_success() {
        return None;
    }
    let directives = Directives::read(response, settings);
    let is_personal = request.contains_key(header::AUTHORIZATION)
        || response.contains_key(header::SET_COOKIE)
        || directives.has(Flag::NoStore)
        || directives.private != Scope::Nothing;
    (!is_personal).then(|| links(response))
}

fn links(response: &HeaderMap) -> Vec<HeaderValue> {
    let lines = response.get_all(header::LINK).iter();
    let all = lines.flat_map(|line| split(line.as_bytes()));
    let mut left = LINK_BYTES_MAX;
    let telling = all.filter(|link| is_telling(link)).take(LINKS_MAX);
    let fitting = telling.take_while(|link| {
        let fits = link.len() <= left;
        left = left.saturating_sub(link.len());
        fits
    });
    fitting
        .filter_map(|link| HeaderValue::from_bytes(link).ok())
        .collect()
}

/// The links of a line (RFC 8288 §3): commas in the target, between angle brackets, do not separate.
fn split(line: &[u8]) -> Vec<&[u8]> {
    let (mut links, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(byte) = line.get(at) {
        match byte {
            b'<' => {
                let target = line[at..].iter().position(|byte| *byte == b'>');
                at += target.unwrap_or(0);
            }
            b'"' => at += fields::quoted_len(&line[at..]).unwrap_or(1) - 1,
            b',' => {
                links.push(fields::trim(&line[start..at]));
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    links.push(fields::trim(&line[start.min(line.len())..]));
    links.retain(|link| !link.is_empty());
    links
}

fn is_telling(link: &[u8]) -> bool {
    let Some(end) = link.iter().position(|byte| *byte == b'>') else {
        return false;
    };
    let parameters = fields::split(&link[end + 1..], b';').map(fields::trim);
    // RFC 8288 §3.3: of several `rel`, the first counts.
    let relation = parameters.filter_map(|parameter| {
        let at = parameter.iter().position(|byte| *byte == b'=')?;
        let name = fields::trim(&parameter[..at]);
        name.eq_ignore_ascii_case(b"rel")
            .then(|| fields::unquote(fields::trim(&parameter[at + 1..])))
    });
    let Some(relation) = relation.into_iter().next() else {
        return false;
    };
    relation.split(u8::is_ascii_whitespace).any(|word| {
        let mut known = RELATIONS.iter();
        link.starts_with(b"<") && known.any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;

    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let lines: Vec<_> = lines.iter().map(|line| ("link", *line)).collect();
        let asked = (&Method::GET, &HeaderMap::new());
        let answer = headers(&lines);
        let learnt = learn(asked, (StatusCode::OK, &answer), &Settings::default());
        assert_eq!(learnt.unwrap(), expected);
    }

    #[test]
    #[rustfmt::skip]
    fn links_are_learnt_that_a_client_can_act_on() {
        check(&[],                                                       &[]);
        check(&["</a.css>; rel=preload; as=style"],                      &["</a.css>; rel=preload; as=style"]);
        check(&["</a>; rel=next, <//b>;rel=\"x PRECONNECT\""],           &["<//b>;rel=\"x PRECONNECT\""]);
        check(&["</a,b>; rel=preload, </c>; rel=modulepreload"],         &["</a,b>; rel=preload", "</c>; rel=modulepreload"]);
        check(&["</a>; title=\"x, </b>; rel=preload\"; rel=next"],       &[]);
        check(&["</a>; rel=next; rel=preload", "</b>; rel=dns-prefetch"], &["</b>; rel=dns-prefetch"]);
        check(&["</a>", "/a; rel=preload", "<a", ",,", "\"", "</a>; rel"], &[]);
    }

    #[test]
    fn nothing_is_learnt_of_what_may_be_for_one_user() {
        #[track_caller]
        fn check(request: &[(&str, &str)], response: &[(&str, &str)], expected: bool) {
            let mut response = headers(response);
            response.insert("link", HeaderValue::from_static("</a>; rel=preload"));
            let request = headers(request);
            let asked = (&Method::GET, &request);
            let learnt = learn(asked, (StatusCode::OK, &response), &Settings::default());
            assert_eq!(learnt.is_some(), expected, "{request:?} {response:?}");
        }
        check(&[], &[], true);
        check(&[], &[("cache-control", "no-cache")], true);
        check(&[], &[("cache-control", "private")], false);
        check(&[], &[("cache-control", "no-store")], false);
        check(&[], &[("set-cookie", "a=b")], false);
        check(&[("authorization", "x")], &[], false);
    }

    #[test]
    fn hints_have_limits() {
        let many = vec!["</a>; rel=preload"; LINKS_MAX + 1].join(", ");
        check(&[&many], &["</a>; rel=preload"; LINKS_MAX]);
        let long = format!("</{}>; rel=preload", "x".repeat(LINK_BYTES_MAX));
        check(
            &["</a>; rel=preload", &long, "</b>; rel=preload"],
            &["</a>; rel=preload"],
        );
    }

    #[test]
    fn who_is_told_depends_on_the_protocol() {
        use {Audience as A, Version as V};
        for (audience, version, expected) in [
            (A::Everybody, V::HTTP_10, false),
            (A::Everybody, V::HTTP_11, true),
            (A::Everybody, V::HTTP_2, true),
            (A::Http2, V::HTTP_11, false),
            (A::Http2, V::HTTP_2, true),
            (A::Nobody, V::HTTP_2, false),
        ] {
            assert_eq!(audience.has(version), expected, "{audience:?} {version:?}");
        }
    }
}
