//! Hosts and ports (RFC 9110 §4.3.1, RFC 3986 §3.2).

use std::fmt;
use std::net::Ipv6Addr;

use http::uri::Scheme;

use crate::Refusal;
use crate::limits::HOST_BYTES_MAX;

/// The host and port a request is for, in the one spelling they have in this node.
///
/// The host is empty in one case only: an HTTP/1.0 request without `Host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// A name or IPv4 address in lower case and without a dot at its end, or an IPv6 address in
    /// brackets in its canonical form (RFC 5952).
    pub host: String,
    /// The port, if one was named.
    pub port: Option<u16>,
}

impl Authority {
    /// What a request without any authority has.
    pub(crate) fn absent() -> Self {
        Self {
            host: String::new(),
            port: None,
        }
    }

    /// Whether both name the same host and, with the default port of `scheme`, the same port.
    pub(crate) fn agrees_with(&self, other: &Self, scheme: &Scheme) -> bool {
        let default_port = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        self.host == other.host
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Reads the value of `Host` or `:authority`.
///
/// Narrower than RFC 3986: `reg-name` would allow percent-encoding and `!$&'()*+,;=`, which no
/// host has and which let a list or a second address pass for a name. There is no userinfo.
///
/// # Errors
///
/// [`Refusal::Authority`] for everything that is not a host and an optional port.
pub fn check_authority(text: &str) -> Result<Authority, Refusal> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(Refusal::Authority)?;
        let address: Ipv6Addr = address.parse().ok().ok_or(Refusal::Authority)?;
        let port = match rest.strip_prefix(':') {
            Some(digits) => parse_port(digits)?,
            None if rest.is_empty() => None,
            None => return Err(Refusal::Authority),
        };
        return Ok(Authority {
            host: format!("[{address}]"),
            port,
        });
    }

    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, parse_port(digits)?),
        None => (text, None),
    };
    Ok(Authority {
        host: parse_host(host)?,
        port,
    })
}

fn parse_host(text: &str) -> Result<String, Refusal> {
    let host = text.strip_suffix('.').unwrap_or(text);
    let labels_are_names = host.split('.').all(|label| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_'))
    });
    if !labels_are_names || host.len() > HOST_BYTES_MAX {
        return Err(Refusal::Authority);
    }
    Ok(host.to_ascii_lowercase())
}

/// Nothing after the colon means the default port (RFC 3986 §3.2.3).
fn parse_port(digits: &str) -> Result<Option<u16>, Refusal> {
    if digits.is_empty() {
        return Ok(None);
    }
    // `parse` alone would take a sign.
    if digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Authority);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(Refusal::Authority),
        Ok(port) => Ok(Some(port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let found = check_authority(text).map(|authority| authority.to_string());
        assert_eq!(found.ok().as_deref(), expected, "{text:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn an_authority_has_one_spelling() {
        check("example.com",             Some("example.com"));
        check("EXAMPLE.Com.",            Some("example.com"));
        check("example.com:8080",        Some("example.com:8080"));
        check("example.com.:80",         Some("example.com:80"));
        check("example.com:",            Some("example.com"));
        check("example.com:00080",       Some("example.com:80"));
        check("my_service-1",            Some("my_service-1"));
        check("127.0.0.1:1",             Some("127.0.0.1:1"));
        check("[::1]",                   Some("[::1]"));
        check("[0:0:0:0:0:0:0:1]:65535", Some("[::1]:65535"));
        check("[2001:DB8::A]:",          Some("[2001:db8::a]"));
    }

    #[test]
    fn what_is_not_a_host_and_a_port_is_refused() {
        for text in [
            "",
            ".",
            ":80",
            "..",
            "a..b",
            ".a",
            "a..",
            "a b",
            " a",
            "a ",
            "a\t",
            "a,b",
            "a, b",
            "a/b",
            "a/",
            "a?b",
            "a#b",
            "a\\b",
            "u@a",
            "u:p@a",
            "a:b@c",
            "a%2eb",
            "a;b",
            "a=b",
            "a'b",
            "a!b",
            "a\"b",
            "a<b",
            "a*b",
            "é",
            "a:x",
            "a:-1",
            "a:+1",
            "a:1 ",
            "a: 1",
            "a:0",
            "a:65536",
            "a:000080",
            "a:99999999999",
            "a:80:80",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[::1]x",
            "[::1]80",
            "[::1]:x",
            "[::1%25eth0]",
            "[::1%eth0]",
            "[v1.a]",
            "[[::1]]",
            "[a]",
            "[1.2.3.4]",
            "http://a",
            "a\0b",
            "a\r\nb",
            "a@",
            "@a",
            "*",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_host_name_is_at_most_as_long_as_the_dns_allows() {
        let longest = "a".repeat(HOST_BYTES_MAX);
        check(&longest, Some(&longest));
        check(&format!("{longest}."), Some(&longest));
        check(&format!("{longest}a"), None);
    }
}
