//! What a message says about its own connection (RFC 9110 §7.6.1, RFC 9112 §9.3).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, Version};

use crate::Refusal;
use crate::grammar::{elements, is_token};
use crate::limits::CONNECTION_OPTIONS_MAX;

pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(crate) const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Whether the connection may carry another request after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It may.
    KeepAlive,
    /// This is the last one.
    Close,
}

/// The options of all `Connection` fields. They are spelled like field names, which most of them
/// are; empty list elements are ignored (RFC 9110 §5.6.1.2).
pub(crate) fn options(headers: &HeaderMap) -> Result<Vec<HeaderName>, Refusal> {
    let mut options = Vec::new();
    for option in elements(headers, CONNECTION).filter(|element| !element.is_empty()) {
        if options.len() == CONNECTION_OPTIONS_MAX {
            return Err(Refusal::TooManyConnectionOptions);
        }
        if !is_token(option) {
            return Err(Refusal::ConnectionOption);
        }
        let option = HeaderName::from_bytes(option).ok();
        options.push(option.ok_or(Refusal::ConnectionOption)?);
    }
    Ok(options)
}

/// Persistence by the rules of RFC 9112 §9.3: `close` wins, 1.1 persists, 1.0 only if it asks to.
pub(crate) fn persistence(version: Version, options: &[HeaderName]) -> Persistence {
    let has = |option: &str| options.iter().any(|name| name == option);
    if has("close") {
        return Persistence::Close;
    }
    if version == Version::HTTP_11 || has("keep-alive") {
        return Persistence::KeepAlive;
    }
    Persistence::Close
}

/// Removes what is meant for this connection only: `Connection`, the fields it nominates, and
/// those that RFC 9110 §7.6.1 names in case they were not nominated.
///
/// `Host`, `Content-Length` and `Transfer-Encoding` stay, whoever nominates them: without them
/// the message would go elsewhere or end elsewhere. Call it before a cache key is made or a field
/// of the node's own is added, so that no client can take those away.
pub fn remove_hop_by_hop(headers: &mut HeaderMap, nominated: &[HeaderName]) {
    const KEPT: [HeaderName; 3] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];
    const REMOVED: [HeaderName; 6] = [
        CONNECTION,
        PROXY_CONNECTION,
        KEEP_ALIVE,
        TE,
        UPGRADE,
        HTTP2_SETTINGS,
    ];
    for name in nominated.iter().filter(|name| !KEPT.contains(name)) {
        headers.remove(name);
    }
    for name in &REMOVED {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(values: &[&'static str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| http::HeaderValue::from_static(value));
        values.map(|value| (CONNECTION, value)).collect()
    }

    #[track_caller]
    fn check(version: Version, values: &[&'static str], expected: Persistence) {
        let options = options(&connection(values)).unwrap();
        assert_eq!(persistence(version, &options), expected, "{values:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn persistence_follows_version_and_options() {
        let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
        check(v11, &[],                        Persistence::KeepAlive);
        check(v11, &["keep-alive"],            Persistence::KeepAlive);
        check(v11, &["close"],                 Persistence::Close);
        check(v11, &["x, CLOSE"],              Persistence::Close);
        check(v11, &["keep-alive, close"],     Persistence::Close);
        check(v11, &["keep-alive", "close"],   Persistence::Close);
        check(v11, &["closed"],                Persistence::KeepAlive);
        check(v11, &[", ,"],                   Persistence::KeepAlive);
        check(v10, &[],                        Persistence::Close);
        check(v10, &["Keep-Alive"],            Persistence::KeepAlive);
        check(v10, &["keep-alive", "close"],   Persistence::Close);
    }

    #[test]
    fn options_are_tokens_and_few() {
        let many = |count| vec!["a"; count].join(",");
        let found = |text: &str| {
            let value = http::HeaderValue::from_str(text).unwrap();
            options(&HeaderMap::from_iter([(CONNECTION, value)])).map(|options| options.len())
        };
        assert_eq!(found("close;x"), Err(Refusal::ConnectionOption));
        assert_eq!(found("\"close\""), Err(Refusal::ConnectionOption));
        assert_eq!(found("close x"), Err(Refusal::ConnectionOption));
        assert_eq!(
            found(&many(CONNECTION_OPTIONS_MAX)),
            Ok(CONNECTION_OPTIONS_MAX)
        );
        let refused = Err(Refusal::TooManyConnectionOptions);
        assert_eq!(found(&many(CONNECTION_OPTIONS_MAX + 1)), refused);
    }

    #[test]
    fn nominated_fields_go_but_not_those_that_frame_or_route() {
        let fields = [
            ("connection", "cookie, host, content-length"),
            ("host", "a"),
            ("content-length", "5"),
            ("cookie", "a=b"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AA"),
            ("proxy-connection", "close"),
            ("accept", "*/*"),
        ];
        let field = |(name, value)| {
            (
                HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )
        };
        let mut headers: HeaderMap = fields.into_iter().map(field).collect();

        let nominated = options(&headers).unwrap();
        remove_hop_by_hop(&mut headers, &nominated);

        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }
}
