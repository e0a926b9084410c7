//! What a client lets itself be sent (RFC 9113 §5.2), shared by two who send to it.
//!
//! The framing keeps an account of the connection's window of its own. It is told of a part only: what it has not heard
//! of is for the answers that are written past it.

use std::collections::VecDeque;

/// Every window before anything was said of it (RFC 9113 §6.9.2).
const INITIAL: i64 = 65_535;
/// No window is larger (RFC 9113 §6.9.1).
const WINDOW_MAX: i64 = (1 << 31) - 1;
/// The framing is told of so much at once, in bytes, and of more when it has used half of it.
const LENT: i64 = 1024 * 1024;
/// Settings that the framing has not acknowledged.
const PENDING_MAX: usize = 16;

/// Settings of the client that matter here (RFC 9113 §6.5.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Announced {
    pub initial_window: Option<u32>,
    /// Whether a size for the table of the framing's encoder was among them.
    pub table: Table,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Table {
    #[default]
    Kept,
    Resized,
}

impl Announced {
    /// Reads the payload of a SETTINGS frame.
    pub(super) fn read(payload: &[u8]) -> Self {
        const HEADER_TABLE_SIZE: [u8; 2] = [0, 1];
        const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
        let mut announced = Self::default();
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match [setting[0], setting[1]] {
                INITIAL_WINDOW_SIZE => announced.initial_window = Some(value),
                HEADER_TABLE_SIZE => announced.table = Table::Resized,
                _ => {}
            }
        }
        announced
    }
}

/// What the framing is told of a connection's window that grew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// Of so much of it.
    Of(u32),
    /// It grew beyond all measure.
    Overflow,
}

/// A client's windows.
#[derive(Debug)]
pub(super) struct Windows {
    /// What the framing may still send on the connection.
    lent: i64,
    /// What it was not told of.
    spare: i64,
    /// A new stream's.
    stream: i64,
    pending: VecDeque<Announced>,
    /// Whether the framing's next block says what size its table has.
    table: Table,
}

impl Windows {
    pub(super) const fn new() -> Self {
        Self {
            lent: INITIAL,
            spare: 0,
            stream: INITIAL,
            pending: VecDeque::new(),
            table: Table::Kept,
        }
    }

    /// The client has announced settings, which hold from their acknowledgement on. False where it does so too often.
    pub(super) fn announced(&mut self, settings: Announced) -> bool {
        self.pending.push_back(settings);
        self.pending.len() <= PENDING_MAX
    }

    /// The framing acknowledges the settings that were announced first.
    pub(super) fn acknowledged(&mut self) {
        let Some(settings) = self.pending.pop_front() else {
            return;
        };
        if let Some(window) = settings.initial_window {
            self.stream = i64::from(window);
        }
        if settings.table == Table::Resized {
            self.table = Table::Resized;
        }
    }

    /// The framing sends a block of fields.
    pub(super) const fn block_sent(&mut self) {
        self.table = Table::Kept;
    }

    /// The framing sends content.
    pub(super) fn content_sent(&mut self, length: usize) {
        self.lent -= i64::try_from(length).unwrap_or(i64::MAX);
    }

    /// The connection's window grew.
    pub(super) fn grew(&mut self, by: u32) -> Told {
        let by = i64::from(by);
        if self.lent + self.spare + by > WINDOW_MAX {
            return Told::Overflow;
        }
        self.spare += by;
        Told::Of(self.lend())
    }

    /// What more the framing is told of, if it has little.
    pub(super) fn lend_more(&mut self) -> Option<u32> {
        (self.spare > 0 && self.lent < LENT / 2).then(|| self.lend())
    }

    fn lend(&mut self) -> u32 {
        let more = (LENT - self.lent).clamp(0, self.spare);
        self.lent += more;
        self.spare -= more;
        u32::try_from(more).unwrap_or_default()
    }

    /// Whether an answer past the framing may be sent that has so much content.
    pub(super) fn allow(&self, content: usize) -> bool {
        let settled = self.pending.is_empty() && self.table == Table::Kept;
        settled && i64::try_from(content).is_ok_and(|length| length <= self.spare.min(self.stream))
    }

    /// It is sent.
    pub(super) fn spend(&mut self, content: usize) {
        self.spare -= i64::try_from(content).unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(all: &[(u16, u32)]) -> Announced {
        let mut payload = Vec::new();
        for (name, value) in all {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        Announced::read(&payload)
    }

    #[test]
    fn both_together_never_send_more_than_the_client_allows() {
        let mut windows = Windows::new();
        let (mut allowed, mut framing) = (INITIAL, INITIAL);
        assert!(!windows.allow(1), "all of it is the framing's");
        for (by, used) in [
            (1_000_000, 0),
            (60_000, 700_000),
            (5_000_000, 900_000),
            (1, 1_000_000),
        ] {
            allowed += i64::from(by);
            if let Told::Of(more) = windows.grew(by) {
                framing += i64::from(more);
            }
            windows.content_sent(used);
            framing -= i64::try_from(used).unwrap();
            allowed -= i64::try_from(used).unwrap();
            framing += i64::from(windows.lend_more().unwrap_or_default());
            while windows.allow(60_000) {
                windows.spend(60_000);
                allowed -= 60_000;
                assert!(framing <= allowed, "{framing} {allowed}");
            }
            assert!(framing >= 0 && framing <= allowed, "{framing} {allowed}");
        }
    }

    #[test]
    fn a_window_has_an_end() {
        let mut windows = Windows::new();
        let most = u32::try_from(WINDOW_MAX - INITIAL).unwrap();
        assert!(matches!(windows.grew(most), Told::Of(_)));
        assert_eq!(windows.grew(1), Told::Overflow);
    }

    #[test]
    fn settings_hold_once_they_are_acknowledged() {
        let mut windows = Windows::new();
        windows.grew(10_000_000);
        assert!(windows.allow(65_535) && !windows.allow(65_536));
        assert!(windows.announced(settings(&[(3, 100), (4, 100_000), (1, 0)])));
        assert!(!windows.allow(0), "not before");
        windows.acknowledged();
        assert!(!windows.allow(0), "the next block tells of the table");
        windows.block_sent();
        assert!(windows.allow(100_000) && !windows.allow(100_001));
        for _ in 0..PENDING_MAX {
            assert!(windows.announced(settings(&[])));
        }
        assert!(!windows.announced(settings(&[])));
    }
}
