//! Why a request was no hit: one reason for each.
//!
//! It is what stands in the way of a hit: if the answer could not be stored, why not; or else, why nothing that was
//! stored could be used.

use policy::store::DoNotStore;

use super::{Absent, Answer, Bypass, Forward, Forwarded, Local, NotStored, Outcome, Stale, Word};

/// Why a request was not answered from what is stored. Few enough for a label of metrics.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Reason {
    /// Nothing was stored, as far as is remembered.
    Cold,
    /// What was stored made room for other responses.
    Evicted,
    /// What was stored was purged.
    Purged,
    /// An unsafe request invalidated what was stored (RFC 9111 §4.4).
    Invalidated,
    /// What was stored could not be read from its disk.
    Unreadable,
    /// What is stored is stale (§4.2).
    Expired,
    /// What is stored says that it is validated every time (§5.2.2.4).
    NoCache,
    /// What is stored may have been purged.
    PurgesMissing,
    /// What is stored answers requests with other selecting fields (§4.1).
    Vary,
    /// There are more variants of the key than may be stored, or the response varies on more than a key may have.
    KeyLimit,
    /// Only a part was stored (§3.3).
    Partial,
    /// The request's own directives did not allow what is stored (§5.2.1).
    Request,
    /// The request wanted a stored response or none (§5.2.1.7).
    OnlyIfCached,
    /// A rule passes it by.
    Rule,
    /// Its method has to reach the origin (§4).
    Method,
    /// It switches protocols.
    Upgrade,
    /// It has content that no key tells.
    Content,
    /// Too many, or this one for too long, waited for the same response.
    Crowded,
    /// The answer it waited for was for nobody else.
    NotShared,
    /// The response sets a cookie.
    SetCookie,
    /// `private` (§5.2.2.7).
    Private,
    /// `no-store` in the response (§5.2.2.5).
    NoStore,
    /// `no-store` in the request (§5.2.1.5).
    RequestNoStore,
    /// The request was authorised, and the response is not for sharing (§3.5).
    Authorization,
    /// It is longer than may be stored.
    TooLarge,
    /// It was not asked for often enough to be written to a disk.
    Admission,
    /// Nothing says how long it lives (§4.2.1).
    NoFreshness,
    /// It is stale from the start, and cannot be validated (§4.3).
    NoValidator,
    /// Its status is not stored (§3).
    Status,
    /// `Vary: *`, or it varies on what the node writes by itself (§4.1).
    VaryStar,
    /// It is coded with a dictionary.
    Dictionary,
    /// It is an error that the request may have provoked.
    RequestError,
    /// It is not what its path promises.
    Deception,
    /// It says otherwise of its query than the key it was asked for under.
    NoVarySearch,
    /// What it validates was replaced meanwhile.
    Displaced,
    /// A sibling has the key, and few ask for it here.
    Sibling,
    /// The origin did not answer, or not well: the last one, see [`Reason::COUNT`].
    OriginError,
}

impl Reason {
    pub(crate) const COUNT: usize = Self::OriginError as usize + 1;

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Cold,
        Self::Evicted,
        Self::Purged,
        Self::Invalidated,
        Self::Unreadable,
        Self::Expired,
        Self::NoCache,
        Self::PurgesMissing,
        Self::Vary,
        Self::KeyLimit,
        Self::Partial,
        Self::Request,
        Self::OnlyIfCached,
        Self::Rule,
        Self::Method,
        Self::Upgrade,
        Self::Content,
        Self::Crowded,
        Self::NotShared,
        Self::SetCookie,
        Self::Private,
        Self::NoStore,
        Self::RequestNoStore,
        Self::Authorization,
        Self::TooLarge,
        Self::Admission,
        Self::NoFreshness,
        Self::NoValidator,
        Self::Status,
        Self::VaryStar,
        Self::Dictionary,
        Self::RequestError,
        Self::Deception,
        Self::NoVarySearch,
        Self::Displaced,
        Self::Sibling,
        Self::OriginError,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Evicted => "evicted",
            Self::Purged => "purged",
            Self::Invalidated => "invalidated",
            Self::Unreadable => "unreadable",
            Self::Expired => "expired",
            Self::NoCache => "no-cache",
            Self::PurgesMissing => "purges-missing",
            Self::Vary => "vary",
            Self::KeyLimit => "key-limit",
            Self::Partial => "partial",
            Self::Request => "request",
            Self::OnlyIfCached => "only-if-cached",
            Self::Rule => "rule",
            Self::Method => "method",
            Self::Upgrade => "upgrade",
            Self::Content => "request-content",
            Self::Crowded => "crowded",
            Self::NotShared => "not-shared",
            Self::SetCookie => "set-cookie",
            Self::Private => "private",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::Authorization => "authorization",
            Self::TooLarge => "too-large",
            Self::Admission => "admission",
            Self::NoFreshness => "no-freshness",
            Self::NoValidator => "no-validator",
            Self::Status => "status",
            Self::VaryStar => "vary-star",
            Self::Dictionary => "dictionary",
            Self::RequestError => "request-error",
            Self::Deception => "deception",
            Self::NoVarySearch => "no-vary-search",
            Self::Displaced => "displaced",
            Self::Sibling => "sibling",
            Self::OriginError => "origin-error",
        }
    }
}

impl Reason {
    /// Why a request that went forward was no hit, as far as is known before anybody answers.
    pub(crate) const fn of_forward(why: Forward) -> Self {
        match why {
            Forward::Bypass(Bypass::Uncacheable(why)) => match of_answer(why) {
                Some(reason) => reason,
                None => Self::NotShared,
            },
            why => of_lookup(why),
        }
    }

    /// Whether it lies in what the origin answers.
    pub(crate) const fn is_of_answer(self) -> bool {
        matches!(
            self,
            Self::SetCookie
                | Self::Private
                | Self::NoStore
                | Self::TooLarge
                | Self::Admission
                | Self::NoFreshness
                | Self::NoValidator
                | Self::Status
                | Self::VaryStar
                | Self::KeyLimit
                | Self::Dictionary
                | Self::Deception
                | Self::OriginError
        )
    }
}

impl Outcome {
    /// Why it was no hit; none if what is stored answered, or if no cache was asked.
    pub(crate) const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Hit { .. }
            | Self::Local(Local::Refused(_) | Local::Probed(_) | Local::Purged) => None,
            Self::Local(Local::OnlyIfCached) => Some(Reason::OnlyIfCached),
            Self::Forwarded(forwarded) if forwarded.word().is_cached() => None,
            Self::Forwarded(forwarded) => Some(forwarded.reason()),
        }
    }
}

impl Forwarded {
    const fn reason(&self) -> Reason {
        match (&self.answer, self.why) {
            (_, Forward::Bypass(Bypass::Rule)) => Reason::Rule,
            (_, Forward::Bypass(Bypass::Upgrade)) => Reason::Upgrade,
            (_, Forward::Method | Forward::Bypass(Bypass::Method)) => Reason::Method,
            (Answer::Failed(_), _) => Reason::OriginError,
            (_, Forward::Bypass(Bypass::Uncacheable(_))) => Reason::of_forward(self.why),
            (Answer::NotStored(why), before) => match of_answer(*why) {
                Some(reason) => reason,
                None => of_lookup(before),
            },
            (_, before) => of_lookup(before),
        }
    }
}

/// Why nothing that was stored could be used.
const fn of_lookup(why: Forward) -> Reason {
    match why {
        Forward::UriMiss(absent) => match absent {
            Absent::Cold => Reason::Cold,
            Absent::Evicted => Reason::Evicted,
            Absent::Purged => Reason::Purged,
            Absent::Invalidated => Reason::Invalidated,
            Absent::Unreadable => Reason::Unreadable,
        },
        Forward::VaryMiss(_) => Reason::Vary,
        Forward::VariantLimit(_) => Reason::KeyLimit,
        Forward::Request => Reason::Request,
        Forward::Stale(stale) => match stale {
            Stale::Expired => Reason::Expired,
            Stale::NoCache => Reason::NoCache,
            Stale::Purged => Reason::Purged,
            Stale::PurgesMissing => Reason::PurgesMissing,
        },
        Forward::Partial => Reason::Partial,
        Forward::Method => Reason::Method,
        Forward::Bypass(bypass) => match bypass {
            Bypass::Rule => Reason::Rule,
            Bypass::Content => Reason::Content,
            Bypass::Upgrade => Reason::Upgrade,
            Bypass::Method => Reason::Method,
            Bypass::NoStore => Reason::RequestNoStore,
            Bypass::Crowded => Reason::Crowded,
            Bypass::Uncacheable(_) | Bypass::NotShared => Reason::NotShared,
            Bypass::Lagging => Reason::PurgesMissing,
        },
    }
}

/// Why the answer was not stored; none where that is no reason by itself.
const fn of_answer(why: NotStored) -> Option<Reason> {
    Some(match why {
        NotStored::PassedBy | NotStored::Part | NotStored::Unaligned => return None,
        NotStored::TooLong => Reason::TooLarge,
        NotStored::NotYet => Reason::Admission,
        NotStored::Displaced => Reason::Displaced,
        NotStored::Sibling => Reason::Sibling,
        NotStored::Purged => Reason::Purged,
        NotStored::OtherSearch => Reason::NoVarySearch,
        NotStored::Policy(why) => match why {
            DoNotStore::Method => Reason::Method,
            DoNotStore::Status(_) => Reason::Status,
            DoNotStore::NoStore => Reason::NoStore,
            DoNotStore::Private => Reason::Private,
            DoNotStore::RequestNoStore => Reason::RequestNoStore,
            DoNotStore::SetCookie => Reason::SetCookie,
            DoNotStore::Authorization => Reason::Authorization,
            DoNotStore::VaryStar | DoNotStore::VaryClient => Reason::VaryStar,
            DoNotStore::VaryLimit => Reason::KeyLimit,
            DoNotStore::Dictionary => Reason::Dictionary,
            DoNotStore::NoFreshness => Reason::NoFreshness,
            DoNotStore::NoValidator => Reason::NoValidator,
            DoNotStore::RequestError => Reason::RequestError,
            DoNotStore::Suffix | DoNotStore::Path => Reason::Deception,
        },
    })
}

/// What the ratios count. It is told by the word alone, so that a log and a query of metrics count alike.
impl Word {
    /// Whether the content came from what is stored, fresh or not, validated or not.
    pub(crate) const fn is_cached(self) -> bool {
        matches!(
            self,
            Self::Hit | Self::Stale | Self::Updating | Self::Revalidated
        )
    }

    /// Whether the cache could have answered: the denominator of the hit ratio. What a rule, the method or a switch of
    /// protocols takes past the cache is not in it, nor what the node refuses.
    pub(crate) const fn counts(self) -> bool {
        match self {
            Self::Hit
            | Self::Stale
            | Self::Updating
            | Self::Revalidated
            | Self::Miss
            | Self::Partial
            | Self::Expired
            | Self::Error
            | Self::OnlyIfCached => true,
            Self::Bypass | Self::Pass | Self::Purge | Self::Refused => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_at_its_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            let same = |other: &&Reason| other.as_str() == reason.as_str();
            assert_eq!(Reason::ALL.iter().filter(same).count(), 1, "{reason:?}");
        }
    }

    #[test]
    fn what_is_cached_counts() {
        for word in Word::ALL {
            assert!(word.counts() || !word.is_cached(), "{word:?}");
        }
    }
}
