//! What the operator decides, per site or per rule.
//!
//! `Default` is what is shipped. Wherever the RFC leaves a choice, the reason stands at the setting.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;

use crate::cache_control::{OWN_TARGET, SURROGATE_CONTROL};
use crate::coding::CodingRules;
use crate::slices::Slicing;
use crate::vary::{AcceptEncoding, VaryRules};

/// Everything about caching that is not for the origin or the client to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How far a client may force its request through to the origin.
    pub client_control: ClientControl,
    /// What becomes of a response that sets a cookie.
    pub set_cookie: SetCookie,
    /// The targeted fields this cache obeys, most specific first (RFC 9213 §2.2).
    pub targets: Vec<HeaderName>,
    /// Whether clients see the targeted fields.
    pub target_fields: TargetFields,
    /// The lifetime of what comes without any.
    pub heuristic: Heuristic,
    /// How long stale responses may be used where the origin says nothing.
    pub stale: StaleDefaults,
    /// The answers of an origin that count as an error for `stale-if-error`.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5861#section-4
    //# In this context, an error is any situation that would result in a 500, 502, 503, or 504 HTTP
    //# response status code being returned.
    pub stale_statuses: Vec<StatusCode>,
    /// The lifetime that a rule gives to answers that are no errors (below 400).
    pub ttl: Option<TtlOverride>,
    /// The lifetimes that rules give to answers with these status codes, in place of `ttl`: negative
    /// caching. The first match counts.
    pub status_ttl: Vec<(StatusCode, TtlOverride)>,
    /// How selecting header fields are normalised.
    pub vary: VaryRules,
    /// How long representations are stored in slices; `None` if they are not.
    pub slicing: Option<Slicing>,
    /// Whether content that its path does not promise is stored.
    pub deception_guard: DeceptionGuard,
    /// Which content codings are made on demand.
    pub codings: CodingRules,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            client_control: ClientControl::default(),
            set_cookie: SetCookie::default(),
            targets: [OWN_TARGET, "cdn-cache-control", SURROGATE_CONTROL]
                .map(HeaderName::from_static)
                .to_vec(),
            target_fields: TargetFields::default(),
            heuristic: Heuristic::default(),
            stale: StaleDefaults::default(),
            stale_statuses: vec![
                StatusCode::INTERNAL_SERVER_ERROR,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ],
            ttl: None,
            status_ttl: Vec::new(),
            vary: VaryRules::default(),
            slicing: Some(Slicing::default()),
            deception_guard: DeceptionGuard::default(),
            codings: CodingRules::default(),
        }
    }
}

impl Settings {
    /// Where `Accept-Encoding` is compared byte by byte, the origin chooses codings, and nobody else.
    pub fn keep_codings_apart(&mut self) {
        if self.vary.accept_encoding == AcceptEncoding::Exact {
            self.codings.offered.clear();
        }
    }
}

/// How far a client may force its request through to the origin (RFC 9111 §5.2.1: request directives
/// "are advisory; caches MAY implement them, but are not required to").
///
/// `only-if-cached` is obeyed always: it asks for less.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientControl {
    /// Not at all. The shipped default: the cache stands in front of the origin for its owner, and
    /// whoever can reach it could otherwise pass it by.
    #[default]
    Ignore,
    /// `no-cache`, `max-age` and `Pragma` have a stored response validated; `no-store` keeps the
    /// response from being stored.
    Validate,
    /// All request directives count, `max-stale`, `min-fresh` and `no-store` included.
    Obey,
}

/// Whether content that its path does not promise is stored: see [`deception`](crate::deception).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum DeceptionGuard {
    /// It is not. The shipped default: such a response is hardly ever meant to be shared.
    #[default]
    On,
    /// It is, if nothing else forbids it.
    Off,
}

/// What becomes of a response that sets a cookie.
///
/// RFC 9111 §7.3: "the Set-Cookie response header field does not inhibit caching". In practice such
/// a cookie names one user, and the response often shows what that user may see.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum SetCookie {
    /// The response is not stored. The shipped default.
    #[default]
    Refuse,
    /// The response is stored without the field.
    Strip,
    /// The response is stored and its cookie sent to everyone, as the RFC has it.
    Store,
}

/// Whether clients see the targeted fields this cache obeys.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum TargetFields {
    /// Another cache of the same kind may stand between here and the client.
    #[default]
    Forward,
    /// This node is the last of its kind.
    Remove,
}

/// Heuristic freshness (RFC 9111 §4.2.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Heuristic {
    /// A response without explicit freshness is stale from the start.
    Off,
    /// A fraction of the time that had passed since `Last-Modified`.
    Fraction {
        /// The fraction, in per cent.
        percent: u8,
        /// The longest lifetime it may give.
        most: Duration,
    },
}

impl Default for Heuristic {
    /// "A typical setting of this fraction might be 10%"; a day at most, so that an old file which
    /// changes at last is seen by tomorrow.
    fn default() -> Self {
        Self::Fraction {
            percent: 10,
            most: DAY,
        }
    }
}

/// How long stale responses may be used where the origin says nothing (RFC 9111 §4.2.4: "by
/// configuration in accordance with an out-of-band contract").
///
/// `must-revalidate`, `proxy-revalidate`, `s-maxage` and `no-cache` rule them out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct StaleDefaults {
    /// While one fill refreshes it in the background.
    pub while_revalidate: Duration,
    /// While the origin cannot be reached or fails.
    pub if_error: Duration,
}

impl Default for StaleDefaults {
    /// Never merely for speed, but for a day when the alternative is an error.
    fn default() -> Self {
        Self {
            while_revalidate: Duration::ZERO,
            if_error: DAY,
        }
    }
}

/// A lifetime given by a rule. It counts from the reception of the response, whatever its age is by
/// then.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TtlOverride {
    /// Where the origin says nothing.
    Default(Duration),
    /// In place of the origin's `max-age`, `s-maxage` and `Expires`; its prohibitions stand.
    Lifetime(Duration),
    /// In place of all cache directives, `no-store`, `private` and `no-cache` included. Cookies,
    /// `Authorization` and `Vary: *` are looked at nevertheless.
    Force(Duration),
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
