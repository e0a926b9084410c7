//! The nodes of a fleet, and what each has applied: told by themselves once a second, and at once after a purge.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use futures::StreamExt as _;
use parking_lot::Mutex;
use policy::time::Timestamp;
use purge_api::FleetNode;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Shared;
use crate::purges::log::{Reach, Reached};

/// Nodes that are remembered; more are not heard.
const NODES_MAX: usize = 4096;
/// Purges whose times of application are remembered, for each node.
const TIMES_MAX: usize = 1024;
/// Times of application in one message.
const TOLD_MAX: usize = 256;
/// A node tells of itself at least so often.
const BEAT: Duration = Duration::from_secs(1);
/// Purges that come close together are told of together.
const GATHER: Duration = Duration::from_millis(5);

/// What a node tells of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Status {
    node: String,
    /// Tells two nodes of one name apart.
    instance: u64,
    /// Which log it follows.
    log: String,
    /// Up to where everything is applied.
    applied: u64,
    /// When it applied the last purges: places and milliseconds since 1970.
    #[serde(default)]
    times: Vec<(u64, u64)>,
    #[serde(default)]
    leaving: bool,
}

/// A node that was heard of.
#[derive(Debug)]
struct Member {
    instance: u64,
    log: String,
    applied: u64,
    heard: Instant,
    times: VecDeque<(u64, u64)>,
}

impl Member {
    fn has(&self, log: &str, place: u64) -> bool {
        self.log == log && self.applied >= place
    }

    fn reached(&self, log: &str, place: u64) -> Reached {
        if !self.has(log, place) {
            return Reached::NotYet;
        }
        let time = self.times.iter().find(|(known, _)| *known == place);
        time.map_or(Reached::Before, |(_, at)| {
            Reached::At(Timestamp::from_unix_millis(*at))
        })
    }
}

/// This node and the others.
#[derive(Debug)]
pub(crate) struct Members {
    own: Mutex<Own>,
    others: Mutex<HashMap<String, Member>>,
    forget_after: Duration,
    /// Counts what was heard.
    heard: watch::Sender<u64>,
    /// Counts what was applied here.
    applied: watch::Sender<u64>,
}

/// What this node has to tell.
#[derive(Debug)]
struct Own {
    status: Status,
    times: VecDeque<(u64, u64)>,
    /// How many of them, from the end, were not told yet.
    untold: usize,
    /// The connection over which the log was found to have these places, once it was.
    connection: Option<u64>,
}

impl Own {
    /// What is known of places is of other ones.
    fn forget_times(&mut self) {
        self.times.clear();
        self.untold = 0;
    }
}

impl Members {
    pub(crate) fn new(node: &str, forget_after: Duration) -> Self {
        let status = Status {
            node: node.to_owned(),
            instance: crate::token::number(),
            log: String::new(),
            applied: 0,
            times: Vec::new(),
            leaving: false,
        };
        Self {
            own: Mutex::new(Own {
                status,
                times: VecDeque::new(),
                untold: 0,
                connection: None,
            }),
            others: Mutex::default(),
            forget_after,
            heard: watch::Sender::new(0),
            applied: watch::Sender::new(0),
        }
    }

    /// This node follows a log, from a place on, which it found there over this connection.
    pub(crate) fn follows(&self, log: &str, place: u64, connection: u64) {
        let mut own = self.own.lock();
        if own.status.log != log {
            own.forget_times();
        }
        log.clone_into(&mut own.status.log);
        own.status.applied = place;
        own.connection = Some(connection);
        drop(own);
        self.applied.send_modify(|count| *count += 1);
    }

    /// Places may have been given again: what the others told of them counts no more, until they tell it again.
    pub(crate) fn doubt(&self) {
        self.own.lock().forget_times();
        for member in self.others.lock().values_mut() {
            member.applied = 0;
            member.times.clear();
        }
    }

    /// What there is to tell over a connection, if this node has found its place over that one.
    fn to_tell(&self, connection: u64) -> Option<Status> {
        let found = self.own.lock().connection == Some(connection);
        found.then(|| self.status())
    }

    /// The log that this node follows; empty before the first.
    pub(crate) fn log(&self) -> String {
        self.own.lock().status.log.clone()
    }

    /// This node has applied everything up to a place, with purges at these places and times.
    pub(crate) fn applied(&self, place: u64, purges: impl Iterator<Item = (u64, Timestamp)>) {
        let mut own = self.own.lock();
        own.status.applied = place;
        let before = own.times.len();
        own.times
            .extend(purges.map(|(place, at)| (place, at.unix_millis())));
        let fresh = own.times.len() - before;
        if fresh == 0 {
            return;
        }
        let excess = own.times.len().saturating_sub(TIMES_MAX);
        own.times.drain(..excess);
        own.untold = (own.untold + fresh).min(own.times.len());
        drop(own);
        self.applied.send_modify(|count| *count += 1);
    }

    fn status(&self) -> Status {
        let mut own = self.own.lock();
        let told = own.untold.min(TOLD_MAX);
        let times = own.times.iter().rev().take(told).rev().copied().collect();
        own.untold = 0;
        Status {
            times,
            ..own.status.clone()
        }
    }

    /// Somebody told something.
    fn hear(&self, status: Status, now: Instant) {
        let own = self.own.lock();
        let (name, instance) = (own.status.node.clone(), own.status.instance);
        drop(own);
        if status.node == name {
            if status.instance != instance {
                tracing::error!(
                    node = name,
                    "another node of the fleet has this node's name: give each its own `node.name`"
                );
            }
            return;
        }
        let mut others = self.others.lock();
        others.retain(|_, member| now - member.heard < self.forget_after);
        if status.leaving {
            others.remove(&status.node);
        } else if others.len() < NODES_MAX || others.contains_key(&status.node) {
            note(&mut others, status, now);
        }
        drop(others);
        self.heard.send_modify(|count| *count += 1);
    }

    /// Changes when something was heard.
    pub(crate) fn heard(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// Nodes that were heard of lately, and this one.
    pub(crate) fn known(&self, now: Instant) -> usize {
        let others = self.others.lock();
        let known = others.values().filter(|it| self.is_known(it, now));
        1 + known.count()
    }

    fn is_known(&self, member: &Member, now: Instant) -> bool {
        now - member.heard < self.forget_after
    }

    /// Whether every node that is known, this one too, has applied everything up to a place.
    pub(crate) fn have_all(&self, place: u64, now: Instant) -> bool {
        let own = self.own.lock();
        let (log, applied) = (own.status.log.clone(), own.status.applied);
        drop(own);
        let others = self.others.lock();
        let mut known = others.values().filter(|it| self.is_known(it, now));
        applied >= place && known.all(|it| it.has(&log, place))
    }

    /// All that are known, by their names.
    pub(crate) fn told(&self, now: Instant) -> Vec<FleetNode> {
        let own = self.own.lock().status.clone();
        let mut nodes = vec![FleetNode {
            node: own.node,
            applied: Some(own.applied),
            heard_ms: None,
        }];
        let others = self.others.lock();
        let known = others.iter().filter(|(_, it)| self.is_known(it, now));
        nodes.extend(known.map(|(name, member)| FleetNode {
            node: name.clone(),
            applied: (member.applied > 0 && member.log == own.log).then_some(member.applied),
            heard_ms: Some((now - member.heard).as_secs_f64() * 1000.0),
        }));
        nodes.sort_by(|one, other| one.node.cmp(&other.node));
        nodes
    }

    /// How far each other node is with a purge, by their names.
    pub(crate) fn reach(&self, place: u64, now: Instant) -> Vec<Reach> {
        let log = self.own.lock().status.log.clone();
        let others = self.others.lock();
        let known = others.iter().filter(|(_, it)| self.is_known(it, now));
        let mut reach: Vec<_> = known
            .map(|(name, member)| Reach {
                node: name.clone(),
                reached: member.reached(&log, place),
            })
            .collect();
        reach.sort_by(|one, other| one.node.cmp(&other.node));
        reach
    }
}

fn note(others: &mut HashMap<String, Member>, status: Status, now: Instant) {
    let member = others.entry(status.node).or_insert_with(|| Member {
        instance: status.instance,
        log: String::new(),
        applied: 0,
        heard: now,
        times: VecDeque::new(),
    });
    let is_same = member.instance == status.instance && member.log == status.log;
    if !is_same || status.applied < member.applied {
        member.times.clear();
    }
    (member.instance, member.log) = (status.instance, status.log);
    (member.applied, member.heard) = (status.applied, now);
    member.times.extend(status.times.into_iter().take(TOLD_MAX));
    let excess = member.times.len().saturating_sub(TIMES_MAX);
    member.times.drain(..excess);
}

/// Hears what the others tell, for ever.
pub(super) async fn listen(shared: Arc<Shared>) {
    let client = shared.context().await.client();
    loop {
        match client.subscribe(shared.subjects.all_status()).await {
            Ok(mut told) => {
                while let Some(message) = told.next().await {
                    if let Ok(status) = serde_json::from_slice(&message.payload) {
                        shared.members.hear(status, shared.clock.instant());
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the other nodes of the fleet are not heard"),
        }
        sleep(BEAT).await;
    }
}

/// Tells of this node, for ever.
pub(super) async fn beat(shared: Arc<Shared>) {
    let client = shared.context().await.client();
    let mut applied = shared.members.applied.subscribe();
    loop {
        let connection = *shared.line.connections().borrow();
        let status = shared.members.to_tell(connection);
        if let Some(status) = status.filter(|_| client.connection_state() == State::Connected) {
            tell(&shared, &client, status).await;
        }
        // The sender is a part of what this holds.
        drop(timeout(BEAT, applied.changed()).await);
        sleep(GATHER).await;
        applied.mark_unchanged();
    }
}

async fn tell(shared: &Shared, client: &async_nats::Client, status: Status) {
    let payload = serde_json::to_vec(&status).unwrap_or_default();
    let subject = shared.subjects.status(&status.node);
    if let Err(error) = client.publish(subject, payload.into()).await {
        tracing::debug!(%error, "nothing was told of this node");
    }
}

/// Tells that this node leaves on purpose: nobody waits for it.
pub(super) async fn leave(shared: &Shared) {
    let client = shared.context().await.client();
    let status = Status {
        leaving: true,
        ..shared.members.status()
    };
    tell(shared, &client, status).await;
    drop(client.flush().await);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGET: Duration = Duration::from_secs(60);

    fn status(node: &str, applied: u64, times: &[(u64, u64)]) -> Status {
        Status {
            node: node.to_owned(),
            instance: 1,
            log: "l".to_owned(),
            applied,
            times: times.to_vec(),
            leaving: false,
        }
    }

    fn members() -> (Members, Instant) {
        let members = Members::new("a", FORGET);
        members.follows("l", 5, 1);
        (members, crate::clock::Clock::default().instant())
    }

    #[test]
    fn each_node_is_named_with_its_time() {
        let (members, now) = members();
        members.hear(status("c", 7, &[(6, 600), (7, 700)]), now);
        members.hear(status("b", 5, &[]), now);
        let reach = |place| {
            let reach = members.reach(place, now).into_iter();
            reach.map(|it| (it.node, it.reached)).collect::<Vec<_>>()
        };
        let at = |millis| Reached::At(Timestamp::from_unix_millis(millis));
        let named = |b, c| vec![("b".to_owned(), b), ("c".to_owned(), c)];
        assert_eq!(reach(5), named(Reached::Before, Reached::Before));
        assert_eq!(reach(6), named(Reached::NotYet, at(600)));
        assert_eq!(reach(8), named(Reached::NotYet, Reached::NotYet));
    }

    #[test]
    fn all_means_all_that_are_known_and_this_one() {
        let (members, now) = members();
        assert!(members.have_all(5, now));
        assert!(!members.have_all(6, now), "not here");
        members.hear(status("b", 4, &[]), now);
        assert!(!members.have_all(5, now), "not there");
        assert!(
            members.have_all(5, now + FORGET),
            "nobody knows it any more"
        );
        members.hear(status("b", 5, &[]), now);
        assert!(members.have_all(5, now));
        let other_log = Status {
            log: "other".to_owned(),
            ..status("b", 99, &[])
        };
        members.hear(other_log, now);
        assert!(!members.have_all(5, now), "another log has other places");
        let leaving = Status {
            leaving: true,
            ..status("b", 0, &[])
        };
        members.hear(leaving, now);
        assert!(members.have_all(5, now));
        assert_eq!(members.known(now), 1);
    }

    #[test]
    fn places_that_are_given_again_are_told_again() {
        let (members, now) = members();
        members.hear(status("b", 7, &[(6, 600), (7, 700)]), now);
        members.doubt();
        members.follows("l", 4, 2);
        let reached = |place| members.reach(place, now)[0].reached;
        assert_eq!(
            reached(4),
            Reached::NotYet,
            "what it told was of other places"
        );
        assert!(members.to_tell(1).is_none(), "of a connection before");
        assert_eq!(members.to_tell(2).unwrap().applied, 4);
        assert_eq!(members.told(now)[1].applied, None);
        members.hear(status("b", 6, &[(6, 900)]), now);
        let applied = members
            .told(now)
            .into_iter()
            .map(|it| (it.node, it.applied));
        let expected = [("a".to_owned(), Some(4)), ("b".to_owned(), Some(6))];
        assert_eq!(applied.collect::<Vec<_>>(), expected);
        let at = |millis| Reached::At(Timestamp::from_unix_millis(millis));
        assert_eq!(reached(6), at(900));
        // It has noticed only now.
        members.hear(status("b", 5, &[(5, 950)]), now);
        assert_eq!((reached(5), reached(6)), (at(950), Reached::NotYet));
    }

    #[test]
    fn what_is_told_was_not_told_before() {
        let (members, _) = members();
        for place in 6..10 {
            let at = Timestamp::from_unix_millis(place * 100);
            members.applied(place, (place != 8).then_some((place, at)).into_iter());
        }
        let told = members.status();
        assert_eq!(
            (told.applied, told.times),
            (9, vec![(6, 600), (7, 700), (9, 900)])
        );
        assert_eq!(members.status().times, []);
    }

    #[test]
    fn nodes_and_times_have_limits() {
        let (members, now) = members();
        for node in 0..=NODES_MAX {
            members.hear(status(&node.to_string(), 1, &[]), now);
        }
        assert_eq!(members.known(now), NODES_MAX + 1);
        for place in 0..2 * TIMES_MAX as u64 {
            members.hear(status("0", place, &[(place, place)]), now);
            let at = Timestamp::from_unix_millis(place);
            members.applied(place, std::iter::once((place, at)));
        }
        assert_eq!(members.others.lock()["0"].times.len(), TIMES_MAX);
        assert_eq!(members.own.lock().times.len(), TIMES_MAX);
        assert_eq!(members.status().times.len(), TOLD_MAX);
    }
}
