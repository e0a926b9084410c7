//! The same answer again: what a connection was answered last, where it asks for the same.
//!
//! The head of an answer from the store differs from the last one in two numbers. Everything that decides whether it may
//! be sent is asked again each time: the index, the purges, the freshness.

use std::sync::{Arc, Weak};

use http::{HeaderValue, StatusCode, header};
use storage::Body;
use wire::RequestHead;

use super::Head;
use super::find::{Hit, find_in_memory};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::{Outcome, Served, Tier};
use crate::purges::Trust;

/// Heads that are kept are no longer than this, in bytes.
const KEPT_MAX: usize = 2 * 1024;

/// An answer as a connection was given it.
#[derive(Debug)]
pub(crate) struct Known {
    request: Arc<Request>,
    /// Whose head it is. It keeps nothing in the store, and no other head is ever taken for it.
    of: Weak<Head>,
    status: StatusCode,
    content_type: Option<HeaderValue>,
    written: Written,
}

/// A head in the bytes of HTTP/1.1, and where its two numbers are.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    before: Box<[u8]>,
    between: Box<[u8]>,
    after: Box<[u8]>,
    age_first: bool,
}

/// The same answer, at another moment.
#[derive(Debug)]
pub(crate) struct Again {
    pub exchange: Exchange,
    pub body: Body,
    age: Digits,
    ttl: Digits,
}

impl Known {
    /// What is worth keeping of an answer that was written so: all that an answer at another moment is made of.
    pub(crate) fn of(
        node: &Node,
        exchange: &Exchange,
        answered: &Arc<Head>,
        written: &[u8],
    ) -> Option<Self> {
        let request = exchange.request.as_ref()?;
        let stored = answered.stored()?;
        let status = exchange.status.filter(|status| *status == stored.status)?;
        let terms = &request.terms;
        let plain = !terms.has_range() && !terms.has_preconditions() && exchange.coding.is_none();
        let dated = stored.headers.contains_key(header::DATE);
        if !plain || !dated || written.len() > KEPT_MAX {
            return None;
        }
        let Some(Outcome::Hit { ttl, .. }) = exchange.outcome else {
            return None;
        };
        Some(Self {
            request: Arc::clone(request),
            of: Arc::downgrade(answered),
            status,
            content_type: exchange.content_type.clone(),
            written: Written::of(written, &node.name, exchange.age?.as_secs(), ttl)?,
        })
    }

    /// The answer to the same request head, if it is the same.
    pub(crate) fn again(&self, node: &Arc<Node>, head: &Arc<RequestHead>) -> Option<Again> {
        let request = &self.request;
        let same = Arc::ptr_eq(&request.head, head) && node.searches.is_empty();
        if !same || node.purges.trust() != Trust::Full {
            return None;
        }
        let started = node.clock.instant();
        let hit = find_in_memory(node, request).filter(Hit::is_complete)?;
        let Outcome::Hit {
            ttl,
            served: Served::Fresh,
            tier: Tier::Memory,
        } = hit.outcome
        else {
            return None;
        };
        let head = hit.object.head();
        if !std::ptr::eq(Weak::as_ptr(&self.of), Arc::as_ptr(head)) {
            return None;
        }
        let age = head.stored()?.reception.current_age(hit.now);
        node.capacity.hit(&hit.object, hit.now);
        node.tiers
            .accessed(&hit.object, request.treatment.admission);
        let mut exchange = Exchange::new(started, hit.now);
        exchange.request = Some(Arc::clone(request));
        exchange.outcome = Some(hit.outcome);
        exchange.status = Some(self.status);
        exchange.answered = Some(node.clock.instant());
        exchange.age = Some(std::time::Duration::from_secs(age.as_secs()));
        exchange.content_type.clone_from(&self.content_type);
        Some(Again {
            exchange,
            body: hit.object.body().clone(),
            age: Digits::of(age.as_secs()),
            ttl: Digits::of(ttl.unsigned_abs()),
        })
    }

    /// The head with the numbers of another moment.
    pub(crate) fn head<'a>(&'a self, again: &'a Again) -> [&'a [u8]; 5] {
        let Written {
            before,
            between,
            after,
            age_first,
        } = &self.written;
        let (age, ttl) = (again.age.text(), again.ttl.text());
        let (first, second) = if *age_first { (age, ttl) } else { (ttl, age) };
        [before, first, between, second, after]
    }
}

impl Written {
    /// Takes the numbers out of a head. None where they are not exactly where they should be.
    fn of(head: &[u8], node: &str, age: u64, ttl: i64) -> Option<Self> {
        let age_line = format!("\r\nAge: {age}\r\n");
        let ttl_line = format!("\r\nCache-Status: {node}; hit; ttl={ttl}\r\n");
        let age_at = sole(head, age_line.as_bytes())? + "\r\nAge: ".len();
        // Fresh: it is not negative.
        let ttl_len = Digits::of(u64::try_from(ttl).ok()?).text().len();
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

/// A number in decimal, without an allocation.
#[derive(Debug)]
struct Digits {
    text: [u8; 20],
    start: usize,
}

impl Digits {
    fn of(mut number: u64) -> Self {
        let mut digits = Self {
            text: [b'0'; 20],
            start: 20,
        };
        loop {
            digits.start -= 1;
            let digit = u8::try_from(number % 10).unwrap_or_default();
            digits.text[digits.start] = b'0' + digit;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn text(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(Digits::of(number).text(), number.to_string().as_bytes());
        }
    }

    #[track_caller]
    fn check(head: &str, expected: Option<(&str, &str, &str, bool)>) {
        let found = Written::of(head.as_bytes(), "n", 7, 53);
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
}
