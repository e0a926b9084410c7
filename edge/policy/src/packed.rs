//! The header fields of a stored response, in one piece of memory.
//!
//! A [`HeaderMap`] takes 104 bytes for a field, beside its value and its index: half as much as a short object's content. Nothing
//! is added to what is stored, it has a dozen fields, and all of them are sent: they lie one behind the other, as long as they
//! are, in the order that the map had. To look one up is to pass those before it.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Fields that can be looked up, wherever they are.
pub trait Fields {
    /// All fields in their order; those of one name are together.
    fn all(&self) -> impl Iterator<Item = (&str, &[u8])>;

    /// The values of the lines of one field (RFC 9110 §5.2), in order.
    fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]>;

    /// The first value of a field.
    fn first(&self, name: HeaderName) -> Option<HeaderValue> {
        let first = self.lines(name).next();
        first.and_then(|value| HeaderValue::from_bytes(value).ok())
    }

    /// Whether the field is there.
    fn has(&self, name: HeaderName) -> bool {
        self.lines(name).next().is_some()
    }
}

impl Fields for HeaderMap {
    fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).into_iter().map(HeaderValue::as_bytes)
    }

    fn first(&self, name: HeaderName) -> Option<HeaderValue> {
        self.get(name).cloned()
    }

    fn has(&self, name: HeaderName) -> bool {
        self.contains_key(name)
    }
}

/// Fields in one piece, and a text behind them.
///
/// Each is a code for its name, the length of its value, and the value. Names without a code are written behind theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    bytes: Box<[u8]>,
    /// Where the text behind the fields begins.
    end: u32,
}

/// A field of [`Packed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedField<'a> {
    /// Its name, in lower case.
    pub name: &'a str,
    /// Its value.
    pub value: &'a [u8],
    /// Whether it is a secret (RFC 7541 §7.1.3).
    pub is_secret: bool,
}

/// What a field begins with where its name has no code.
const OWN_NAME: u8 = 0x7f;
/// Set in what a field begins with that is a secret.
const SECRET: u8 = 0x80;
/// Bytes before a value: the code, and the length.
const BEFORE_VALUE: usize = 1 + size_of::<u32>();
/// Bytes before a name without a code.
const BEFORE_NAME: usize = size_of::<u16>();

/// The names that have a code, their place: those that responses have, the most usual ones first.
const CODED: [&str; 56] = [
    "date",
    "content-type",
    "cache-control",
    "etag",
    "last-modified",
    "content-length",
    "vary",
    "expires",
    "server",
    "content-encoding",
    "accept-ranges",
    "age",
    "via",
    "cache-status",
    "access-control-allow-origin",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
    "content-security-policy",
    "referrer-policy",
    "link",
    "location",
    "content-language",
    "content-disposition",
    "content-location",
    "content-range",
    "set-cookie",
    "pragma",
    "alt-svc",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-max-age",
    "content-security-policy-report-only",
    "trailer",
    "warning",
    "www-authenticate",
    "retry-after",
    "allow",
    "refresh",
    "upgrade",
    "x-dns-prefetch-control",
    "cdn-cache-control",
    "surrogate-control",
    "surrogate-key",
    "cache-tag",
    "permissions-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "cross-origin-embedder-policy",
    "timing-allow-origin",
    "server-timing",
    "content-digest",
    "repr-digest",
];

impl Packed {
    /// Packs fields, and a text behind them.
    pub fn new(fields: &HeaderMap, text: &str) -> Self {
        let lengths = fields
            .iter()
            .map(|(name, value)| BEFORE_VALUE + BEFORE_NAME + name.as_str().len() + value.len());
        let mut bytes = BytesMut::with_capacity(lengths.sum::<usize>() + text.len());
        for (name, value) in fields {
            put_field(&mut bytes, name.as_str(), value);
        }
        let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes.put_slice(text.as_bytes());
        Self {
            // As long as it is: it stays for long.
            bytes: Box::from(&bytes[..]),
            end,
        }
    }

    /// The fields, each as it is.
    pub fn iter(&self) -> impl Iterator<Item = PackedField<'_>> {
        fields_of(self.split().0)
    }

    /// The first value of a field.
    pub fn get(&self, name: HeaderName) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// The text behind the fields.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.split().1).unwrap_or_default()
    }

    /// The fields, and the text.
    fn split(&self) -> (&[u8], &[u8]) {
        let end = usize::try_from(self.end).unwrap_or(usize::MAX);
        self.bytes
            .split_at_checked(end)
            .unwrap_or((&self.bytes, &[]))
    }

    /// All of it, as it lies in memory.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fields by their names. Their values share one copy.
    pub fn to_map(&self) -> HeaderMap {
        let packed = Bytes::copy_from_slice(self.split().0);
        let mut map = HeaderMap::with_capacity(fields_of(&packed).count());
        for field in fields_of(&packed) {
            let value = HeaderValue::from_maybe_shared(packed.slice_ref(field.value));
            let name = HeaderName::from_bytes(field.name.as_bytes());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(field.is_secret);
                map.append(name, value);
            }
        }
        map
    }
}

impl Fields for Packed {
    fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter().map(|field| (field.name, field.value))
    }

    fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.iter()
            .filter(move |field| field.name == name.as_str())
            .map(|field| field.value)
    }
}

fn put_field(out: &mut BytesMut, name: &str, value: &HeaderValue) {
    let secret = if value.is_sensitive() { SECRET } else { 0 };
    let code = CODED.iter().position(|coded| *coded == name);
    match code.and_then(|code| u8::try_from(code).ok()) {
        Some(code) => out.put_u8(code | secret),
        None => out.put_u8(OWN_NAME | secret),
    }
    // No head is as long as 4 GiB, and no name as 64 KiB: `HeaderName` refuses longer ones.
    out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    if code.is_none() {
        out.put_u16(u16::try_from(name.len()).unwrap_or(u16::MAX));
        out.put_slice(name.as_bytes());
    }
    out.put_slice(value.as_bytes());
}

fn fields_of(mut packed: &[u8]) -> impl Iterator<Item = PackedField<'_>> {
    std::iter::from_fn(move || {
        let (field, behind) = take_field(packed)?;
        packed = behind;
        Some(field)
    })
}

/// The first field, and what is behind it.
fn take_field(bytes: &[u8]) -> Option<(PackedField<'_>, &[u8])> {
    let (&code, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (name, rest) = match code & !SECRET {
        OWN_NAME => {
            let (length, rest) = rest.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            (std::str::from_utf8(name).ok()?, rest)
        }
        code => (*CODED.get(usize::from(code))?, rest),
    };
    let (value, behind) = rest.split_at_checked(length)?;
    let field = PackedField {
        name,
        value,
        is_secret: code & SECRET != 0,
    };
    Some((field, behind))
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn map(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in fields {
            let value = HeaderValue::from_bytes(value).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        map
    }

    #[test]
    fn packing_changes_no_field() {
        let mut fields = map(&[
            ("x-a", b"1"),
            ("date", b""),
            ("x-a", b"22"),
            ("b", b"\xe4"),
            ("etag", b"\"a\""),
        ]);
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        fields.append(header::SET_COOKIE, secret);
        for fields in [fields, HeaderMap::new()] {
            let packed = Packed::new(&fields, "a/b");
            assert_eq!(packed.to_map(), fields);
            assert!(packed.all().eq(fields.all()));
            assert_eq!(packed.text(), "a/b");
            let secrets = packed.iter().map(|field| field.is_secret);
            assert!(secrets.eq(fields.values().map(HeaderValue::is_sensitive)));
            let map = packed.to_map();
            let secrets = map.values().map(HeaderValue::is_sensitive);
            assert!(secrets.eq(fields.values().map(HeaderValue::is_sensitive)));
        }
    }

    #[test]
    fn fields_are_found_by_their_names() {
        let fields = map(&[("vary", b"a"), ("x-a", b"1"), ("vary", b"b")]);
        let packed = Packed::new(&fields, "text");
        for name in [header::VARY, header::AGE, HeaderName::from_static("x-a")] {
            let lines = fields.lines(name.clone());
            assert!(packed.lines(name.clone()).eq(lines), "{name}");
            assert_eq!(packed.has(name.clone()), fields.has(name));
        }
        assert_eq!(packed.get(header::VARY), Some(&b"a"[..]));
        assert_eq!(packed.get(header::AGE), None);
    }

    #[test]
    fn a_field_takes_little_more_than_its_text() {
        let fields = map(&[("date", b"Thu, 01 Jan 1970 00:16:40 GMT"), ("etag", b"1")]);
        assert_eq!(
            Packed::new(&fields, "").bytes().len(),
            2 * BEFORE_VALUE + 30
        );
    }

    #[test]
    fn every_code_is_a_name() {
        assert!(CODED.len() < usize::from(OWN_NAME));
        for name in CODED {
            assert_eq!(HeaderName::from_static(name).as_str(), name);
            assert_eq!(CODED.iter().filter(|other| **other == name).count(), 1);
        }
    }
}
