//! Where purges get their order: one log, for one node or for a fleet.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use policy::time::Timestamp;
use purge_api::{Fleet, Order};
use storage::purge::{LogError, Sequence};
use tiered::landmark::{Landmark, Print};

/// What a log has to tell, in the order of the log.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A purge is in the log.
    Purge(Placed),
    /// Purges may have been missed: everything that was born before has to be validated.
    Doubt {
        /// Its place in this node's own order.
        sequence: Sequence,
        /// Behind which message the log is followed from now on.
        behind: Landmark,
    },
    /// There is nothing to apply up to this message.
    Passed(Landmark),
}

impl Event {
    /// Up to where in the log everything is applied when this is.
    pub(crate) const fn place(&self) -> u64 {
        match self {
            Self::Purge(placed) => placed.place,
            Self::Doubt { behind: at, .. } | Self::Passed(at) => at.place,
        }
    }
}

/// A purge and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// In this node's own order, which never goes back: responses are born in it.
    pub sequence: Sequence,
    /// In the log, which is the same for all who follow it.
    pub place: u64,
    /// Which message that is, where others read it as well.
    pub print: Option<Print>,
    /// When the log's server took it, in nanoseconds since the server's epoch, where it has one and that is known.
    pub stamp: Option<u64>,
    /// What to purge.
    pub order: Order,
}

/// Applies events, in their order, before it returns.
pub(crate) type Hear = Box<dyn Fn(Vec<Event>) + Send + Sync>;
/// Whether a purge touches that site only.
pub(crate) type IsWithin = Box<dyn Fn(&Order, &str) -> bool + Send + Sync>;

/// The last purges that were applied since purges were last found missing, the oldest first.
pub(crate) type Trail = Box<dyn Fn() -> Vec<Trace> + Send + Sync>;

/// A purge that was applied, as it stood in the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Trace {
    pub place: u64,
    pub id: String,
    /// When the log's server took it, in nanoseconds since the server's epoch, where that is known.
    pub stamp: Option<u64>,
}

impl Trace {
    /// Whether it is the message with that id and stamp. An id may come twice: it is sent again by who was not told that it
    /// arrived.
    pub(crate) fn is(&self, id: &str, stamp: Duration) -> bool {
        let same_time = self
            .stamp
            .is_none_or(|own| u128::from(own) == stamp.as_nanos());
        self.id == id && same_time
    }
}

/// Who hears of what is in a log.
pub(crate) struct Sink {
    pub hear: Hear,
    pub is_within: IsWithin,
    pub trail: Trail,
}

/// What became of a purge that was given to a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Published {
    /// It is durable, at this place. Whoever follows the log hears of it, this node too.
    At(u64),
    /// It is durable on this node, and gets its place when the log can be reached.
    Queued,
}

/// Why a log did not take a purge.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// It cannot be written.
    #[error(transparent)]
    Log(#[from] Arc<LogError>),
    /// It cannot be reached. Nothing was sent.
    #[error("the purge log cannot be reached: {0}")]
    Unreachable(String),
    /// Who this node is towards the log's servers does not let it publish.
    #[error("this node's account may not publish to the purge log: {0}")]
    Denied(String),
    /// It did not answer in time. It may have the purge; the same identifier again is safe.
    #[error("the purge log did not answer within {0:?}; repeat the purge with its identifier")]
    Unconfirmed(Duration),
    /// More purges than it can take at once.
    #[error("too many purges wait for the log")]
    Busy,
}

/// A log as it is seen from this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LogStatus {
    /// The last place that is known of, applied or not.
    pub last: u64,
    /// Whether what is stored can be judged by it.
    pub state: LogState,
}

/// Which log a node follows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogName {
    /// One of its own.
    Own,
    /// One that others share, and that was not reached yet.
    Unknown,
    /// One that others share.
    Shared(String),
}

/// Whether a node knows all purges.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogState {
    /// It does.
    Current,
    /// The log was not reached since the node was started.
    Unknown,
    /// Not yet: so many are still to be applied.
    Replaying(u64),
    /// Not for so long, which is more than is allowed.
    Lagging(Duration),
}

/// What may be done with what is stored, as far as purges go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trust {
    /// Whatever it allows itself.
    Full,
    /// It has to be validated first.
    Validate,
    /// Nothing.
    Nothing,
}

/// How far another node is with a purge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reach {
    pub node: String,
    pub reached: Reached,
}

/// Whether a node has applied a purge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reached {
    /// Then, by its own clock.
    At(Timestamp),
    /// It has, and when is not known any more.
    Before,
    /// It did not tell so.
    NotYet,
}

/// One order of purges. Whoever publishes gets a place in it, and whoever follows hears of everything in that order, at
/// least once.
#[async_trait]
pub(crate) trait PurgeLog: fmt::Debug + Send + Sync {
    /// Begins to follow: from here on, `sink` hears of all that is in the log and was not applied yet. Called once.
    fn start(&self, sink: Sink);

    /// Makes a purge durable. One with the identifier of an earlier one has the place of that one. `site` is the only
    /// site that it can touch, where there is one.
    async fn publish(&self, order: &Order, site: Option<&str>) -> Result<Published, PublishError>;

    /// The purge with that identifier, while it waits for its place ([`Published::Queued`]). It may block for a moment.
    fn queued(&self, id: &str) -> Option<Order>;

    /// How it stands.
    fn status(&self) -> LogStatus;

    /// Which one it is.
    fn name(&self) -> LogName;

    /// What may be done with what is stored. Every request asks.
    fn trust(&self) -> Trust;

    /// How far the other nodes that follow it are with the purge at a place, by their names.
    fn reach(&self, place: u64) -> Vec<Reach>;

    /// The fleet that follows it, as this node knows it; none where it is this node's own.
    fn fleet(&self) -> Option<Fleet>;

    /// Returns when every node that is known has applied everything up to a place.
    async fn reached_by_all(&self, place: u64);

    /// Nothing that outlives the process was born before that place of this node's own order: what was purged up to there
    /// need not be kept for its sake.
    fn outlived(&self, upto: Sequence);

    /// This node stops: nobody is to wait for it.
    async fn leave(&self);
}
