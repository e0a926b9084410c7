//! `GET /v1/explain`: what this node would do with a request, step by step, and why.
//!
//! What decides here is what decides for clients: the parser of requests, the site's rules, the key, the selection among
//! variants, the arithmetic of freshness. Nothing is fetched, and nothing is stored.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use policy::reuse::Reuse;
use policy::store::Kept;
use policy::time::Timestamp;
use serde::Serialize;
use storage::purge::Life;
use storage::{Object, Variant};

use super::clauses::{self, Clause};
use super::question::Wanted;
use super::recent::Missed;
use crate::access_log::rfc3339;
use crate::cache::{self, Expected, Head, weigh};
use crate::exchange::Request;
use crate::node::Node;
use crate::outcome::{Forward, Outcome, Reason, Served};

/// Fields of the request that are not in the key and are told as such.
const LEFT_OUT_MAX: usize = 64;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Explanation<'a> {
    node: &'a str,
    url: &'a str,
    method: &'a str,
    /// The moment that is explained.
    at: String,
    site: &'a str,
    /// The first rule that matches.
    rule: Option<&'a str>,
    key: KeyTold,
    /// All variants, those in memory first.
    stored: Vec<StoredTold>,
    steps: Vec<Step>,
    decision: Decision,
    would_hit: Option<&'static str>,
    /// The last request for it that was no hit.
    last_miss: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct KeyTold {
    hash: String,
    text: String,
    /// What of the request is not in it.
    left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StoredTold {
    tier: &'static str,
    variant: String,
    status: u16,
    bytes: u64,
    /// Whether the request selects it.
    selected: bool,
    /// The selecting fields of the request that it answers.
    varies_on: Vec<String>,
    /// The first of them that this request has otherwise.
    differs: Option<String>,
    /// What purges have left of it.
    life: &'static str,
    etag: Option<String>,
    last_modified: Option<String>,
    cache_control: Option<String>,
    /// How many labels it can be purged by, tags among them.
    labels: usize,
    stored_at: String,
    freshness: Arithmetic,
}

/// RFC 9111 §4.2, with numbers. Seconds.
#[derive(Debug, Serialize)]
struct Arithmetic {
    age_value: f64,
    date: Option<String>,
    response_delay: f64,
    corrected_initial_age: f64,
    resident_time: f64,
    current_age: f64,
    freshness_lifetime: f64,
    /// Who gave the lifetime.
    source: &'static str,
    fresh: bool,
    /// What is left of the lifetime; negative when stale.
    ttl: f64,
    stale_while_revalidate: f64,
    stale_if_error: f64,
}

impl Arithmetic {
    fn of(stored: &Kept, now: Timestamp) -> Self {
        let (reception, terms) = (&stored.reception, &stored.terms);
        let current_age = reception.current_age(now);
        let seconds = |duration: Duration| duration.as_secs_f64();
        Self {
            age_value: seconds(reception.age_value),
            date: reception.date_value.map(rfc3339),
            response_delay: seconds(reception.response_time.since(reception.request_time)),
            corrected_initial_age: seconds(reception.current_age(reception.response_time)),
            resident_time: seconds(now.since(reception.response_time)),
            current_age: seconds(current_age),
            freshness_lifetime: seconds(terms.freshness_lifetime),
            source: terms.source.as_str(),
            fresh: terms.freshness_lifetime > current_age,
            ttl: seconds(terms.freshness_lifetime) - seconds(current_age),
            stale_while_revalidate: seconds(terms.stale_while_revalidate),
            stale_if_error: seconds(terms.stale_if_error),
        }
    }

    fn text(&self) -> String {
        let compared = if self.fresh { '>' } else { '≤' };
        format!(
            "current_age {:.3} s = corrected_initial_age {:.3} s + resident_time {:.3} s; freshness_lifetime {} s ({}) \
             {compared} current_age: {}",
            self.current_age,
            self.corrected_initial_age,
            self.resident_time,
            self.freshness_lifetime,
            self.source,
            match self.fresh {
                true => format!("fresh for another {:.3} s", self.ttl),
                false => format!("stale for {:.3} s", -self.ttl),
            }
        )
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    clause: Option<&'static str>,
}

/// What it comes to.
#[derive(Debug, Serialize)]
struct Decision {
    /// `hit`, `forward`, or `refuse`.
    does: &'static str,
    /// Why it goes forward (RFC 9211 §2.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    fwd: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    clause: &'static str,
    because: String,
}

/// Explains a request.
pub(super) async fn answer<'a>(
    node: &'a Node,
    wanted: &'a Wanted,
    request: &'a Request,
) -> Explanation<'a> {
    let now = node.clock.now() + wanted.ahead();
    let expected = cache::expect(node, request, now).await;
    let stored = cache::stored(node, request).await;
    let last = node.observed.recent.last_of(request.storage_key());
    let mut steps = vec![site_step(request), key_step(request)];
    if cache::passes_by(request).is_none() {
        steps.push(lookup_step(node, request, &stored));
    }
    let (decision, would_hit) = decide(node, request, (&expected, last.as_ref()), now, &mut steps);
    let selected = selected(&expected);
    let stored = stored
        .iter()
        .filter_map(|object| stored_told(node, request, (object, selected), now))
        .collect();
    let tally = request.tally();
    Explanation {
        node: &node.name,
        url: wanted.url(),
        method: wanted.method(),
        at: rfc3339(now),
        site: &tally.site,
        rule: request.treatment.rule.map(|_| tally.rule.as_str()),
        key: KeyTold {
            hash: format!("{:?}", request.storage_key()),
            text: request.key_text(),
            left_out: left_out(request),
        },
        stored,
        steps,
        decision,
        would_hit,
        last_miss: last.and_then(|missed| serde_json::from_slice(&missed.line).ok()),
    }
}

fn selected(expected: &Expected) -> Option<&Arc<Object<Head>>> {
    match expected {
        Expected::Hit { object, .. } => Some(object),
        Expected::NotCached(_, selected) | Expected::Forward { selected, .. } => selected.as_ref(),
    }
}

fn site_step(request: &Request) -> Step {
    let tally = request.tally();
    let rule = match request.treatment.rule {
        Some(_) => format!("rule {} is the first that matches", tally.rule),
        None => "no rule matches".to_owned(),
    };
    Step {
        step: "site",
        says: format!(
            "{} answers for {}; {rule}",
            tally.site, request.head.authority.host
        ),
        clause: None,
    }
}

fn key_step(request: &Request) -> Step {
    let left_out = left_out(request);
    let rest = match left_out.is_empty() {
        true => "it has all of the request".to_owned(),
        false => format!("without {}", left_out.join(", ")),
    };
    Step {
        step: "key",
        says: format!("{}; {rest}", request.key_text()),
        clause: Some("RFC 9111 section 2"),
    }
}

/// Parameters and fields of the request that do not choose what is found.
fn left_out(request: &Request) -> Vec<String> {
    let rules = &request.treatment.key;
    let (_, query) = crate::exchange::split_target(&request.head.target);
    let mut left_out: Vec<String> = Vec::new();
    for parameter in query.into_iter().flat_map(|query| query.split('&')) {
        if !rules.query.has(parameter) {
            let name = parameter.split('=').next().unwrap_or_default();
            left_out.push(format!("parameter {name}"));
        }
    }
    let fields = request.headers().keys();
    let unkeyed = fields.filter(|name| **name != header::HOST && !rules.headers.contains(name));
    left_out.extend(unkeyed.map(|name| format!("field {name}")));
    left_out.truncate(LEFT_OUT_MAX);
    left_out
}

fn lookup_step(node: &Node, request: &Request, stored: &[Arc<Object<Head>>]) -> Step {
    let says = match stored.len() {
        0 => match node.tiers.memory().traces().recall(request.storage_key()) {
            None => "nothing is stored, and nothing is known to have been".to_owned(),
            Some(fate) => format!("nothing is stored any more: {}", gone(fate)),
        },
        1 => "one response is stored".to_owned(),
        count => format!("{count} variants are stored"),
    };
    Step {
        step: "lookup",
        says,
        clause: Some("RFC 9111 section 4"),
    }
}

const fn gone(fate: storage::Fate) -> &'static str {
    match fate {
        storage::Fate::Evicted => "it made room for others",
        storage::Fate::Purged => "it was purged",
        storage::Fate::Removed => "it was invalidated",
        storage::Fate::Unreadable => "it could not be read",
        storage::Fate::Displaced => "other variants took its place",
    }
}

fn decide(
    node: &Node,
    request: &Request,
    (expected, last): (&Expected, Option<&Missed>),
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> (Decision, Option<&'static str>) {
    if let Some((object, stored)) =
        selected(expected).and_then(|it| Some((it, it.head().stored()?)))
    {
        if !stored.selecting.names().is_empty() {
            steps.push(Step {
                step: "vary",
                says: "the request selects one of them".to_owned(),
                clause: Some("RFC 9111 section 4.1"),
            });
        }
        steps.push(Step {
            step: "freshness",
            says: Arithmetic::of(stored, now).text(),
            clause: Some("RFC 9111 section 4.2"),
        });
        let weighed = weigh(node, request, (object, stored), None, now);
        steps.push(reuse_step(weighed.reuse));
    }
    let why = match expected {
        Expected::Hit { outcome, .. } => return (hit(outcome), None),
        Expected::NotCached(why, _) => {
            let Clause { says, because, .. } = clauses::of(Reason::OnlyIfCached);
            let missing = clauses::of(Reason::of_forward(*why));
            let decision = Decision {
                does: "refuse",
                fwd: None,
                reason: Some(Reason::OnlyIfCached.as_str()),
                clause: says,
                because: format!("{because}, and {}", missing.because),
            };
            return (decision, Some(missing.remedy));
        }
        Expected::Forward { why, .. } => *why,
    };
    let reason = reason(request, why, last);
    let Clause {
        says,
        because,
        remedy,
    } = clauses::of(reason);
    let says = match (reason, selected(expected).and_then(|it| it.head().stored())) {
        // Which of the directives it is.
        (Reason::Request, Some(stored)) => {
            match policy::reuse::reuse(&request.terms, stored, now) {
                Reuse::Validate(doubt) => clauses::of_doubt(doubt),
                _ => says,
            }
        }
        _ => says,
    };
    let decision = Decision {
        does: "forward",
        fwd: Some(why.as_str()),
        reason: Some(reason.as_str()),
        clause: says,
        because: because.to_owned(),
    };
    (decision, Some(remedy))
}

fn hit(outcome: &Outcome) -> Decision {
    let (clause, because) = match outcome {
        Outcome::Hit {
            served: Served::ClientAllows,
            ..
        } => (
            "RFC 9111 section 5.2.1.2",
            "it is stale, and the client takes stale responses",
        ),
        Outcome::Hit {
            served: Served::WhileRevalidating,
            ..
        } => (
            "RFC 5861 section 3",
            "it is stale, and may be sent while it is validated",
        ),
        _ => ("RFC 9111 section 4.2", "the stored response is fresh"),
    };
    Decision {
        does: "hit",
        fwd: None,
        reason: None,
        clause,
        because: because.to_owned(),
    }
}

fn reuse_step(reuse: Reuse) -> Step {
    let (says, clause) = match reuse {
        Reuse::Fresh { ttl } => (
            format!("it may be sent for {:.3} s", ttl.as_secs_f64()),
            "RFC 9111 section 4.2",
        ),
        Reuse::StaleAllowed { staleness } => (
            format!(
                "stale for {:.3} s, and the client allows it",
                staleness.as_secs_f64()
            ),
            "RFC 9111 section 5.2.1.2",
        ),
        Reuse::StaleWhileRevalidate { staleness } => (
            format!(
                "stale for {:.3} s, within stale-while-revalidate",
                staleness.as_secs_f64()
            ),
            "RFC 5861 section 3",
        ),
        Reuse::Validate(doubt) => (
            format!("it has to be validated: {}", doubt.as_str()),
            clauses::of_doubt(doubt),
        ),
    };
    Step {
        step: "reuse",
        says,
        clause: Some(clause),
    }
}

/// What was found may say less than what the last answer said of itself: that it cannot be stored.
fn reason(request: &Request, why: Forward, last: Option<&Missed>) -> Reason {
    let reason = Reason::of_forward(why);
    let Some(last) = last.filter(|_| reason == Reason::Cold) else {
        return reason;
    };
    let again = match last.reason {
        Reason::Authorization => request.terms.is_authorized(),
        Reason::RequestNoStore => request.terms.forbids_storing(),
        other => other.is_of_answer(),
    };
    if again { last.reason } else { reason }
}

fn stored_told(
    node: &Node,
    request: &Request,
    (object, selected): (&Arc<Object<Head>>, Option<&Arc<Object<Head>>>),
    now: Timestamp,
) -> Option<StoredTold> {
    let stored = object.head().stored()?;
    let field = |name: header::HeaderName| {
        let value = stored.headers.get(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let vary = &request.treatment.settings.vary;
    let names = stored.selecting.names().iter();
    let Variant(variant) = object.variant();
    let labels = object.head().membership().map_or(0, |it| it.labels().len());
    let differs = stored.selecting.mismatch(request.headers(), vary);
    Some(StoredTold {
        tier: if object.body().is_on_disk() {
            "disk"
        } else {
            "memory"
        },
        variant: format!("{:?}", Variant(variant)),
        status: stored.status.as_u16(),
        bytes: object.body().len(),
        selected: selected.is_some_and(|it| it.variant() == object.variant()),
        varies_on: names.map(ToString::to_string).collect(),
        differs: differs.map(ToString::to_string),
        life: match object.head().life(&node.purges) {
            Life::Alive => "alive",
            Life::Stale { .. } => "purged softly",
            Life::Doubtful => "in doubt",
            Life::Gone => "purged",
        },
        etag: field(header::ETAG),
        last_modified: field(header::LAST_MODIFIED),
        cache_control: field(header::CACHE_CONTROL),
        labels,
        stored_at: rfc3339(stored.reception.response_time),
        freshness: Arithmetic::of(stored, now),
    })
}
