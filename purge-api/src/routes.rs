//! What the admin listener answers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::auth::Token;
use crate::problem::Problem;

/// The node behind the API.
pub trait Node {
    /// Whether it takes requests of clients.
    fn readiness(&self) -> Readiness;
    /// All metrics in the text format of Prometheus.
    fn metrics(&self) -> String;
    /// What it is doing.
    fn status(&self) -> Status;
}

/// Whether a node takes requests of clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// Its listeners are open.
    Ready,
    /// It finishes what is under way, and stops.
    Draining,
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
    pub fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        node: &impl Node,
    ) -> Response<Bytes> {
        match path {
            "/healthz" => read(method, || text(StatusCode::OK, "ok\n")),
            "/readyz" => read(method, || match node.readiness() {
                Readiness::Ready => text(StatusCode::OK, "ready\n"),
                Readiness::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            }),
            "/metrics" => read(method, || exposition(node.metrics())),
            _ if !self.token.admits(headers) => Problem::Unauthorised.response(),
            "/v1/status" => read(method, || json(&node.status())),
            _ => Problem::NotFound.response(),
        }
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

fn text(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let body = Bytes::from_static(body.as_bytes());
    response(status, "text/plain; charset=utf-8", body)
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
    }

    #[track_caller]
    fn check(method: Method, path: &str, token: Option<&'static str>, status: u16) -> Bytes {
        let api = Api::new(Token::parse("0123456789abcdef").unwrap());
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(token));
        }
        let response = api.answer(&method, path, &headers, &Fixed(Readiness::Ready));
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
    fn a_draining_node_is_not_ready() {
        let api = Api::new(Token::parse("0123456789abcdef").unwrap());
        let node = Fixed(Readiness::Draining);
        let response = api.answer(&Method::GET, "/readyz", &HeaderMap::new(), &node);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
