//! A past request, explained from its line in the access log.

use serde::Serialize;
use serde_json::Value;

use super::clauses::{self, Clause};
use crate::outcome::Reason;

/// What is told of a past request.
#[derive(Debug, Serialize)]
pub(crate) struct Past {
    /// As the log tells it.
    line: Value,
    /// Why it was no hit, if it was none.
    reason: Option<&'static str>,
    clause: &'static str,
    because: &'static str,
    would_hit: Option<&'static str>,
}

/// What a line of the log comes to; none where it is no request's.
pub(crate) fn of(line: Value) -> Option<Past> {
    let word = |name: &str| line[name].as_str();
    let outcome = word("outcome")?;
    let mut reasons = Reason::ALL.into_iter();
    let reason = word("reason").and_then(|word| reasons.find(|it| it.as_str() == word));
    let Clause {
        says,
        because,
        remedy,
    } = match reason {
        Some(reason) => clauses::of(reason),
        None => answered(outcome, word("detail").unwrap_or_default()),
    };
    Some(Past {
        reason: reason.map(Reason::as_str),
        clause: says,
        because,
        would_hit: reason.map(|_| remedy),
        line,
    })
}

/// A request that what is stored answered, or the node itself.
fn answered(outcome: &str, detail: &str) -> Clause {
    let (says, because) = match (outcome, detail) {
        ("hit", _) => ("RFC 9111 section 4.2", "the stored response was fresh"),
        ("revalidated", _) => (
            "RFC 9111 section 4.3.4",
            "the origin said that the stored response is still good",
        ),
        ("updating", _) => (
            "RFC 5861 section 3",
            "it was stale, and was sent while it was validated",
        ),
        ("stale", "stale-if-error") => (
            "RFC 5861 section 4",
            "it was stale, and was sent in place of an error",
        ),
        ("stale", _) => (
            "RFC 9111 section 5.2.1.2",
            "it was stale, and the client took stale responses",
        ),
        ("purge", _) => ("[dialects]", "the request was a purge"),
        _ => (
            "the node",
            "it was refused, or given up before it was decided",
        ),
    };
    Clause {
        says,
        because,
        remedy: "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reason_of_a_line_is_explained() {
        for reason in Reason::ALL {
            let past = of(json!({ "outcome": "miss", "reason": reason.as_str() })).unwrap();
            assert_eq!(past.reason, Some(reason.as_str()));
            assert!(past.would_hit.is_some_and(|remedy| !remedy.is_empty()));
        }
        let hit = of(json!({ "outcome": "hit", "ttl": 5 })).unwrap();
        assert_eq!((hit.reason, hit.clause), (None, "RFC 9111 section 4.2"));
        assert!(of(json!({ "kind": "background" })).is_none());
    }
}
