//! What is stored beside a body.

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use policy::store::Stored;
use storage::purge::{Life, Membership};

use crate::purges::Purges;

/// A name that is none of the well-known ones: its text, the shared owner of that, and the allocator's headers.
const NAME_OVERHEAD: usize = 64;

/// What is stored beside a body.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are stored responses, and each is behind one pointer already"
)]
pub(crate) enum Head {
    /// A response that may be reused.
    Stored(Cached),
    /// A response that is only passed on.
    PassedOn,
}

impl storage::Head for Head {
    fn weight(&self) -> usize {
        match self {
            Self::Stored(cached) => cached.weight(),
            Self::PassedOn => 0,
        }
    }
}

/// A response that may be reused, and what it may be purged by.
#[derive(Debug)]
pub(crate) struct Cached {
    pub stored: Stored,
    pub membership: Membership,
    /// Host and target, for people.
    pub uri: Box<str>,
}

impl Cached {
    fn weight(&self) -> usize {
        let Self {
            stored,
            membership,
            uri,
        } = self;
        let names = stored.headers.keys().filter(|name| is_own_text(name));
        // Its own size is part of the object's.
        let owned = stored.weight().saturating_sub(size_of::<Stored>());
        owned + names.count() * NAME_OVERHEAD + membership.weight() + uri.len()
    }
}

impl Head {
    /// A head that is kept: in as little memory as it needs.
    pub(crate) fn kept(mut stored: Stored, membership: Membership, uri: Box<str>) -> Self {
        stored.headers = packed(&stored.headers);
        Self::Stored(Cached {
            stored,
            membership,
            uri,
        })
    }

    pub(crate) const fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Stored(cached) => Some(&cached.stored),
            Self::PassedOn => None,
        }
    }

    /// What is kept, where something is.
    pub(crate) const fn cached(&self) -> Option<&Cached> {
        match self {
            Self::Stored(cached) => Some(cached),
            Self::PassedOn => None,
        }
    }

    /// What the purges leave of it.
    pub(crate) fn life(&self, purges: &Purges) -> Life {
        match self {
            Self::Stored(cached) => purges.life(&cached.membership),
            Self::PassedOn => Life::Gone,
        }
    }
}

/// The fields with all their values in one allocation, and no room for more. A value by itself costs 48 bytes beside
/// its text, and keeps all that was received with it where it is a part of that.
fn packed(headers: &HeaderMap) -> HeaderMap {
    let mut packed = headers.clone();
    let length = packed.values().map(HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(length);
    packed
        .values()
        .for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    for value in packed.values_mut() {
        let text = values.split_to(value.len());
        if let Ok(text) = HeaderValue::from_maybe_shared(text) {
            *value = text;
        }
    }
    packed
}

/// Whether a name is kept as text: the well-known ones are numbers, whose text is the program's.
fn is_own_text(name: &HeaderName) -> bool {
    let same = HeaderName::from_bytes(name.as_ref());
    !same.is_ok_and(|same| std::ptr::eq(same.as_str(), name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_changes_no_field() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("date", ""), ("x-a", "22"), ("b", "\u{e4}")] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(packed(&headers), headers);
        assert_eq!(packed(&HeaderMap::new()), HeaderMap::new());
    }

    #[test]
    fn only_unknown_names_are_texts() {
        assert!(!is_own_text(&http::header::CACHE_CONTROL));
        assert!(!is_own_text(&HeaderName::from_bytes(b"ETag").unwrap()));
        assert!(is_own_text(&HeaderName::from_static("x-own")));
    }
}
