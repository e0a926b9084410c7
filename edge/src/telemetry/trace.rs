//! The trace that a request belongs to, and which of them are recorded.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::rand;
use http::HeaderMap;
use parking_lot::Mutex;
use prometheus::IntCounter;
use storage::Sign;
use tiered::trace_context::{self, TRACEPARENT, TRACESTATE};
use tiered::{SpanId, TraceId, TraceParent};
use tokio::sync::mpsc;

use super::export::{SPANS_MAX, Spans};
use super::{Kind, Link, Open, Span};
use crate::access_log::Redaction;
use crate::clock::Clock;

/// The most fills of others that a step names: a request may wait for one for each slice.
const LINKS_MAX: usize = 32;

/// Whose traces go on here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Continues {
    Anyone,
    /// Those of proxies that are trusted, and of other nodes of the tiers.
    Trusted,
    /// Those of other nodes of the tiers.
    Nobody,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampling {
    /// Of those that begin here, so many of a million.
    pub per_million: u32,
    pub continues: Continues,
}

impl Sampling {
    /// Whether a trace is one of those. Every node that is asked about a trace says the same.
    fn takes(self, trace: TraceId) -> bool {
        let [.., a, b, c, d, e, f, g] = trace.0;
        let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        // The seven random bytes of W3C Trace Context Level 2, §3.2.2.3, as a fraction of a million.
        let share = (u128::from(random) * 1_000_000) >> 56;
        share < u128::from(self.per_million)
    }
}

/// Begins traces, or goes on with them.
pub(crate) struct Tracer {
    sampling: Sampling,
    recorder: Arc<Recorder>,
}

/// What all traces share.
#[derive(Debug)]
struct Recorder {
    clock: Arc<Clock>,
    redaction: Redaction,
    spans: mpsc::Sender<Span>,
    dropped: IntCounter,
}

/// What one node has of a trace: the request it answers, and what it did for it.
#[derive(Debug)]
pub(crate) struct Trace {
    pub id: TraceId,
    /// The step that is the request itself.
    pub span: SpanId,
    /// The step of whoever sent it.
    pub parent: Option<SpanId>,
    sampled: bool,
    pub state: Option<http::HeaderValue>,
    /// One moment on both clocks.
    wall: u64,
    monotonic: Instant,
    recorder: Arc<Recorder>,
    /// The fills of others that the request waited for.
    waited_for: Mutex<Vec<Link>>,
}

/// How the node knows who sent a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SentBy {
    Client,
    TrustedProxy,
    /// Another node of the tiers.
    Peer,
}

impl Tracer {
    pub(crate) fn new(
        sampling: Sampling,
        clock: &Arc<Clock>,
        redaction: Redaction,
        dropped: IntCounter,
    ) -> (Self, Spans) {
        let (spans, receiver) = mpsc::channel(SPANS_MAX);
        let recorder = Arc::new(Recorder {
            clock: Arc::clone(clock),
            redaction,
            spans,
            dropped,
        });
        let tracer = Self { sampling, recorder };
        (tracer, Spans(receiver))
    }

    /// The trace of a request with these fields.
    pub(crate) fn trace(&self, headers: &HeaderMap, sent_by: SentBy) -> Option<Arc<Trace>> {
        let believed = match self.sampling.continues {
            Continues::Anyone => true,
            Continues::Trusted => sent_by != SentBy::Client,
            Continues::Nobody => sent_by == SentBy::Peer,
        };
        let before = TraceParent::read(headers).filter(|_| believed);
        let id = match before {
            Some(before) => before.trace,
            None => TraceId(random()?),
        };
        let clock = &self.recorder.clock;
        Some(Arc::new(Trace {
            id,
            span: SpanId(random()?),
            parent: before.map(|before| before.span),
            sampled: before.map_or_else(|| self.sampling.takes(id), |before| before.sampled),
            state: before.and_then(|_| trace_context::state(headers)),
            wall: clock.wall_nanos(),
            monotonic: clock.instant(),
            recorder: Arc::clone(&self.recorder),
            waited_for: Mutex::default(),
        }))
    }
}

/// None where the system has no randomness, or zeros, which stand for nothing.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok()?;
    (bytes != [0; N]).then_some(bytes)
}

impl Trace {
    /// Whether it is recorded.
    pub(crate) const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// What is not told.
    pub(crate) fn redaction(&self) -> Redaction {
        self.recorder.redaction
    }

    /// Begins a step below `parent`, or below the request itself; none where the trace is not recorded.
    pub(crate) fn begin(
        self: &Arc<Self>,
        name: &'static str,
        kind: Kind,
        parent: Option<SpanId>,
    ) -> Option<Open> {
        if !self.sampled {
            return None;
        }
        let began = self.now();
        Some(Open::new(Span {
            trace: Arc::clone(self),
            id: SpanId(random()?),
            parent: parent.or(Some(self.span)),
            name,
            kind,
            began,
            ended: began,
            attributes: Vec::new(),
            links: Vec::new(),
            failed: false,
        }))
    }

    /// By which others that wait for what is fetched for it name it.
    pub(crate) fn sign(&self) -> Option<Sign> {
        let link = Link {
            trace: self.id,
            span: self.span,
        };
        self.sampled.then(|| link.into())
    }

    /// The request waited for a fill of another one.
    pub(crate) fn waited_for(&self, fill: Sign) {
        let mut links = self.waited_for.lock();
        let link = Link::from(fill);
        if self.sampled && links.len() < LINKS_MAX && !links.contains(&link) {
            links.push(link);
        }
    }

    /// What it waited for.
    pub(super) fn links(&self) -> Vec<Link> {
        self.waited_for.lock().clone()
    }

    /// Names the step of the node in a request that it sends; or, where that is not recorded, the request it answers.
    pub(crate) fn mark(&self, headers: &mut HeaderMap, step: Option<&Open>) {
        headers.remove(TRACESTATE);
        let parent = TraceParent {
            trace: self.id,
            span: step.and_then(Open::id).unwrap_or(self.span),
            sampled: self.sampled,
        };
        if let Some(parent) = parent.to_value() {
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }

    /// Now, in nanoseconds since 1970. Steps of a trace follow each other as they did, also where the wall clock steps.
    pub(super) fn now(&self) -> u64 {
        self.at(self.recorder.clock.instant())
    }

    /// A moment, in nanoseconds since 1970.
    pub(crate) fn at(&self, moment: Instant) -> u64 {
        let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(0);
        let after = nanos(moment.saturating_duration_since(self.monotonic));
        let before = nanos(self.monotonic.saturating_duration_since(moment));
        self.wall.saturating_add(after).saturating_sub(before)
    }

    /// Hands over a step that is over, or drops it where too many wait.
    pub(crate) fn tell(&self, span: Span) {
        if self.recorder.spans.try_send(span).is_err() {
            self.recorder.dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracer(per_million: u32, continues: Continues) -> (Tracer, Spans, IntCounter) {
        let sampling = Sampling {
            per_million,
            continues,
        };
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let clock = Arc::new(Clock::default());
        let redaction = Redaction::of([]);
        let (tracer, spans) = Tracer::new(sampling, &clock, redaction, dropped.clone());
        (tracer, spans, dropped)
    }

    fn continued() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        headers
    }

    #[test]
    #[rustfmt::skip]
    fn a_trace_goes_on_where_its_sender_is_believed() {
        use {Continues as C, SentBy as S};
        #[track_caller]
        fn check(continues: Continues, sent_by: SentBy, goes_on: bool) {
            let (tracer, _spans, _) = tracer(0, continues);
            let trace = tracer.trace(&continued(), sent_by).unwrap();
            assert_eq!(trace.id.to_string() == PARENT[3..35], goes_on);
            assert_eq!(trace.parent.is_some(), goes_on);
            assert_eq!(trace.is_sampled(), goes_on, "its flag decides, or else the share, which is nothing");
            assert_eq!(trace.state.is_some(), goes_on);
        }
        check(C::Anyone,  S::Client,       true);
        check(C::Trusted, S::Client,       false);
        check(C::Trusted, S::TrustedProxy, true);
        check(C::Nobody,  S::TrustedProxy, false);
        check(C::Nobody,  S::Peer,         true);
    }

    #[test]
    fn a_share_of_the_traces_that_begin_here_is_recorded() {
        for (per_million, least, most) in
            [(0, 0, 0), (100_000, 700, 1300), (1_000_000, 10_000, 10_000)]
        {
            let (tracer, _spans, _) = tracer(per_million, Continues::Anyone);
            let traces =
                (0..10_000).filter_map(|_| tracer.trace(&HeaderMap::new(), SentBy::Client));
            let sampled = traces.filter(|trace| trace.is_sampled()).count();
            assert!(
                (least..=most).contains(&sampled),
                "{sampled} of 10,000 at {per_million}"
            );
        }
    }

    #[test]
    fn what_is_sent_on_names_the_step_of_the_node() {
        let (tracer, mut spans, _) = tracer(0, Continues::Anyone);
        let trace = tracer.trace(&continued(), SentBy::Client).unwrap();
        let step = trace.begin("step", Kind::Client, None).unwrap();
        let mut headers = continued();
        trace.mark(&mut headers, Some(&step));
        let told = TraceParent::read(&headers).unwrap();
        assert_eq!(
            (told.trace, Some(told.span), told.sampled),
            (trace.id, step.id(), true)
        );
        assert_eq!(headers[TRACESTATE], "a=1");
        drop(step);
        let span = spans.0.try_recv().unwrap();
        assert_eq!((span.id, span.parent), (told.span, Some(trace.span)));
        assert!(span.began <= span.ended);
    }

    #[test]
    fn a_trace_that_is_not_recorded_is_named_as_such() {
        let (tracer, mut spans, _) = tracer(0, Continues::Anyone);
        let trace = tracer.trace(&HeaderMap::new(), SentBy::Client).unwrap();
        assert!(trace.begin("step", Kind::Client, None).is_none());
        let mut headers = continued();
        trace.mark(&mut headers, None);
        let told = TraceParent::read(&headers).unwrap();
        assert_eq!(
            (told.trace, told.span, told.sampled),
            (trace.id, trace.span, false)
        );
        assert_eq!(headers.get(TRACESTATE), None, "it was another trace's");
        assert!(spans.0.try_recv().is_err());
    }

    #[test]
    fn spans_beyond_the_queue_are_dropped_and_counted() {
        let (tracer, mut spans, dropped) = tracer(1_000_000, Continues::Anyone);
        let trace = tracer.trace(&HeaderMap::new(), SentBy::Client).unwrap();
        for _ in 0..SPANS_MAX + 3 {
            drop(trace.begin("step", Kind::Internal, None));
        }
        assert_eq!(dropped.get(), 3);
        let waiting = std::iter::from_fn(|| spans.0.try_recv().ok()).count();
        assert_eq!(waiting, SPANS_MAX);
    }
}
