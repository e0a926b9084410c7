//! The last head of a connection, as it came and as it was understood: many clients say the same again, or ask for
//! something else in the same words.

use std::ops::Range;
use std::sync::Arc;

use http::header;
use wire::RequestHead;

use crate::downstream::Other;

/// Heads that are remembered are no longer than this.
const REMEMBERED_MAX: usize = 1024;
/// The end of a line.
const END: &[u8] = b"\r\n";

/// A head that is remembered.
#[derive(Debug)]
pub(super) struct Words {
    bytes: Vec<u8>,
    head: Arc<RequestHead>,
    /// Where others may have something else.
    places: Option<Places>,
}

/// Where something is in a head.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    target: Range<usize>,
    /// The value of `Host`, where the head has one.
    host: Option<Range<usize>>,
}

/// Another head in the same words, and where it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    places: Places,
    pub(super) length: usize,
}

impl Found {
    /// What it has in place of the other, of the bytes that it was found in.
    pub(super) fn of<'a>(&self, bytes: &'a [u8]) -> Option<Other<'a>> {
        let text = |place: &Range<usize>| str::from_utf8(bytes.get(place.clone())?).ok();
        let host = match &self.places.host {
            Some(place) => Some(text(place)?),
            None => None,
        };
        let target = text(&self.places.target)?;
        Some(Other { target, host })
    }
}

impl Words {
    /// Of a head that came in these bytes. None where they are too many. `last` is not needed any more.
    pub(super) fn of(last: Option<Self>, came: &[u8], head: &Arc<RequestHead>) -> Option<Self> {
        if came.len() > REMEMBERED_MAX {
            return last;
        }
        let mut bytes = last.map_or_else(Vec::new, |last| last.bytes);
        bytes.clear();
        bytes.extend_from_slice(came);
        Some(Self {
            places: Places::of(&bytes, head),
            bytes,
            head: Arc::clone(head),
        })
    }

    pub(super) const fn head(&self) -> &Arc<RequestHead> {
        &self.head
    }

    /// The length of the head, if these bytes begin with the same.
    pub(super) fn again(&self, bytes: &[u8]) -> Option<usize> {
        // A head ends where it says itself: what follows makes no other one of it.
        bytes.starts_with(&self.bytes).then_some(self.bytes.len())
    }

    /// The head that these bytes begin with, if it differs from this one in its places only. Of the host it is not said that
    /// it is one.
    pub(super) fn other(&self, bytes: &[u8], limits: &wire::Limits) -> Option<Found> {
        let Places { target, host } = self.places.as_ref()?;
        let behind = bytes.strip_prefix(&self.bytes[..target.start])?;
        let longest = &behind[..behind.len().min(limits.target_bytes + 1)];
        let length = longest.iter().position(|byte| *byte == b' ')?;
        let path = str::from_utf8(&behind[..length]).ok()?;
        if !path.starts_with('/') || wire::check_path(path).is_err() {
            return None;
        }
        let behind = &behind[length..];
        let end = target.start + length;
        let (host, length) = match host {
            None => {
                let rest = &self.bytes[target.end..];
                behind
                    .starts_with(rest)
                    .then_some((None, end + rest.len()))?
            }
            Some(own) => {
                let between = &self.bytes[target.end..own.start];
                let behind = behind.strip_prefix(between)?;
                let length = behind.iter().position(u8::is_ascii_control)?;
                let rest = &self.bytes[own.end..];
                let start = end + between.len();
                let host = start..start + length;
                let length = host.end + rest.len();
                behind[host.len()..]
                    .starts_with(rest)
                    .then_some((Some(host), length))?
            }
        };
        let target = target.start..end;
        let places = Places { target, host };
        (length <= limits.head_bytes).then_some(Found { places, length })
    }
}

impl Places {
    /// In a head whose request line begins with the first byte and has a path.
    fn of(bytes: &[u8], head: &RequestHead) -> Option<Self> {
        let behind = bytes.strip_prefix(head.method.as_str().as_bytes())?;
        let behind = behind.strip_prefix(b" ")?;
        let start = bytes.len() - behind.len();
        let is_it = head.target.starts_with('/')
            && behind.starts_with(head.target.as_bytes())
            && behind.get(head.target.len()) == Some(&b' ');
        is_it.then_some(())?;
        let host = match head.headers.contains_key(header::HOST) {
            true => Some(place_of_host(bytes)?),
            false => None,
        };
        Some(Self {
            target: start..start + head.target.len(),
            host,
        })
    }
}

/// Where the value of `Host` is in a head that has it once.
fn place_of_host(bytes: &[u8]) -> Option<Range<usize>> {
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let name = line.get(..header::HOST.as_str().len());
        let is_it = name.is_some_and(|name| name.eq_ignore_ascii_case(b"host"));
        if is_it && let [b':', value @ ..] = &line[b"host".len()..] {
            let value = value.trim_ascii_start();
            let own = value.strip_suffix(END)?.trim_ascii_end().len();
            let begin = start + line.len() - value.len();
            // What stands behind it is the same in every other head.
            return (own > 0 && value[own..] == *END).then(|| begin..begin + own);
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use wire::{Limits, Parsed};

    use super::*;

    fn words(bytes: &str) -> Words {
        let parsed = wire::parse_request(bytes.as_bytes(), &Limits::default());
        let Ok(Parsed::Complete { head, consumed }) = parsed else {
            panic!("{bytes:?}: {parsed:?}");
        };
        assert_eq!(consumed, bytes.len());
        Words::of(None, bytes.as_bytes(), &Arc::new(head)).unwrap()
    }

    #[track_caller]
    fn check(words: &Words, other: &str, expected: Option<(&str, Option<&str>)>) {
        let followed = format!("{other}GET / HTTP/1.1\r\n");
        let limits = Limits {
            head_bytes: 100,
            ..Limits::default()
        };
        let found = words.other(followed.as_bytes(), &limits);
        let shown = found.as_ref().map(|found| {
            assert_eq!(found.length, other.len());
            let Other { target, host } = found.of(followed.as_bytes()).unwrap();
            (target, host)
        });
        assert_eq!(shown, expected, "{other:?}");
    }

    #[test]
    fn a_head_in_the_same_words_is_known_by_what_stands_around_target_and_host() {
        let words = words("GET /a HTTP/1.1\r\nAccept: */*\r\nhost: \ta.example\r\nX: y\r\n\r\n");
        let other = |target: &str, host: &str| {
            format!("GET {target} HTTP/1.1\r\nAccept: */*\r\nhost: \t{host}\r\nX: y\r\n\r\n")
        };
        for (target, host) in [
            ("/a", "a.example"),
            ("/b?c", "a.example"),
            ("/", "a.example:80"),
            ("/b", "b"),
            // Whether it is a host, is not asked here.
            ("/b", "a b"),
            ("/b", ""),
        ] {
            check(&words, &other(target, host), Some((target, Some(host))));
        }
        for (target, host) in [
            ("b", "a.example"),
            ("*", "a.example"),
            ("http://a.example/", "a.example"),
            ("/a b", "a.example"),
            ("/\u{7f}", "a.example"),
            ("/a", "a.example\r\nhost: b.example"),
            ("/a", "a.example\n"),
            ("/a", "a.example\rx"),
        ] {
            check(&words, &other(target, host), None);
        }
        let long = "a".repeat(100);
        check(&words, &other("/", &long), None);
        check(&words, &other(&format!("/{long}"), "a"), None);
        for changed in [
            "GET /a HTTP/1.1\r\nAccept: */*\r\nHost: \ta.example\r\nX: y\r\n\r\n",
            "GET /a HTTP/1.1\r\nAccept: */*\r\nhost: a.example\r\nX: y\r\n\r\n",
            "GET /a HTTP/1.0\r\nAccept: */*\r\nhost: \ta.example\r\nX: y\r\n\r\n",
            "HEAD /a HTTP/1.1\r\nAccept: */*\r\nhost: \ta.example\r\nX: y\r\n\r\n",
            "GET /a HTTP/1.1\r\nAccept: */*\r\nhost: \ta.example\r\nX: z\r\n\r\n",
            "GET /a HTTP/1.1\r\nAccept: */*\r\nhost: \ta.example \r\nX: y\r\n",
        ] {
            assert!(
                words
                    .other(changed.as_bytes(), &Limits::default())
                    .is_none()
            );
        }
        // What is cut has nothing around it yet.
        let whole = other("/b", "b");
        for length in 0..whole.len() {
            let cut = &whole.as_bytes()[..length];
            assert_eq!(words.other(cut, &Limits::default()), None);
        }
    }

    #[test]
    fn where_the_host_is_not_plain_to_see_no_other_head_is_known() {
        let anything =
            |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
        for fields in [
            "Host: a.example \r\n",
            "Host: a.example\nX: y\r\n",
            "X: y\nHost: a.example\r\n",
        ] {
            let Ok(Parsed::Complete { .. }) =
                wire::parse_request(anything("/", fields).as_bytes(), &Limits::default())
            else {
                continue;
            };
            check(
                &words(&anything("/", fields)),
                &anything("/b", fields),
                None,
            );
        }
        let absolute = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
        check(&words(absolute), absolute, None);
        let first = words("\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        check(
            &first,
            "\r\nGET /b HTTP/1.1\r\nHost: a.example\r\n\r\n",
            None,
        );
        // Nobody is named.
        let without = words("GET / HTTP/1.0\r\nX: y\r\n\r\n");
        check(
            &without,
            "GET /b HTTP/1.0\r\nX: y\r\n\r\n",
            Some(("/b", None)),
        );
    }
}
