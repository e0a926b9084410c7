//! Requests with QUERY (RFC 10008): safe, with content that is part of what is asked.
//!
//! Responses are stored under the target and the content. An unsafe request invalidates all of a target's, which no
//! list says where to find: each target has an epoch instead, which is part of the keys (`storage::Epochs`).

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName};

/// The fields that say what the content means.
pub(crate) const ABOUT_CONTENT: [HeaderName; 3] =
    [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE];

/// Whether a method is QUERY.
pub(crate) fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

/// What was read of a request's content before its way was decided.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Content {
    /// Nothing: it passes through.
    #[default]
    Unread,
    /// All of it.
    Whole(Bytes),
    /// It is longer than what may be read.
    Beginning(Bytes),
}

impl Content {
    /// What was read and has to be read again by who forwards it.
    pub(crate) fn read(&self) -> Option<Bytes> {
        match self {
            Self::Unread => None,
            Self::Whole(content) | Self::Beginning(content) => Some(content.clone()),
        }
    }

    /// All of it, where that is known.
    pub(crate) const fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(content) => Some(content),
            Self::Unread | Self::Beginning(_) => None,
        }
    }
}

/// The fields of a request that say what its content means.
pub(crate) fn about_content(headers: &HeaderMap) -> Vec<Option<&[u8]>> {
    let values = ABOUT_CONTENT.iter().map(|name| headers.get(name));
    values
        .map(|value| value.map(http::HeaderValue::as_bytes))
        .collect()
}
