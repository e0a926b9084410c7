//! Names of the network and of HTTP, as they stand in strings.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::glob::Glob;
use crate::model::{CollectorUrl, HostPattern, LogTo, OriginHost, Parent, ParentUrl};
use ipnet::IpNet;

use crate::problems::{Fault, quote};

/// Bytes of a node's or site's name.
const NAME_BYTES_MAX: usize = 64;

/// Bytes of a DNS name (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Bytes of a pattern.
const GLOB_BYTES_MAX: usize = 1_024;

/// A token (RFC 9110 §5.6.2) that names a node or a site.
pub(crate) fn name(text: &str) -> Result<String, Fault> {
    if text.len() > NAME_BYTES_MAX {
        return Err(Fault::new(format!(
            "{} is longer than {NAME_BYTES_MAX} characters",
            quote(text)
        )));
    }
    token(text).map(str::to_owned)
}

/// Where a log goes.
pub(crate) fn log_to(text: &str) -> Result<LogTo, Fault> {
    let server = |rest: &str| {
        let port = rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(1..)) => Ok(rest.to_owned()),
            _ => Err(Fault::new(format!("{} names no port", quote(text)))),
        }
    };
    match text {
        "stdout" => Ok(LogTo::Stdout),
        _ if text.starts_with("udp://") => server(&text[6..]).map(LogTo::SyslogUdp),
        _ if text.starts_with("tcp://") => server(&text[6..]).map(LogTo::SyslogTcp),
        _ if text.starts_with("unix:/") => Ok(LogTo::SyslogUnix(text[5..].into())),
        _ if text.contains("://") || !text.contains('/') => {
            let fault = Fault::new(format!("{} is no place for a log", quote(text)));
            Err(fault.hint("a path has a `/`: ./access.log"))
        }
        path => Ok(LogTo::File(path.into())),
    }
}

/// A token (RFC 9110 §5.6.2).
fn token(text: &str) -> Result<&str, Fault> {
    let fault = || Fault::new(format!("{} is not a token", quote(text)));
    match text.bytes().all(is_tchar) && !text.is_empty() {
        true => Ok(text),
        false => Err(fault().hint("write letters, digits, `-`, `_` and `.` only")),
    }
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Bytes of a stream's name.
const STREAM_BYTES_MAX: usize = 32;

/// The name of a stream of a NATS server.
pub(crate) fn stream(text: &str) -> Result<String, Fault> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match text.bytes().all(is_name) && (1..=STREAM_BYTES_MAX).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err(
            Fault::new(format!("{} is not a stream's name", quote(text)))
                .hint("write at most 32 letters, digits, `-` and `_`"),
        ),
    }
}

/// The URL of a NATS server, possibly with a user and password.
pub(crate) fn nats_server(text: &str) -> Result<String, Fault> {
    // A password is not shown.
    let shown = || match text.rsplit_once('@') {
        Some((_, place)) => quote(place),
        None => quote(text),
    };
    let fault = || {
        Fault::new(format!("{} is not the URL of a NATS server", shown()))
            .hint("write, for example, \"nats://nats-1:4222\" or \"tls://nats-1:4222\"")
    };
    let place = text.strip_prefix("nats://");
    let place = place.or_else(|| text.strip_prefix("tls://"));
    let place = place.ok_or_else(fault)?;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    match authority(place) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(fault()),
    }
}

/// The URL of a collector.
pub(crate) fn collector(text: &str) -> Result<CollectorUrl, Fault> {
    let fault = || {
        Fault::new(format!("{} is not the URL of a collector", quote(text)))
            .hint("write, for example, \"http://127.0.0.1:4318\"")
    };
    let (rest, secure) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return Err(fault()),
    };
    let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_path = path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains(['?', '#']);
    let (host, port) = authority(place).map_err(|_invalid| fault())?;
    let port = port.unwrap_or(if secure { 443 } else { 80 });
    if !is_path || port == 0 {
        return Err(fault());
    }
    Ok(CollectorUrl {
        secure,
        host,
        port,
        path: path.trim_end_matches('/').to_owned(),
    })
}

/// Heaviest parent.
const WEIGHT_MAX: u32 = 1_000;

/// Where parents are.
pub(crate) fn parent(text: &str) -> Result<Parent, Fault> {
    let srv = |name: &str, secure| {
        let name = dns_name(text, name)?;
        Ok(Parent::Srv { name, secure })
    };
    if let Some(name) = text.strip_prefix("dns+srv://") {
        return srv(name, false);
    }
    if let Some(name) = text.strip_prefix("dns+srvs://") {
        return srv(name, true);
    }
    if let Some(path) = text.strip_prefix("file:") {
        return match path.is_empty() {
            true => Err(Fault::new(format!("{} names no file", quote(text)))),
            false => Ok(Parent::File(path.into())),
        };
    }
    parent_url(text).map(Parent::One)
}

/// The URL of a parent, perhaps with its id and weight behind it.
pub(crate) fn parent_url(text: &str) -> Result<ParentUrl, Fault> {
    let fault = || {
        Fault::new(format!("{} is not where a parent is", quote(text))).hint(
            "write, for example, \"http://10.0.0.7:8080\", \"dns+srv://_larder._tcp.example.com\" or \"file:parents\"",
        )
    };
    let mut words = text.split_ascii_whitespace();
    let url = words.next().ok_or_else(fault)?;
    let url = url.strip_suffix('/').unwrap_or(url);
    let (place, secure) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(place), _) => (place, false),
        (None, Some(place)) => (place, true),
        (None, None) => return Err(fault()),
    };
    let (host, port) = authority(place)?;
    let port = port.unwrap_or(if secure { 443 } else { 80 });
    if port == 0 {
        return Err(Fault::new(format!("{} has port 0", quote(text))));
    }
    let mut parent = ParentUrl {
        id: match &host {
            OriginHost::Name(name) => format!("{name}:{port}"),
            OriginHost::Address(address) => SocketAddr::new(*address, port).to_string(),
            // An authority names none.
            OriginHost::Socket(path) => path.display().to_string(),
            OriginHost::Service(name) => name.clone(),
        },
        weight: 1,
        secure,
        host,
        port,
    };
    for word in words {
        match word.split_once('=') {
            Some(("id", id)) => parent.id = name(id)?,
            Some(("weight", weight)) => {
                let weight = weight.parse().ok();
                let weight = weight.filter(|weight| (1..=WEIGHT_MAX).contains(weight));
                parent.weight = weight.ok_or_else(|| {
                    Fault::new(format!(
                        "{} is not a weight: they are from 1 to {WEIGHT_MAX}",
                        quote(word)
                    ))
                })?;
            }
            _ => return Err(fault()),
        }
    }
    Ok(parent)
}

/// A field's name in lower case (RFC 9110 §5.1).
pub(crate) fn field(text: &str) -> Result<String, Fault> {
    if text.contains('*') {
        return Err(Fault::new(format!(
            "{} is not a field's name: `*` stands for nothing here",
            quote(text)
        )));
    }
    token(text).map(str::to_ascii_lowercase)
}

/// A media type in lower case, or the beginning or the end of one beside a `*` (RFC 9110 §8.3.1).
pub(crate) fn media_type(text: &str) -> Result<String, Fault> {
    let name = text.to_ascii_lowercase();
    let plain = name.strip_prefix('*').or_else(|| name.strip_suffix('*'));
    let slashes = name.matches('/').count();
    let parts = plain.unwrap_or(&name).replace('/', "");
    let is_type = slashes == 1 || (slashes == 0 && plain.is_some());
    if is_type && !parts.contains('*') && token(&parts).is_ok() {
        return Ok(name);
    }
    let fault = Fault::new(format!("{} is not a media type", quote(text)));
    Err(fault.hint("write, for example, \"text/html\", \"text/*\" or \"*+json\""))
}

/// A network, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, Fault> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_invalid| one());
    network.map(|network| network.trunc()).map_err(|_invalid| {
        let fault = Fault::new(format!("{} is not a network", quote(text)));
        fault.hint("write, for example, \"10.0.0.0/8\" or \"2001:db8::1\"")
    })
}

/// A cookie's name (RFC 6265 §4.1.1).
pub(crate) fn cookie(text: &str) -> Result<String, Fault> {
    token(text).map(str::to_owned)
}

/// Printable ASCII that begins and ends with something visible.
pub(crate) fn word(text: &str) -> Result<String, Fault> {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if text.is_empty() || !printable || text.trim() != text {
        return Err(Fault::new(format!("{} is not a word", quote(text))));
    }
    Ok(text.to_owned())
}

/// A language tag in lower case: letters and digits between hyphens (RFC 5646 §2.1).
pub(crate) fn language(text: &str) -> Result<String, Fault> {
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    match text.split('-').all(subtag) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Fault::new(format!("{} is not a language tag", quote(text)))
            .hint("write, for example, \"en\" or \"pt-BR\"")),
    }
}

/// A pattern of query parameters: a name, or its beginning and `*`.
pub(crate) fn parameter(text: &str) -> Result<String, Fault> {
    let name = text.strip_suffix('*').unwrap_or(text);
    if name.is_empty() {
        return Err(Fault::new(format!("{} names no parameter", quote(text)))
            .hint("write query = \"all\" or query = \"ignore\""));
    }
    if name.contains('*') {
        return Err(Fault::new(format!(
            "{} has `*` elsewhere than at its end",
            quote(text)
        )));
    }
    if name.contains(['&', '=', '#'])
        || name.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(
            Fault::new(format!("{} cannot be the name of a parameter", quote(text)))
                .hint("write it as it stands in the URL, without `=`"),
        );
    }
    Ok(text.to_owned())
}

/// A pattern of paths.
pub(crate) fn path(text: &str) -> Result<Glob, Fault> {
    if !text.starts_with(['/', '*']) {
        return Err(Fault::new(format!(
            "{} matches no path: paths begin with `/`",
            quote(text)
        ))
        .hint(format!("write \"/{}\"", printed(text))));
    }
    if text.contains(['?', '#']) {
        return Err(Fault::new(format!(
            "{} matches no path: a path ends before `?`",
            quote(text)
        ))
        .hint("`*` is the only wildcard; the query is not compared"));
    }
    glob(text)
}

/// A pattern of field values.
pub(crate) fn glob(text: &str) -> Result<Glob, Fault> {
    match text.len() {
        0 => Err(Fault::new("the pattern is empty").hint("write \"*\" for anything")),
        1..=GLOB_BYTES_MAX => Ok(Glob::new(text)),
        _ => Err(Fault::new(format!(
            "{} is longer than {GLOB_BYTES_MAX} bytes",
            quote(text)
        ))),
    }
}

fn printed(text: &str) -> String {
    quote(text).trim_matches('`').to_owned()
}

// === hosts ===

/// Hosts a site answers for.
pub(crate) fn host_pattern(text: &str) -> Result<HostPattern, Fault> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(domain) = text.strip_prefix("*.") {
        return dns_name(text, domain).map(HostPattern::Below);
    }
    if text.contains("://") {
        return Err(Fault::new(format!("{} is a URL", quote(text))).hint("write its host only"));
    }
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let address: Result<Ipv6Addr, _> = address.parse();
        return match address {
            Ok(address) => Ok(HostPattern::Exact(format!("[{address}]"))),
            Err(error) => Err(Fault::new(format!(
                "{} is not a host: {error}",
                quote(text)
            ))),
        };
    }
    if let Some((host, port)) = text.split_once(':') {
        let hint = match port.parse::<u16>() {
            Ok(_) => format!(
                "write \"{}\"; a site answers on every listener",
                printed(host)
            ),
            Err(_) => "write an IPv6 address in brackets: \"[::1]\"".to_owned(),
        };
        return Err(Fault::new(format!("{} is not a host", quote(text))).hint(hint));
    }
    dns_name(text, text).map(HostPattern::Exact)
}

/// A host to be sent as `Host`, with a port if it is not the scheme's.
pub(crate) fn host_field(text: &str) -> Result<String, Fault> {
    let (_, port) = authority(text)?;
    match port {
        Some(0) => Err(Fault::new(format!("{} has port 0", quote(text)))),
        Some(_) | None => Ok(text.to_ascii_lowercase()),
    }
}

/// The name of a server in TLS (RFC 6066 §3): no address.
pub(crate) fn server_name(text: &str) -> Result<String, Fault> {
    match text.parse::<IpAddr>() {
        Ok(_) => Err(Fault::new(format!(
            "{} is an address; TLS asks for names",
            quote(text)
        ))),
        Err(_not_an_address) => dns_name(text, text),
    }
}

/// A host and perhaps a port, as in a URL.
pub(crate) fn authority(text: &str) -> Result<(OriginHost, Option<u16>), Fault> {
    let end_of_host = match text.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(text.len(), |bracket| bracket + 2),
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end_of_host);
    let port = match port.strip_prefix(':') {
        Some(digits) => Some(self::port(text, digits)?),
        None if port.is_empty() => None,
        None => {
            return Err(Fault::new(format!(
                "{} is not a host and port",
                quote(text)
            )));
        }
    };
    Ok((origin_host(host)?, port))
}

fn origin_host(host: &str) -> Result<OriginHost, Fault> {
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner
            .strip_suffix(']')
            .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return match address {
            Some(address) => Ok(OriginHost::Address(IpAddr::V6(address))),
            None => Err(Fault::new(format!(
                "{} is not an IPv6 address in brackets",
                quote(host)
            ))),
        };
    }
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(OriginHost::Address(address)),
        Err(_a_name) => dns_name(host, host).map(OriginHost::Name),
    }
}

/// A name of DNS in lower case. A name whose last label is a number could be taken for an address, and is refused.
pub(crate) fn dns_name(text: &str, name: &str) -> Result<String, Fault> {
    let fault = || Fault::new(format!("{} is not a host", quote(text)));
    if !name.is_ascii() {
        return Err(
            fault().hint("write an international name in its ASCII form, which begins with `xn--`")
        );
    }
    if name.contains('*') {
        return Err(fault().hint("`*` may be alone or the first label: \"*.example.com\""));
    }
    if name.ends_with('.') {
        return Err(fault().hint("leave out the last dot"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_address = name.parse::<IpAddr>().is_ok();
    let ends_in_number = name.rsplit('.').next().is_some_and(number);
    if name.len() > HOST_BYTES_MAX || !name.split('.').all(label) || (ends_in_number && !is_address)
    {
        return Err(fault());
    }
    Ok(name.to_ascii_lowercase())
}

// === addresses ===

/// An address to listen on: `HOST:PORT`, or `:PORT` for all interfaces.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }

    let fault = || Fault::new(format!("{} is not an address to listen on", quote(text)));
    let Some((host, digits)) = text.rsplit_once(':') else {
        let hint = match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            true => format!(
                "write \":{}\" for all interfaces, or \"127.0.0.1:{0}\"",
                printed(text)
            ),
            false => format!("add a port: \"{}:8080\"", printed(text)),
        };
        return Err(fault().hint(hint));
    };
    let port = port(text, digits)?;
    match host {
        "" => Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        "*" => Err(fault().hint(format!("write \":{port}\" for all interfaces"))),
        "localhost" => Err(fault().hint(format!("write \"127.0.0.1:{port}\""))),
        _ if host.contains(':') => {
            Err(fault().hint("write an IPv6 address in brackets: \"[::1]:8080\""))
        }
        _ => Err(fault().hint("write the address of an interface: names are not looked up")),
    }
}

fn port(text: &str, digits: &str) -> Result<u16, Fault> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if is_number => Ok(port),
        _ if is_number => Err(
            Fault::new(format!("the port of {} is out of range", quote(text)))
                .hint("ports end at 65535"),
        ),
        _ => Err(Fault::new(format!(
            "the port of {} is not a number",
            quote(text)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: std::fmt::Debug>(read: Result<T, Fault>, expected: Result<&str, &str>) {
        let read = read
            .map(|value| format!("{value:?}"))
            .map_err(|fault| fault.to_string());
        match expected {
            Ok(debug) => assert_eq!(read.as_deref(), Ok(debug)),
            Err(part) => assert!(
                read.as_ref().is_err_and(|message| message.contains(part)),
                "{read:?}"
            ),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn addresses_to_listen_on() {
        check(listen_address("127.0.0.1:8080"),  Ok("127.0.0.1:8080"));
        check(listen_address("[::1]:0"),         Ok("[::1]:0"));
        check(listen_address(":443"),            Ok("[::]:443"));
        check(listen_address("8080"),            Err("write \":8080\" for all interfaces, or \"127.0.0.1:8080\""));
        check(listen_address(""),                Err("add a port"));
        check(listen_address("127.0.0.1"),       Err("add a port: \"127.0.0.1:8080\""));
        check(listen_address("localhost:80"),    Err("write \"127.0.0.1:80\""));
        check(listen_address("*:80"),            Err("write \":80\""));
        check(listen_address("::1:80"),          Err("in brackets"));
        check(listen_address("example.com:80"),  Err("names are not looked up"));
        check(listen_address("127.0.0.1:65536"), Err("out of range; ports end at 65535"));
        check(listen_address("127.0.0.1:+80"),   Err("not a number"));
        check(listen_address("127.0.0.1:"),      Err("not a number"));
    }

    #[test]
    #[rustfmt::skip]
    fn hosts_of_a_site() {
        check(host_pattern("WWW.Example.com"),   Ok("Exact(\"www.example.com\")"));
        check(host_pattern("*.example.net"),     Ok("Below(\"example.net\")"));
        check(host_pattern("*"),                 Ok("Any"));
        check(host_pattern("127.0.0.1"),         Ok("Exact(\"127.0.0.1\")"));
        check(host_pattern("[::0001]"),          Ok("Exact(\"[::1]\")"));
        check(host_pattern("localhost"),         Ok("Exact(\"localhost\")"));
        check(host_pattern("a_b.example.com"),   Ok("Exact(\"a_b.example.com\")"));
        check(host_pattern(""),                  Err("not a host"));
        check(host_pattern("example.com:8443"),  Err("write \"example.com\"; a site answers on every listener"));
        check(host_pattern("::1"),               Err("in brackets"));
        check(host_pattern("[zz]"),              Err("not a host"));
        check(host_pattern("https://a.b"),       Err("is a URL"));
        check(host_pattern("example.com."),      Err("leave out the last dot"));
        check(host_pattern("www.*.com"),         Err("`*` may be alone or the first label"));
        check(host_pattern("*example.com"),      Err("`*` may be alone or the first label"));
        check(host_pattern("*.*.com"),           Err("`*` may be alone or the first label"));
        check(host_pattern("münchen.de"),        Err("`xn--`"));
        check(host_pattern("a..b"),              Err("not a host"));
        check(host_pattern("-a.b"),              Err("not a host"));
        check(host_pattern("a b"),               Err("not a host"));
        check(host_pattern("1.2.3"),             Err("not a host"));
        check(host_pattern(&"a".repeat(64)),     Err("not a host"));
        check(host_pattern(&"a.".repeat(127)),   Err("not a host"));
    }

    #[test]
    #[rustfmt::skip]
    fn hosts_and_ports_of_origins() {
        check(authority("Origin.example"),       Ok("(Name(\"origin.example\"), None)"));
        check(authority("origin.example:8080"),  Ok("(Name(\"origin.example\"), Some(8080))"));
        check(authority("192.0.2.1:80"),         Ok("(Address(192.0.2.1), Some(80))"));
        check(authority("[2001:db8::1]"),        Ok("(Address(2001:db8::1), None)"));
        check(authority("[2001:db8::1]:443"),    Ok("(Address(2001:db8::1), Some(443))"));
        check(authority("[2001:db8::1]443"),     Err("not a host and port"));
        check(authority("[2001:db8::1"),         Err("not an IPv6 address in brackets"));
        check(authority("2001:db8::1"),          Err("not a number"));
        check(authority("origin.example:99999"), Err("out of range"));
        check(authority(""),                     Err("not a host"));
        check(host_field("Backend:8080"),        Ok("\"backend:8080\""));
        check(host_field("backend:0"),           Err("port 0"));
        check(host_field("a/b"),                 Err("not a host"));
        check(server_name("Origin.example"),     Ok("\"origin.example\""));
        check(server_name("192.0.2.1"),          Err("TLS asks for names"));
    }

    #[test]
    #[rustfmt::skip]
    fn where_parents_are() {
        check(parent("http://10.0.0.7:8080"),          Ok("One(ParentUrl { id: \"10.0.0.7:8080\", weight: 1, secure: false, host: Address(10.0.0.7), port: 8080 })"));
        check(parent("https://P.example/ id=p-1 weight=3"), Ok("One(ParentUrl { id: \"p-1\", weight: 3, secure: true, host: Name(\"p.example\"), port: 443 })"));
        check(parent("dns+srv://_larder._tcp.Example.com"), Ok("Srv { name: \"_larder._tcp.example.com\", secure: false }"));
        check(parent("dns+srvs://_larder._tcp.example.com"), Ok("Srv { name: \"_larder._tcp.example.com\", secure: true }"));
        check(parent("file:parents"),                  Ok("File(\"parents\")"));
        check(parent("file:"),                         Err("names no file"));
        check(parent("10.0.0.7:8080"),                 Err("is not where a parent is"));
        check(parent("http://10.0.0.7/path"),          Err("is not a host"));
        check(parent("http://10.0.0.7:0"),             Err("port 0"));
        check(parent("http://a weight=0"),             Err("not a weight"));
        check(parent("http://a wait=1"),               Err("is not where a parent is"));
        check(parent("http://a id=a,b"),               Err("not a token"));
    }

    #[test]
    #[rustfmt::skip]
    fn names_of_http() {
        check(name("fra-1"),                     Ok("\"fra-1\""));
        check(name("fra 1"),                     Err("not a token"));
        check(name(""),                          Err("not a token"));
        check(name(&"a".repeat(64)).map(|name| name.len()), Ok("64"));
        check(name(&"a".repeat(65)),             Err("longer than 64"));
        check(field("X-Device"),                 Ok("\"x-device\""));
        check(field("X-*"),                      Err("`*` stands for nothing here"));
        check(field("X Device"),                 Err("not a token"));
        check(cookie("currency"),                Ok("\"currency\""));
        check(cookie("a=b"),                     Err("not a token"));
        check(language("pt-BR"),                 Ok("\"pt-br\""));
        check(language("en_US"),                 Err("not a language tag"));
        check(language("*"),                     Err("not a language tag"));
        check(parameter("utm_*"),                Ok("\"utm_*\""));
        check(parameter("*"),                    Err("names no parameter"));
        check(parameter("u*m"),                  Err("elsewhere than at its end"));
        check(parameter("a=b"),                  Err("cannot be the name"));
        check(path("/a/*").map(|glob| glob.as_str().to_owned()), Ok("\"/a/*\""));
        check(path("assets/*"),                  Err("write \"/assets/*\""));
        check(path("/a?b"),                      Err("a path ends before `?`"));
        check(glob(""),                          Err("the pattern is empty"));
        check(glob(&"a".repeat(1_025)),          Err("longer than 1024 bytes"));
    }
}
