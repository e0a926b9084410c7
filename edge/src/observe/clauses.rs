//! Each reason for which a request is no hit: who says so, in words, and what would help.

use policy::reuse::Doubt;

use crate::outcome::Reason;

/// A reason in words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clause {
    /// The section of the standard, or the setting, that decides it.
    pub says: &'static str,
    pub because: &'static str,
    /// What would make it a hit.
    pub remedy: &'static str,
}

const fn clause(says: &'static str, because: &'static str, remedy: &'static str) -> Clause {
    Clause {
        says,
        because,
        remedy,
    }
}

/// Why, and what would help.
pub(super) const fn of(reason: Reason) -> Clause {
    match reason {
        Reason::Cold => clause(
            "RFC 9111 section 4",
            "nothing is stored for it, as far as is remembered",
            "ask for it once: what the origin lets be stored answers the next request",
        ),
        Reason::Evicted => clause(
            "RFC 9111 section 4",
            "what was stored made room for other responses",
            "more room: memory.size, or a volume ([[cache.disk]])",
        ),
        Reason::Purged => clause(
            "a purge",
            "what was stored was purged",
            "nothing: the next answer is stored",
        ),
        Reason::Invalidated => clause(
            "RFC 9111 section 4.4",
            "an unsafe request to the resource made what was stored invalid",
            "nothing: the next answer is stored",
        ),
        Reason::Unreadable => clause(
            "RFC 9111 section 4",
            "what was stored could not be read from its disk",
            "a look at the disk: larder_disk_faults_total, larder cache verify",
        ),
        Reason::Expired => clause(
            "RFC 9111 section 4.2",
            "the stored response is stale: its current age has reached its freshness lifetime",
            "a longer lifetime (max-age or s-maxage of the origin, ttl in a rule), or stale-while-revalidate",
        ),
        Reason::NoCache => clause(
            "RFC 9111 section 5.2.2.4",
            "the stored response says no-cache: it is validated every time",
            "max-age in place of no-cache, or ttl in a rule",
        ),
        Reason::PurgesMissing => clause(
            "[fleet] on_lag",
            "purges of the fleet may be missing here, and it may be one of the purged",
            "a connection to the log of purges",
        ),
        Reason::Vary => clause(
            "RFC 9111 section 4.1",
            "what is stored answers requests with other selecting fields",
            "the same fields in the request, or fewer variants: vary in the site normalises or ignores fields",
        ),
        Reason::KeyLimit => clause(
            "RFC 9111 section 4.1; limits.variants",
            "the key has more variants than may be stored, or the response varies on too many fields",
            "fewer variants (vary in the site), or a higher limits.variants",
        ),
        Reason::Partial => clause(
            "RFC 9111 section 3.4",
            "only a part of it is stored",
            "the rest: the request brings it",
        ),
        Reason::Request => clause(
            "RFC 9111 section 5.2.1",
            "the request's own directives do not allow what is stored",
            "a request without them, or client_control = \"ignore\" in the site",
        ),
        Reason::OnlyIfCached => clause(
            "RFC 9111 section 5.2.1.7",
            "the request wants a stored response or none",
            "a request without only-if-cached",
        ),
        Reason::Rule => clause(
            "cache = false in a rule",
            "a rule takes it past the cache",
            "no such rule for it",
        ),
        Reason::Method => clause(
            "RFC 9111 section 4",
            "its method has to reach the origin",
            "GET, HEAD or QUERY",
        ),
        Reason::Upgrade => clause(
            "RFC 9110 section 7.8",
            "it switches protocols",
            "a request without Upgrade",
        ),
        Reason::Content => clause(
            "RFC 9110 section 9.3.1",
            "it has content, which no key tells",
            "a request without content, or QUERY",
        ),
        Reason::Crowded => clause(
            "limits.followers, limits.follower_wait",
            "too many requests, or this one for too long, waited for the same response",
            "a faster origin, or higher limits",
        ),
        Reason::NotShared => clause(
            "RFC 9111 section 4",
            "the answer that it waited for was for nobody else",
            "an answer that may be stored",
        ),
        Reason::SetCookie => clause(
            "RFC 9111 section 7.3; set_cookie",
            "the response sets a cookie, and would set it for everybody",
            "no Set-Cookie in the response, or set_cookie = \"strip\" in the site",
        ),
        Reason::Private => clause(
            "RFC 9111 section 5.2.2.7",
            "the response says private: it is for one user",
            "public or no private in the response, or ttl in a rule",
        ),
        Reason::NoStore => clause(
            "RFC 9111 section 5.2.2.5",
            "the response says no-store",
            "a response without no-store",
        ),
        Reason::RequestNoStore => clause(
            "RFC 9111 section 5.2.1.5",
            "the request says no-store",
            "a request without no-store, or client_control = \"ignore\" in the site",
        ),
        Reason::Authorization => clause(
            "RFC 9111 section 3.5",
            "the request is authorised, and the response does not say that it may be shared",
            "public, must-revalidate or s-maxage in the response",
        ),
        Reason::TooLarge => clause(
            "memory.object_max; [[cache.disk]]",
            "the response is longer than may be stored",
            "a higher memory.object_max, a volume, or slices",
        ),
        Reason::Admission => clause(
            "disk in the site or rule",
            "it was not asked for often enough to be written to a disk",
            "more requests for it, or disk = \"always\"",
        ),
        Reason::NoFreshness => clause(
            "RFC 9111 section 4.2.2",
            "nothing says how long the response is fresh, and it has no validator",
            "max-age, Expires or Last-Modified of the origin, or default_ttl in a rule",
        ),
        Reason::NoValidator => clause(
            "RFC 9111 section 4.3.1",
            "the response is stale from the start, and has nothing to be validated with",
            "a lifetime above 0, or ETag or Last-Modified",
        ),
        Reason::Status => clause(
            "RFC 9111 section 3",
            "responses with its status are not stored",
            "another status",
        ),
        Reason::VaryStar => clause(
            "RFC 9111 section 4.1",
            "the response says Vary: *, or varies on what the node writes itself",
            "the names of the fields that it varies on",
        ),
        Reason::Dictionary => clause(
            "RFC 9842",
            "the response is coded with a dictionary that the request did not name",
            "another coding",
        ),
        Reason::RequestError => clause(
            "RFC 9111 section 3",
            "it is an error that this unusual request may have provoked",
            "a usual request",
        ),
        Reason::Deception => clause(
            "deception_guard",
            "the response is not what its path promises",
            "the content type of the suffix, or deception_guard = false in a rule",
        ),
        Reason::NoVarySearch => clause(
            "No-Vary-Search",
            "the response says otherwise of its query than the key it was asked for under",
            "one No-Vary-Search for all queries of the path",
        ),
        Reason::Displaced => clause(
            "RFC 9111 section 4.3.4",
            "what it validates was replaced meanwhile",
            "nothing: the new one answers the next request",
        ),
        Reason::Sibling => clause(
            "[tier] siblings",
            "a sibling has the key, and few ask for it here",
            "nothing: what many ask for is copied",
        ),
        Reason::OriginError => clause(
            "RFC 9110 section 15.6",
            "the origin does not answer, or not well, and nothing stored may be sent instead",
            "an origin that answers, or stale-if-error",
        ),
    }
}

/// The section that a doubt about a stored response comes from.
pub(super) const fn of_doubt(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Stale { .. } => "RFC 9111 section 4.2",
        Doubt::NoCache => "RFC 9111 section 5.2.2.4",
        Doubt::RequestNoCache => "RFC 9111 section 5.2.1.4",
        Doubt::RequestMaxAge => "RFC 9111 section 5.2.1.1",
        Doubt::RequestMinFresh => "RFC 9111 section 5.2.1.3",
    }
}
