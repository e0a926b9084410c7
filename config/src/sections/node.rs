//! `[node]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

use crate::kinds::{Choice, Lasting, List, Text, Truth, Whole, values};
use crate::model::{Announcing, Listener, ListenerTransport, Node, TrustedField};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{At, Says, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

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

pub(super) const ADDRESS_KIND: Text<SocketAddr> = Text {
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
