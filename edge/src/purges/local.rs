//! The embedded log: a file of this node alone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use purge_api::{Fleet, Order};
use storage::purge::{LogError, LogFile, Sequence};
use tokio::sync::oneshot;

use super::log::{
    Event, LogName, LogState, LogStatus, Placed, PublishError, Published, PurgeLog, Reach, Sink,
    Trust,
};
use super::upkeep::Upkeep;

/// Purges that wait for the disk; one more is refused.
const QUEUE_MAX: usize = 1024;
/// Purges that are synced together.
const BATCH_MAX: usize = 256;
/// Identifiers that are known again, beside those in the audit trail.
const KNOWN_MAX: usize = 10_000;

type Reply = oneshot::Sender<Result<u64, Arc<LogError>>>;

/// A purge on its way to the disk.
struct Waiting {
    order: Order,
    reply: Reply,
}

/// The embedded log. Purges that come together are synced together, by a thread of its own.
#[derive(Debug)]
pub(crate) struct LocalLog {
    queue: SyncSender<Waiting>,
    /// Until it is started.
    writer: Mutex<Option<Writer>>,
    last: Arc<AtomicU64>,
    outlived: Arc<AtomicU64>,
}

impl LocalLog {
    pub(crate) fn new(file: LogFile) -> Self {
        let (queue, waiting) = sync_channel(QUEUE_MAX);
        let last = Arc::new(AtomicU64::new(file.last().0));
        let outlived = Arc::new(AtomicU64::default());
        let writer = Writer {
            file,
            waiting,
            known: Known::default(),
            last: Arc::clone(&last),
            upkeep: Upkeep::new(Arc::clone(&outlived)),
        };
        Self {
            queue,
            writer: Mutex::new(Some(writer)),
            last,
            outlived,
        }
    }
}

#[async_trait]
impl PurgeLog for LocalLog {
    fn start(&self, sink: Sink) {
        let Some(writer) = self.writer.lock().take() else {
            return;
        };
        let thread = std::thread::Builder::new().name("purge-log".to_owned());
        if let Err(error) = thread.spawn(move || writer.run(&sink)) {
            tracing::error!(%error, "no thread for the purge log: no purge will be accepted");
        }
    }

    async fn publish(&self, order: &Order, _site: Option<&str>) -> Result<Published, PublishError> {
        let (reply, answer) = oneshot::channel();
        let order = order.clone();
        let queued = self.queue.try_send(Waiting { order, reply });
        queued.map_err(|_full| PublishError::Busy)?;
        let answer = answer.await.map_err(|_gone| Arc::new(LogError::Broken))?;
        Ok(Published::At(answer?))
    }

    fn queued(&self, _id: &str) -> Option<Order> {
        None
    }

    fn status(&self) -> LogStatus {
        LogStatus {
            last: self.last.load(Ordering::Acquire),
            state: LogState::Current,
        }
    }

    fn name(&self) -> LogName {
        LogName::Own
    }

    fn trust(&self) -> Trust {
        Trust::Full
    }

    fn reach(&self, _place: u64) -> Vec<Reach> {
        Vec::new()
    }

    fn fleet(&self) -> Option<Fleet> {
        None
    }

    async fn reached_by_all(&self, _place: u64) {}

    fn outlived(&self, upto: Sequence) {
        self.outlived.fetch_max(upto.0, Ordering::AcqRel);
    }

    async fn leave(&self) {}
}

/// Writes what waits, and tells of it when the disk has it.
#[derive(Debug)]
struct Writer {
    file: LogFile,
    waiting: Receiver<Waiting>,
    known: Known,
    last: Arc<AtomicU64>,
    upkeep: Upkeep,
}

impl Writer {
    fn run(mut self, sink: &Sink) {
        while let Ok(first) = self.waiting.recv() {
            let more = self.waiting.try_iter().take(BATCH_MAX - 1);
            let batch: Vec<_> = std::iter::once(first).chain(more).collect();
            self.commit(batch, sink);
        }
    }

    fn commit(&mut self, batch: Vec<Waiting>, sink: &Sink) {
        let mut next = self.file.last();
        let mut fresh = Vec::new();
        let mut replies: Vec<(u64, Reply)> = Vec::new();
        for Waiting { order, reply } in batch {
            let place = self.known.place(&order.id).unwrap_or_else(|| {
                next = next.next();
                self.known.keep(&order.id, next.0);
                fresh.push((next, order));
                next.0
            });
            replies.push((place, reply));
        }
        let payloads: Vec<_> = fresh
            .iter()
            .map(|(_, order)| Bytes::from(order.to_log()))
            .collect();
        let written = self.file.append(&payloads).map_err(Arc::new);
        match &written {
            Ok(()) => {
                self.last.store(next.0, Ordering::Release);
                let events = fresh.into_iter();
                (sink.hear)(events.map(|(at, order)| event(at, order)).collect());
            }
            Err(_) => fresh
                .iter()
                .for_each(|(_, order)| self.known.forget(&order.id)),
        }
        for (place, reply) in replies {
            // Who gave up waiting reads it in the audit trail.
            drop(reply.send(written.clone().map(|()| place)));
        }
        // After the answers: nobody waits for it but the next purge.
        if let Err(error) = self.upkeep.shorten(&mut self.file) {
            tracing::error!(%error, "the purge log cannot be shortened");
        }
    }
}

const fn event(sequence: Sequence, order: Order) -> Event {
    Event::Purge(Placed {
        sequence,
        place: sequence.0,
        print: None,
        stamp: None,
        order,
    })
}

/// The places of the last identifiers.
#[derive(Debug, Default)]
struct Known {
    places: HashMap<String, u64>,
    oldest_first: VecDeque<String>,
}

impl Known {
    fn place(&self, id: &str) -> Option<u64> {
        self.places.get(id).copied()
    }

    fn keep(&mut self, id: &str, place: u64) {
        if self.oldest_first.len() >= KNOWN_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.places.remove(&oldest);
        }
        self.places.insert(id.to_owned(), place);
        self.oldest_first.push_back(id.to_owned());
    }

    fn forget(&mut self, id: &str) {
        self.places.remove(id);
        self.oldest_first.retain(|known| known != id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Blocking;

    use purge_api::Mode;
    use storage::purge::LogId;

    use super::*;

    fn order(id: &str) -> Order {
        Order::parse(br#"{"tags":["t"]}"#, id.to_owned(), "now".to_owned()).unwrap()
    }

    /// A started log, and what it told.
    fn started(file: LogFile) -> (LocalLog, Arc<Blocking<Vec<u64>>>) {
        let log = LocalLog::new(file);
        let told = Arc::new(Blocking::new(Vec::new()));
        let heard = Arc::clone(&told);
        log.start(Sink {
            hear: Box::new(move |events| {
                for event in events {
                    let Event::Purge(placed) = event else {
                        panic!("{event:?}");
                    };
                    assert_eq!(placed.order.mode, Mode::Hard);
                    heard.lock().unwrap().push(placed.place);
                }
            }),
            is_within: Box::new(|_, _| true),
            trail: Box::new(Vec::new),
        });
        (log, told)
    }

    #[tokio::test]
    async fn what_is_acknowledged_is_on_the_disk_and_was_told_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let (file, _) = LogFile::open(&path, LogId(1)).unwrap();
        let (log, told) = started(file);
        let log = Arc::new(log);
        let mut all = tokio::task::JoinSet::new();
        for id in 0..500 {
            let log = Arc::clone(&log);
            all.spawn(async move { log.publish(&order(&id.to_string()), None).await.unwrap() });
        }
        let mut places: Vec<_> = all.join_all().await;
        places.sort_by_key(|published| match published {
            Published::At(place) => *place,
            Published::Queued => 0,
        });
        let expected: Vec<u64> = (1..=500).collect();
        assert_eq!(*told.lock().unwrap(), expected);
        let expected: Vec<_> = expected.into_iter().map(Published::At).collect();
        assert_eq!(places, expected);
        assert_eq!(log.status().last, 500);
        let bytes = std::fs::read(&path).unwrap();
        let copy = folder.path().join("copy");
        std::fs::write(&copy, bytes).unwrap();
        let (_, recovered) = LogFile::open(&copy, LogId(2)).unwrap();
        assert_eq!(recovered.records.len(), 500);
    }

    #[tokio::test]
    async fn an_identifier_has_one_place() {
        let (log, told) = started(LogFile::volatile(LogId(1)));
        let first = order("a");
        let (one, two) = tokio::join!(log.publish(&first, None), log.publish(&first, None));
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(
            log.publish(&order("b"), None).await.unwrap(),
            Published::At(2)
        );
        assert_eq!(
            log.publish(&order("a"), None).await.unwrap(),
            Published::At(1)
        );
        assert_eq!(*told.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn identifiers_are_forgotten_at_the_limit() {
        let mut known = Known::default();
        for place in 0..=KNOWN_MAX as u64 {
            known.keep(&place.to_string(), place);
        }
        assert_eq!(known.places.len(), KNOWN_MAX);
        assert_eq!((known.place("0"), known.place("1")), (None, Some(1)));
    }
}
