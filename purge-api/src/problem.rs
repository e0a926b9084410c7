//! Errors as problem documents (RFC 9457).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::access::Denied;
use crate::order::OrderError;

/// What is wrong with a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// It carries no token, or one that is none of the node's.
    Unauthorised,
    /// Its token, or its address, does not open this.
    Forbidden(String),
    /// Its token was used too often.
    TooOften(Denied),
    /// There is no such route, or no such purge.
    NotFound,
    /// The route knows other methods only.
    Method,
    /// The request's content is longer than any purge.
    TooLarge,
    /// The request's content cannot be read.
    Malformed(String),
    /// The request's content is no purge that this node can apply.
    Invalid(String),
    /// The request asks for what this node cannot tell.
    Question(String),
    /// Something of its kind is under way.
    Busy,
    /// As many as may be do the same.
    Crowded(&'static str),
    /// The purge could not be made durable, and was not applied.
    Unavailable(String),
    /// The configuration that was to be taken is wrong, or there is no file to read again.
    Configuration(String),
    /// It differs in settings that a node takes when it starts.
    Restart(String),
    /// The node finishes what is under way, and stops.
    Stopping,
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
}

impl Problem {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooOften(_) | Self::Busy | Self::Crowded(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Invalid(_) | Self::Question(_) | Self::Configuration(_) | Self::Restart(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Unavailable(_) | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// One word for programs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unauthorised => "unauthorised",
            Self::Forbidden(_) => "forbidden",
            Self::TooOften(_) => "too-often",
            Self::NotFound => "not-found",
            Self::Method => "method",
            Self::TooLarge => "too-large",
            Self::Malformed(_) => "malformed",
            Self::Invalid(_) | Self::Question(_) => "invalid",
            Self::Busy | Self::Crowded(_) => "busy",
            Self::Unavailable(_) => "unavailable",
            Self::Configuration(_) => "configuration",
            Self::Restart(_) => "restart",
            Self::Stopping => "stopping",
        }
    }

    pub(crate) const fn title(&self) -> &'static str {
        match self {
            Self::Unauthorised => "a token is needed",
            Self::Forbidden(_) => "nothing was done: that is not allowed",
            Self::TooOften(_) => "nothing was done: too many requests",
            Self::NotFound => "no such route",
            Self::Method => "the route does not know this method",
            Self::TooLarge => "the content is too long",
            Self::Malformed(_) => "nothing was purged: the request cannot be read",
            Self::Invalid(_) => "nothing was purged: the request is not valid",
            Self::Question(_) => "the question is not valid",
            Self::Busy => "nothing was done: another dry run is under way",
            Self::Crowded(_) => "nothing was done: too many at once",
            Self::Unavailable(_) => "nothing was purged: the log cannot be written",
            Self::Configuration(_) => "nothing was changed: the configuration cannot be taken",
            Self::Restart(_) => "nothing was changed: some settings need a restart",
            Self::Stopping => "nothing was changed: the node is stopping",
        }
    }

    /// What exactly is wrong, or what to do.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Unauthorised => {
                "send `Authorization: Bearer TOKEN`; the node printed where the token is when it started"
                    .to_owned()
            }
            Self::NotFound => {
                "the routes are /healthz, /readyz, /metrics, /v1/openapi.json, /v1/status, /v1/purges, /v1/purges/ID, /v1/refusals and /v1/reload"
                    .to_owned()
            }
            Self::Method => {
                "the routes answer GET and HEAD, /v1/purges takes POST, and /v1/reload POST only".to_owned()
            }
            Self::TooLarge => "a purge has at most 256 KiB; send several".to_owned(),
            Self::Busy => "try again when it has been answered".to_owned(),
            Self::TooOften(denied) => denied.to_string(),
            Self::Crowded(why) => (*why).to_owned(),
            Self::Stopping => "the next start reads the configuration".to_owned(),
            Self::Forbidden(why)
            | Self::Malformed(why)
            | Self::Invalid(why)
            | Self::Question(why)
            | Self::Unavailable(why)
            | Self::Configuration(why)
            | Self::Restart(why) => why.clone(),
        }
    }

    /// The response that tells it.
    ///
    /// # Panics
    /// Never: the document is made of texts.
    #[must_use]
    pub fn response(&self) -> Response<Bytes> {
        let document = Document {
            title: self.title(),
            status: self.status().as_u16(),
            detail: &self.detail(),
            code: self.code(),
        };
        let body = serde_json::to_vec(&document).expect("texts are JSON");
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if *self == Self::Unauthorised {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// Seconds until it is worth another try.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooOften(Denied::Rate { after, .. }) => Some(after.as_secs() + 1),
            Self::Busy | Self::Crowded(_) | Self::Unavailable(_) => Some(1),
            _ => None,
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Rate { .. } => Self::TooOften(denied),
            other => Self::Forbidden(other.to_string()),
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Syntax(why) => Self::Malformed(why),
            other => Self::Invalid(other.to_string()),
        }
    }
}
