//! The dashboard: one page, without anything from elsewhere, that asks the admin API with the token of whoever looks.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};
use purge_api::{Asked, Problem};
use sha2::{Digest as _, Sha256};

use crate::node::Node;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 4] = [
    include_str!("api.js"),
    include_str!("chart.js"),
    include_str!("tables.js"),
    include_str!("app.js"),
];

/// The page, and what a browser may do for it: nothing but what is in it, and asking this node.
struct Page {
    text: Bytes,
    policy: HeaderValue,
}

static THE_PAGE: LazyLock<Page> = LazyLock::new(Page::new);

impl Page {
    fn new() -> Self {
        let script = SCRIPTS.concat();
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
            hash(&script),
            hash(STYLE)
        );
        let text = PAGE
            .replacen("<style></style>", &format!("<style>{STYLE}</style>"), 1)
            .replacen(
                "<script></script>",
                &format!("<script>{script}</script>"),
                1,
            );
        Self {
            text: text.into(),
            policy: HeaderValue::try_from(policy).expect("a policy is made of ASCII"),
        }
    }
}

/// What a policy names a text by (CSP 3 §2.3.1).
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// Answers a request to the admin listener that is about the dashboard; none if it is about something else.
pub(crate) fn answer(node: &Node, asked: &Asked<'_>) -> Option<Response<Bytes>> {
    let path = asked.target.split('?').next().unwrap_or_default();
    match path {
        "/ui" | "/ui/" => Some(page(asked.method)),
        "/v1/config" => Some(settings(node, asked)),
        _ => None,
    }
}

/// It holds nothing of the node: whoever reaches the listener may have it.
fn page(method: &Method) -> Response<Bytes> {
    let Page { text, policy } = &*THE_PAGE;
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(text.clone());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const FIELDS: [(HeaderName, &str); 5] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// `GET /v1/config`, for tokens that may read, and are good for all sites.
fn settings(node: &Node, asked: &Asked<'_>) -> Response<Bytes> {
    let in_force = node.in_force_now();
    in_force
        .api
        .read(asked, node, |reader| match *asked.method {
            Method::GET | Method::HEAD if reader.sees_all() => Ok(in_force.settings.clone()),
            Method::GET | Method::HEAD => Err(Problem::Forbidden(
                "the settings are for tokens that are good for all sites".to_owned(),
            )),
            _ => Err(Problem::Method),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_complete_and_asks_nobody_else() {
        let text = std::str::from_utf8(&THE_PAGE.text).unwrap();
        assert!(text.contains(STYLE) && SCRIPTS.iter().all(|it| text.contains(it)));
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
        for part in ["src=\"", "style=\"", "onclick", "innerHTML", "eval("] {
            assert!(!text.contains(part), "{part}");
        }
        let mut links = text.split("href=\"").skip(1);
        assert!(links.all(|it| it.starts_with('#') || it.starts_with("data:,")));
        let elsewhere = text
            .replace("http://www.w3.org/2000/svg", "")
            .replace("https://www.example.com", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
    }

    #[test]
    fn the_policy_allows_the_script_and_the_style_that_are_there() {
        let policy = THE_PAGE.policy.to_str().unwrap();
        assert_eq!(
            hash(""),
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
        assert!(policy.contains(&hash(STYLE)) && policy.contains(&hash(&SCRIPTS.concat())));
        assert!(!policy.contains("unsafe"));
    }
}
