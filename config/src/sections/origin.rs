//! `origins` of a site: URLs, or tables with a URL.

use std::path::PathBuf;
use std::time::Duration;

use super::egress;
use crate::kinds::{Choice, Lasting, ReadableFile, Text, Truth, Whole, values};
use crate::model::{
    Caps, Certificate, Origin, OriginHost, OriginHttp, OriginRole, OriginTransport, Proxy,
    ProxyProtocol, Verify,
};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{Says, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

const URL: Setting<Text<Url>> = Setting {
    key: "url",
    unset: Unset::Required {
        example: "\"https://origin.example.com\"",
    },
    about: "Scheme, host and port; or `dns+srv://NAME`, with TLS `dns+srvs://NAME`: the servers that SRV records tell, by \
            their weights and priorities.",
    read: URL_KIND,
};

const CA: Setting<ReadableFile> = Setting {
    key: "ca",
    unset: Unset::Means {
        example: "\"ca.pem\"",
        means: "the system's authorities",
    },
    about: "The authorities, in PEM, that may vouch for an `https://` origin.",
    read: ReadableFile,
};

const VERIFY: Setting<Truth> = Setting {
    key: "verify",
    unset: Unset::Is("true"),
    about: "Whether an `https://` origin's certificate is verified.",
    read: Truth,
};

const SNI: Setting<Text<String>> = Setting {
    key: "sni",
    unset: Unset::Means {
        example: "\"origin.example.com\"",
        means: "the host of `url`",
    },
    about: "The name an `https://` origin is asked for, and its certificate verified for.",
    read: Text {
        accepts: "a host's name",
        parse: names::server_name,
    },
};

const HOST: Setting<Text<String>> = Setting {
    key: "host",
    unset: Unset::Means {
        example: "\"www.example.com\"",
        means: "the client's `Host`",
    },
    about: "The `Host` the origin is sent.",
    read: Text {
        accepts: "a host, perhaps with a port",
        parse: names::host_field,
    },
};

const HTTP: Setting<Choice<OriginHttp>> = Setting {
    key: "http",
    unset: Unset::Is("\"auto\""),
    about: "The version of HTTP. \"auto\" is HTTP/2 where TLS negotiates it; \"2\" without TLS is with prior knowledge.",
    read: Choice(&[
        ("auto", OriginHttp::Auto),
        ("1", OriginHttp::One),
        ("2", OriginHttp::Two),
    ]),
};

const WEIGHT: Setting<Whole<u32>> = Setting {
    key: "weight",
    unset: Unset::Is("1"),
    about: "Its share of the requests compared with that of the site's other origins.",
    read: Whole::new(1, 1_000),
};

const BACKUP: Setting<Truth> = Setting {
    key: "backup",
    unset: Unset::Is("false"),
    about: "Whether it is asked only where no other origin is up.",
    read: Truth,
};

const MAX_REQUESTS: Setting<Whole<usize>> = Setting {
    key: "max_requests",
    unset: Unset::Means {
        example: "100",
        means: "no limit",
    },
    about: "The most requests that it has at once. What is stored is sent without it; what is stale is sent rather \
            than to wait, where that is allowed.",
    read: Whole::new(1, 100_000),
};

const MAX_CONNECTIONS: Setting<Whole<usize>> = Setting {
    key: "max_connections",
    unset: Unset::Means {
        example: "100",
        means: "no limit",
    },
    about: "The most connections that it has at once, unused ones among them; these are given up soon then.",
    read: Whole::new(1, 100_000),
};

const PROXY: Setting<Text<Url>> = Setting {
    key: "proxy",
    unset: Unset::Means {
        example: "\"http://10.0.0.3:3128\"",
        means: "none",
    },
    about: "A proxy through which it is reached, by CONNECT (RFC 9110 §9.3.6). The proxy resolves the origin's name.",
    read: Text {
        accepts: "a URL such as \"http://10.0.0.3:3128\"",
        parse: proxy_url,
    },
};

const PROXY_CREDENTIALS: Setting<ReadableFile> = Setting {
    key: "proxy_credentials",
    unset: Unset::Means {
        example: "\"proxy.secret\"",
        means: "none",
    },
    about: "A file with `user:password` for the proxy (Basic, RFC 7617), which are sent with CONNECT only.",
    read: ReadableFile,
};

const PROXY_PROTOCOL: Setting<Choice<ProxyProtocol>> = Setting {
    key: "proxy_protocol",
    unset: Unset::Means {
        example: "\"v2\"",
        means: "not at all",
    },
    about: "The version of the PROXY protocol by which it is told who the client is. Clients share no connection then.",
    read: Choice(&[("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)]),
};

const CLIENT_CERT: Setting<ReadableFile> = Setting {
    key: "client_cert",
    unset: Unset::Means {
        example: "\"client.pem\"",
        means: "none",
    },
    about: "The certificate chain, in PEM, that the node shows an `https://` origin.",
    read: ReadableFile,
};

const CLIENT_KEY: Setting<ReadableFile> = Setting {
    key: "client_key",
    unset: Unset::Means {
        example: "\"client.key\"",
        means: "none",
    },
    about: "The key of `client_cert`, in PEM.",
    read: ReadableFile,
};

const QUEUE: Setting<Whole<u32>> = Setting {
    key: "queue",
    unset: Unset::Is("1000"),
    about: "The most requests that wait while it has `max_requests`; others are refused with 503.",
    read: Whole::new(0, 100_000),
};

const QUEUE_TIMEOUT: Setting<Lasting> = Setting {
    key: "queue_timeout",
    unset: Unset::Is("\"5s\""),
    about: "How long they wait; then they are refused with 503.",
    read: Lasting {
        least: Duration::from_millis(1),
        most: Duration::from_secs(3_600),
    },
};

pub(crate) const ORIGIN: Rows = Rows {
    path: "site.origins",
    about: "An entry of `origins` that is more than a URL.",
    rows: &[
        &URL as &dyn Row,
        &CA,
        &VERIFY,
        &SNI,
        &HOST,
        &HTTP,
        &WEIGHT,
        &BACKUP,
        &MAX_REQUESTS,
        &QUEUE,
        &QUEUE_TIMEOUT,
        &MAX_CONNECTIONS,
        &PROXY,
        &PROXY_CREDENTIALS,
        &PROXY_PROTOCOL,
        &CLIENT_CERT,
        &CLIENT_KEY,
        &egress::CHOSEN,
    ],
};

const URL_KIND: Text<Url> = Text {
    accepts: "a URL such as \"http://127.0.0.1:3000\"",
    parse: Url::parse,
};

/// The keys that have a meaning with TLS only.
const TLS_KEYS: &[&str] = &[CA.key, VERIFY.key, SNI.key, CLIENT_CERT.key, CLIENT_KEY.key];

/// Where an origin is: `http://host:port` or `https://host:port`.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    scheme: Scheme,
    host: OriginHost,
    port: u16,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Url {
    fn of_socket(text: &str, path: &str) -> Result<Self, Fault> {
        /// What an address of the kernel holds, less the byte that ends it.
        const PATH_MAX: usize = 107;
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.len() > PATH_MAX {
            let fault = Fault::new(format!("{} is no path of a socket", quote(text)));
            return Err(fault.hint("write, for example, \"unix:/run/app.sock\""));
        }
        Ok(Self {
            scheme: Scheme::Http,
            host: OriginHost::Socket(PathBuf::from(path)),
            port: 0,
        })
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::of_socket(text, path);
        }
        for (prefix, scheme) in [("dns+srv://", Scheme::Http), ("dns+srvs://", Scheme::Https)] {
            if let Some(name) = text.strip_prefix(prefix) {
                return Ok(Self {
                    scheme,
                    host: OriginHost::Service(names::dns_name(text, name)?),
                    port: 0,
                });
            }
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let fault = Fault::new(format!("{} has no scheme", quote(text)));
            return Err(fault.hint(format!(
                "write \"http://{}\"",
                quote(text).trim_matches('`')
            )));
        };
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            _ => {
                let fault = Fault::new(format!("the scheme of {} is not supported", quote(text)));
                return Err(fault.hint("write http:// or https://"));
            }
        };

        let authority = rest.strip_suffix('/').unwrap_or(rest);
        nothing_but_authority(text, authority)?;
        let (host, port) = names::authority(authority)?;
        match port {
            Some(0) => Err(Fault::new(format!("{} has port 0", quote(text)))),
            port => Ok(Self {
                scheme,
                host,
                port: port.unwrap_or(default_port),
            }),
        }
    }
}

/// The URL of a proxy.
fn proxy_url(text: &str) -> Result<Url, Fault> {
    let url = Url::parse(text)?;
    match (url.scheme, &url.host) {
        (Scheme::Http, OriginHost::Name(_) | OriginHost::Address(_)) => Ok(url),
        _ => {
            let fault = Fault::new(format!(
                "{} is no proxy that is asked in clear text",
                quote(text)
            ));
            Err(fault.hint("write http://"))
        }
    }
}

fn nothing_but_authority(text: &str, authority: &str) -> Result<(), Fault> {
    let has = |what| {
        Fault::new(format!("{} has {what}", quote(text))).hint("write scheme, host and port only")
    };
    match authority
        .find(['/', '?', '#', '@'])
        .map(|at| &authority[at..at + 1])
    {
        Some("/") => Err(has("a path")),
        Some("?") => Err(has("a query")),
        Some("#") => Err(has("a fragment")),
        Some(_) => Err(has("a user or password")),
        None => Ok(()),
    }
}

/// A URL, or a table with one.
#[derive(Copy, Clone, Debug)]
pub(crate) struct OriginKind;

impl Read for OriginKind {
    type Output = Origin;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Origin> {
        if let Says::Table(_) = value.says {
            return origin(&Section::open(value, &ORIGIN, reading)?, reading);
        }
        let url = URL_KIND.read(value, reading)?;
        // Every key has its default.
        let nothing_else = Section::empty(value.span);
        finish(&nothing_else, Some(url), reading)
    }

    fn accepts(&self) -> String {
        format!("{}, or a table with such a `url`", URL_KIND.accepts)
    }
}

fn origin(section: &Section<'_>, reading: &mut Reading) -> Option<Origin> {
    let url = section.value(&URL, reading);
    finish(section, url, reading)
}

/// What stands beside the URL.
fn finish(section: &Section<'_>, url: Option<Url>, reading: &mut Reading) -> Option<Origin> {
    let ca = section.value(&CA, reading);
    let verify = section.value(&VERIFY, reading);
    let sni = section.value(&SNI, reading);
    let host_override = section.value(&HOST, reading);
    let http = section.value(&HTTP, reading);

    let weight = section.value(&WEIGHT, reading);
    let backup = section.value(&BACKUP, reading);
    let caps = caps(section, reading);
    let proxy = proxy(section, reading);
    let proxy_protocol = section.value(&PROXY_PROTOCOL, reading);
    let certificate = certificate(section, reading);
    let egress = section.value(&egress::CHOSEN, reading).map(values);

    let Url { scheme, host, port } = url?;
    let transport = match scheme {
        Scheme::Http => {
            refuse_tls_keys(section, reading);
            OriginTransport::Plain
        }
        Scheme::Https => OriginTransport::Tls {
            verify: self::verify(section, verify?, ca, reading),
            sni,
        },
    };
    Some(Origin {
        host,
        port,
        transport,
        http: http?,
        host_override,
        weight: weight?,
        role: match backup? {
            true => OriginRole::Backup,
            false => OriginRole::Primary,
        },
        caps: caps?,
        proxy: proxy?,
        proxy_protocol,
        certificate: certificate?,
        egress: egress.unwrap_or_default(),
    })
}

/// A proxy, and who the node is to it.
fn proxy(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Proxy>> {
    let url = section.value(&PROXY, reading);
    let credentials = section.value(&PROXY_CREDENTIALS, reading);
    match (section.has(&PROXY), section.has(&PROXY_CREDENTIALS)) {
        (true, _) => {
            let Url { host, port, .. } = url?;
            Some(Some(Proxy {
                host,
                port,
                credentials,
            }))
        }
        (false, false) => Some(None),
        (false, true) => {
            let fault = Fault::new("`proxy_credentials` has no effect without `proxy`");
            let hint = "remove it, or name the proxy";
            reading.refuse(section.key_span_of(&PROXY_CREDENTIALS), fault.hint(hint));
            None
        }
    }
}

/// A certificate and its key, both or none.
fn certificate(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Certificate>> {
    let cert = section.value(&CLIENT_CERT, reading);
    let key = section.value(&CLIENT_KEY, reading);
    let (given, missing) = match (section.has(&CLIENT_CERT), section.has(&CLIENT_KEY)) {
        (false, false) => return Some(None),
        (true, true) => {
            let certificate = Certificate {
                cert: cert?,
                key: key?,
            };
            return Some(Some(certificate));
        }
        (true, false) => (&CLIENT_CERT, CLIENT_KEY.key),
        (false, true) => (&CLIENT_KEY, CLIENT_CERT.key),
    };
    let fault = Fault::new(format!("`{}` has no effect without `{missing}`", given.key));
    reading.refuse(section.key_span_of(given), fault.hint("give both"));
    None
}

fn caps(section: &Section<'_>, reading: &mut Reading) -> Option<Caps> {
    let requests = section.value(&MAX_REQUESTS, reading);
    let queue = section.value(&QUEUE, reading);
    let queue_timeout = section.value(&QUEUE_TIMEOUT, reading);
    if !section.has(&MAX_REQUESTS) {
        let of_queue = [QUEUE.key, QUEUE_TIMEOUT.key];
        for key in section.keys().filter(|key| of_queue.contains(&key.value)) {
            let fault = Fault::new(format!(
                "`{}` has no effect without `max_requests`",
                key.value
            ));
            reading.refuse(key.span, fault.hint("remove it, or name the limit"));
        }
    }
    Some(Caps {
        requests,
        queue: queue?,
        queue_timeout: queue_timeout?,
        connections: section.value(&MAX_CONNECTIONS, reading),
    })
}

fn refuse_tls_keys(section: &Section<'_>, reading: &mut Reading) {
    for key in section.keys().filter(|key| TLS_KEYS.contains(&key.value)) {
        let fault = Fault::new(format!(
            "`{}` has no effect on an http:// origin",
            key.value
        ));
        reading.refuse(key.span, fault.hint("remove it, or write https://"));
    }
}

fn verify(
    section: &Section<'_>,
    verified: bool,
    ca: Option<PathBuf>,
    reading: &mut Reading,
) -> Verify {
    if !verified && section.has(&CA) {
        let fault = Fault::new("`ca` has no effect beside verify = false");
        reading.refuse(
            section.key_span_of(&CA),
            fault.hint("remove one of the two"),
        );
    }
    match (verified, ca) {
        (false, _) => Verify::Never,
        (true, Some(ca)) => Verify::Ca(ca),
        (true, None) => Verify::System,
    }
}
