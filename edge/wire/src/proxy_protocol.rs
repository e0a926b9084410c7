//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte.
//!
//! It is read in exactly as many bytes as it has, so that nothing of what follows is lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a version 1 line, its end included.
pub const V1_MAX: usize = 107;
/// Bytes by which the versions are told apart.
pub const BEGINNING: usize = 12;
/// Bytes of a version 2 header before its addresses.
pub const V2_HEAD: usize = 16;
/// Bytes of a version 2 header after that: two addresses, and what else proxies may add.
pub const V2_REST_MAX: usize = 4096;

const SIGNATURE: [u8; BEGINNING] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Both ends of a connection, as the proxy has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Who connected.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
}

/// What a proxy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Announced {
    /// The connection is the proxy's own, or it does not know more.
    Own,
    /// It is somebody else's.
    Of(Ends),
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    One,
    /// A binary header.
    Two,
}

/// What began a connection was no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header")]
pub struct NoHeader;

/// Tells the versions apart by the first bytes.
///
/// # Errors
/// [`NoHeader`] where it is neither.
pub fn version(beginning: &[u8; BEGINNING]) -> Result<Version, NoHeader> {
    match beginning {
        beginning if *beginning == SIGNATURE => Ok(Version::Two),
        beginning if beginning.starts_with(b"PROXY ") => Ok(Version::One),
        _ => Err(NoHeader),
    }
}

/// Reads a whole line of version 1, with its `\r\n`.
///
/// # Errors
/// [`NoHeader`] for everything that the specification does not have.
pub fn read_v1(line: &[u8]) -> Result<Announced, NoHeader> {
    let line = line.strip_suffix(b"\r\n").ok_or(NoHeader)?;
    let line = std::str::from_utf8(line).map_err(|_not_text| NoHeader)?;
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(NoHeader);
    if word()? != "PROXY" {
        return Err(NoHeader);
    }
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(Announced::Own);
    }
    let (from, to) = (word()?, word()?);
    let (from_port, to_port) = (port(word()?)?, port(word()?)?);
    if word().is_ok() {
        return Err(NoHeader);
    }
    let ends = match family {
        "TCP4" => (ip(v4(from)?), ip(v4(to)?)),
        "TCP6" => (ip(v6(from)?), ip(v6(to)?)),
        _ => return Err(NoHeader),
    };
    Ok(Announced::Of(Ends {
        from: SocketAddr::new(ends.0, from_port),
        to: SocketAddr::new(ends.1, to_port),
    }))
}

fn ip(address: impl Into<IpAddr>) -> IpAddr {
    address.into()
}

fn v4(text: &str) -> Result<Ipv4Addr, NoHeader> {
    text.parse().map_err(|_not_an_address| NoHeader)
}

fn v6(text: &str) -> Result<Ipv6Addr, NoHeader> {
    text.parse().map_err(|_not_an_address| NoHeader)
}

/// Without leading zeros or signs.
fn port(text: &str) -> Result<u16, NoHeader> {
    let port: u16 = text.parse().map_err(|_not_a_port| NoHeader)?;
    (port.to_string() == text).then_some(port).ok_or(NoHeader)
}

/// How many bytes of a version 2 header follow its head.
///
/// # Errors
/// [`NoHeader`] where the head is none, or there are more than [`V2_REST_MAX`].
pub fn v2_rest(head: &[u8; V2_HEAD]) -> Result<usize, NoHeader> {
    let rest = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let sound = head.starts_with(&SIGNATURE) && head[12] >> 4 == 2 && rest <= V2_REST_MAX;
    sound.then_some(rest).ok_or(NoHeader)
}

/// Reads a version 2 header: its head, and what follows it.
///
/// # Errors
/// [`NoHeader`] for everything that the specification does not have.
pub fn read_v2(head: &[u8; V2_HEAD], rest: &[u8]) -> Result<Announced, NoHeader> {
    if v2_rest(head)? != rest.len() {
        return Err(NoHeader);
    }
    match head[12] & 0x0f {
        0 => return Ok(Announced::Own),
        1 => {}
        _ => return Err(NoHeader),
    }
    let ends = match head[13] {
        0x11 => ends::<4>(rest, IpAddr::from)?,
        0x21 => ends::<16>(rest, IpAddr::from)?,
        // Not TCP: what is said of it means nothing here.
        _ => return Ok(Announced::Own),
    };
    Ok(Announced::Of(ends))
}

fn ends<const N: usize>(rest: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Result<Ends, NoHeader> {
    let (from, rest) = rest.split_first_chunk::<N>().ok_or(NoHeader)?;
    let (to, rest) = rest.split_first_chunk::<N>().ok_or(NoHeader)?;
    let (from_port, rest) = rest.split_first_chunk::<2>().ok_or(NoHeader)?;
    let (to_port, _more) = rest.split_first_chunk::<2>().ok_or(NoHeader)?;
    Ok(Ends {
        from: SocketAddr::new(ip(*from), u16::from_be_bytes(*from_port)),
        to: SocketAddr::new(ip(*to), u16::from_be_bytes(*to_port)),
    })
}

/// Writes a line of version 1.
#[must_use]
pub fn write_v1(announced: Announced) -> Vec<u8> {
    let line = match announced {
        Announced::Own => "PROXY UNKNOWN\r\n".to_owned(),
        Announced::Of(ends) => {
            let Ends { from, to } = one_family(ends);
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from_ip, to_ip) = (from.ip(), to.ip());
            format!(
                "PROXY {family} {from_ip} {to_ip} {} {}\r\n",
                from.port(),
                to.port()
            )
        }
    };
    line.into_bytes()
}

/// Writes a header of version 2.
#[must_use]
pub fn write_v2(announced: Announced) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Announced::Of(ends) = announced else {
        header.extend([0x20, 0, 0, 0]);
        return header;
    };
    let Ends { from, to } = one_family(ends);
    header.push(0x21);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x11, 0, 12]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (from, to) => {
            header.extend([0x21, 0, 36]);
            header.extend(v6_of(from).octets());
            header.extend(v6_of(to).octets());
        }
    }
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header
}

const fn v6_of(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A header has one family only.
const fn one_family(ends: Ends) -> Ends {
    let Ends { from, to } = ends;
    if from.is_ipv4() == to.is_ipv4() {
        return ends;
    }
    Ends {
        from: SocketAddr::new(IpAddr::V6(v6_of(from.ip())), from.port()),
        to: SocketAddr::new(IpAddr::V6(v6_of(to.ip())), to.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &str, to: &str) -> Announced {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        Announced::Of(Ends { from, to })
    }

    fn v2(bytes: &[u8]) -> Result<Announced, NoHeader> {
        let (head, rest) = bytes.split_first_chunk().unwrap();
        read_v2(head, rest)
    }

    #[test]
    fn a_line_says_who_connected() {
        #[rustfmt::skip]
        let rows = [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", Ok(of("192.0.2.1:56324", "192.0.2.2:443"))),
            ("PROXY TCP6 ::1 2001:db8::2 1 2\r\n",           Ok(of("[::1]:1", "[2001:db8::2]:2"))),
            ("PROXY UNKNOWN\r\n",                            Ok(Announced::Own)),
            ("PROXY UNKNOWN ffff:f...f:ffff a 65535 b\r\n",  Ok(Announced::Own)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2",           Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",         Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",         Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",     Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",      Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",      Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",   Err(NoHeader)),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",      Err(NoHeader)),
            ("PROXY TCP4 ::1 ::2 1 2\r\n",                   Err(NoHeader)),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",       Err(NoHeader)),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",       Err(NoHeader)),
            ("GET / HTTP/1.1\r\n",                           Err(NoHeader)),
        ];
        for (line, expected) in rows {
            assert_eq!(read_v1(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let both = of("192.0.2.1:1", "[2001:db8::1]:2");
        for announced in [
            Announced::Own,
            of("192.0.2.1:56324", "198.51.100.7:443"),
            of("[2001:db8::1]:1", "[2001:db8::2]:65535"),
        ] {
            assert_eq!(read_v1(&write_v1(announced)), Ok(announced));
            assert_eq!(v2(&write_v2(announced)), Ok(announced));
            assert!(write_v1(announced).len() <= V1_MAX);
        }
        let mapped = of("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2");
        assert_eq!(v2(&write_v2(both)), Ok(mapped));
    }

    #[test]
    fn a_header_is_read_to_its_end_and_not_further() {
        let mut header = write_v2(of("192.0.2.1:1", "192.0.2.2:2"));
        // What proxies add (TLVs) is passed over.
        header.extend([0x04, 0, 1, 0]);
        header[15] += 4;
        assert_eq!(v2(&header), Ok(of("192.0.2.1:1", "192.0.2.2:2")));
        header[15] += 1;
        assert_eq!(v2(&header), Err(NoHeader));

        let wrong = |at: usize, byte: u8| {
            let mut header = write_v2(of("192.0.2.1:1", "192.0.2.2:2"));
            header[at] = byte;
            v2(&header)
        };
        assert_eq!(wrong(12, 0x11), Err(NoHeader), "version 1 in binary");
        assert_eq!(wrong(12, 0x22), Err(NoHeader), "an unknown command");
        assert_eq!(wrong(13, 0x21), Err(NoHeader), "IPv6 in twelve bytes");
        assert_eq!(wrong(13, 0x12), Ok(Announced::Own), "UDP");
        assert_eq!(wrong(0, b'G'), Err(NoHeader));
        let mut head = [0; V2_HEAD];
        head[..BEGINNING].copy_from_slice(&SIGNATURE);
        head[12] = 0x21;
        head[14] = 0xff;
        assert_eq!(
            v2_rest(&head),
            Err(NoHeader),
            "longer than anything sensible"
        );
    }

    #[test]
    fn the_first_bytes_tell_the_version() {
        assert_eq!(version(b"PROXY TCP4 1"), Ok(Version::One));
        assert_eq!(version(&SIGNATURE), Ok(Version::Two));
        assert_eq!(version(b"GET / HTTP/1"), Err(NoHeader));
    }
}
