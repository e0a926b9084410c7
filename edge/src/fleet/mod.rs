//! The log of purges that the nodes of a fleet share: a stream of NATS `JetStream`.
//!
//! The engine is not trusted blindly. A log may lose its end and give the same numbers to other purges; so a node proves
//! at every connection that the message it applied last still stands where it stood, and where it cannot, it casts doubt
//! on everything stored: a broken log costs requests to the origin, never a purged response. It then reads on behind the
//! last purge that it has in common with the log: what was published to a log that came back is applied by all.

mod apply;
mod connection;
mod cursor;
mod follow;
mod lag;
mod ledger;
mod members;
mod message;
mod metrics;
mod outbox;
mod proof;
mod propagation;
mod publish;
mod reading;
pub mod setup;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_trait::async_trait;
use parking_lot::Mutex;
use purge_api::{Fleet, Order};
use storage::purge::{LogFile, Sequence};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::purges::Tail;
use crate::purges::log::{
    LogName, LogStatus, PublishError, Published, PurgeLog, Reach, Sink, Trust,
};

use connection::Line;
pub(crate) use cursor::CursorFile;
use follow::Follower;
use members::Members;
use message::Subjects;
pub(crate) use metrics::FleetMetrics;
pub(crate) use outbox::Outbox;
use propagation::LastPurges;
use view::View;

/// The client's own messages are not told: what matters of them is told here.
pub const QUIET: &str = "async_nats=off";

/// How long the server may take to answer one question.
const ANSWER: Duration = Duration::from_secs(2);

/// Where a fleet's log is, and what is done about it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers: `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub servers: Vec<String>,
    /// Who we are towards them.
    pub access: Access,
    /// The stream.
    pub stream: String,
    /// This node's name; no other node of the fleet has it.
    pub node: String,
    /// How far behind the log what is stored may be used as if nothing had happened.
    pub max_lag: Duration,
    /// What is done beyond that.
    pub on_lag: OnLag,
    /// How long a purge may take until it is in the log.
    pub publish_timeout: Duration,
    /// After so long without a word, a node belongs to the fleet no more.
    pub forget_after: Duration,
}

/// How a node proves who it is, and whom it believes.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A credentials file of NATS.
    pub credentials: Option<PathBuf>,
    /// Authorities that sign the servers' certificates, beside those of the system.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// What is done while purges may be missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnLag {
    /// Everything goes on.
    Serve,
    /// What is stored is validated before it is used; where the origin fails, it may be sent stale.
    Revalidate,
    /// Nothing that is stored is used.
    Pass,
    /// As `Revalidate`, and the node says that it is not ready.
    Unready,
}

/// The log of a fleet.
#[derive(Debug)]
pub(crate) struct FleetLog {
    shared: Arc<Shared>,
    /// Until it is started.
    place: Mutex<Option<Place>>,
}

/// Where a node is in the log of its fleet, and in its own order.
#[derive(Debug)]
pub(crate) struct Place {
    /// What was applied.
    pub file: LogFile,
    /// What its end tells of the log.
    pub tail: Tail,
    /// Which message of the log was applied last, as of a little while ago.
    pub cursor: CursorFile,
}

/// What all parts of a fleet's log share.
#[derive(Debug)]
pub(crate) struct Shared {
    settings: Settings,
    subjects: Subjects,
    clock: Arc<Clock>,
    metrics: FleetMetrics,
    last_purges: LastPurges,
    view: View,
    members: Members,
    outbox: Option<Outbox>,
    /// None until the client was made.
    client: watch::Sender<Option<Context>>,
    /// Nothing that outlives the process was born before that place of this node's own order.
    outlived: Arc<AtomicU64>,
    line: Arc<Line>,
}

impl FleetLog {
    /// A log that is followed from `place` on.
    pub(crate) fn new(
        settings: Settings,
        place: Place,
        outbox: Option<Outbox>,
        clock: Arc<Clock>,
        metrics: FleetMetrics,
    ) -> Self {
        let now = clock.instant();
        let shared = Shared {
            subjects: Subjects::new(&settings.stream),
            view: View::new(settings.max_lag, settings.on_lag, now),
            members: Members::new(&settings.node, settings.forget_after),
            client: watch::Sender::new(None),
            outlived: Arc::new(AtomicU64::default()),
            line: Arc::default(),
            last_purges: LastPurges::default(),
            settings,
            clock,
            metrics,
            outbox,
        };
        Self {
            shared: Arc::new(shared),
            place: Mutex::new(Some(place)),
        }
    }
}

#[async_trait]
impl PurgeLog for FleetLog {
    fn start(&self, sink: Sink) {
        let Some(place) = self.place.lock().take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            shared.connect().await;
            tokio::spawn(members::listen(Arc::clone(&shared)));
            tokio::spawn(members::beat(Arc::clone(&shared)));
            tokio::spawn(publish::tick(Arc::clone(&shared)));
            tokio::spawn(outbox::drain(Arc::clone(&shared)));
            Follower::new(shared, place, sink).run().await;
        });
    }

    async fn publish(&self, order: &Order, site: Option<&str>) -> Result<Published, PublishError> {
        match publish::publish(&self.shared, order, site).await {
            Err(error @ (PublishError::Unreachable(_) | PublishError::Unconfirmed(_))) => {
                let Some(outbox) = &self.shared.outbox else {
                    return Err(error);
                };
                tracing::warn!(%error, id = order.id, "a purge waits in the outbox");
                tokio::task::block_in_place(|| outbox.put(order, site))
            }
            published => published,
        }
    }

    fn queued(&self, id: &str) -> Option<Order> {
        let outbox = self.shared.outbox.as_ref()?;
        tokio::task::block_in_place(|| outbox.find(id))
    }

    fn status(&self) -> LogStatus {
        let Shared {
            view,
            clock,
            metrics,
            members,
            outbox,
            ..
        } = &*self.shared;
        let now = clock.instant();
        let queued = outbox.as_ref().map_or(0, Outbox::len);
        metrics.tell(view.lag(now), members.known(now), queued);
        view.status(now)
    }

    fn name(&self) -> LogName {
        match self.shared.members.log() {
            log if log.is_empty() => LogName::Unknown,
            log => LogName::Shared(log),
        }
    }

    fn trust(&self) -> Trust {
        self.shared.view.trust(self.shared.clock.instant())
    }

    fn reach(&self, place: u64) -> Vec<Reach> {
        let now = self.shared.clock.instant();
        self.shared.members.reach(place, now)
    }

    async fn reached_by_all(&self, place: u64) {
        let Shared { members, clock, .. } = &*self.shared;
        let mut heard = members.heard();
        while !members.have_all(place, clock.instant()) {
            // A node that is forgotten tells nothing any more.
            drop(tokio::time::timeout(ANSWER, heard.changed()).await);
        }
    }

    fn fleet(&self) -> Option<Fleet> {
        let Shared {
            view,
            clock,
            members,
            outbox,
            last_purges,
            ..
        } = &*self.shared;
        let now = clock.instant();
        Some(Fleet {
            log: members.log(),
            state: view.word(),
            applied: view.place(),
            last: view.status(now).last,
            lag_ms: view.lag(now).map(|lag| lag.as_secs_f64() * 1000.0),
            queued: outbox.as_ref().map_or(0, Outbox::len) as u64,
            propagation: last_purges.told(),
            nodes: members.told(now),
        })
    }

    fn outlived(&self, upto: Sequence) {
        self.shared.outlived.fetch_max(upto.0, Ordering::AcqRel);
    }

    async fn leave(&self) {
        drop(tokio::time::timeout(ANSWER, members::leave(&self.shared)).await);
    }
}
