//! Whose the answers are that clients of this node got, and what they cost origins: what its tiers are worth.

use prometheus::{IntCounterVec, Opts};

use crate::metrics::Totals;
use crate::outcome::{Answer, Forwarded, Outcome, Share};
use crate::proxy_status::Supplier;

/// A request that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Of another node.
    Peers,
    /// Of a client.
    Clients(Answerer),
}

/// Whose the answer to a client's request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answerer {
    /// What this node has stored, or says by itself.
    Here,
    /// Another request's, which asked for the same.
    Shared,
    Sibling,
    Parent,
    /// A node beyond the one that was asked.
    Further,
    Origin,
    /// Nobody answered.
    Nobody,
}

impl Answerer {
    const ALL: [Self; 7] = [
        Self::Here,
        Self::Shared,
        Self::Sibling,
        Self::Parent,
        Self::Further,
        Self::Origin,
        Self::Nobody,
    ];

    /// The supplier is asked for only where the request went beyond this node.
    pub(super) fn of(outcome: &Outcome, supplier: impl FnOnce() -> Option<Supplier>) -> Self {
        let Outcome::Forwarded(Forwarded { answer, share, .. }) = outcome else {
            return Self::Here;
        };
        match (answer, share) {
            (Answer::Failed(_), _) => Self::Nobody,
            (Answer::StaleInstead(_), _) => Self::Here,
            (_, Share::Collapsed) => Self::Shared,
            (_, Share::Alone) => match supplier() {
                Some(Supplier::Sibling) => Self::Sibling,
                Some(Supplier::Parent) => Self::Parent,
                Some(Supplier::Further) => Self::Further,
                Some(Supplier::Origin) | None => Self::Origin,
            },
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Shared => "shared",
            Self::Sibling => "sibling",
            Self::Parent => "parent",
            Self::Further => "further",
            Self::Origin => "origin",
            Self::Nobody => "nobody",
        }
    }
}

/// What is counted of answers. Those of this node's own store are the rest: nothing is counted where they are sent.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub clients: IntCounterVec,
    pub asked: IntCounterVec,
    pub peers: prometheus::IntCounter,
}

impl Answers {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            clients: IntCounterVec::new(
                Opts::new(
                    "tiered_answers_total",
                    "Requests of clients, without those of other nodes, by whose the answer was: stored here, shared with \
                     another request, stored by a sibling or a parent, had further on, the origin's, or nobody's.",
                ),
                &["from"],
            )?,
            asked: IntCounterVec::new(
                Opts::new(
                    "tiered_origin_requests_total",
                    "Requests that origins got for what was asked here: sent by this node, and by nodes beyond it as they \
                     say.",
                ),
                &["by"],
            )?,
            peers: prometheus::IntCounter::new(
                "tiered_peer_answers_total",
                "Requests of other nodes for sites of this one that have ended.",
            )?,
        })
    }

    pub(super) fn ended(&self, ended: Ended) {
        match ended {
            Ended::Peers => self.peers.inc(),
            Ended::Clients(Answerer::Here) => {}
            Ended::Clients(answerer) => {
                self.clients.with_label_values(&[answerer.as_str()]).inc();
            }
        }
    }

    /// Nodes beyond this one have sent so many requests to origins.
    pub(super) fn asked_beyond(&self, requests: u64) {
        self.asked.with_label_values(&["beyond"]).inc_by(requests);
    }

    /// Brings up to date what follows from what is counted elsewhere.
    pub(super) fn update(&self, totals: Totals) {
        let elsewhere = Answerer::ALL.iter().skip(1).map(|it| self.of(*it));
        let elsewhere = elsewhere.sum::<u64>() + self.peers.get();
        let raise = |counters: &IntCounterVec, label: &str, to: u64| {
            let counter = counters.with_label_values(&[label]);
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        let here = totals.requests.saturating_sub(elsewhere);
        raise(&self.clients, Answerer::Here.as_str(), here);
        raise(&self.asked, "here", totals.asked);
    }

    fn of(&self, answerer: Answerer) -> u64 {
        self.clients.with_label_values(&[answerer.as_str()]).get()
    }

    /// For the admin API, where it is up to date.
    pub(super) fn show(&self) -> purge_api::TierAnswers {
        purge_api::TierAnswers {
            here: self.of(Answerer::Here),
            shared: self.of(Answerer::Shared),
            sibling: self.of(Answerer::Sibling),
            parent: self.of(Answerer::Parent),
            further: self.of(Answerer::Further),
            origin: self.of(Answerer::Origin),
            nobody: self.of(Answerer::Nobody),
        }
    }

    /// Requests that origins got, where it is up to date.
    pub(super) fn at_origins(&self) -> u64 {
        let by = |who: &str| self.asked.with_label_values(&[who]).get();
        by("here") + by("beyond")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_was_answered_here() {
        let answers = Answers::new().unwrap();
        answers.ended(Ended::Peers);
        answers.ended(Ended::Clients(Answerer::Parent));
        answers.ended(Ended::Clients(Answerer::Here));
        answers.asked_beyond(4);
        let totals = |requests, asked| Totals { requests, asked };
        answers.update(totals(3, 2));
        assert_eq!((answers.show().here, answers.show().parent), (1, 1));
        assert_eq!(answers.at_origins(), 6);
        // What is still being told elsewhere never counts backwards.
        answers.update(totals(2, 1));
        assert_eq!((answers.show().here, answers.at_origins()), (1, 6));
    }
}
