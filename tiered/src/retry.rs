//! Whether a request that failed is tried again, and where.

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nothing was sent: there was no connection.
    Unsent,
    /// It was sent, and the connection ended before any response.
    Unanswered,
    /// It was sent, and no response came in time.
    Late,
    /// It was answered with a status that another peer may do without.
    Status,
    /// It was answered with something that is no response.
    Garbled,
}

/// Whether a request may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Its method is safe, and it has no content.
    Harmless,
    /// It may change something, or its content is gone.
    Harmful,
}

/// Where the next attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// To another peer, or to the same one where there is no other.
    Anywhere,
    /// To another peer only.
    Elsewhere,
    /// Nowhere.
    Nowhere,
}

/// Where a request goes after an attempt that failed (RFC 9110 §9.2.2: nothing that may have been applied is sent twice).
#[must_use]
pub const fn again(failed: Failed, replay: Replay) -> Again {
    match (failed, replay) {
        (Failed::Unsent, _) | (Failed::Unanswered, Replay::Harmless) => Again::Anywhere,
        // The same peer would take as long, and say the same.
        (Failed::Late | Failed::Status, Replay::Harmless) => Again::Elsewhere,
        (Failed::Garbled, _) | (_, Replay::Harmful) => Again::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_applied_is_not_sent_twice() {
        use Again::{Anywhere, Elsewhere, Nowhere};
        #[rustfmt::skip]
        let rows = [
            //                   harmless   harmful
            (Failed::Unsent,     Anywhere,  Anywhere),
            (Failed::Unanswered, Anywhere,  Nowhere),
            (Failed::Late,       Elsewhere, Nowhere),
            (Failed::Status,     Elsewhere, Nowhere),
            (Failed::Garbled,    Nowhere,   Nowhere),
        ];
        for (failed, harmless, harmful) in rows {
            assert_eq!(again(failed, Replay::Harmless), harmless, "{failed:?}");
            assert_eq!(again(failed, Replay::Harmful), harmful, "{failed:?}");
        }
    }
}
