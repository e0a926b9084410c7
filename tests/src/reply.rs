//! What an origin answers, as a script.

use std::time::Duration;

use bytes::Bytes;

use crate::gate::Gate;
use crate::wire::Fields;

/// One scripted answer. Without further words it is complete, has a `Content-Length`, and leaves
/// the connection open.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) length: Length,
    pub(crate) trailers: Fields,
    pub(crate) interim: Vec<(u16, Fields)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) before_head: Option<Gate>,
    pub(crate) moment: Moment,
    pub(crate) ending: Ending,
}

/// How the answer tells its length.
#[derive(Clone, Debug)]
pub(crate) enum Length {
    /// `Content-Length` with the true sum.
    Counted,
    /// `Content-Length` with this value, true or not.
    Claimed(String),
    Chunked,
    /// Nothing is said; the end of the connection is the end of the body.
    UntilClose,
    /// The steps are the whole answer, head and all.
    Verbatim,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Bytes),
    /// The body of the request.
    Echo,
    Wait(Gate),
    Pause(Duration),
}

/// When the answer starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Moment {
    AfterBody,
    AfterHead,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    KeepAlive,
    Close,
    /// The body ends early and the connection is closed.
    Cut,
    /// As `Cut`, with a reset instead of an orderly close.
    Reset,
}

impl Reply {
    /// An answer with status 200.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200).then(body)
    }

    /// An answer that is fresh for `seconds`.
    #[must_use]
    pub fn fresh(seconds: u32, body: impl Into<Bytes>) -> Self {
        Self::ok(body).with("Cache-Control", &format!("max-age={seconds}"))
    }

    /// An answer without a body so far.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            length: Length::Counted,
            trailers: Fields::new(),
            interim: Vec::new(),
            steps: Vec::new(),
            before_head: None,
            moment: Moment::AfterBody,
            ending: Ending::KeepAlive,
        }
    }

    /// Bytes that are the whole answer; the connection stays open after them.
    #[must_use]
    pub fn verbatim(bytes: impl Into<Bytes>) -> Self {
        let mut reply = Self::status(0).then(bytes);
        reply.length = Length::Verbatim;
        reply
    }

    /// No answer: the connection is closed.
    #[must_use]
    pub fn hang_up() -> Self {
        Self::verbatim("").closing()
    }

    /// The body of the request, sent back.
    #[must_use]
    pub fn echo() -> Self {
        let mut reply = Self::status(200);
        reply.steps.push(Step::Echo);
        reply.length = Length::Chunked;
        reply
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a field after the body, which is then chunked.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self.chunked()
    }

    /// Sends more of the body.
    #[must_use]
    pub fn then(mut self, body: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Send(body.into()));
        self
    }

    /// Waits for `gate` before what comes next.
    #[must_use]
    pub fn wait(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// Pauses: only for tests whose subject is a slow origin.
    #[must_use]
    pub fn pause(mut self, duration: Duration) -> Self {
        self.steps.push(Step::Pause(duration));
        self
    }

    /// Waits for `gate` before the head.
    #[must_use]
    pub fn after(mut self, gate: &Gate) -> Self {
        self.before_head = Some(gate.clone());
        self
    }

    /// Answers at once, without reading the request's body first.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.moment = Moment::AfterHead;
        self
    }

    /// Sends an interim response first.
    #[must_use]
    pub fn interim(mut self, status: u16, fields: &[(&str, &str)]) -> Self {
        let fields = fields
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect();
        self.interim.push((status, fields));
        self
    }

    /// Uses the chunked coding.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.length = Length::Chunked;
        self
    }

    /// Ends the body with the connection.
    #[must_use]
    pub fn until_close(mut self) -> Self {
        self.length = Length::UntilClose;
        self.closing()
    }

    /// Claims a length, true or not.
    #[must_use]
    pub fn claiming(mut self, length: impl ToString) -> Self {
        self.length = Length::Claimed(length.to_string());
        self
    }

    /// Closes the connection afterwards.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.ending = Ending::Close;
        self
    }

    /// Closes the connection before the body is complete.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.ending = Ending::Cut;
        self
    }

    /// Resets the connection before the body is complete.
    #[must_use]
    pub fn reset(mut self) -> Self {
        self.ending = Ending::Reset;
        self
    }

    /// The value of `Content-Length`, if one is sent. `echo` is the length of the request's body.
    pub(crate) fn content_length(&self, echo: usize) -> Option<String> {
        let size = |step: &Step| match step {
            Step::Send(bytes) => bytes.len(),
            Step::Echo => echo,
            Step::Wait(_) | Step::Pause(_) => 0,
        };
        match &self.length {
            Length::Counted => Some(self.steps.iter().map(size).sum::<usize>().to_string()),
            Length::Claimed(length) => Some(length.clone()),
            Length::Chunked | Length::UntilClose | Length::Verbatim => None,
        }
    }
}
