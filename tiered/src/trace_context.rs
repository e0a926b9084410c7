//! W3C Trace Context: which trace a request belongs to, as `traceparent` and `tracestate` say.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names the trace, the span of whoever sent the request, and whether it is recorded (§3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the systems that record a trace tell each other (§3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Members of `tracestate` (§3.3.1.1): a list with more is not passed on.
pub const STATE_MEMBERS_MAX: usize = 32;
/// Bytes of `tracestate`. The standard asks for 512 at least (§3.3.1.5).
pub const STATE_BYTES_MAX: usize = 2048;

/// Characters of `traceparent` in the version that is known.
const LENGTH: usize = 55;
/// The flag that says that the trace is recorded (§3.2.2.5.1).
const SAMPLED: u8 = 1;

/// A trace. Never zero.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct TraceId(pub [u8; 16]);

/// One step of a trace. Never zero.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SpanId(pub [u8; 8]);

/// What `traceparent` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The step of whoever sent the request.
    pub span: SpanId,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl TraceParent {
    /// What a request says. None where it says nothing, or nothing valid: then a new trace begins (§4.2).
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return None;
        };
        Self::parse(field.to_str().ok()?.trim_matches([' ', '\t']))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let [version] = hex(bytes.get(..2)?)?;
        let fits = match version {
            0xff => false,
            0 => bytes.len() == LENGTH,
            // A later version may have more behind it (§4.3).
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52];
        if !fits || dashes.iter().any(|at| bytes.get(*at) != Some(&b'-')) {
            return None;
        }
        let [flags] = hex(bytes.get(53..LENGTH)?)?;
        let trace = TraceId(hex(bytes.get(3..35)?)?);
        let span = SpanId(hex(bytes.get(36..52)?)?);
        (trace.0 != [0; 16] && span.0 != [0; 8]).then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }

    /// The field's value.
    #[must_use]
    pub fn to_value(self) -> Option<HeaderValue> {
        let flags = u8::from(self.sampled);
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", self.trace, self.span)).ok()
    }
}

/// What `tracestate` says, in one value; none where there is none, or too much of it. It counts only beside a valid
/// `traceparent`.
#[must_use]
pub fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let fields: Option<Vec<_>> = headers
        .get_all(TRACESTATE)
        .iter()
        .map(|field| field.to_str().ok())
        .collect();
    let list = fields?.join(",");
    let members = list.split(',').filter(|member| !member.trim().is_empty());
    let fits = list.len() <= STATE_BYTES_MAX && (1..=STATE_MEMBERS_MAX).contains(&members.count());
    fits.then(|| HeaderValue::try_from(list).ok()).flatten()
}

/// Bytes in lower-case hexadecimal digits, two for each.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[track_caller]
    fn check(why: &str, text: &str, sampled: Option<bool>) {
        let parsed = TraceParent::parse(text);
        assert_eq!(parsed.map(|it| it.sampled), sampled, "{why}: {text}");
        if let Some(parsed) = parsed {
            assert_eq!(
                (parsed.trace.to_string(), parsed.span.to_string()),
                (TRACE.to_owned(), SPAN.to_owned())
            );
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_trace_is_continued_only_where_it_is_named_as_the_standard_says() {
        check("recorded",              &format!("00-{TRACE}-{SPAN}-01"),       Some(true));
        check("not recorded",          &format!("00-{TRACE}-{SPAN}-00"),       Some(false));
        check("other flags are others", &format!("00-{TRACE}-{SPAN}-02"),      Some(false));
        check("all flags",             &format!("00-{TRACE}-{SPAN}-ff"),       Some(true));
        check("a later version",       &format!("cc-{TRACE}-{SPAN}-01"),       Some(true));
        check("with more behind it",   &format!("cc-{TRACE}-{SPAN}-01-what"),  Some(true));
        check("but not without a dash", &format!("cc-{TRACE}-{SPAN}-01what"),  None);
        check("this one has no more",  &format!("00-{TRACE}-{SPAN}-01-what"),  None);
        check("no version",            &format!("ff-{TRACE}-{SPAN}-01"),       None);
        check("upper case",            &format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None);
        check("no trace",              &format!("00-{}-{SPAN}-01", "0".repeat(32)), None);
        check("no span",               &format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check("too short",             &format!("00-{TRACE}-{SPAN}-1"),        None);
        check("no digits",             &format!("00-{TRACE}-{SPAN}-0x"),       None);
        check("other separators",      &format!("00_{TRACE}_{SPAN}_01"),       None);
        check("nothing",               "",                                     None);
        check("beyond ASCII",          &"ä".repeat(27),                        None);
    }

    fn fields(name: HeaderName, values: &[&str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| HeaderValue::from_str(value).unwrap());
        values.map(|value| (name.clone(), value)).collect()
    }

    #[test]
    fn two_parents_are_none() {
        let one = format!("00-{TRACE}-{SPAN}-01");
        let read = |values: &[&str]| TraceParent::read(&fields(TRACEPARENT, values));
        assert_eq!(read(&[&one]).unwrap().to_value().unwrap(), one);
        assert_eq!(read(&[&one, &one]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn the_state_is_one_list_up_to_its_limits() {
        let read = |values: &[&str]| state(&fields(TRACESTATE, values));
        assert_eq!(read(&["a=1", "b=2"]).unwrap(), "a=1,b=2");
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[" , "]), None);
        let members = vec!["a=1"; STATE_MEMBERS_MAX + 1].join(",");
        assert_eq!(read(&[&members]), None);
        assert!(read(&[&members[4..]]).is_some());
        assert_eq!(read(&[&format!("a={}", "1".repeat(STATE_BYTES_MAX))]), None);
    }
}
