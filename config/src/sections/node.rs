//! `[node]`, `[admin]`, `[memory]`, `[log]` and `[tls]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::purging::TokenKind;
use crate::kinds::{Bytes, Choice, Lasting, List, ReadableFile, Text, Truth, Whole, values};
use crate::model::{
    AccessLog, Admin, AdminToken, Announcing, Certificate, Eviction, Level, Listener,
    ListenerTransport, Log, LogTo, Memory, Node, Redacted, Tls, TrustedField,
};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{At, Says, Span, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};
use crate::units::print_size;

// === [node] ===

const NAME: Setting<Text<String>> = Setting {
    key: "name",
    unset: Unset::Is("\"larder\""),
    about: "The node's name in `Cache-Status`, `Via` and `CDN-Loop`.",
    read: Text {
        accepts: "a token of at most 64 characters",
        parse: names::name,
    },
};

const LISTEN: Setting<List<ListenerKind>> = Setting {
    key: "listen",
    unset: Unset::Is("[\"127.0.0.1:8080\"]"),
    about: "Where clients connect. \":8080\" is every interface; port 0 is any free port.",
    read: List {
        of: ListenerKind,
        least: 1,
    },
};

const THREADS: Setting<Whole<usize>> = Setting {
    key: "threads",
    unset: Unset::Is("0"),
    about: "Worker threads; 0 is one for each core.",
    read: Whole::new(0, 1_024),
};

const GRACE: Setting<Lasting> = Setting {
    key: "grace",
    unset: Unset::Is("\"30s\""),
    about: "How long requests under way may take to finish after the signal to stop.",
    read: Lasting {
        least: Duration::ZERO,
        most: Duration::from_secs(3_600),
    },
};

const TRUSTED_PROXIES: Setting<List<Text<IpNet>>> = Setting {
    key: "trusted_proxies",
    unset: Unset::Is("[]"),
    about: "Networks of proxies before the node: they are believed who a client is, and how it asked. Nobody else is.",
    read: List {
        of: Text {
            accepts: "a network such as \"10.0.0.0/8\"",
            parse: names::network,
        },
        least: 0,
    },
};

const TRUSTED_FIELD: Setting<Choice<TrustedField>> = Setting {
    key: "trusted_field",
    unset: Unset::Is("\"x-forwarded-for\""),
    about: "Where those proxies write it: `X-Forwarded-For` with `X-Forwarded-Proto`, or `Forwarded` (RFC 7239).",
    read: Choice(&[
        ("x-forwarded-for", TrustedField::XForwardedFor),
        ("forwarded", TrustedField::Forwarded),
    ]),
};

pub(crate) const NODE: Rows = Rows {
    path: "node",
    about: "The node: its name, its listeners, its threads.",
    rows: &[
        &NAME as &dyn Row,
        &LISTEN,
        &THREADS,
        &GRACE,
        &TRUSTED_PROXIES,
        &TRUSTED_FIELD,
        &RESOLVERS,
    ],
};

const ADDRESS: Setting<Text<SocketAddr>> = Setting {
    key: "address",
    unset: Unset::Required {
        example: "\":443\"",
    },
    about: "The address and port.",
    read: ADDRESS_KIND,
};

const TLS_ON: Setting<Truth> = Setting {
    key: "tls",
    unset: Unset::Is("false"),
    about: "Whether TLS is spoken, with the certificates of `[tls]`.",
    read: Truth,
};

pub(crate) const LISTENER: Rows = Rows {
    path: "node.listen",
    about: "An entry of `listen` that is more than an address.",
    rows: &[&ADDRESS as &dyn Row, &TLS_ON, &PROXY_PROTOCOL],
};

const PROXY_PROTOCOL: Setting<Truth> = Setting {
    key: "proxy_protocol",
    unset: Unset::Is("false"),
    about: "Whether the `trusted_proxies` begin each connection with the PROXY protocol, version 1 or 2. Nobody else may.",
    read: Truth,
};

const RESOLVERS: Setting<List<Text<SocketAddr>>> = Setting {
    key: "resolvers",
    unset: Unset::Means {
        example: "[\"10.0.0.2:53\"]",
        means: "those of the system",
    },
    about: "Name servers that are asked for the addresses of origins.",
    read: List {
        of: Text {
            accepts: "an address with a port, such as \"10.0.0.2:53\"",
            parse: name_server,
        },
        least: 1,
    },
};

fn name_server(text: &str) -> Result<SocketAddr, Fault> {
    let address = text.parse().ok();
    address.ok_or_else(|| {
        let fault = Fault::new(format!("{} is no address with a port", quote(text)));
        fault.hint("write, for example, \"10.0.0.2:53\"")
    })
}

const ADDRESS_KIND: Text<SocketAddr> = Text {
    accepts: "an address such as \"127.0.0.1:8080\" or \":8080\"",
    parse: names::listen_address,
};

/// What `[node]` says.
#[derive(Debug)]
pub(crate) struct NodeRead {
    name: Option<String>,
    pub(crate) listen: Option<Vec<At<Listener>>>,
    threads: Option<usize>,
    grace: Option<Duration>,
    trusted_proxies: Option<Vec<IpNet>>,
    resolvers: Vec<SocketAddr>,
    trusted_field: Option<TrustedField>,
}

/// Reads `[node]`.
pub(crate) fn node(section: &Section<'_>, reading: &mut Reading) -> NodeRead {
    NodeRead {
        name: section.value(&NAME, reading),
        listen: section.value(&LISTEN, reading),
        threads: section.value(&THREADS, reading),
        grace: section.value(&GRACE, reading),
        trusted_proxies: section.value(&TRUSTED_PROXIES, reading).map(values),
        resolvers: section
            .value(&RESOLVERS, reading)
            .map(values)
            .unwrap_or_default(),
        trusted_field: section.value(&TRUSTED_FIELD, reading),
    }
}

impl NodeRead {
    /// The listeners as far as they were read.
    pub(crate) fn listeners(&self) -> Vec<Listener> {
        let listeners = self.listen.iter().flatten();
        listeners.map(|listener| listener.value).collect()
    }

    /// Refuses a listener whose proxies nobody trusts.
    pub(crate) fn announcing_is_trusted(&self, reading: &mut Reading) {
        if !self.trusted_proxies.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        for listener in self.listen.iter().flatten() {
            if listener.value.announcing == Announcing::Trusted {
                let fault = Fault::new("`proxy_protocol` has no effect without `trusted_proxies`");
                let hint = "name the networks of the proxies in [node]";
                reading.refuse(listener.span, fault.hint(hint));
            }
        }
    }

    pub(crate) fn finish(self) -> Option<Node> {
        let Self {
            name,
            listen,
            threads,
            grace,
            trusted_proxies,
            trusted_field,
            resolvers,
        } = self;
        Some(Node {
            name: name?,
            listen: values(listen?),
            threads: NonZeroUsize::new(threads?),
            grace: grace?,
            trusted_proxies: trusted_proxies?,
            resolvers,
            trusted_field: trusted_field?,
        })
    }
}

/// An address, or a table of address and TLS.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ListenerKind;

impl Read for ListenerKind {
    type Output = Listener;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Listener> {
        if let Says::Table(_) = value.says {
            let section = Section::open(value, &LISTENER, reading)?;
            let (address, tls, proxied) = (
                section.value(&ADDRESS, reading),
                section.value(&TLS_ON, reading),
                section.value(&PROXY_PROTOCOL, reading),
            );
            let transport = if tls? {
                ListenerTransport::Tls
            } else {
                ListenerTransport::Plain
            };
            return Some(Listener {
                address: address?,
                transport,
                announcing: match proxied? {
                    true => Announcing::Trusted,
                    false => Announcing::No,
                },
            });
        }
        let address = ADDRESS_KIND.read(value, reading)?;
        Some(Listener {
            address,
            transport: ListenerTransport::Plain,
            announcing: Announcing::No,
        })
    }

    fn accepts(&self) -> String {
        format!(
            "{}, or {{ address = \":443\", tls = true }}",
            ADDRESS_KIND.accepts
        )
    }
}

// === [admin] ===

const ADMIN_LISTEN: Setting<Text<SocketAddr>> = Setting {
    key: "listen",
    unset: Unset::Is("\"127.0.0.1:9180\""),
    about: "Where metrics, readiness and purging are served; not for clients.",
    read: ADDRESS_KIND,
};

const TOKEN_FILE: Setting<ReadableFile> = Setting {
    key: "token_file",
    unset: Unset::Means {
        example: "\"token\"",
        means: "`LARDER_ADMIN_TOKEN`, or a token that is made at the first start and kept",
    },
    about: "A file that holds the bearer token of the admin API; required unless `listen` is a loopback address.",
    read: ReadableFile,
};

const TOKENS: Setting<List<TokenKind>> = Setting {
    key: "tokens",
    unset: Unset::Is("[]"),
    about: "Further tokens, each for a part of the API: see `admin.tokens`.",
    read: List {
        of: TokenKind,
        least: 0,
    },
};

pub(crate) const ADMIN: Rows = Rows {
    path: "admin",
    about: "The administration listener.",
    rows: &[&ADMIN_LISTEN as &dyn Row, &TOKEN_FILE, &TOKENS],
};

/// What `[admin]` says.
#[derive(Debug)]
pub(crate) struct AdminRead {
    pub(crate) listen: Option<At<SocketAddr>>,
    token_file: Option<PathBuf>,
    pub(crate) tokens: Option<Vec<At<AdminToken>>>,
}

/// Reads `[admin]`.
pub(crate) fn admin(section: &Section<'_>, reading: &mut Reading) -> AdminRead {
    let span = match section.has(&ADMIN_LISTEN) {
        true => section.span_of(&ADMIN_LISTEN),
        false => Span::default(),
    };
    let listen = section
        .value(&ADMIN_LISTEN, reading)
        .map(|value| At { span, value });
    let token_file = section.value(&TOKEN_FILE, reading);
    if let Some(listen) = &listen
        && !listen.value.ip().to_canonical().is_loopback()
        && !section.has(&TOKEN_FILE)
    {
        let message = format!(
            "{} can be reached from other machines",
            quote(&listen.value.to_string())
        );
        let hint = "add token_file = \"FILE\" to [admin] (--admin-token-file FILE), or listen on 127.0.0.1";
        reading.refuse(span, Fault::new(message).hint(hint));
    }
    AdminRead {
        listen,
        token_file,
        tokens: section.value(&TOKENS, reading),
    }
}

impl AdminRead {
    pub(crate) fn finish(self) -> Option<Admin> {
        Some(Admin {
            listen: self.listen?.value,
            token_file: self.token_file,
            tokens: values(self.tokens?),
        })
    }
}

// === [memory] ===

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// The share of the tier one response may take.
const OBJECT_SHARE: u64 = 4;

const OBJECT_MAX_BYTES: u64 = 64 * MIB;

/// The share of memory that one response takes where disks have the longer ones. Memory that keeps to what is short
/// answers more requests.
const OBJECT_SHARE_ABOVE_DISKS: u64 = 64;

/// Slices of the default length are stored in every memory.
const OBJECT_LEAST_ABOVE_DISKS: u64 = MIB;

const SIZE: Setting<Bytes<u64>> = Setting {
    key: "size",
    unset: Unset::Is("\"512MiB\""),
    about: "Memory for stored responses, their heads included.",
    read: Bytes::new(MIB, 16 * TIB),
};

const OBJECT_MAX: Setting<Bytes<u64>> = Setting {
    key: "object_max",
    unset: Unset::Means {
        example: "\"64MiB\"",
        means: "\"64MiB\", or a quarter of `size` if that is less; with a disk, a 64th of `size`, from \"1MiB\" to \"64MiB\"",
    },
    about: "The largest response that is stored in memory; at most a quarter of `size`.",
    read: Bytes::new(1 << 10, 4 * TIB),
};

const EVICTION: Setting<Choice<Eviction>> = Setting {
    key: "eviction",
    unset: Unset::Is("\"gdsf\""),
    about: "Who leaves when it is full: \"gdsf\" keeps what is small and often used, \"lru\" what was used last.",
    read: Choice(&[("gdsf", Eviction::Gdsf), ("lru", Eviction::Lru)]),
};

pub(crate) const MEMORY: Rows = Rows {
    path: "memory",
    about: "The cache in memory.",
    rows: &[&SIZE as &dyn Row, &OBJECT_MAX, &EVICTION],
};

/// What is below memory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    Disks,
    Nothing,
}

/// Reads `[memory]`.
pub(crate) fn memory(section: &Section<'_>, below: Below, reading: &mut Reading) -> Option<Memory> {
    let size = section.value(&SIZE, reading);
    let object_max = section.value(&OBJECT_MAX, reading);
    let eviction = section.value(&EVICTION, reading);

    let share = size? / OBJECT_SHARE;
    if let Some(object_max) = object_max
        && object_max > share
    {
        let message = format!(
            "{} is more than a quarter of `size`",
            quote(&print_size(object_max))
        );
        let hint = format!("write at most \"{}\", or raise `size`", print_size(share));
        reading.refuse(section.span_of(&OBJECT_MAX), Fault::new(message).hint(hint));
    }
    let unset = match below {
        Below::Nothing => OBJECT_MAX_BYTES,
        Below::Disks => {
            (size? / OBJECT_SHARE_ABOVE_DISKS).clamp(OBJECT_LEAST_ABOVE_DISKS, OBJECT_MAX_BYTES)
        }
    };
    let object_max = object_max.unwrap_or_else(|| unset.min(share));
    Some(Memory {
        size: size?,
        object_max,
        eviction: eviction?,
    })
}

// === [log] ===

const ACCESS: Setting<Choice<AccessLog>> = Setting {
    key: "access",
    unset: Unset::Is("\"json\""),
    about: "The format of the access log, one line per request. GoAccess reads all but `json`; `vcombined` and `cloudfront` tell it how the cache fared.",
    read: Choice(&[
        ("json", AccessLog::Json),
        ("combined", AccessLog::Combined),
        ("vcombined", AccessLog::CombinedWithHost),
        ("cloudfront", AccessLog::CloudFront),
        ("off", AccessLog::Off),
    ]),
};

const LEVEL: Setting<Choice<Level>> = Setting {
    key: "level",
    unset: Unset::Is("\"info\""),
    about: "The least severe message of the program's own log, on standard error.",
    read: Choice(&[
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ]),
};

const LOG_TO: Setting<Text<LogTo>> = Setting {
    key: "to",
    unset: Unset::Is("\"stdout\""),
    about: "Where the access log goes. Lines that cannot be written are dropped and counted; no request waits.",
    read: Text {
        accepts: "\"stdout\", a path with a `/`, \"udp://HOST:PORT\", \"tcp://HOST:PORT\" or \"unix:/PATH\" (syslog, RFC 5424)",
        parse: names::log_to,
    },
};

const ROTATE_SIZE: Setting<Bytes<u64>> = Setting {
    key: "rotate_size",
    unset: Unset::Is("\"100MiB\""),
    about: "The length at which the file of the access log is set aside as `.1`, and begun anew.",
    read: Bytes::new(1 << 20, 1 << 40),
};

const ROTATE_KEEP: Setting<Whole<u32>> = Setting {
    key: "rotate_keep",
    unset: Unset::Is("7"),
    about: "How many files of the access log are kept beside the one that is written.",
    read: Whole::new(0, 1_000),
};

const SAMPLE_HITS: Setting<Whole<u32>> = Setting {
    key: "sample_hits",
    unset: Unset::Is("1"),
    about: "One of so many hits is told in the access log, and says for how many it stands (`sample`). What is no hit always is told.",
    read: Whole::new(1, 1_000_000),
};

const REDACT: Setting<List<Choice<Redacted>>> = Setting {
    key: "redact",
    unset: Unset::Is("[]"),
    about: "What of requests no log tells: of `client`, all but the network (24 bits of IPv4, 48 of IPv6).",
    read: List {
        of: Choice(&[
            ("client", Redacted::Client),
            ("query", Redacted::Query),
            ("referer", Redacted::Referer),
            ("user_agent", Redacted::UserAgent),
        ]),
        least: 0,
    },
};

pub(crate) const LOG: Rows = Rows {
    path: "log",
    about: "What is logged.",
    rows: &[
        &ACCESS as &dyn Row,
        &LOG_TO,
        &ROTATE_SIZE,
        &ROTATE_KEEP,
        &SAMPLE_HITS,
        &REDACT,
        &LEVEL,
    ],
};

/// Reads `[log]`.
pub(crate) fn log(section: &Section<'_>, reading: &mut Reading) -> Option<Log> {
    let access = section.value(&ACCESS, reading);
    let to = section.value(&LOG_TO, reading);
    let rotate_size = section.value(&ROTATE_SIZE, reading);
    let rotate_keep = section.value(&ROTATE_KEEP, reading);
    let sample_hits = section.value(&SAMPLE_HITS, reading);
    let redact = section.value(&REDACT, reading);
    let level = section.value(&LEVEL, reading);
    Some(Log {
        access: access?,
        to: to?,
        rotate_size: rotate_size?,
        rotate_keep: rotate_keep?,
        sample_hits: sample_hits?,
        redact: values(redact?),
        level: level?,
    })
}

// === [tls] ===

const CERTIFICATES: Setting<List<CertificateKind>> = Setting {
    key: "certificates",
    unset: Unset::Is("[]"),
    about: "Certificates by the name the client asks for (SNI); the first serves clients that name none.",
    read: List {
        of: CertificateKind,
        least: 0,
    },
};

pub(crate) const TLS: Rows = Rows {
    path: "tls",
    about: "TLS between clients and the node.",
    rows: &[&CERTIFICATES as &dyn Row],
};

const CERT: Setting<ReadableFile> = Setting {
    key: "cert",
    unset: Unset::Required {
        example: "\"fullchain.pem\"",
    },
    about: "The chain in PEM, leaf first.",
    read: ReadableFile,
};

const KEY: Setting<ReadableFile> = Setting {
    key: "key",
    unset: Unset::Required {
        example: "\"key.pem\"",
    },
    about: "The private key in PEM.",
    read: ReadableFile,
};

pub(crate) const CERTIFICATE: Rows = Rows {
    path: "tls.certificates",
    about: "A certificate and its key.",
    rows: &[&CERT as &dyn Row, &KEY],
};

/// What `[tls]` says.
#[derive(Debug)]
pub(crate) struct TlsRead {
    pub(crate) certificates: Option<Vec<At<Certificate>>>,
}

/// Reads `[tls]`.
pub(crate) fn tls(section: &Section<'_>, reading: &mut Reading) -> TlsRead {
    TlsRead {
        certificates: section.value(&CERTIFICATES, reading),
    }
}

impl TlsRead {
    pub(crate) fn finish(self) -> Option<Tls> {
        Some(Tls {
            certificates: values(self.certificates?),
        })
    }
}

/// A table of a certificate and its key.
#[derive(Copy, Clone, Debug)]
pub(crate) struct CertificateKind;

impl Read for CertificateKind {
    type Output = Certificate;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Certificate> {
        let section = Section::open(value, &CERTIFICATE, reading)?;
        let (cert, key) = (section.value(&CERT, reading), section.value(&KEY, reading));
        Some(Certificate {
            cert: cert?,
            key: key?,
        })
    }

    fn accepts(&self) -> String {
        "a table such as { cert = \"fullchain.pem\", key = \"key.pem\" }".to_owned()
    }
}
