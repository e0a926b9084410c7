//! What the admin listener answers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::auth::Token;
use crate::order::{Order, Receipt};
use crate::problem::Problem;

/// The node behind the API.
pub trait Node {
    /// Whether it takes requests of clients.
    fn readiness(&self) -> Readiness;
    /// All metrics in the text format of Prometheus.
    fn metrics(&self) -> String;
    /// What it is doing.
    fn status(&self) -> Status;
    /// Now, in RFC 3339.
    fn now(&self) -> String;
    /// An identifier that nobody else has.
    fn new_id(&self) -> String;
    /// Makes a purge durable and applies it. A purge whose identifier is known already is not applied again.
    ///
    /// # Errors
    /// [`Refused`] where nothing was purged.
    fn purge(&self, order: Order) -> Result<Receipt, Refused>;
    /// The last purges, the newest first, at most so many.
    fn purges(&self, most: usize) -> Vec<Receipt>;
    /// One purge.
    fn purge_by_id(&self, id: &str) -> Option<Receipt>;
}

/// Why nothing was purged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The purge names what the node does not serve.
    Invalid(String),
    /// The log cannot be written.
    Unavailable(String),
}

/// A request to the API.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, as it was sent.
    pub path: &'a str,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Its content; none where there was more than [`BODY_MAX`](crate::BODY_MAX) bytes of it.
    pub body: Option<&'a [u8]>,
}

/// Purges in one answer.
const LIST_MAX: usize = 1000;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Whether a node takes requests of clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// Its listeners are open.
    Ready,
    /// It finishes what is under way, and stops.
    Draining,
    /// It has not reached the purge log since it was started.
    Apart,
    /// It has still to apply so many purges.
    Replaying(u64),
    /// For so long it may have missed purges, which is more than is allowed.
    Lagging(Duration),
}

impl Readiness {
    fn response(self) -> Response<Bytes> {
        let why = match self {
            Self::Ready => return text(StatusCode::OK, "ready\n"),
            Self::Draining => "draining\n".to_owned(),
            Self::Apart => "waiting for the purge log\n".to_owned(),
            Self::Replaying(left) => format!("replaying purges: {left} left\n"),
            Self::Lagging(lag) => format!(
                "lagging: purges of the last {} s may be missing\n",
                lag.as_secs()
            ),
        };
        text(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

/// A node in figures.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The program's version.
    pub version: &'static str,
    /// Since it was started.
    pub uptime_seconds: u64,
    /// The sites, by name.
    pub sites: Vec<String>,
    /// Responses in the memory tier.
    pub objects: u64,
    /// Bytes charged to the memory tier: bodies, heads, index, fills.
    pub bytes: u64,
    /// The most that may be charged.
    pub bytes_max: u64,
    /// Connections of clients.
    pub connections: u64,
}

/// The admin API.
#[derive(Debug)]
pub struct Api {
    token: Token,
}

impl Api {
    /// An API that the token opens.
    #[must_use]
    pub const fn new(token: Token) -> Self {
        Self { token }
    }

    /// Answers a request. Its path is taken as it is: nothing is decoded or resolved, so nothing leads around a check.
    #[must_use]
    pub fn answer(&self, asked: &Asked<'_>, node: &impl Node) -> Response<Bytes> {
        let Asked { method, path, .. } = *asked;
        match path {
            "/healthz" => read(method, || text(StatusCode::OK, "ok\n")),
            "/readyz" => read(method, || node.readiness().response()),
            "/metrics" => read(method, || exposition(node.metrics())),
            _ if !self.token.admits(asked.headers) => Problem::Unauthorised.response(),
            "/v1/status" => read(method, || json(&node.status())),
            "/v1/purges" if *method == Method::POST => purge(asked, node),
            "/v1/purges" => read(method, || json(&node.purges(LIST_MAX))),
            _ => match path
                .strip_prefix("/v1/purges/")
                .map(|id| node.purge_by_id(id))
            {
                Some(Some(receipt)) => read(method, || json(&receipt)),
                _ => Problem::NotFound.response(),
            },
        }
    }
}

fn purge(asked: &Asked<'_>, node: &impl Node) -> Response<Bytes> {
    let Some(body) = asked.body else {
        return Problem::TooLarge.response();
    };
    let id = match asked.headers.get(IDEMPOTENCY_KEY).map(HeaderValue::to_str) {
        Some(Ok(id)) => id.to_owned(),
        Some(Err(_)) => {
            return Problem::Invalid("Idempotency-Key is not text".to_owned()).response();
        }
        None => node.new_id(),
    };
    let order = match Order::parse(body, id, node.now()) {
        Ok(order) => order,
        Err(error) => return Problem::Invalid(error.to_string()).response(),
    };
    match node.purge(order) {
        Ok(receipt) => json(&receipt),
        Err(Refused::Invalid(why)) => Problem::Invalid(why).response(),
        Err(Refused::Unavailable(why)) => Problem::Unavailable(why).response(),
    }
}

fn read(method: &Method, answer: impl FnOnce() -> Response<Bytes>) -> Response<Bytes> {
    match *method {
        Method::GET | Method::HEAD => answer(),
        _ => Problem::Method.response(),
    }
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    response(status, "text/plain; charset=utf-8", body.into())
}

fn exposition(metrics: String) -> Response<Bytes> {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    response(StatusCode::OK, kind, Bytes::from(metrics))
}

fn json(value: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    response(StatusCode::OK, "application/json", Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::order::Scope;

    struct Fixed(Readiness);

    impl Node for Fixed {
        fn readiness(&self) -> Readiness {
            self.0
        }

        fn metrics(&self) -> String {
            "larder_up 1\n".to_owned()
        }

        fn status(&self) -> Status {
            Status {
                node: "n".to_owned(),
                version: "0",
                uptime_seconds: 1,
                sites: vec!["s".to_owned()],
                objects: 2,
                bytes: 3,
                bytes_max: 4,
                connections: 5,
            }
        }

        fn now(&self) -> String {
            "now".to_owned()
        }

        fn new_id(&self) -> String {
            "made".to_owned()
        }

        fn purge(&self, order: Order) -> Result<Receipt, Refused> {
            let unknown = Scope::Host("unknown".to_owned());
            if order.scopes.contains(&unknown) {
                return Err(Refused::Invalid("unknown".to_owned()));
            }
            Ok(Receipt {
                order,
                sequence: 7,
                node: "n".to_owned(),
            })
        }

        fn purges(&self, _most: usize) -> Vec<Receipt> {
            Vec::new()
        }

        fn purge_by_id(&self, _id: &str) -> Option<Receipt> {
            None
        }
    }

    const TOKEN: &str = "0123456789abcdef";

    fn post(body: Option<&[u8]>, id: Option<&'static str>) -> (StatusCode, serde_json::Value) {
        let api = Api::new(Token::parse(TOKEN).unwrap());
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::try_from(format!("Bearer {TOKEN}")).unwrap();
        headers.insert(AUTHORIZATION, bearer);
        if let Some(id) = id {
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static(id));
        }
        let asked = Asked {
            method: &Method::POST,
            path: "/v1/purges",
            headers: &headers,
            body,
        };
        let response = api.answer(&asked, &Fixed(Readiness::Ready));
        let document = serde_json::from_slice(response.body()).unwrap();
        (response.status(), document)
    }

    #[test]
    fn a_purge_is_answered_with_its_sequence() {
        let (status, receipt) = post(Some(br#"{"tags":["a"]}"#), None);
        assert_eq!(status, StatusCode::OK);
        assert_eq!(receipt["sequence"], 7);
        assert_eq!(receipt["id"], "made");
        assert_eq!(receipt["mode"], "hard");
        let (_, receipt) = post(Some(br#"{"all":true}"#), Some("mine"));
        assert_eq!(receipt["id"], "mine");
    }

    #[test]
    fn what_cannot_be_purged_says_why() {
        let check = |body, status: StatusCode| {
            let (answered, problem) = post(body, None);
            assert_eq!(answered, status, "{problem}");
            assert_eq!(problem["status"], status.as_u16());
            assert!(problem["detail"].as_str().is_some_and(|it| !it.is_empty()));
        };
        check(Some(b"{}".as_slice()), StatusCode::UNPROCESSABLE_ENTITY);
        check(
            Some(br#"{"hosts":["unknown"]}"#),
            StatusCode::UNPROCESSABLE_ENTITY,
        );
        check(None, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[track_caller]
    fn check(method: Method, path: &str, token: Option<&'static str>, status: u16) -> Bytes {
        let api = Api::new(Token::parse("0123456789abcdef").unwrap());
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(token));
        }
        let asked = Asked {
            method: &method,
            path,
            headers: &headers,
            body: Some(b""),
        };
        let response = api.answer(&asked, &Fixed(Readiness::Ready));
        assert_eq!(response.status(), status, "{method} {path}");
        response.into_body()
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_open_and_what_is_not() {
        let right = Some("Bearer 0123456789abcdef");
        check(Method::GET,    "/healthz",            None,                 200);
        check(Method::HEAD,   "/readyz",             None,                 200);
        check(Method::GET,    "/metrics",            None,                 200);
        check(Method::POST,   "/healthz",            None,                 405);
        check(Method::GET,    "/v1/status",          None,                 401);
        check(Method::GET,    "/v1/status",          Some("Bearer wrong"), 401);
        check(Method::GET,    "/v1/status",          right,                200);
        check(Method::DELETE, "/v1/status",          right,                405);
        check(Method::POST,   "/v1/purges",          None,                 401);
        check(Method::GET,    "/v1/purges",          right,                200);
        check(Method::DELETE, "/v1/purges",          right,                405);
        check(Method::GET,    "/v1/purges/none",     right,                404);
        check(Method::GET,    "/",                   None,                 401);
        check(Method::GET,    "/",                   right,                404);
        check(Method::GET,    "/healthz/../v1/status", None,               401);
        check(Method::GET,    "//v1/status",         right,                404);
    }

    #[test]
    fn a_problem_says_what_to_do() {
        let body = check(Method::GET, "/v1/status", None, 401);
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["status"], 401);
        assert!(document["detail"].as_str().unwrap().contains("Bearer"));
    }

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let api = Api::new(Token::parse("0123456789abcdef").unwrap());
        for (readiness, status, why) in [
            (Readiness::Ready, 200, "ready"),
            (Readiness::Draining, 503, "draining"),
            (Readiness::Replaying(7), 503, "replaying purges: 7 left"),
            (
                Readiness::Lagging(Duration::from_secs(12)),
                503,
                "lagging: purges of the last 12 s",
            ),
        ] {
            let asked = Asked {
                method: &Method::GET,
                path: "/readyz",
                headers: &HeaderMap::new(),
                body: Some(b""),
            };
            let response = api.answer(&asked, &Fixed(readiness));
            assert_eq!(response.status(), status);
            let body = String::from_utf8_lossy(response.body()).into_owned();
            assert!(body.starts_with(why), "{body}");
        }
    }
}
