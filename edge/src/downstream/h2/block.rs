//! Heads as blocks of fields (HPACK, RFC 7541), as far as they need no table that changes.
//!
//! What is written here names nothing of the dynamic table and puts nothing into it, so that it can stand between the
//! blocks of an encoder that has one.

use std::ops::Range;

use bytes::BufMut;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use wire::Field;

use super::huffman;

/// The static table's entry for a status (RFC 7541 Appendix A): the first, whose name the others share.
const STATUS_200: u8 = 8;
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// Names of the static table that responses have.
static NAMES: [(&str, u8); 24] = [
    ("accept-ranges", 18),
    ("access-control-allow-origin", 20),
    ("age", 21),
    ("allow", 22),
    ("cache-control", 24),
    ("content-disposition", 25),
    ("content-encoding", 26),
    ("content-language", 27),
    ("content-length", 28),
    ("content-location", 29),
    ("content-range", 30),
    ("content-type", 31),
    ("date", 33),
    ("etag", 34),
    ("expires", 36),
    ("last-modified", 44),
    ("link", 45),
    ("location", 46),
    ("refresh", 52),
    ("retry-after", 53),
    ("server", 54),
    ("set-cookie", 55),
    ("strict-transport-security", 56),
    ("vary", 59),
];

/// The first bits of a field that goes into the dynamic table, of a size for it, and of a field that does neither
/// (RFC 7541 §6).
const INDEXED: u8 = 0x80;
const INSERTED: u8 = 0x40;
const RESIZED: u8 = 0x20;
/// Bits of the numbers in them.
const INDEXED_BITS: u32 = 7;
const LITERAL_BITS: u32 = 4;
const TEXT_BITS: u32 = 7;

/// Whether a block leaves the dynamic table as it is. Of one that is malformed nothing is said.
pub(super) fn is_stable(mut block: &[u8]) -> bool {
    while !block.is_empty() {
        let Some((_, rest)) = first_field(block) else {
            return false;
        };
        block = rest;
    }
    true
}

/// The first field of a block that leaves the dynamic table as it is, and what is behind it.
pub(super) fn first_field(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let behind = match block.first()? {
        first if first & INDEXED != 0 => number(block, INDEXED_BITS)?.1,
        first if first & (INSERTED | RESIZED) != 0 => return None,
        _ => literal(block)?,
    };
    Some(block.split_at(block.len() - behind.len()))
}

/// The entries of the static table for `:path`, and what they have for a value.
const PATHS: [(u8, &str); 2] = [(4, "/"), (5, "/index.html")];
/// The first bits of a literal field that is never to be put into a table (RFC 7541 §6.2.3).
const NEVER_INSERTED: u8 = 0x10;
/// The first bit of a text that is coded (RFC 7541 §5.2).
const CODED: u8 = 0x80;

/// Where the path of a block is that leaves the dynamic table as it is: the field that has it, if it is one that names
/// it by the static table.
pub(super) fn path_field(block: &[u8]) -> Option<Range<usize>> {
    let mut rest = block;
    let mut found = None;
    while !rest.is_empty() {
        let (field, behind) = first_field(rest)?;
        let start = block.len() - rest.len();
        if is_named_by(field, &PATHS.map(|(index, _)| index))
            && found.replace(start..start + field.len()).is_some()
        {
            return None;
        }
        rest = behind;
    }
    found
}

/// The entries of the static table for what a request has before its other fields, but for the authority.
const PSEUDO: [u8; 6] = [2, 3, 4, 5, 6, 7];
/// What a request has with an authority.
const PSEUDO_COUNT: usize = 4;

/// Where the authority of a request is that has one and was understood: these fields are its first (RFC 9113 §8.3), and it
/// is the one that is none of the others. None where those are not named by the static table.
pub(super) fn authority_field(block: &[u8]) -> Option<Range<usize>> {
    let mut rest = block;
    let mut found = None;
    for _ in 0..PSEUDO_COUNT {
        let (field, behind) = first_field(rest)?;
        let start = block.len() - rest.len();
        if !is_named_by(field, &PSEUDO) && found.replace(start..start + field.len()).is_some() {
            return None;
        }
        rest = behind;
    }
    found
}

/// Whether a field is named by one of these entries of the static table.
fn is_named_by(field: &[u8], indices: &[u8]) -> bool {
    let first = field.first();
    let mut known = indices.iter();
    first.is_some_and(|first| {
        known.any(|index| [*index, index | NEVER_INSERTED, index | INDEXED].contains(first))
    })
}

/// The entry of the static table for `:authority`.
const AUTHORITY: u8 = 1;

/// Reads the authority of a field that names it by the static table, in place of what is in `out`. None where it is no such
/// field, and where it has a byte that is neither of a name nor of a port.
pub(super) fn read_authority(field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let (first, rest) = field.split_first()?;
    if ![AUTHORITY, AUTHORITY | NEVER_INSERTED].contains(first) {
        return None;
    }
    read_text(rest, out)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:".contains(byte);
    (!out.ends_with(b":") && out.iter().all(is_plain)).then_some(())
}

/// Reads the path of a field that is nothing else, in place of what is in `out`. None where it is no such field, where it
/// goes into the dynamic table, and where it has a byte that not everybody takes for one of a path.
pub(super) fn read_path(field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let (first, rest) = field.split_first()?;
    if !is_named_by(field, &PATHS.map(|(index, _)| index)) {
        return None;
    }
    match first & INDEXED {
        0 => read_text(rest, out)?,
        _ => {
            let index = first & !INDEXED;
            let path = PATHS.iter().find(|(known, _)| *known == index)?.1;
            out.extend_from_slice(path.as_bytes());
            rest.is_empty().then_some(())?;
        }
    }
    let is_plain = out.first() == Some(&b'/') && out.iter().all(|byte| is_plain(*byte));
    is_plain.then_some(())
}

/// Reads a text behind which there is nothing.
fn read_text(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (length, text) = number(bytes, TEXT_BITS)?;
    if length != text.len() {
        return None;
    }
    match bytes.first()? & CODED {
        0 => out.extend_from_slice(text),
        _ => huffman::decode(text, out)?,
    }
    Some(())
}

/// Whether a byte may be anywhere in a path and its query (RFC 3986 §3.3, §3.4).
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9')
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')'
        )
        || matches!(
            byte,
            b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/' | b'?' | b'%'
        )
}

/// What is behind a literal field.
fn literal(block: &[u8]) -> Option<&[u8]> {
    let (name, rest) = number(block, LITERAL_BITS)?;
    let rest = match name {
        0 => text(rest)?,
        _ => rest,
    };
    text(rest)
}

/// What is behind a text.
fn text(block: &[u8]) -> Option<&[u8]> {
    let (length, rest) = number(block, TEXT_BITS)?;
    rest.get(length..)
}

/// A number in the last bits of a byte and, where it has no room there, in those behind it (RFC 7541 §5.1). There is none
/// that a block of some kilobytes needs above 2^21.
fn number(block: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (first, mut rest) = block.split_first()?;
    let most = (1 << bits) - 1;
    let mut value = usize::from(first & most);
    if value < usize::from(most) {
        return Some((value, rest));
    }
    for shift in [0, 7, 14] {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

/// Writes a number behind the first bits of its byte.
fn put_number(out: &mut impl BufMut, first: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    let Some(mut left) = value.checked_sub(usize::from(most)) else {
        return out.put_u8(first | u8::try_from(value).unwrap_or_default());
    };
    out.put_u8(first | most);
    while left >= 0x80 {
        out.put_u8(0x80 | u8::try_from(left & 0x7f).unwrap_or_default());
        left >>= 7;
    }
    out.put_u8(u8::try_from(left).unwrap_or_default());
}

/// Writes the head of a response whose fields are in no map.
pub(crate) fn put_head<'a>(
    out: &mut impl BufMut,
    status: StatusCode,
    fields: impl Iterator<Item = Field<'a>>,
) {
    put_status(out, status);
    for Field { name, value } in fields {
        put_name(out, name);
        let length = value.iter().map(|piece| piece.len()).sum();
        put_number(out, 0, TEXT_BITS, length);
        for piece in value {
            out.put_slice(piece);
        }
    }
}

/// The most bytes that such a head takes.
pub(crate) fn head_length_max<'a>(fields: impl Iterator<Item = Field<'a>>) -> usize {
    // The first bits and the lengths before name and value.
    const AROUND: usize = 1 + 2 * 4;
    let lengths = fields.map(|Field { name, value }| {
        let value: usize = value.iter().map(|piece| piece.len()).sum();
        AROUND + name.len() + value
    });
    AROUND + lengths.sum::<usize>()
}

fn put_text(out: &mut impl BufMut, text: &[u8]) {
    put_number(out, 0, TEXT_BITS, text.len());
    out.put_slice(text);
}

fn put_name(out: &mut impl BufMut, name: &str) {
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, index)) => put_number(out, 0, LITERAL_BITS, usize::from(*index)),
        None => {
            out.put_u8(0);
            put_text(out, name.as_bytes());
        }
    }
}

fn put_status(out: &mut impl BufMut, status: StatusCode) {
    match STATUSES
        .iter()
        .zip(STATUS_200..)
        .find(|(known, _)| **known == status.as_u16())
    {
        Some((_, index)) => put_number(out, INDEXED, INDEXED_BITS, usize::from(index)),
        None => {
            put_number(out, 0, LITERAL_BITS, usize::from(STATUS_200));
            put_text(out, status.as_str().as_bytes());
        }
    }
}

/// A field of which the end of the value varies: a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Varying<'a> {
    pub name: &'a HeaderName,
    /// What its value begins with.
    pub fixed: &'a str,
}

/// The head of a response as a block, but for the two numbers in it.
#[derive(Debug)]
pub(crate) struct Packed {
    pieces: [Box<[u8]>; 3],
    /// What stands between the pieces: which of the numbers, and before it in the same value.
    values: [(usize, Box<[u8]>); 2],
}

impl Packed {
    /// Of a head that has each of the varying fields once. None where it has not, and where a value is a secret: those
    /// are for an encoder that knows what they were.
    pub(crate) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        varying: [Varying<'_>; 2],
    ) -> Option<Self> {
        let mut out = Vec::new();
        let mut pieces = Vec::new();
        let mut values = Vec::new();
        put_status(&mut out, status);
        for (name, value) in headers {
            if value.is_sensitive() {
                return None;
            }
            put_name(&mut out, name.as_str());
            match varying.iter().position(|it| it.name == name) {
                None => put_text(&mut out, value.as_bytes()),
                Some(which) => {
                    pieces.push(std::mem::take(&mut out).into_boxed_slice());
                    values.push((which, varying[which].fixed.as_bytes().into()));
                }
            }
        }
        pieces.push(out.into_boxed_slice());
        let values: [_; 2] = values.try_into().ok()?;
        if values[0].0 == values[1].0 {
            return None;
        }
        Some(Self {
            pieces: pieces.try_into().ok()?,
            values,
        })
    }

    /// Writes it with these numbers, in the order in which the fields were named.
    pub(crate) fn write(&self, numbers: [&[u8]; 2], out: &mut impl BufMut) {
        out.put_slice(&self.pieces[0]);
        for ((which, fixed), piece) in self.values.iter().zip(&self.pieces[1..]) {
            let number = numbers[*which];
            put_number(out, 0, TEXT_BITS, fixed.len() + number.len());
            out.put_slice(fixed);
            out.put_slice(number);
            out.put_slice(piece);
        }
    }

    /// The most bytes that it takes.
    pub(crate) fn length_max(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        let fixed: usize = self.values.iter().map(|(_, fixed)| fixed.len()).sum();
        // Two numbers, and the lengths before them.
        pieces + fixed + 2 * (20 + 4)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header;

    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for bits in [4, 5, 6, 7] {
            for value in [
                0, 9, 10, 14, 15, 16, 30, 31, 127, 128, 254, 255, 1337, 20_000,
            ] {
                let mut out = Vec::new();
                put_number(&mut out, 0, bits, value);
                assert_eq!(number(&out, bits), Some((value, &[][..])), "{value}");
            }
        }
        // RFC 7541 Appendix C.1.2.
        let mut out = Vec::new();
        put_number(&mut out, 0, 5, 1337);
        assert_eq!(out, [31, 154, 10]);
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff], 7), None);
    }

    #[test]
    fn only_blocks_that_change_no_table_are_stable() {
        // RFC 7541 Appendix C.2.2 to C.2.4, and what is malformed.
        let path = b"\x04\x0c/sample/path";
        let secret = b"\x10\x08password\x06secret";
        for stable in [&path[..], secret, b"\x82", b"\x82\x84\xbe", b""] {
            assert!(is_stable(stable), "{stable:?}");
        }
        let inserted = b"\x40\x0acustom-key\x0dcustom-header";
        let both = [&path[..], inserted].concat();
        let resized = b"\x20\x82";
        for other in [
            &inserted[..],
            &both,
            resized,
            &path[..5],
            b"\x04",
            b"\xff",
            b"\0",
        ] {
            assert!(!is_stable(other), "{other:?}");
        }
    }

    #[test]
    fn a_path_is_found_and_read_where_it_is_named_by_the_static_table() {
        let check = |block: &[u8], expected: Option<(Range<usize>, Option<&str>)>| {
            let field = path_field(block);
            let found = field.map(|field| {
                let mut path = Vec::new();
                let read = read_path(&block[field.clone()], &mut path);
                (field, read.map(|()| String::from_utf8(path).unwrap()))
            });
            let expected = expected.map(|(field, path)| (field, path.map(str::to_owned)));
            assert_eq!(found, expected, "{}", block.escape_ascii());
        };
        check(b"\x82\x04\x03/a?\x86", Some((1..6, Some("/a?"))));
        check(b"\x82\x14\x02/a\x86", Some((1..5, Some("/a"))));
        check(b"\x05\x02/a\x86", Some((0..4, Some("/a"))));
        check(b"\x82\x84", Some((1..2, Some("/"))));
        check(b"\x85\x82", Some((0..1, Some("/index.html"))));
        // Coded.
        check(b"\x04\x83\x62\xa3\xff", Some((0..5, Some("/no"))));
        check(b"\x04\x86\xa8\xeb\x10\x64\x9c\xbf", Some((0..8, None)));
        check(b"\x04\x01a", Some((0..3, None)));
        check(b"\x04\x00", Some((0..2, None)));
        check(b"\x04\x03/#a", Some((0..5, None)));
        check(b"\x04\x03/\xc3\xa4", Some((0..5, None)));
        check(b"\x82\x86", None);
        check(b"\x84\x84", None);
        check(b"\x04\x09/a", None);
        check(b"\0\x05:path\x02/a", None);
        check(b"\x44\x02/a", None);
    }

    #[test]
    fn an_authority_is_found_beside_what_is_named_by_the_static_table_and_read() {
        let check = |block: &[u8], expected: Option<(Range<usize>, Option<&str>)>| {
            let field = authority_field(block);
            let found = field.map(|field| {
                let mut text = Vec::new();
                let read = read_authority(&block[field.clone()], &mut text);
                (field, read.map(|()| String::from_utf8(text).unwrap()))
            });
            let expected = expected.map(|(field, text)| (field, text.map(str::to_owned)));
            assert_eq!(found, expected, "{}", block.escape_ascii());
        };
        check(b"\x82\x86\x84\x01\x03a.b\x90", Some((3..8, Some("a.b"))));
        check(
            b"\x11\x04a:80\x82\x04\x02/a\x87",
            Some((0..6, Some("a:80"))),
        );
        let coded = b"\x82\x01\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x84\x86";
        check(coded, Some((1..15, Some("www.example.com"))));
        // By the dynamic table, or by its name: it is there, and what it says is not known.
        check(b"\x82\x86\x84\xbe\x90", Some((3..4, None)));
        check(b"\x82\x86\x84\0\x0a:authority\x01a", Some((3..17, None)));
        for text in [
            &b"\x02a:"[..],
            b"\x03[a]",
            b"\x03a@b",
            b"\x03a/b",
            b"\x03a b",
            b"\x01\xe4",
        ] {
            let block = [b"\x82\x86\x84\x01", text].concat();
            check(&block, Some((3..block.len(), None)));
        }
        // Another one is not plain to see, or there are none.
        check(b"\xbf\x86\x84\xbe", None);
        check(b"\x82\x86\x84", None);
        check(b"\x82\x86\x84\x87", None);
        check(b"\x82\x86\x84\x41\x01a", None);
    }

    #[test]
    fn a_head_in_no_map_is_written_like_one_in_a_map() {
        let headers = head();
        let mut out = Vec::new();
        let fields = || headers.iter().map(Field::from);
        put_head(&mut out, StatusCode::OK, fields());
        let mut expected = Vec::new();
        let packed = pack(StatusCode::OK, &headers).unwrap();
        packed.write([b"53", b"7"], &mut expected);
        assert_eq!(out, expected);
        assert!(out.len() <= head_length_max(fields()));
    }

    fn head() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("age", "7"),
            ("x-own", "a"),
            ("cache-status", "n; hit; ttl=53"),
            ("x-own", "b"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

    fn pack(status: StatusCode, headers: &HeaderMap) -> Option<Packed> {
        let varying = [(&CACHE_STATUS, "n; hit; ttl="), (&header::AGE, "")];
        let varying = varying.map(|(name, fixed)| Varying { name, fixed });
        Packed::of(status, headers, varying)
    }

    #[test]
    fn a_head_is_packed_with_its_numbers() {
        let packed = pack(StatusCode::OK, &head()).unwrap();
        let mut out = Vec::new();
        packed.write([b"1234", b"99"], &mut out);
        let expected = b"\x88\x0f\x10\x0atext/plain\x0f\x06\x0299\0\x05x-own\x01a\0\x05x-own\x01b\
            \0\x0ccache-status\x10n; hit; ttl=1234";
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        assert!(out.len() <= packed.length_max() && is_stable(&out));
        let packed = pack(StatusCode::GONE, &head()).unwrap();
        assert!(packed.pieces[0].starts_with(b"\x08\x03410\x0f\x10"));
    }

    #[test]
    fn a_head_without_its_numbers_or_with_a_secret_is_not_packed() {
        let mut twice = head();
        twice.append(header::AGE, HeaderValue::from_static("7"));
        let mut without = head();
        without.remove(header::AGE);
        let mut other = head();
        other.insert("cache-status", HeaderValue::from_static("m; fwd=miss"));
        other.remove(header::AGE);
        let mut secret = head();
        let mut value = HeaderValue::from_static("s");
        value.set_sensitive(true);
        secret.insert("x-secret", value);
        for headers in [twice, without, other, secret] {
            assert!(pack(StatusCode::OK, &headers).is_none());
        }
    }
}
