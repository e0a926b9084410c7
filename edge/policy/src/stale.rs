//! Stale responses in place of errors (RFC 9111 §4.2.4, RFC 5861 §4).

use std::time::Duration;

use http::StatusCode;

use crate::reuse::is_within;
use crate::settings::Settings;
use crate::store::Stored;
use crate::time::Timestamp;

/// How the origin failed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection could be made.
    Unreachable,
    /// It did not answer in time.
    Timeout,
    /// The connection ended before the head of the response was complete.
    Cut,
    /// It answered with this status code.
    Status(StatusCode),
}

/// Whether `stored` may be sent in place of the error, and if so, how long it has been stale.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.3
//# However, if a cache receives a 5xx (Server Error) response while attempting to validate a
//# response, it can either forward this response to the requesting client or act as if the server
//# failed to respond.
pub fn may_serve_stale<F>(
    stored: &Stored<F>,
    failure: Failure,
    now: Timestamp,
    settings: &Settings,
) -> Option<Duration> {
    if !is_error(failure, settings) || stored.terms.requires_validation() {
        return None;
    }
    let current_age = stored.reception.current_age(now);
    let staleness = current_age.saturating_sub(stored.terms.freshness_lifetime);
    // A fresh response was validated because the client asked for it.
    let fresh = stored.terms.freshness_lifetime > current_age;

    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.2
    //# The must-revalidate response directive indicates that once the response has become stale, a
    //# cache MUST NOT reuse that response to satisfy another request until it has been successfully
    //# validated by the origin
    //
    // The window is closed then.
    (fresh || is_within(staleness, stored.terms.stale_if_error)).then_some(staleness)
}

fn is_error(failure: Failure, settings: &Settings) -> bool {
    match failure {
        Failure::Unreachable | Failure::Timeout | Failure::Cut => true,
        Failure::Status(status) => settings.stale_statuses.contains(&status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Given, at, secs};

    #[track_caller]
    fn check(cache_control: &str, failure: Failure, after: u64, expected: Option<u64>) {
        let stored =
            Given::response(&[("cache-control", cache_control), ("etag", "\"a\"")]).stored();
        let found = may_serve_stale(&stored, failure, at(after), &Settings::default());
        assert_eq!(
            found,
            expected.map(secs),
            "{cache_control} {failure:?} {after}"
        );
    }

    #[test]
    fn a_day_by_default() {
        let day = 24 * 60 * 60;
        for failure in [Failure::Unreachable, Failure::Timeout, Failure::Cut] {
            check("max-age=2", failure, 2, Some(0));
            check("max-age=2", failure, 2 + day, Some(day));
            check("max-age=2", failure, 3 + day, None);
        }
    }

    #[test]
    fn the_origin_says_how_long() {
        check("max-age=2, stale-if-error=60", Failure::Cut, 62, Some(60));
        check("max-age=2, stale-if-error=60", Failure::Cut, 63, None);
        check("max-age=2, stale-if-error=0", Failure::Cut, 2, None);
        check("s-maxage=2, stale-if-error=60", Failure::Cut, 5, Some(3));
    }

    #[test]
    fn directives_that_forbid_it() {
        for directive in [
            "must-revalidate",
            "proxy-revalidate",
            "no-cache",
            "s-maxage=2",
        ] {
            check(&format!("max-age=2, {directive}"), Failure::Cut, 3, None);
        }
        for directive in ["must-revalidate", "proxy-revalidate", "no-cache"] {
            check(
                &format!("max-age=2, stale-if-error=60, {directive}"),
                Failure::Cut,
                3,
                None,
            );
        }
    }

    #[test]
    fn the_operator_says_which_answers_are_errors() {
        for (status, expected) in [
            (500, true),
            (502, true),
            (503, true),
            (504, true),
            (501, false),
            (404, false),
            (429, false),
        ] {
            let failure = Failure::Status(StatusCode::from_u16(status).unwrap());
            check("max-age=2", failure, 5, expected.then_some(3));
        }
    }

    #[test]
    fn a_fresh_response_takes_the_place_of_an_error() {
        check("max-age=60, must-revalidate", Failure::Timeout, 59, Some(0));
        check("max-age=60, must-revalidate", Failure::Timeout, 60, None);
        check("max-age=60, no-cache", Failure::Timeout, 0, None);
    }
}
