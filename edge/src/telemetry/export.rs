//! Sends spans and metrics, in batches and again where that may help.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::collector::{Collector, Refused};
use super::otlp::{self, Resource};
use super::{Span, TelemetryMetrics};
use crate::node::Node;

/// Spans that wait to be sent; further ones are dropped.
pub(super) const SPANS_MAX: usize = 8192;
/// Spans of one message.
const BATCH_MAX: usize = 1024;
/// How long a batch waits for more.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a message is sent that is not taken for now.
const ATTEMPTS_MAX: u32 = 4;
/// Before the second attempt; each further one waits for twice as long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The longest wait that a collector can ask for.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// The spans that wait.
pub(crate) struct Spans(pub(super) mpsc::Receiver<Span>);

/// Sends to one collector.
pub(super) struct Export {
    collector: Collector,
    resource: Resource,
    counters: TelemetryMetrics,
    /// Whether the collector took the last message: what changes is told once.
    broken: AtomicBool,
}

/// Whether the node ends.
type Closing = watch::Receiver<bool>;

impl Export {
    pub(super) const fn new(
        collector: Collector,
        resource: Resource,
        counters: TelemetryMetrics,
    ) -> Self {
        Self {
            collector,
            resource,
            counters,
            broken: AtomicBool::new(false),
        }
    }

    /// Sends spans until the node ends, and then those that are left.
    pub(super) async fn send_spans(&self, mut spans: Spans, mut closing: Closing) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let open = collect(&mut spans.0, &mut batch, &mut closing).await;
            for batch in batch.chunks(BATCH_MAX) {
                self.send_batch(batch, &mut closing).await;
            }
            batch.clear();
            if !open {
                return;
            }
        }
    }

    async fn send_batch(&self, batch: &[Span], closing: &mut Closing) {
        let message = otlp::traces(&self.resource, batch).encode_to_vec();
        let count = batch.len() as u64;
        let Some(answer) = self.send("traces", "/v1/traces", message, closing).await else {
            return self.counters.spans("failed").inc_by(count);
        };
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        if !partial.error_message.is_empty() {
            tracing::debug!(
                why = partial.error_message,
                "the collector took spans in part"
            );
        }
        let rejected = u64::try_from(partial.rejected_spans)
            .unwrap_or(0)
            .min(count);
        self.counters.spans("failed").inc_by(rejected);
        self.counters.spans("sent").inc_by(count - rejected);
    }

    /// Sends metrics at an interval until the node ends, and then once more.
    pub(super) async fn send_metrics(
        &self,
        node: &Weak<Node>,
        every: Duration,
        mut closing: Closing,
    ) {
        let mut due = interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        due.tick().await; // the first one is at once
        loop {
            let open = tokio::select! {
                _ = due.tick() => true,
                _ = closing.wait_for(|closing| *closing) => false,
            };
            let Some(node) = node.upgrade() else {
                return;
            };
            let families = node.families();
            let now = node.clock.wall_nanos();
            drop(node);
            let message = otlp::metrics(&self.resource, &families, now).encode_to_vec();
            let answer = self
                .send("metrics", "/v1/metrics", message, &mut closing)
                .await;
            let answer = answer.and_then(|it| ExportMetricsServiceResponse::decode(it).ok());
            if let Some(partial) = answer.and_then(|it| it.partial_success)
                && !partial.error_message.is_empty()
            {
                tracing::debug!(
                    why = partial.error_message,
                    "the collector took metrics in part"
                );
            }
            if !open {
                return;
            }
        }
    }

    /// Sends a message, again where that may help; none where it was not taken.
    async fn send(
        &self,
        signal: &str,
        path: &str,
        message: Vec<u8>,
        closing: &mut Closing,
    ) -> Option<Bytes> {
        let message = Bytes::from(message);
        let mut wait = AGAIN_AFTER;
        for attempt in 1..=ATTEMPTS_MAX {
            let refused = match self.collector.post(path, message.clone()).await {
                Ok(answer) => {
                    self.counters.export(signal, "ok");
                    if self.broken.swap(false, Ordering::Relaxed) {
                        tracing::info!("the collector takes spans and metrics again");
                    }
                    return Some(answer);
                }
                Err(refused) => refused,
            };
            self.counters.export(signal, "failed");
            if !self.broken.swap(true, Ordering::Relaxed) {
                tracing::warn!(why = %refused, signal, "the collector does not take what it is sent");
            }
            let after = match refused {
                Refused::ForNow { after, .. } if attempt < ATTEMPTS_MAX => after,
                _ => return None,
            };
            tokio::select! {
                () = sleep(after.unwrap_or(wait).min(AGAIN_MAX)) => {}
                // There was one attempt, and there is no time for many.
                _ = closing.wait_for(|closing| *closing) => {}
            }
            wait *= 2;
        }
        None
    }
}

/// Waits for spans, and a while for more of them. False if there will be none any more.
async fn collect(
    spans: &mut mpsc::Receiver<Span>,
    batch: &mut Vec<Span>,
    closing: &mut Closing,
) -> bool {
    let open = tokio::select! {
        first = spans.recv() => {
            let open = first.is_some();
            batch.extend(first);
            open
        }
        _ = closing.wait_for(|closing| *closing) => false,
    };
    let pause = sleep(PAUSE);
    tokio::pin!(pause);
    while open && batch.len() < BATCH_MAX {
        let more = tokio::select! {
            more = spans.recv() => more,
            () = &mut pause => break,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        match more {
            Some(span) => batch.push(span),
            None => return false,
        }
    }
    if !open {
        batch.extend(std::iter::from_fn(|| spans.try_recv().ok()));
    }
    open
}
