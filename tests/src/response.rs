//! A response as a client saw it.

use bytes::Bytes;
use tokio::time::Instant;

use crate::wire::{End, Fields, Head, all, first, latin1};

/// A final response, the interim ones before it, and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code, three digits or whatever was sent.
    pub status: u16,
    /// The fields in the order of the wire; for HTTP/2 with lower-case names.
    pub fields: Fields,
    /// What came of the body.
    pub body: Bytes,
    /// Whether all of it came.
    pub end: End,
    /// Fields after the body.
    pub trailers: Fields,
    /// Responses with a status of 1xx that came first.
    pub interim: Vec<Head>,
}

impl Response {
    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }

    /// Every value of a field, in order.
    #[must_use]
    pub fn headers(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name).collect()
    }

    /// What this node says that it did (RFC 9211); empty if it says nothing.
    ///
    /// The member nearest to the client is the last one.
    #[must_use]
    pub fn cache_status(&self) -> &str {
        self.headers("Cache-Status")
            .last()
            .copied()
            .unwrap_or_default()
    }

    /// A parameter of [`Self::cache_status`]: `Some("")` for one without a value.
    #[must_use]
    pub fn cache_parameter(&self, name: &str) -> Option<&str> {
        self.cache_status()
            .split(';')
            .skip(1)
            .find_map(|parameter| {
                let parameter = parameter.trim();
                let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                (key == name).then_some(value)
            })
    }

    /// Whether it was answered from the cache.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.cache_parameter("hit").is_some()
    }

    /// Why the request went on towards the origin, if it did.
    #[must_use]
    pub fn forwarded(&self) -> Option<&str> {
        self.cache_parameter("fwd")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        latin1(&self.body)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The `Age` field in seconds.
    #[must_use]
    pub fn age(&self) -> Option<u64> {
        self.header("Age").and_then(|age| age.parse().ok())
    }

    /// Whether it is as old as clocks say that were moved on by so many seconds since `began`, when it was new: within a second
    /// for each of two nodes, and what the test itself took.
    #[must_use]
    pub fn is_aged(&self, moved: u64, began: Instant) -> bool {
        let most = moved + began.elapsed().as_secs() + 2;
        (moved..=most).contains(&self.age().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_cache_status_are_found_by_name() {
        let response = Response {
            fields: vec![
                ("Cache-Status".into(), "origin; hit".into()),
                (
                    "cache-status".into(),
                    "larder; fwd=uri-miss; fwd-status=200; stored".into(),
                ),
            ],
            ..Response::default()
        };
        assert!(!response.is_hit());
        assert_eq!(response.forwarded(), Some("uri-miss"));
        assert_eq!(response.cache_parameter("fwd-status"), Some("200"));
        assert_eq!(response.cache_parameter("stored"), Some(""));
        assert_eq!(response.cache_parameter("collapsed"), None);
    }
}
