//! How a request ended, in the words of RFC 9211. It is told once: `Cache-Status`, the metrics and the access log are
//! written from the same value.

mod reason;

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderName};
use policy::coding::Coding;
use policy::store::DoNotStore;
use storage::Fate;

pub(crate) use reason::Reason;

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A stored response answered it; nobody was asked first (RFC 9211 §2.1).
    Hit {
        /// What is left of the freshness lifetime, in seconds; negative when stale (§2.4).
        ttl: i64,
        /// Why a stale response was good enough.
        served: Served,
        /// Where it was stored.
        tier: Tier,
    },
    /// It went towards the origin (§2.2).
    Forwarded(Forwarded),
    /// The node answered by itself, without any stored response.
    Local(Local),
}

/// Why a stored response could be sent as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Served {
    /// It is fresh.
    Fresh,
    /// The client takes stale responses (`max-stale`).
    ClientAllows,
    /// It is being validated in the background (RFC 5861 §3).
    WhileRevalidating,
}

/// How far a request went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tier {
    /// What is in memory answered.
    Memory,
    /// What is on a disk answered; the next time it may be in memory.
    Disk,
    /// Another node was asked: a parent, or a sibling that has the key.
    Parent,
    /// An origin was asked, or tried.
    Origin,
}

impl Tier {
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Disk, Self::Parent, Self::Origin];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Parent => "parent",
            Self::Origin => "origin",
        }
    }
}

/// A request that went towards the origin.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    /// Why (§2.2).
    pub why: Forward,
    /// What the origin said (§2.3); none where it did not answer.
    pub status: Option<StatusCode>,
    /// What became of the answer.
    pub answer: Answer,
    /// Whether the request went itself or shared another's (§2.6).
    pub share: Share,
}

/// Why a request was forwarded (§2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Forward {
    /// The cache was configured, or had learnt, not to handle it.
    Bypass(Bypass),
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the URI.
    UriMiss(Absent),
    /// Something is stored for the URI, and it does not match the selecting fields.
    VaryMiss(Differs),
    /// As before; a response that matches was stored, and made room for other variants.
    VariantLimit(Differs),
    /// The request's own directives did not allow the stored response.
    Request,
    /// The stored response is stale, or counts as stale.
    Stale(Stale),
    /// A part of it is stored, and the rest is not.
    Partial,
}

/// What is known of a URI that nothing is stored for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Absent {
    /// Nothing: it is asked for the first time, or the last time was too long ago.
    Cold,
    /// What was stored made room for others.
    Evicted,
    /// What was stored was purged.
    Purged,
    /// What was stored was invalidated (RFC 9111 §4.4).
    Invalidated,
    /// What was stored could not be read.
    Unreadable,
}

impl Absent {
    pub(crate) const fn of(fate: Option<Fate>) -> Self {
        match fate {
            None => Self::Cold,
            // Its key is found by others: this is of the key as a whole.
            Some(Fate::Evicted | Fate::Displaced) => Self::Evicted,
            Some(Fate::Purged) => Self::Purged,
            Some(Fate::Removed) => Self::Invalidated,
            Some(Fate::Unreadable) => Self::Unreadable,
        }
    }
}

/// Why a stored response is not sent before it is validated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stale {
    /// Its freshness lifetime is over.
    Expired,
    /// It says `no-cache`.
    NoCache,
    /// It was purged softly.
    Purged,
    /// It may have been purged.
    PurgesMissing,
}

/// The selecting field in which a request differs from those that are stored. The fields are few, so that a metric can
/// tell them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Differs {
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    Cookie,
    Origin,
    UserAgent,
    OtherField,
}

impl Differs {
    pub(crate) fn of(field: &HeaderName) -> Self {
        match *field {
            header::ACCEPT => Self::Accept,
            header::ACCEPT_ENCODING => Self::AcceptEncoding,
            header::ACCEPT_LANGUAGE => Self::AcceptLanguage,
            header::COOKIE => Self::Cookie,
            header::ORIGIN => Self::Origin,
            header::USER_AGENT => Self::UserAgent,
            _ => Self::OtherField,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "vary-accept",
            Self::AcceptEncoding => "vary-accept-encoding",
            Self::AcceptLanguage => "vary-accept-language",
            Self::Cookie => "vary-cookie",
            Self::Origin => "vary-origin",
            Self::UserAgent => "vary-user-agent",
            Self::OtherField => "vary-other-field",
        }
    }
}

/// Why the cache did not handle a request that it could have handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bypass {
    /// A rule says so.
    Rule,
    /// The answer was uncacheable the last time, for this reason.
    Uncacheable(NotStored),
    /// A GET with content.
    Content,
    /// A protocol upgrade.
    Upgrade,
    /// Its method has no responses that are stored.
    Method,
    /// The request says `no-store`, and is obeyed.
    NoStore,
    /// Too many requests, or this one for too long, waited for the same response.
    Crowded,
    /// The request that was waited for brought an answer that is for nobody else.
    NotShared,
    /// Purges may be missing, and nothing stored is to be used then.
    Lagging,
}

impl Bypass {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Uncacheable(_) => "uncacheable",
            Self::Content => "request-content",
            Self::Upgrade => "upgrade",
            Self::Method => "method",
            Self::NoStore => "request-no-store",
            Self::Crowded => "crowded",
            Self::NotShared => "not-shared",
            Self::Lagging => "purges-missing",
        }
    }
}

/// What became of the origin's answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It is stored (§2.5) and fresh for so long.
    Stored(Duration),
    /// It is not stored.
    NotStored(NotStored),
    /// They are slices of a stored response, which is fresh for so many seconds.
    Slices {
        /// Negative when stale.
        ttl: i64,
    },
    /// It validated the stored response, which is fresh again for so long.
    Freshened(Duration),
    /// It was a failure, and the stored response was sent, stale by so much (RFC 5861 §4).
    StaleInstead(Duration),
    /// There was none.
    Failed(&'static str),
}

/// Why an answer was not stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotStored {
    /// The rules of caching.
    Policy(DoNotStore),
    /// The request did not go through the cache.
    PassedBy,
    /// Its content is longer than may be stored.
    TooLong,
    /// It is too long for memory, and was not asked for often enough to be written to a disk.
    NotYet,
    /// What it validates is not stored any more.
    Displaced,
    /// A node beside this one has it.
    Sibling,
    /// It was purged while it was on its way.
    Purged,
    /// It is a part that nothing can be added to.
    Part,
    /// It is a part that does not begin where a slice does.
    Unaligned,
    /// It was asked for under a key that equal queries share, and says otherwise (`No-Vary-Search`).
    OtherSearch,
}

/// Whether a request went to the origin itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Share {
    /// It did.
    Alone,
    /// It waited for, and shares, the answer to another one.
    Collapsed,
}

/// Answers that the node makes up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Local {
    /// The client wanted a stored response or none (`only-if-cached`).
    OnlyIfCached,
    /// The request was refused for this reason.
    Refused(&'static str),
    /// The request purged something.
    Purged,
    /// Another node of a tier asked how this one is, and heard this. It is no request, and nobody is told of it.
    Probed(&'static str),
}

/// What is told beside the outcome itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told<'a> {
    /// The cache key, where it is asked for (RFC 9211 §2.7).
    pub key: Option<&'a str>,
    /// The coding that the node converted the response to: a parameter of its own.
    pub coding: Option<Coding>,
}

/// Room for the parameters of most outcomes.
const PARAMETERS_LEN: usize = 64;

impl Outcome {
    /// The value of `Cache-Status` that the node `name` adds.
    #[must_use]
    pub(crate) fn cache_status(&self, name: &str, told: Told<'_>) -> String {
        let mut member = String::with_capacity(name.len() + PARAMETERS_LEN);
        member.push_str(name);
        self.write_parameters(&mut member);
        if let Some(coding) = told.coding {
            push(&mut member, format_args!("; coding={}", coding.as_str()));
        }
        if let Some(key) = told.key {
            let key: String = key.chars().filter(char::is_ascii_graphic).collect();
            let escaped = key.replace('\\', "\\\\").replace('"', "\\\"");
            push(&mut member, format_args!("; key=\"{escaped}\""));
        }
        member
    }

    fn write_parameters(&self, out: &mut String) {
        match self {
            Self::Hit { ttl, served, tier } => {
                push(out, format_args!("; hit; ttl={ttl}"));
                match (served, tier) {
                    (Served::Fresh, Tier::Disk) => out.push_str("; detail=disk"),
                    (Served::Fresh, _) => {}
                    (Served::ClientAllows, _) => out.push_str("; detail=max-stale"),
                    (Served::WhileRevalidating, _) => {
                        out.push_str("; detail=stale-while-revalidate");
                    }
                }
            }
            Self::Forwarded(forwarded) => forwarded.write_parameters(out),
            Self::Local(local) => push(out, format_args!("; detail={}", local.as_str())),
        }
    }

    /// The label of metrics and the word in the access log.
    #[must_use]
    pub(crate) const fn word(&self) -> Word {
        match self {
            Self::Hit { served, .. } => match served {
                Served::Fresh => Word::Hit,
                Served::ClientAllows => Word::Stale,
                Served::WhileRevalidating => Word::Updating,
            },
            Self::Forwarded(forwarded) => forwarded.word(),
            Self::Local(Local::OnlyIfCached) => Word::OnlyIfCached,
            Self::Local(Local::Refused(_) | Local::Probed(_)) => Word::Refused,
            Self::Local(Local::Purged) => Word::Purge,
        }
    }

    /// The reason behind the word, where there is one.
    #[must_use]
    pub(crate) fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Hit { .. } => None,
            Self::Forwarded(forwarded) => forwarded.detail(),
            Self::Local(local) => Some(local.as_str()),
        }
    }

    /// How far the request went: where the stored response was that answered, or who else was asked.
    #[must_use]
    pub(crate) const fn tier(&self) -> Option<Tier> {
        match self {
            Self::Hit { tier, .. } => Some(*tier),
            Self::Forwarded(_) => Some(Tier::Origin),
            Self::Local(_) => None,
        }
    }

    /// Why it went towards the origin, if it did.
    #[must_use]
    pub(crate) const fn forward(&self) -> Option<Forward> {
        match self {
            Self::Forwarded(forwarded) => Some(forwarded.why),
            Self::Hit { .. } | Self::Local(_) => None,
        }
    }

    /// What was left of the freshness lifetime of what was sent, in seconds.
    #[must_use]
    pub(crate) fn ttl(&self) -> Option<i64> {
        match self {
            Self::Hit { ttl, .. } => Some(*ttl),
            Self::Forwarded(forwarded) => forwarded.answer.ttl(),
            Self::Local(_) => None,
        }
    }
}

/// An outcome in one of a fixed set of words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    Hit,
    Stale,
    Updating,
    Revalidated,
    Miss,
    /// A part was stored, the rest was fetched.
    Partial,
    Expired,
    Bypass,
    Pass,
    Error,
    OnlyIfCached,
    Purge,
    /// The last one: see [`Word::COUNT`].
    Refused,
}

impl Word {
    pub(crate) const COUNT: usize = Self::Refused as usize + 1;

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Hit,
        Self::Stale,
        Self::Updating,
        Self::Revalidated,
        Self::Miss,
        Self::Partial,
        Self::Expired,
        Self::Bypass,
        Self::Pass,
        Self::Error,
        Self::OnlyIfCached,
        Self::Purge,
        Self::Refused,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Updating => "updating",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Partial => "partial",
            Self::Expired => "expired",
            Self::Bypass => "bypass",
            Self::Pass => "pass",
            Self::Error => "error",
            Self::OnlyIfCached => "only_if_cached",
            Self::Purge => "purge",
            Self::Refused => "refused",
        }
    }
}

impl Forwarded {
    const fn word(&self) -> Word {
        match (&self.answer, self.why) {
            (_, Forward::Bypass(Bypass::Rule | Bypass::Upgrade | Bypass::Method)) => Word::Bypass,
            (_, Forward::Method) => Word::Pass,
            (Answer::Failed(_), _) => Word::Error,
            (Answer::Freshened(_), _) => Word::Revalidated,
            (Answer::StaleInstead(_), _) => Word::Stale,
            (
                _,
                Forward::UriMiss(_)
                | Forward::VaryMiss(_)
                | Forward::VariantLimit(_)
                | Forward::Bypass(_),
            ) => Word::Miss,
            (_, Forward::Partial) => Word::Partial,
            (_, Forward::Stale(_) | Forward::Request) => Word::Expired,
        }
    }

    fn write_parameters(&self, out: &mut String) {
        out.push_str("; fwd=");
        out.push_str(self.why.as_str());
        if let Some(status) = self.status {
            out.push_str("; fwd-status=");
            out.push_str(status.as_str());
        }
        if let Some(ttl) = self.answer.ttl() {
            push(out, format_args!("; ttl={ttl}"));
        }
        if matches!(
            self.answer,
            Answer::Stored(_) | Answer::Slices { .. } | Answer::Freshened(_)
        ) {
            out.push_str("; stored");
        }
        if self.share == Share::Collapsed {
            out.push_str("; collapsed");
        }
        if let Some(detail) = self.detail() {
            out.push_str("; detail=");
            out.push_str(detail);
        }
    }

    fn detail(&self) -> Option<&'static str> {
        match (&self.answer, self.why) {
            (Answer::Failed(error), _) => Some(error),
            (Answer::StaleInstead(_), _) => Some("stale-if-error"),
            (_, Forward::Bypass(bypass)) => Some(bypass.as_str()),
            (Answer::NotStored(reason), _) => reason.as_str(),
            (Answer::Stored(_), Forward::VaryMiss(differs) | Forward::VariantLimit(differs)) => {
                Some(differs.as_str())
            }
            (Answer::Stored(_) | Answer::Slices { .. } | Answer::Freshened(_), _) => None,
        }
    }
}

impl Forward {
    /// The token of RFC 9211 §2.2.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass(_) => "bypass",
            Self::Method => "method",
            Self::UriMiss(_) => "uri-miss",
            Self::VaryMiss(_) | Self::VariantLimit(_) => "vary-miss",
            Self::Request => "request",
            Self::Stale(_) => "stale",
            Self::Partial => "partial",
        }
    }
}

impl Answer {
    fn ttl(&self) -> Option<i64> {
        match self {
            Self::Stored(ttl) | Self::Freshened(ttl) => Some(seconds_left(*ttl)),
            Self::Slices { ttl } => Some(*ttl),
            Self::StaleInstead(staleness) => Some(-seconds_over(*staleness)),
            Self::NotStored(_) | Self::Failed(_) => None,
        }
    }
}

impl NotStored {
    const fn as_str(&self) -> Option<&'static str> {
        match self {
            Self::Policy(reason) => Some(reason.as_str()),
            Self::PassedBy => None,
            Self::TooLong => Some("too-long"),
            Self::NotYet => Some("not-yet"),
            Self::Displaced => Some("displaced"),
            Self::Sibling => Some("sibling"),
            Self::Purged => Some("purged"),
            Self::Part | Self::Unaligned => Some("part"),
            Self::OtherSearch => Some("no-vary-search"),
        }
    }
}

impl Local {
    const fn as_str(self) -> &'static str {
        match self {
            Self::OnlyIfCached => "only-if-cached",
            Self::Refused(why) | Self::Probed(why) => why,
            Self::Purged => "purge",
        }
    }
}

/// What is left of a lifetime in whole seconds: a response is fresh in its last, begun one.
#[must_use]
pub(crate) fn seconds_left(ttl: Duration) -> i64 {
    let begun = u64::from(ttl.subsec_nanos() > 0);
    i64::try_from(ttl.as_secs().saturating_add(begun)).unwrap_or(i64::MAX)
}

/// For how many whole seconds a response has been stale.
#[must_use]
pub(crate) fn seconds_over(staleness: Duration) -> i64 {
    i64::try_from(staleness.as_secs()).unwrap_or(i64::MAX)
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(why: Forward, status: u16, answer: Answer, share: Share) -> Outcome {
        Outcome::Forwarded(Forwarded {
            why,
            status: StatusCode::from_u16(status).ok(),
            answer,
            share,
        })
    }

    #[track_caller]
    fn check(outcome: &Outcome, word: &str, member: &str) {
        assert_eq!(outcome.cache_status("n", Told::default()), member);
        assert_eq!(outcome.word().as_str(), word);
        assert!((outcome.word() as usize) < Word::COUNT);
    }

    #[test]
    #[rustfmt::skip]
    fn an_outcome_is_told_in_the_words_of_the_standard() {
        use {Answer as A, Forward as F, Share as S};
        let second = Duration::from_secs(1);
        check(&Outcome::Hit { ttl: 5, served: Served::Fresh, tier: Tier::Memory }, "hit",  "n; hit; ttl=5");
        check(&Outcome::Hit { ttl: 5, served: Served::Fresh, tier: Tier::Disk },   "hit",  "n; hit; ttl=5; detail=disk");
        check(&Outcome::Hit { ttl: -2, served: Served::WhileRevalidating, tier: Tier::Disk }, "updating", "n; hit; ttl=-2; detail=stale-while-revalidate");
        check(&forwarded(F::UriMiss(Absent::Cold), 200, A::Stored(60 * second), S::Alone),     "miss", "n; fwd=uri-miss; fwd-status=200; ttl=60; stored");
        check(&forwarded(F::UriMiss(Absent::Evicted), 200, A::Stored(60 * second), S::Collapsed), "miss", "n; fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed");
        check(&forwarded(F::VaryMiss(Differs::UserAgent), 200, A::Stored(second), S::Alone), "miss", "n; fwd=vary-miss; fwd-status=200; ttl=1; stored; detail=vary-user-agent");
        check(&forwarded(F::Stale(Stale::Expired), 304, A::Freshened(9 * second), S::Alone), "revalidated", "n; fwd=stale; fwd-status=304; ttl=9; stored");
        check(&forwarded(F::Stale(Stale::Expired), 503, A::StaleInstead(7 * second), S::Alone), "stale", "n; fwd=stale; fwd-status=503; ttl=-7; detail=stale-if-error");
        check(&forwarded(F::Bypass(Bypass::Rule), 200, A::NotStored(NotStored::PassedBy), S::Alone), "bypass", "n; fwd=bypass; fwd-status=200; detail=rule");
        check(&forwarded(F::UriMiss(Absent::Cold), 0, A::Failed("connection_refused"), S::Alone), "error", "n; fwd=uri-miss; detail=connection_refused");
        check(&forwarded(F::Partial, 206, A::Slices { ttl: 9 }, S::Alone), "partial", "n; fwd=partial; fwd-status=206; ttl=9; stored");
        check(&Outcome::Local(Local::OnlyIfCached), "only_if_cached", "n; detail=only-if-cached");
    }

    #[test]
    fn a_key_is_a_structured_string() {
        let hit = Outcome::Hit {
            ttl: 0,
            served: Served::Fresh,
            tier: Tier::Memory,
        };
        let told = Told {
            key: Some("a\"b\\c\u{e9}"),
            coding: Some(Coding::Gzip),
        };
        let member = hit.cache_status("n", told);
        assert_eq!(member, "n; hit; ttl=0; coding=gzip; key=\"a\\\"b\\\\c\"");
    }
}
