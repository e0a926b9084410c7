//! What is measured.

use crate::driver::Protocol;
use crate::server::Kind;

/// One line of the table: the same requests to all.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// A word to choose it by.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) path: &'static str,
    pub(crate) length: usize,
    pub(crate) protocol: Protocol,
    pub(crate) logs: bool,
    /// Whether Larder answers from its disk.
    pub(crate) disk: bool,
    pub(crate) peers: &'static [Kind],
}

const ECHO: Kind = Kind::Echo { h2: false };
const ECHO_H2: Kind = Kind::Echo { h2: true };
const ALL: &[Kind] = &[
    ECHO,
    Kind::Haproxy,
    Kind::Nginx,
    Kind::Varnish,
    Kind::TrafficServer,
];
const TLS: &[Kind] = &[Kind::Haproxy, Kind::Nginx, Kind::TrafficServer];
const CACHES: &[Kind] = &[
    Kind::Haproxy,
    Kind::Nginx,
    Kind::Varnish,
    Kind::TrafficServer,
];

impl Work {
    const fn hit(
        name: &'static str,
        about: &'static str,
        (path, length): (&'static str, usize),
        protocol: Protocol,
        peers: &'static [Kind],
    ) -> Self {
        Self {
            name,
            about,
            path,
            length,
            protocol,
            logs: false,
            disk: false,
            peers,
        }
    }

    const fn logged(self) -> Self {
        let logs = true;
        Self { logs, ..self }
    }

    const fn on_disk(self) -> Self {
        let disk = true;
        Self { disk, ..self }
    }
}

const KIB: (&str, usize) = ("/stored/1024/a", 1 << 10);
const KIB_100: (&str, usize) = ("/stored/102400/a", 100 << 10);
const MIB_10: (&str, usize) = ("/stored/10485760/a", 10 << 20);

/// Everything that is measured at full speed.
#[rustfmt::skip]
pub(crate) const WORKS: &[Work] = &[
    Work::hit("h1", "1 KiB hit, HTTP/1.1", KIB, Protocol::H1, ALL),
    Work::hit("h1-log", "1 KiB hit, HTTP/1.1, access logs on", KIB, Protocol::H1, ALL).logged(),
    Work::hit("h2", "1 KiB hit, HTTP/2 in clear text, 8 × 32 streams", KIB, Protocol::H2, &[ECHO_H2, Kind::Haproxy, Kind::Nginx, Kind::Varnish]),
    Work::hit("h1-tls", "1 KiB hit, HTTP/1.1 over TLS 1.3", KIB, Protocol::H1Tls, TLS),
    Work::hit("h2-tls", "1 KiB hit, HTTP/2 over TLS 1.3, 8 × 32 streams", KIB, Protocol::H2Tls, TLS),
    Work::hit("100k", "100 KiB hit, HTTP/1.1", KIB_100, Protocol::H1, ALL),
    Work::hit("10m", "10 MiB hit, HTTP/1.1", MIB_10, Protocol::H1, ALL),
    Work::hit("disk", "1 MiB hit on a disk, in the page cache", ("/stored/1048576/a", 1 << 20), Protocol::H1, &[Kind::Nginx]).on_disk(),
    Work::hit("miss", "1 KiB miss to a local origin", ("/passed/1024/a", 1 << 10), Protocol::H1, CACHES),
    Work::hit("miss-1m", "1 MiB miss to a local origin", ("/passed/1048576/a", 1 << 20), Protocol::H1, CACHES),
];
