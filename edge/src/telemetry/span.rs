//! A step of a request, as it is recorded.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use storage::Sign;
use tiered::{SpanId, TraceId};

use super::Trace;

/// On which side of a request a step is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// It answers a client.
    Server,
    /// It asks another server.
    Client,
    /// It is within the node.
    Internal,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(Cow<'static, str>),
    Number(i64),
    Fraction(f64),
    Truth(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(i64::from(number))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Fraction(number)
    }
}

/// Another step that one has to do with, of any trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    pub trace: TraceId,
    pub span: SpanId,
}

impl From<Link> for Sign {
    fn from(Link { trace, span }: Link) -> Self {
        let mut sign = [0; 24];
        sign[..16].copy_from_slice(&trace.0);
        sign[16..].copy_from_slice(&span.0);
        Self(sign)
    }
}

impl From<Sign> for Link {
    fn from(Sign(sign): Sign) -> Self {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&sign[..16]);
        span.copy_from_slice(&sign[16..]);
        Self {
            trace: TraceId(trace),
            span: SpanId(span),
        }
    }
}

/// A step that is over.
#[derive(Debug)]
pub(crate) struct Span {
    pub trace: Arc<Trace>,
    pub id: SpanId,
    /// None only where a trace begins at this node.
    pub parent: Option<SpanId>,
    pub name: &'static str,
    pub kind: Kind,
    /// In nanoseconds since 1970.
    pub began: u64,
    pub ended: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// Steps of others that it waited for.
    pub links: Vec<Link>,
    /// Whether it failed.
    pub failed: bool,
}

/// A step that is under way. It ends when it is dropped, whatever becomes of it.
#[derive(Debug)]
pub(crate) struct Open(Option<Box<Span>>);

impl Open {
    pub(super) fn new(span: Span) -> Self {
        Self(Some(Box::new(span)))
    }

    /// By which steps below it name it.
    pub(crate) fn id(&self) -> Option<SpanId> {
        self.0.as_ref().map(|span| span.id)
    }

    /// By which others that wait for it name it.
    pub(crate) fn sign(&self) -> Option<Sign> {
        let span = self.0.as_ref()?;
        let link = Link {
            trace: span.trace.id,
            span: span.id,
        };
        Some(link.into())
    }

    /// Adds what is known of it.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.attributes.push((name, value.into()));
        }
    }

    /// It failed for this reason.
    pub(crate) fn fail(&mut self, why: impl Display) {
        self.set("error.type", why.to_string());
        if let Some(span) = &mut self.0 {
            span.failed = true;
        }
    }

    /// It did not take place.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut span) = self.0.take() {
            let trace = Arc::clone(&span.trace);
            span.ended = trace.now();
            trace.tell(*span);
        }
    }
}
