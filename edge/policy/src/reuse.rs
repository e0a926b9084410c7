//! Constructing responses from the cache (RFC 9111 §4): may this stored response answer this request?

use std::time::Duration;

use crate::freshness::{Mutability, Revalidation};
use crate::request::RequestTerms;
use crate::store::Stored;
use crate::time::Timestamp;

/// How a stored response with matching selecting fields may be used.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Send it.
    Fresh {
        /// What is left of its freshness lifetime.
        ttl: Duration,
    },
    /// Send it although it is stale: the client accepts that (`max-stale`).
    StaleAllowed {
        /// How long it has been stale.
        staleness: Duration,
    },
    /// Send it although it is stale, and validate it in the background (RFC 5861 §3).
    StaleWhileRevalidate {
        /// How long it has been stale.
        staleness: Duration,
    },
    /// Do not send it before it is validated.
    Validate(Doubt),
}

/// Why a stored response has to be validated.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It is stale.
    Stale {
        /// How long it has been.
        staleness: Duration,
    },
    /// It says `no-cache`.
    NoCache,
    /// The request says `no-cache`.
    RequestNoCache,
    /// It is older than the request's `max-age`.
    RequestMaxAge,
    /// It will not be fresh for as long as the request's `min-fresh`.
    RequestMinFresh,
}

impl Doubt {
    /// A token for logs and the `detail` of `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::NoCache => "no-cache",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestMaxAge => "request-max-age",
            Self::RequestMinFresh => "request-min-fresh",
        }
    }

    /// Whether the client asked for it, rather than the response.
    pub const fn is_by_request(self) -> bool {
        match self {
            Self::Stale { .. } | Self::NoCache => false,
            Self::RequestNoCache | Self::RequestMaxAge | Self::RequestMinFresh => true,
        }
    }
}

/// Decides how `stored` may be used for `request` (RFC 9111 §4). The caller has seen to the key, the
/// method and the selecting header fields.
pub fn reuse<F>(request: &RequestTerms, stored: &Stored<F>, now: Timestamp) -> Reuse {
    let terms = &stored.terms;
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4
    //# the stored response does not contain the no-cache directive (Section 5.2.2.4), unless it is
    //# successfully validated (Section 4.3),
    if terms.requires_validation() {
        return Reuse::Validate(Doubt::NoCache);
    }
    if request.no_cache() {
        return Reuse::Validate(Doubt::RequestNoCache);
    }

    let current_age = stored.reception.current_age(now);
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.2
    //# response_is_fresh = (freshness_lifetime > current_age)
    if terms.freshness_lifetime > current_age {
        let ttl = terms.freshness_lifetime - current_age;
        return fresh(request, terms.mutability, current_age, ttl);
    }
    stale(request, stored, current_age - terms.freshness_lifetime)
}

fn fresh(
    request: &RequestTerms,
    mutability: Mutability,
    current_age: Duration,
    ttl: Duration,
) -> Reuse {
    let too_old = request
        .max_age()
        .is_some_and(|max_age| current_age.as_secs() > max_age.as_secs());
    // A client that reloads says max-age=0, also of what cannot have changed (RFC 8246 §2).
    if too_old && mutability == Mutability::Mutable {
        return Reuse::Validate(Doubt::RequestMaxAge);
    }
    if request.min_fresh().is_some_and(|min_fresh| ttl < min_fresh) {
        return Reuse::Validate(Doubt::RequestMinFresh);
    }
    Reuse::Fresh { ttl }
}

//= https://www.rfc-editor.org/rfc/rfc9111#section-4.2.4
//# A cache MUST NOT generate a stale response unless it is disconnected or doing so is explicitly
//# permitted by the client or origin server (e.g., by the max-stale request directive in Section
//# 5.2.1, extension directives such as those defined in [RFC5861], or configuration in accordance
//# with an out-of-band contract).
fn stale<F>(request: &RequestTerms, stored: &Stored<F>, staleness: Duration) -> Reuse {
    let relaxed = stored.terms.revalidation == Revalidation::Relaxed;
    if relaxed
        && request
            .max_stale()
            .is_some_and(|max_stale| staleness <= max_stale)
    {
        return Reuse::StaleAllowed { staleness };
    }
    // Whoever asks for a maximal age or for freshness to come wants nothing stale
    // (RFC 9111 §5.2.1.1, §5.2.1.3).
    if request.max_age().is_some() {
        return Reuse::Validate(Doubt::RequestMaxAge);
    }
    if request.min_fresh().is_some() {
        return Reuse::Validate(Doubt::RequestMinFresh);
    }
    if is_within(staleness, stored.terms.stale_while_revalidate) {
        return Reuse::StaleWhileRevalidate { staleness };
    }
    Reuse::Validate(Doubt::Stale { staleness })
}

/// Whether a stale window is open: "up to the indicated number of seconds after it becomes stale".
pub(crate) fn is_within(staleness: Duration, window: Duration) -> bool {
    !window.is_zero() && staleness <= window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ClientControl, Settings};
    use crate::testing::{Given, at, headers, secs};
    use http::Method;
    use proptest::prelude::*;

    /// Stores a response at 0, asks for it `after` so many seconds, where clients are obeyed.
    fn found(cache_control: &str, asked: &str, after: u64) -> Reuse {
        let settings = Settings {
            client_control: ClientControl::Obey,
            ..Settings::default()
        };
        let stored =
            Given::response(&[("cache-control", cache_control), ("etag", "\"a\"")]).stored();
        let request = headers(&[("cache-control", asked)]);
        let request = RequestTerms::read(&Method::GET, &request, &settings);
        reuse(&request, &stored, at(after))
    }

    #[track_caller]
    fn check(cache_control: &str, asked: &str, after: u64, expected: Reuse) {
        assert_eq!(
            found(cache_control, asked, after),
            expected,
            "{cache_control} | {asked} | {after}"
        );
    }

    const fn fresh(ttl: u64) -> Reuse {
        Reuse::Fresh { ttl: secs(ttl) }
    }

    const fn stale(staleness: u64) -> Reuse {
        Reuse::Validate(Doubt::Stale {
            staleness: secs(staleness),
        })
    }

    #[test]
    #[rustfmt::skip]
    fn fresh_until_the_age_reaches_the_lifetime() {
        check("max-age=60",                  "x",  0, fresh(60));
        check("max-age=60",                  "x", 59, fresh(1));
        check("max-age=60",                  "x", 60, stale(0));
        check("max-age=60",                  "x", 61, stale(1));
        check("max-age=60, must-revalidate", "x", 59, fresh(1));
        check("max-age=60, must-revalidate", "x", 60, stale(0));
        check("max-age=0",                   "x",  0, stale(0));
        check("x",                           "x",  5, stale(5));
    }

    #[test]
    fn no_cache_is_validated_every_time() {
        check(
            "max-age=60, no-cache",
            "x",
            0,
            Reuse::Validate(Doubt::NoCache),
        );
        check(
            "max-age=60, no-cache",
            "max-stale",
            0,
            Reuse::Validate(Doubt::NoCache),
        );
        check(
            "max-age=60, no-cache, stale-while-revalidate=60",
            "x",
            61,
            Reuse::Validate(Doubt::NoCache),
        );
        check("max-age=60, no-cache=\"x\"", "x", 0, fresh(60));
    }

    #[test]
    #[rustfmt::skip]
    fn the_stale_while_revalidate_window_closes() {
        let while_revalidate = |staleness| Reuse::StaleWhileRevalidate { staleness: secs(staleness) };
        check("max-age=1, stale-while-revalidate=4",                  "x", 0, fresh(1));
        check("max-age=1, stale-while-revalidate=4",                  "x", 1, while_revalidate(0));
        check("max-age=1, stale-while-revalidate=4",                  "x", 5, while_revalidate(4));
        check("max-age=1, stale-while-revalidate=4",                  "x", 6, stale(5));
        check("s-maxage=1, stale-while-revalidate=4",                 "x", 3, while_revalidate(2));
        check("max-age=1, stale-while-revalidate=4, must-revalidate", "x", 3, stale(2));
        check("max-age=1, stale-while-revalidate=0",                  "x", 1, stale(0));
    }

    #[test]
    #[rustfmt::skip]
    fn request_directives() {
        use Doubt::{RequestMaxAge, RequestMinFresh, RequestNoCache};
        let accepted = |staleness| Reuse::StaleAllowed { staleness: secs(staleness) };
        check("max-age=60",                   "no-cache",             0, Reuse::Validate(RequestNoCache));
        check("max-age=60, immutable",        "no-cache",             0, Reuse::Validate(RequestNoCache));
        check("max-age=60",                   "max-age=0",            0, fresh(60));
        check("max-age=60",                   "max-age=0",            1, Reuse::Validate(RequestMaxAge));
        check("max-age=60",                   "max-age=5",            5, fresh(55));
        check("max-age=60",                   "max-age=5",            6, Reuse::Validate(RequestMaxAge));
        check("max-age=60, immutable",        "max-age=0",            6, fresh(54));
        check("max-age=60, immutable",        "max-age=0",           61, Reuse::Validate(RequestMaxAge));
        check("max-age=60",                   "min-fresh=55",         5, fresh(55));
        check("max-age=60",                   "min-fresh=55",         6, Reuse::Validate(RequestMinFresh));
        check("max-age=60",                   "max-stale=5",         65, accepted(5));
        check("max-age=60",                   "max-stale=5",         66, stale(6));
        check("max-age=60",                   "max-stale",          999, accepted(939));
        check("max-age=60, must-revalidate",  "max-stale",           65, stale(5));
        check("max-age=60, proxy-revalidate", "max-stale",           65, stale(5));
        check("s-maxage=60",                  "max-stale",           65, stale(5));
        check("max-age=60",                   "max-stale, max-age=9", 65, accepted(5));
        check("max-age=60, stale-while-revalidate=9", "max-age=99",  65, Reuse::Validate(RequestMaxAge));
        check("max-age=60, stale-while-revalidate=9", "min-fresh=1", 65, Reuse::Validate(RequestMinFresh));
    }

    #[test]
    fn doubts_know_who_raised_them() {
        for (doubt, by_request) in [
            (
                Doubt::Stale {
                    staleness: Duration::ZERO,
                },
                false,
            ),
            (Doubt::NoCache, false),
            (Doubt::RequestNoCache, true),
            (Doubt::RequestMaxAge, true),
            (Doubt::RequestMinFresh, true),
        ] {
            assert_eq!(doubt.is_by_request(), by_request);
            assert_eq!(doubt.as_str().starts_with("request-"), by_request);
        }
    }

    proptest! {
        #[test]
        fn what_must_be_validated_is_never_fresh_again(
            max_age in 0..100_u64, after in 0..200_u64, later in 0..100_u64
        ) {
            let cache_control = format!("max-age={max_age}");
            if let Reuse::Validate(_) = found(&cache_control, "x", after) {
                prop_assert!(matches!(found(&cache_control, "x", after + later), Reuse::Validate(_)));
            }
        }
    }
}
