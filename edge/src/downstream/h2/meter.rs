//! Ends HTTP/2 connections that cost more frames than they bring requests.
//!
//! The framing answers PING and SETTINGS and swallows empty frames by itself, without end and without telling anybody.
//! An account is kept of what comes in: frames that carry work pay in, frames that carry none draw on it.

use super::frames::{FrameHeader, Walk, kind};

/// The client's connection preface, which precedes the first frame.
pub(super) const PREFACE: usize = 24;
/// Idle frames that a connection may send in advance: more than any client needs while it is set up.
const CREDIT_MAX: u32 = 2_000;
/// What a frame with work in it pays in.
const CREDIT_PER_REQUEST: u32 = 20;

/// The account of one connection.
#[derive(Debug)]
pub(super) struct Account {
    walk: Walk,
    credit: u32,
}

impl Account {
    pub(super) const fn new() -> Self {
        Self {
            walk: Walk::behind(PREFACE),
            credit: CREDIT_MAX,
        }
    }

    /// Books what was read. `false` once the account is overdrawn.
    pub(super) fn book(&mut self, bytes: &[u8]) -> bool {
        let Self { walk, credit } = self;
        walk.over(bytes, |frame| {
            *credit = booked(*credit, frame);
            *credit > 0
        })
    }
}

fn booked(credit: u32, frame: FrameHeader) -> u32 {
    match frame.kind {
        kind::HEADERS => credit.saturating_add(CREDIT_PER_REQUEST).min(CREDIT_MAX),
        kind::DATA if frame.length > 0 => credit.saturating_add(1).min(CREDIT_MAX),
        // Filled CONTINUATION frames end at the header list's limit; empty ones never would.
        kind::CONTINUATION if frame.length > 0 => credit,
        _ => credit.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    fn survives(frames: impl Iterator<Item = Vec<u8>>) -> bool {
        let mut account = Account::new();
        let mut bytes = vec![0; PREFACE];
        bytes.extend(frames.flatten());
        // However the bytes are cut into reads, the account is the same.
        bytes.chunks(7).all(|read| account.book(read))
    }

    #[test]
    fn frames_without_work_are_bounded_and_requests_are_not() {
        const PING: u8 = 0x6;
        const SETTINGS: u8 = 0x4;
        let credit = CREDIT_MAX as usize;
        let ping = || frame(PING, 8);
        assert!(survives(std::iter::repeat_with(ping).take(credit - 1)));
        assert!(!survives(std::iter::repeat_with(ping).take(credit)));
        assert!(!survives(
            std::iter::repeat_with(|| frame(SETTINGS, 0)).take(credit)
        ));
        assert!(!survives(
            std::iter::repeat_with(|| frame(kind::DATA, 0)).take(credit)
        ));
        assert!(!survives(
            std::iter::repeat_with(|| frame(kind::CONTINUATION, 0)).take(credit)
        ));
        let requests =
            (0..10 * credit).map(|n| frame(if n % 4 == 0 { kind::HEADERS } else { PING }, 8));
        assert!(survives(requests));
    }
}
