//! The same answer again: what a connection was answered last, where it asks for the same.
//!
//! The head of an answer from the store differs from the last one in two numbers. Everything that decides whether it may
//! be sent is asked again each time: the index, the purges, the freshness.

use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use policy::time::Timestamp;
use storage::{Body, Object};
use wire::RequestHead;

use super::Head;
use super::find::{Hit, find_in_memory};
use super::fresh::Fresh;
use super::respond::CACHE_STATUS;
use crate::digits::Digits;
use crate::downstream::h2::{Packed, Varying};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::Outcome;
use crate::purges::Trust;

/// Heads that are kept are no longer than this, in bytes.
const KEPT_MAX: usize = 2 * 1024;

/// An answer as a connection was given it, with its head in the form that the protocol needs.
#[derive(Debug)]
pub(crate) struct Known<W> {
    request: Arc<Request>,
    /// Whose head it is. It keeps nothing in the store, and no other head is ever taken for it.
    of: Weak<Head>,
    status: StatusCode,
    content_type: Option<HeaderValue>,
    /// The length of its content, where that is in one piece.
    piece: Option<u64>,
    written: W,
}

/// A head in the bytes of HTTP/1.1, and where its two numbers are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    before: Box<[u8]>,
    between: Box<[u8]>,
    after: Box<[u8]>,
    age_first: bool,
}

/// A head as fields, with two numbers in them.
#[derive(Debug)]
pub(crate) struct Fields {
    headers: HeaderMap,
    age: u64,
    ttl: u64,
    /// What stands before the time to live.
    status: Box<str>,
    /// The same as a block, for an answer that needs no stream.
    packed: Option<Packed>,
}

/// The same answer, at another moment.
#[derive(Debug)]
pub(crate) struct Again {
    object: Arc<Object<Head>>,
    started: Instant,
    now: Timestamp,
    age: u64,
    ttl: u64,
}

impl Again {
    pub(crate) fn body(&self) -> &Body {
        self.object.body()
    }
}

/// The numbers of a head that may be sent again.
struct Numbers {
    age: u64,
    ttl: u64,
}

impl<W> Known<W> {
    /// What is worth keeping of an answer: all that an answer at another moment is made of.
    fn of(
        exchange: &Exchange,
        (answered, body): (&Arc<Head>, &Body),
        write: impl FnOnce(&Numbers) -> Option<W>,
    ) -> Option<Self> {
        let request = exchange.request.as_ref()?;
        let stored = answered.stored()?;
        let status = exchange.status.filter(|status| *status == stored.status)?;
        let terms = &request.terms;
        // Where there are traces, each request has its own; and what the log tells of the response is not kept.
        let untraced = request.trace.is_none() && exchange.fields.is_empty();
        let plain = !terms.has_range() && !terms.has_preconditions() && exchange.coding.is_none();
        if !plain || !untraced || stored.headers.get(header::DATE).is_none() {
            return None;
        }
        let Some(Outcome::Hit { ttl, .. }) = exchange.outcome else {
            return None;
        };
        let numbers = Numbers {
            age: exchange.age?.as_secs(),
            // Fresh: it is not negative.
            ttl: u64::try_from(ttl).ok()?,
        };
        let content_type = exchange.content_type.as_ref();
        Some(Self {
            request: Arc::clone(request),
            of: Arc::downgrade(answered),
            status,
            // A text of its own: those who count what is shared meet nobody.
            content_type: content_type.and_then(|it| HeaderValue::from_bytes(it.as_bytes()).ok()),
            piece: body.contiguous().map(|bytes| bytes.len() as u64),
            written: write(&numbers)?,
        })
    }

    /// The request that it answered.
    pub(crate) const fn request(&self) -> &Arc<Request> {
        &self.request
    }

    /// Whether it answered a request with this very head.
    pub(crate) fn is_of(&self, head: &Arc<RequestHead>) -> bool {
        Arc::ptr_eq(&self.request.head, head)
    }

    /// Whether its content is there in one piece of at most so many bytes. It stays so while the head is the same.
    pub(crate) const fn is_short(&self, max: u64) -> bool {
        matches!(self.piece, Some(length) if length <= max)
    }

    /// The content that such an answer has, in bytes, if it is in one piece.
    pub(crate) fn content_length(&self) -> Option<u64> {
        match self.request.head.method {
            Method::HEAD => Some(0),
            _ => self.piece,
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer to the same request, if it is the same. It counts as an access then.
    pub(crate) fn again(&self, node: &Arc<Node>) -> Option<Again> {
        let request = &self.request;
        if !node.searches.is_empty() || node.purges.trust() != Trust::Full {
            return None;
        }
        let started = node.clock.instant();
        let hit = find_in_memory(node, request).filter(Hit::is_complete)?;
        let ttl = hit.fresh_ttl()?;
        let head = hit.object.head();
        if !std::ptr::eq(Weak::as_ptr(&self.of), Arc::as_ptr(head)) {
            return None;
        }
        let age = head.stored()?.reception.current_age(hit.now).as_secs();
        node.capacity.hit(&hit.object, hit.now);
        node.tiers
            .accessed(&hit.object, request.treatment.admission);
        Some(Again {
            object: hit.object,
            started,
            now: hit.now,
            age,
            ttl,
        })
    }

    /// The exchange that such an answer ends, which began to be sent at `answered`.
    pub(crate) fn exchange(&self, again: &Again, answered: Instant) -> Exchange {
        let fresh = Fresh {
            started: again.started,
            now: again.now,
            status: self.status,
            ttl: again.ttl,
            age: again.age,
            content_type: self.content_type.as_ref(),
        };
        fresh.exchange(&self.request, answered)
    }
}

impl Known<Written> {
    /// Of an answer that was written so.
    pub(crate) fn of_written(
        node: &Node,
        exchange: &Exchange,
        answered: (&Arc<Head>, &Body),
        written: &[u8],
    ) -> Option<Self> {
        if written.len() > KEPT_MAX {
            return None;
        }
        Self::of(exchange, answered, |numbers| {
            Written::of(written, &node.name, numbers)
        })
    }

    /// Writes the head with the numbers of another moment.
    pub(crate) fn write(&self, again: &Again, out: &mut BytesMut) {
        let Written {
            before,
            between,
            after,
            age_first,
        } = &self.written;
        let (age, ttl) = (Digits::of(again.age), Digits::of(again.ttl));
        let (first, second) = if *age_first { (age, ttl) } else { (ttl, age) };
        for piece in [before, first.text(), between, second.text(), after] {
            out.extend_from_slice(piece);
        }
    }
}

impl Known<Fields> {
    /// Of an answer that had these fields.
    pub(crate) fn of_fields(
        node: &Node,
        exchange: &Exchange,
        answered: (&Arc<Head>, &Body),
        headers: &HeaderMap,
    ) -> Option<Self> {
        let texts = headers.iter();
        let length = texts.map(|(name, value)| name.as_str().len() + value.len());
        if length.sum::<usize>() > KEPT_MAX {
            return None;
        }
        let status = exchange.status?;
        Self::of(exchange, answered, |numbers| {
            Fields::of(status, headers, &node.name, numbers)
        })
    }

    /// Writes the answer as a block with the numbers of another moment. False where it has no such form.
    pub(crate) fn packed(&self, again: &Again, write: impl FnOnce(&Packed, [&[u8]; 2])) -> bool {
        let Some(packed) = &self.written.packed else {
            return false;
        };
        let (age, ttl) = (Digits::of(again.age), Digits::of(again.ttl));
        write(packed, [age.text(), ttl.text()]);
        true
    }

    /// Whether there is such a form.
    pub(crate) const fn is_packed(&self) -> bool {
        self.written.packed.is_some()
    }

    /// The fields with the numbers of another moment.
    pub(crate) fn fields(&mut self, again: &Again) -> HeaderMap {
        self.written.renew(again.age, again.ttl);
        self.written.headers.clone()
    }
}

impl Fields {
    /// Looks for the numbers in the fields. None where they are not exactly where they should be.
    fn of(code: StatusCode, headers: &HeaderMap, node: &str, numbers: &Numbers) -> Option<Self> {
        let status = format!("{node}; hit; ttl=").into_boxed_str();
        let Numbers { age, ttl } = *numbers;
        (sole_field(headers, &header::AGE)? == age.to_string().as_bytes()).then_some(())?;
        let told = sole_field(headers, &CACHE_STATUS)?;
        (told == format!("{status}{ttl}").as_bytes()).then_some(())?;
        let varying = [(&header::AGE, ""), (&CACHE_STATUS, &*status)];
        let varying = varying.map(|(name, fixed)| Varying { name, fixed });
        Some(Self {
            packed: Packed::of(code, headers, varying),
            headers: headers.clone(),
            age,
            ttl,
            status,
        })
    }

    fn renew(&mut self, age: u64, ttl: u64) {
        if self.age != age {
            self.headers.insert(header::AGE, HeaderValue::from(age));
            self.age = age;
        }
        if self.ttl != ttl
            && let Ok(status) = HeaderValue::try_from(format!("{}{ttl}", self.status))
        {
            self.headers.insert(CACHE_STATUS, status);
            self.ttl = ttl;
        }
    }
}

/// The value of a field that is there once.
fn sole_field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

impl Written {
    /// Takes the numbers out of a head. None where they are not exactly where they should be.
    fn of(head: &[u8], node: &str, numbers: &Numbers) -> Option<Self> {
        let Numbers { age, ttl } = *numbers;
        let age_line = format!("\r\nAge: {age}\r\n");
        let ttl_line = format!("\r\nCache-Status: {node}; hit; ttl={ttl}\r\n");
        let age_at = sole(head, age_line.as_bytes())? + "\r\nAge: ".len();
        let ttl_len = Digits::of(ttl).text().len();
        let ttl_at = sole(head, ttl_line.as_bytes())? + ttl_line.len() - "\r\n".len() - ttl_len;
        let age_len = Digits::of(age).text().len();
        let mut places = [(age_at, age_len), (ttl_at, ttl_len)];
        places.sort_unstable();
        let [(first, first_len), (second, second_len)] = places;
        Some(Self {
            before: head.get(..first)?.into(),
            between: head.get(first + first_len..second)?.into(),
            after: head.get(second + second_len..)?.into(),
            age_first: age_at < ttl_at,
        })
    }
}

/// Where a line is, if it is there once.
fn sole(head: &[u8], line: &[u8]) -> Option<usize> {
    let mut places = head
        .windows(line.len())
        .enumerate()
        .filter(|(_, it)| *it == line);
    let (place, _) = places.next()?;
    places.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Option<(&str, &str, &str, bool)>) {
        let found = Written::of(head.as_bytes(), "n", &Numbers { age: 7, ttl: 53 });
        let expected = expected.map(|(before, between, after, age_first)| Written {
            before: before.as_bytes().into(),
            between: between.as_bytes().into(),
            after: after.as_bytes().into(),
            age_first,
        });
        assert_eq!(found, expected, "{head}");
    }

    #[test]
    fn the_numbers_are_taken_out_of_their_own_fields_only() {
        check(
            "S\r\nAge: 7\r\nCache-Status: n; hit; ttl=53\r\nX: y\r\n\r\n",
            Some((
                "S\r\nAge: ",
                "\r\nCache-Status: n; hit; ttl=",
                "\r\nX: y\r\n\r\n",
                true,
            )),
        );
        check(
            "S\r\nCache-Status: n; hit; ttl=53\r\nX-Age: 7\r\nAge: 7\r\n\r\n",
            Some((
                "S\r\nCache-Status: n; hit; ttl=",
                "\r\nX-Age: 7\r\nAge: ",
                "\r\n\r\n",
                false,
            )),
        );
        check("S\r\nAge: 7\r\nCache-Status: m; hit; ttl=53\r\n\r\n", None);
        check("S\r\nAge: 8\r\nCache-Status: n; hit; ttl=53\r\n\r\n", None);
        check("S\r\nCache-Status: n; hit; ttl=53\r\n\r\n", None);
        let twice = "Cache-Status: n; hit; ttl=53\r\n";
        check(&format!("S\r\nAge: 7\r\n{twice}{twice}\r\n"), None);
    }
    #[test]
    fn fields_are_renewed_where_both_numbers_are_once() {
        let fields = |all: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        let numbers = Numbers { age: 7, ttl: 53 };
        let mut known = Fields::of(
            StatusCode::OK,
            &fields(&[("age", "7"), ("cache-status", "n; hit; ttl=53"), ("x", "7")]),
            "n",
            &numbers,
        )
        .unwrap();
        known.renew(9, 51);
        let renewed = fields(&[("age", "9"), ("cache-status", "n; hit; ttl=51"), ("x", "7")]);
        assert_eq!(known.headers, renewed);
        for other in [
            &[("age", "7")][..],
            &[("age", "8"), ("cache-status", "n; hit; ttl=53")],
            &[("age", "7"), ("cache-status", "m; hit; ttl=53")],
            &[
                ("age", "7"),
                ("cache-status", "o; hit"),
                ("cache-status", "n; hit; ttl=53"),
            ],
            &[
                ("age", "7"),
                ("age", "7"),
                ("cache-status", "n; hit; ttl=53"),
            ],
        ] {
            assert!(
                Fields::of(StatusCode::OK, &fields(other), "n", &numbers).is_none(),
                "{other:?}"
            );
        }
    }
}
