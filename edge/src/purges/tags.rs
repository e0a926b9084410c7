//! The tags that an origin gives a response.

use http::HeaderName;
use policy::packed::Fields;

/// Tags of one response that count; more are a mistake of the origin.
pub(crate) const TAGS_MAX: usize = 256;
/// Bytes of one tag that counts.
pub(crate) const TAG_BYTES_MAX: usize = 256;

/// A field that carries tags, and how it separates them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TagField {
    pub name: HeaderName,
    pub separator: Separator,
}

/// What stands between two tags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Separator {
    Space,
    Comma,
    /// Quoted strings with commas between them: a structured list (RFC 9875).
    QuotedList,
}

impl TagField {
    /// The field as those who brought it up write it; others are lists with commas.
    pub(crate) fn new(name: HeaderName) -> Self {
        let separator = match name.as_str() {
            "surrogate-key"
            | "xkey"
            | "cache-tags"
            | "purge-cache-tags"
            | "x-drupal-cache-tags" => Separator::Space,
            "cache-groups" => Separator::QuotedList,
            _ => Separator::Comma,
        };
        Self { name, separator }
    }
}

impl TagField {
    /// Whether the field is meant for caches like this one only. Cache groups are for those of clients, too.
    pub(crate) fn is_for_caches(&self) -> bool {
        self.separator != Separator::QuotedList
    }
}

/// The tags in a response's fields.
pub(crate) fn tags(response: &impl Fields, fields: &[TagField]) -> Vec<Vec<u8>> {
    let mut tags = Vec::new();
    for field in fields {
        for value in response.lines(field.name.clone()) {
            let parts = value.split(|byte| match field.separator {
                Separator::Space => byte.is_ascii_whitespace(),
                Separator::Comma | Separator::QuotedList => *byte == b',',
            });
            tags.extend(parts.filter_map(|part| tag(part, field.separator)));
        }
    }
    tags.truncate(TAGS_MAX);
    tags
}

fn tag(part: &[u8], separator: Separator) -> Option<Vec<u8>> {
    let part = part.trim_ascii();
    let tag = match separator {
        Separator::QuotedList => part.strip_prefix(b"\"")?.strip_suffix(b"\"")?,
        Separator::Space | Separator::Comma => part,
    };
    (!tag.is_empty() && tag.len() <= TAG_BYTES_MAX).then(|| tag.to_vec())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use http::HeaderMap;

    use super::*;

    #[track_caller]
    fn check(name: &'static str, value: &'static str, expected: &[&str]) {
        let mut response = HeaderMap::new();
        response.append(name, HeaderValue::from_static(value));
        let field = TagField::new(HeaderName::from_static(name));
        let found = tags(&response, &[field]);
        assert_eq!(
            found,
            expected
                .iter()
                .map(|tag| tag.as_bytes())
                .collect::<Vec<_>>()
        );
    }

    #[test]
    #[rustfmt::skip]
    fn each_field_is_read_as_its_inventors_write_it() {
        check("surrogate-key",  "a b,c  d",        &["a", "b,c", "d"]);
        check("xkey",           "a",               &["a"]);
        check("cache-tag",      "a, b c,,d",       &["a", "b c", "d"]);
        check("x-magento-tags", "cat_p_1,cat_p_2", &["cat_p_1", "cat_p_2"]);
        check("cache-groups",   "\"a\", \"b c\"",  &["a", "b c"]);
        check("cache-groups",   "a, \"b\"",        &["b"]);
    }

    #[test]
    fn tags_have_limits() {
        let mut response = HeaderMap::new();
        let many = vec!["t"; TAGS_MAX + 1].join(" ");
        response.append("xkey", HeaderValue::try_from(many).unwrap());
        let field = [TagField::new(HeaderName::from_static("xkey"))];
        assert_eq!(tags(&response, &field).len(), TAGS_MAX);
        let long = "x".repeat(TAG_BYTES_MAX + 1);
        response.insert("xkey", HeaderValue::try_from(long).unwrap());
        assert!(tags(&response, &field).is_empty());
    }
}
