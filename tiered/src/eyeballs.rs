//! Happy eyeballs (RFC 8305): in which order the addresses of a name are tried, and how soon the next one is.

use std::net::SocketAddr;
use std::time::Duration;

/// How long an attempt has before the next one joins it (RFC 8305 §5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Interleaves the families of addresses, beginning with the first one's (RFC 8305 §4). Within a family the order stays.
#[must_use]
pub fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let (one, other): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address| address.is_ipv6() == first.is_ipv6());
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut order = Vec::with_capacity(addresses.len());
    loop {
        let (next, after) = (one.next(), other.next());
        if next.is_none() && after.is_none() {
            return order;
        }
        order.extend(next);
        order.extend(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &[&str], expected: &[&str]) {
        let parse = |text: &&str| SocketAddr::new(text.parse().unwrap(), 80);
        let addresses: Vec<_> = addresses.iter().map(parse).collect();
        let expected: Vec<_> = expected.iter().map(parse).collect();
        assert_eq!(interleave(&addresses), expected);
    }

    #[test]
    fn families_alternate_from_the_first_on() {
        check(&[], &[]);
        check(&["::1"], &["::1"]);
        check(
            &["::1", "::2", "::3", "192.0.2.1", "192.0.2.2"],
            &["::1", "192.0.2.1", "::2", "192.0.2.2", "::3"],
        );
        check(&["192.0.2.1", "::1", "::2"], &["192.0.2.1", "::1", "::2"]);
    }
}
