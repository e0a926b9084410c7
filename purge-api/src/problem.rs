//! Errors as problem documents (RFC 9457).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

/// What is wrong with a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// It does not carry the token.
    Unauthorised,
    /// There is no such route.
    NotFound,
    /// The route knows other methods only.
    Method,
    /// The request's content is longer than any purge.
    TooLarge,
    /// The request's content is no purge that this node can apply.
    Invalid(String),
    /// The purge could not be made durable, and was not applied.
    Unavailable(String),
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorised => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn title(&self) -> &'static str {
        match self {
            Self::Unauthorised => "the admin token is needed",
            Self::NotFound => "no such route",
            Self::Method => "the route does not know this method",
            Self::TooLarge => "the content is too long",
            Self::Invalid(_) => "nothing was purged: the request is not valid",
            Self::Unavailable(_) => "nothing was purged: the log cannot be written",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Unauthorised => {
                "send `Authorization: Bearer TOKEN`; the node printed where the token is when it started"
            }
            Self::NotFound => {
                "the routes are /healthz, /readyz, /metrics, /v1/status, /v1/purges and /v1/purges/ID"
            }
            Self::Method => "the routes answer GET and HEAD, and /v1/purges takes POST",
            Self::TooLarge => "a purge has at most 256 KiB; send several",
            Self::Invalid(why) | Self::Unavailable(why) => why,
        }
    }

    /// The response that tells it.
    ///
    /// # Panics
    /// Never: the document is made of constants.
    #[must_use]
    pub fn response(&self) -> Response<Bytes> {
        let document = Document {
            title: self.title(),
            status: self.status().as_u16(),
            detail: self.detail(),
        };
        let body = serde_json::to_vec(&document).expect("constants are JSON");
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if *self == Self::Unauthorised {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
