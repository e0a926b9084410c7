//! Content codings (RFC 9110 §8.4): which one a client gets of a response, and what a change of coding does to its
//! head.
//!
//! What is stored is one representation, in the coding that it came in. Others are made of it when somebody asks for
//! them, and count as the same stored response.

mod accepted;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::cache_control;
use crate::fields;
use crate::packed::Fields;

pub use accepted::Accepted;

/// The field by which a client names the dictionary it has (RFC 9842 §2.2).
pub const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");

/// A content coding that a cache can make and undo.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// None (RFC 9110 §12.5.3).
    Identity,
    /// RFC 9110 §8.4.1.3
    Gzip,
    /// RFC 7932
    Brotli,
    /// RFC 8878, with a window of at most 8 MB (RFC 9659)
    Zstd,
}

impl Coding {
    /// Every coding that changes bytes, the smallest result for text first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of this name.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3
    //# A recipient SHOULD consider "x-gzip" to be equivalent to "gzip".
    pub fn named(name: &[u8]) -> Option<Self> {
        let is = |coding: &str| name.eq_ignore_ascii_case(coding.as_bytes());
        if is("x-gzip") {
            return Some(Self::Gzip);
        }
        [Self::Identity, Self::Gzip, Self::Brotli, Self::Zstd]
            .into_iter()
            .find(|coding| is(coding.as_str()))
    }
}

/// Which responses are coded, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodingRules {
    /// Codings that are made on demand, the preferred first. None of them: codings are the origin's business, and
    /// responses are sent as they came.
    pub offered: Vec<Coding>,
    /// Media types that are worth it, in lower case: `text/html`, or `text/*` and `*+json` with one star.
    pub types: Vec<String>,
    /// Shorter content is not, in bytes.
    pub least: u64,
}

/// Types that shrink. Images, audio, video, archives and fonts in WOFF are compressed by themselves, and an event
/// stream has to arrive event by event.
pub const TYPES: &[&str] = &[
    "text/html",
    "text/css",
    "text/plain",
    "text/xml",
    "text/csv",
    "text/markdown",
    "text/javascript",
    "text/vtt",
    "text/calendar",
    "application/javascript",
    "application/x-javascript",
    "application/json",
    "application/manifest+json",
    "application/xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "application/x-ndjson",
    "font/ttf",
    "font/otf",
    "image/svg+xml",
    "image/x-icon",
    "image/vnd.microsoft.icon",
    "image/bmp",
    "*+json",
    "*+xml",
];

/// Below this, what a coding saves is less than a packet.
pub const LEAST: u64 = 1024;

impl Default for CodingRules {
    fn default() -> Self {
        Self {
            offered: Coding::ALL.to_vec(),
            types: TYPES.iter().map(|&kind| kind.to_owned()).collect(),
            least: LEAST,
        }
    }
}

/// What a client gets of a response.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It as it is; other clients get the same.
    Alone,
    /// It as it is, while other clients may get another coding of it.
    AsStored,
    /// Another coding.
    Convert {
        /// What it is in.
        from: Coding,
        /// What the client gets.
        to: Coding,
    },
}

/// The coding that a response is in, where a cache may change that.
pub fn convertible(
    status: StatusCode,
    response: &impl Fields,
    rules: &CodingRules,
) -> Option<Coding> {
    if rules.offered.is_empty() || is_without_whole_content(status) {
        return None;
    }
    // A part of a representation is a part of its coded form.
    if response.has(header::CONTENT_RANGE) || forbids_transformation(response) {
        return None;
    }
    let mut codings = fields::list(response, header::CONTENT_ENCODING);
    let coding = match codings.next() {
        None => Coding::Identity,
        Some(name) => Coding::named(name)?,
    };
    codings.next().is_none().then_some(coding)
}

fn is_without_whole_content(status: StatusCode) -> bool {
    status.is_informational() || matches!(status.as_u16(), 204 | 205 | 206 | 304)
}

//= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.6
//# The no-transform response directive indicates that an intermediary (regardless of whether it implements a cache)
//# MUST NOT transform the content, as defined in Section 7.7 of [HTTP].
//
//= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.1.6
//# The no-transform request directive indicates that the client is asking for intermediaries to avoid transforming
//# the content, as defined in Section 7.7 of [HTTP].
fn forbids_transformation(message: &impl Fields) -> bool {
    message.has(header::CACHE_CONTROL)
        && cache_control::directives(message).any(|directive| &*directive.name == b"no-transform")
}

/// Chooses a coding (RFC 9110 §12.5.3). Of several that the client likes as much, the one that is there already
/// counts, then the first that is offered.
pub fn choose(
    request: &HeaderMap,
    status: StatusCode,
    response: &impl Fields,
    rules: &CodingRules,
) -> Choice {
    // Most of what is stored is none of what is coded: that is asked first.
    let is_coded = response.has(header::CONTENT_ENCODING);
    if !is_coded && !is_worthwhile(response, rules, Coding::Identity) {
        return Choice::Alone;
    }
    let Some(from) = convertible(status, response, rules) else {
        return Choice::Alone;
    };
    let worthwhile = is_worthwhile(response, rules, from);
    if from == Coding::Identity && !worthwhile {
        return Choice::Alone;
    }
    if forbids_transformation(request) {
        return Choice::AsStored;
    }
    let accepted = Accepted::read(request);
    let offered: &[Coding] = if worthwhile { &rules.offered } else { &[] };
    let there = (from != Coding::Identity).then_some(from);
    let candidates = there
        .into_iter()
        .chain(offered.iter().copied())
        .chain([Coding::Identity]);
    // The first of the best.
    let best = candidates.fold((0, from), |best, coding| {
        let weight = accepted.weight(coding);
        if weight > best.0 {
            (weight, coding)
        } else {
            best
        }
    });
    // Where nothing is acceptable, a response is better than none (RFC 9110 §12.5.3).
    match best {
        (_, to) if to != from => Choice::Convert { from, to },
        _ => Choice::AsStored,
    }
}

/// Whether content of this type and length is worth a coding. Of content that was coded by the origin, the length
/// says little.
fn is_worthwhile(response: &impl Fields, rules: &CodingRules, coding: Coding) -> bool {
    let length = fields::sole(response, header::CONTENT_LENGTH).and_then(fields::decimal);
    let long_enough =
        coding != Coding::Identity || length.is_none_or(|length| length >= rules.least);
    long_enough && has_type_of(response, &rules.types)
}

fn has_type_of(response: &impl Fields, types: &[String]) -> bool {
    let Some(value) = fields::sole(response, header::CONTENT_TYPE) else {
        return false;
    };
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
    let kind = fields::trim(kind);
    types.iter().any(|pattern| matches(pattern, kind))
}

/// Whether a type is the pattern, but for case; a star at one end stands for anything.
fn matches(pattern: &str, kind: &[u8]) -> bool {
    let pattern = pattern.as_bytes();
    match pattern {
        [b'*', end @ ..] => kind
            .len()
            .checked_sub(end.len())
            .is_some_and(|start| kind[start..].eq_ignore_ascii_case(end)),
        [start @ .., b'*'] => kind
            .get(..start.len())
            .is_some_and(|beginning| beginning.eq_ignore_ascii_case(start)),
        pattern => kind.eq_ignore_ascii_case(pattern),
    }
}

/// Fields that are about the bytes of one coding.
const ABOUT_CODED_BYTES: [&str; 5] = [
    "content-length",
    "content-md5",
    "content-digest",
    "repr-digest",
    "digest",
];

/// Makes the head of a response that of its content in another coding. How long that is, is for the caller to add.
pub fn recode(headers: &mut HeaderMap, to: Coding) {
    for name in ABOUT_CODED_BYTES {
        headers.remove(name);
    }
    match to {
        Coding::Identity => {
            headers.remove(header::CONTENT_ENCODING);
        }
        to => {
            let name = HeaderValue::from_static(to.as_str());
            headers.insert(header::CONTENT_ENCODING, name);
        }
    }
    weaken(headers);
}

/// Makes the entity tag weak.
///
/// Two codings with one strong tag would be mixed up in ranges. A tag of its own would be strong only if every node
/// and every version of the program made the same bytes; a weak one says what is true, and is compared with the
/// origin's in `If-None-Match` as it is.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-8.8.1
//# if the origin server sends the same validator for a representation with a gzip content coding applied as it does
//# for a representation with no content coding, then that validator is weak.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else {
        return;
    };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    let weak = [b"W/", tag.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) => headers.insert(header::ETAG, weak),
        Err(_) => headers.remove(header::ETAG),
    };
}

/// Tells the caches behind this one that the response was chosen by these fields (RFC 9110 §12.5.5).
pub fn vary_on(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        if !is_told(headers, name) {
            headers.append(header::VARY, name.clone().into());
        }
    }
}

/// Whether a response tells that it was chosen by a field, or by everything there is.
pub fn is_told(headers: &impl Fields, name: &HeaderName) -> bool {
    fields::list(headers, header::VARY)
        .any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Whether a response is coded with a dictionary that only some clients have (RFC 9842 §4): `dcb` and `dcz`.
pub fn needs_dictionary(response: &impl Fields) -> bool {
    fields::list(response, header::CONTENT_ENCODING).any(is_dictionary_coding)
}

/// What selects a response that is coded with a dictionary.
pub(crate) const BY_DICTIONARY: [HeaderName; 2] = [header::ACCEPT_ENCODING, AVAILABLE_DICTIONARY];

/// Tells the caches behind this one what a response that is coded with a dictionary was chosen by, where its origin
/// forgot to.
pub fn vary_on_dictionary(headers: &mut HeaderMap) {
    if needs_dictionary(headers) {
        vary_on(headers, &BY_DICTIONARY);
    }
}

fn is_dictionary_coding(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"dcb") || name.eq_ignore_ascii_case(b"dcz")
}

/// Says in `Accept-Encoding` what an origin may answer with: what this client takes, in one spelling, and of that
/// only the coding of what is stored where that is to be validated.
pub fn ask(request: &mut HeaderMap, stored: Option<Coding>, rules: &CodingRules) {
    if rules.offered.is_empty() || !request.contains_key(header::ACCEPT_ENCODING) {
        return;
    }
    let accepted = Accepted::read(request);
    let stored = stored.filter(|coding| accepted.weight(*coding) > 0);
    let mut asked: Vec<&str> = match stored {
        Some(coding) => vec![coding.as_str()],
        None => {
            let known = Coding::ALL.into_iter();
            let taken = known.filter(|coding| accepted.weight(*coding) > 0);
            taken.map(Coding::as_str).collect()
        }
    };
    if request.contains_key(AVAILABLE_DICTIONARY) {
        asked.extend(accepted.dictionary_codings());
    }
    let asked = match asked[..] {
        [] => Coding::Identity.as_str().to_owned(),
        _ => asked.join(", "),
    };
    if let Ok(asked) = HeaderValue::try_from(asked) {
        request.insert(header::ACCEPT_ENCODING, asked);
    }
}

#[cfg(test)]
mod tests;
