//! Traces and metrics for a collector that speaks OTLP, the protocol of OpenTelemetry.
//!
//! A request whose trace is recorded hands each of its [`Span`]s to a queue when that ends; a task takes them from there
//! and sends them in batches. Where the queue is full a span is dropped and counted: nobody waits for a collector. Metrics
//! are those of `/metrics`, read at an interval. Without `[telemetry]` a request has no [`Trace`], and none of this runs.

mod collector;
mod export;
mod metrics;
mod otlp;
mod served;
mod span;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use collector::{Collector, Endpoint};
use export::{Export, Spans};
pub(crate) use metrics::TelemetryMetrics;
pub(crate) use otlp::Resource;
pub(crate) use served::{asks_origin, name_of, told_method};
pub(crate) use span::{Kind, Link, Open, Span, Value};
pub(crate) use trace::{Continues, Sampling, SentBy, Trace, Tracer};

use crate::node::Node;

/// How long the end of a node waits until the last spans and metrics are sent.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// What is sent, and where.
pub(crate) struct Telemetry {
    /// None where no traces are sent.
    pub tracer: Option<Tracer>,
    /// What [`start`] takes.
    ready: Mutex<Option<Ready>>,
    closing: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What the sending tasks begin with.
struct Ready {
    export: Export,
    spans: Option<Spans>,
    every: Option<Duration>,
}

impl Telemetry {
    /// Prepares what [`start`] begins.
    pub(crate) fn new(
        (collector, resource): (Collector, Resource),
        tracer: Option<(Tracer, Spans)>,
        every: Option<Duration>,
        counters: TelemetryMetrics,
    ) -> Self {
        let (tracer, spans) = tracer.unzip();
        let export = Export::new(collector, resource, counters);
        Self {
            tracer,
            ready: Mutex::new(Some(Ready {
                export,
                spans,
                every,
            })),
            closing: watch::Sender::new(false),
            tasks: Mutex::default(),
        }
    }

    /// Sends what is left, for a while.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        let all = futures::future::join_all(tasks);
        if timeout(CLOSE_TIME, all).await.is_err() {
            tracing::warn!("the collector does not take the last spans and metrics: they are lost");
        }
    }
}

/// Begins to send.
pub(crate) fn start(node: &Arc<Node>) {
    let Some(telemetry) = &node.telemetry else {
        return;
    };
    let Some(ready) = telemetry.ready.lock().take() else {
        return;
    };
    let Ready {
        export,
        spans,
        every,
    } = ready;
    let export = Arc::new(export);
    let mut tasks = telemetry.tasks.lock();
    if let Some(spans) = spans {
        let (export, closing) = (Arc::clone(&export), telemetry.closing.subscribe());
        tasks.push(tokio::spawn(async move {
            export.send_spans(spans, closing).await;
        }));
    }
    if let Some(every) = every {
        let (node, closing) = (Arc::downgrade(node), telemetry.closing.subscribe());
        tasks.push(tokio::spawn(async move {
            export.send_metrics(&node, every, closing).await;
        }));
    }
}
