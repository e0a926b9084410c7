//! Which of several peers is asked.
//!
//! Peers that are fit share the requests by their weights, in one of several manners. Backups are asked where no other
//! peer is fit, and those that are out where nobody is: a request that may fail is better than one that has to.

mod choose;
mod ramp;
mod rendezvous;

use std::time::Duration;

use crate::Moment;

/// Peers among which one is chosen.
pub const PEERS_MAX: usize = 64;

/// How peers share requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The first that is fit, in their order.
    First,
    /// In turn.
    RoundRobin,
    /// The one of two that has fewer requests under way for its weight.
    LeastConnections,
    /// By the request's key: always the same peer for it, while the peer is fit (weighted rendezvous hashing).
    Hash,
}

/// What a choice knows of one peer.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its share compared with the others': 1 or more.
    pub weight: u32,
    /// Whether it stands back.
    pub role: Role,
    /// Whether it is fit.
    pub fitness: Fitness,
    /// Requests that are under way to it.
    pub under_way: u32,
    /// Whether it takes another one.
    pub room: Room,
    /// What tells it from the others for ever: keys go where its identity sends them.
    pub identity: u64,
}

/// Whether a peer stands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes its share.
    Primary,
    /// It is asked where no primary is fit.
    Backup,
}

/// Whether a peer is fit to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fitness {
    /// It is, since then.
    Up {
        /// When it came back; the beginning of time where it was never away.
        since: Moment,
    },
    /// One request may find out.
    Trial,
    /// It is asked only where nobody is fit.
    Out,
    /// It is not asked at all.
    Barred,
}

/// Whether a peer takes another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// At once.
    Free,
    /// Later.
    Full,
}

/// Whether a request may be the one that finds out whether a peer is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trials {
    /// It can be sent to another peer when it fails.
    Welcome,
    /// It cannot.
    Unwanted,
}

/// What a request brings to the choice.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// By which [`Manner::Hash`] chooses.
    pub key: u64,
    /// Any number, another one each time.
    pub random: u64,
    /// Whether it may be a trial.
    pub trials: Trials,
}

/// The peers that a request was sent to already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried(u64);

impl Tried {
    /// Notes a peer below [`PEERS_MAX`].
    pub const fn add(&mut self, peer: usize) {
        self.0 |= 1 << (peer % PEERS_MAX);
    }

    /// Whether this peer is noted.
    #[must_use]
    pub const fn has(self, peer: usize) -> bool {
        self.0 & (1 << (peer % PEERS_MAX)) != 0
    }
}

/// Shares requests among peers.
#[derive(Clone, Debug)]
pub struct Balancer {
    manner: Manner,
    /// For how long a peer that came back takes less than its share.
    slow_start: Duration,
    /// What each peer is owed, for [`Manner::RoundRobin`].
    owed: Vec<i64>,
}

impl Balancer {
    /// A balancer for that many peers, at most [`PEERS_MAX`].
    #[must_use]
    pub fn new(manner: Manner, slow_start: Duration, peers: usize) -> Self {
        Self {
            manner,
            slow_start,
            owed: vec![0; peers],
        }
    }

    /// The peer to ask, among those that were not tried; none where nobody is left who may be asked.
    ///
    /// One that is full is chosen only where all that are as fit are full: its queue is the place to wait.
    pub fn choose(
        &mut self,
        peers: &[Peer],
        tried: Tried,
        draw: Draw,
        now: Moment,
    ) -> Option<usize> {
        let eligible = choose::eligible(peers, tried, draw.trials);
        let weigh = |peer: usize| {
            let share = ramp::share(peers[peer].fitness, self.slow_start, now);
            u64::from(peers[peer].weight.max(1)) * share
        };
        match (self.manner, eligible.as_slice()) {
            (_, []) => None,
            (_, &[only]) => Some(only),
            (Manner::First, [first, ..]) => Some(*first),
            (Manner::RoundRobin, several) => choose::in_turn(&mut self.owed, several, weigh),
            (Manner::LeastConnections, several) => {
                let under_way = |peer: usize| peers[peer].under_way;
                choose::less_busy(several, draw.random, under_way, weigh)
            }
            (Manner::Hash, several) => {
                let identity = |peer: usize| peers[peer].identity;
                rendezvous::highest(several, draw.key, identity, weigh)
            }
        }
    }
}

#[cfg(test)]
mod tests;
