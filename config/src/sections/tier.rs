//! `[tier]`.

use std::path::PathBuf;
use std::time::Duration;

use super::egress;
use crate::kinds::{Choice, Lasting, List, ReadableFile, Text, Whole, text, values};
use crate::model::{Certificate, Parent, Pass, Role, Tier};
use crate::names;
use crate::problems::Fault;
use crate::raw::{At, Span, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

const ROLE: Setting<Choice<Role>> = Setting {
    key: "role",
    unset: Unset::Is("\"edge\""),
    about: "\"edge\" faces clients; a \"parent\" answers edges, too, and parents before it.",
    read: Choice(&[("edge", Role::Edge), ("parent", Role::Parent)]),
};

/// A string that says where parents are; the path of a file begins at the configuration's folder.
#[derive(Copy, Clone, Debug)]
struct Where;

impl Read for Where {
    type Output = Parent;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<Parent> {
        let text = text(value, &self.accepts(), reading)?;
        let parent = names::parent(text).map(|parent| match parent {
            Parent::File(path) => Parent::File(reading.base.join(path)),
            parent => parent,
        });
        reading.keep(value.span, parent)
    }

    fn accepts(&self) -> String {
        "\"http://HOST:PORT\", \"https://HOST:PORT\", \"dns+srv://NAME\", \"dns+srvs://NAME\" or \"file:PATH\"".to_owned()
    }
}

const PARENTS: Setting<List<Where>> = Setting {
    key: "parents",
    unset: Unset::Is("[]"),
    about: "The next tier, asked instead of the origin: HTTP/2 over TLS, or without it on networks of one's own. Behind \
            a URL may stand `id=NAME` and `weight=NUMBER`; a file has one such line for each, and is read again when it \
            changes. `dns+srv` looks up SRV records, `dns+srvs` for TLS.",
    read: List {
        of: Where,
        least: 0,
    },
};

const SIBLINGS: Setting<List<Where>> = Setting {
    key: "siblings",
    unset: Unset::Is("[]"),
    about: "The nodes of one site, this one among them, written as `parents` are and the same on all: each key is stored by \
            its owner, which the others ask. What many ask for, each keeps for ten seconds at most.",
    read: List {
        of: Where,
        least: 0,
    },
};

const KEY: Setting<ReadableFile> = Setting {
    key: "key_file",
    unset: Unset::Means {
        example: "\"tier.key\"",
        means: "certificates prove who nodes are: `ca_file`, `cert_file` and `cert_key_file`",
    },
    about: "A file with a secret of at least 32 characters that all nodes of the tiers share. Without one, whoever shows a \
            certificate of `ca_file` belongs to the tiers: an authority that signs for nobody else.",
    read: ReadableFile,
};

const CA: Setting<ReadableFile> = Setting {
    key: "ca_file",
    unset: Unset::Means {
        example: "\"tier-ca.pem\"",
        means: "no TLS between tiers",
    },
    about: "Authorities in PEM that sign the certificates of parents with `https://`.",
    read: ReadableFile,
};

const CERT: Setting<ReadableFile> = Setting {
    key: "cert_file",
    unset: Unset::Means {
        example: "\"node.pem\"",
        means: "none",
    },
    about: "The certificate in PEM that the node shows its parents; it needs `cert_key_file`.",
    read: ReadableFile,
};

const CERT_KEY: Setting<ReadableFile> = Setting {
    key: "cert_key_file",
    unset: Unset::Means {
        example: "\"node-key.pem\"",
        means: "none",
    },
    about: "The private key of `cert_file` in PEM.",
    read: ReadableFile,
};

const PASS: Setting<Choice<Pass>> = Setting {
    key: "pass",
    unset: Unset::Is("\"direct\""),
    about: "The way of requests that the cache has no part in: to the origin, or through the \"parent\". Unsafe methods go \
            through the parent in any case: it has to forget, too.",
    read: Choice(&[("direct", Pass::Direct), ("parent", Pass::Parent)]),
};

const DIRECT: Setting<Whole<u32>> = Setting {
    key: "direct_per_second",
    unset: Unset::Is("100"),
    about: "Requests a second for the cache that go to the origin when no parent can be asked; what is more gets what is \
            stored, however stale, or an error. What passes by is the same number with parents and without, and is not \
            counted.",
    read: Whole::new(0, 1_000_000),
};

const CONNECT: Setting<Lasting> = Setting {
    key: "connect_timeout",
    unset: Unset::Is("\"500ms\""),
    about: "How long a connection to a parent may take.",
    read: Lasting {
        least: Duration::from_millis(10),
        most: Duration::from_secs(60),
    },
};

const SILENCE: Setting<Lasting> = Setting {
    key: "silence",
    unset: Unset::Is("\"700ms\""),
    about: "How long a parent may be silent while it owes a sign of life, until its connections are given up. After a third of \
            it, another parent is asked, too.",
    read: Lasting {
        least: Duration::from_millis(50),
        most: Duration::from_secs(60),
    },
};

const EGRESS: Setting<List<Text<String>>> = Setting {
    key: "egress",
    unset: Unset::Means {
        example: "[\"de-1\", \"purpose=tier\"]",
        means: "the addresses that the system chooses",
    },
    about: "The pools from which parents and siblings are reached, by name or label, in order. They share no connections \
            with origins.",
    read: egress::CHOSEN.read,
};

pub(crate) const TIER: Rows = Rows {
    path: "tier",
    about: "The node's place between clients and origins. Nodes of one fleet keep purges right across tiers.",
    rows: &[
        &ROLE as &dyn Row,
        &PARENTS,
        &SIBLINGS,
        &KEY,
        &CA,
        &CERT,
        &CERT_KEY,
        &PASS,
        &DIRECT,
        &CONNECT,
        &SILENCE,
        &EGRESS,
    ],
};

/// Reads `[tier]`. `Some(None)` is a node that has no other before or behind it.
#[expect(
    clippy::option_option,
    reason = "none is wrong, and none inside is no tier"
)]
pub(crate) fn tier(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Tier>> {
    let parents = section.value(&PARENTS, reading);
    let siblings = section.value(&SIBLINGS, reading);
    let role = section.value(&ROLE, reading);
    let ca = section.value(&CA, reading);
    let key = section.value(&KEY, reading);
    let certificate = certificate(section, reading);
    let pass = section.value(&PASS, reading);
    let direct = section.value(&DIRECT, reading);
    let connect_timeout = section.value(&CONNECT, reading);
    let silence = section.value(&SILENCE, reading);
    let egress = section.value(&EGRESS, reading).map(values);
    let (parents, siblings, role) = (parents?, siblings?, role?);
    if parents.is_empty() && siblings.is_empty() && role == Role::Edge {
        let lists = [PARENTS.key, SIBLINGS.key];
        if let Some(key) = section.keys().find(|key| !lists.contains(&key.value)) {
            let fault = Fault::new(format!(
                "`{}` has no effect without `parents`, or `role = \"parent\"`",
                key.value
            ));
            let hint = "write, for example, parents = [\"http://10.0.0.7:8080\"]";
            reading.refuse(key.span, fault.hint(hint));
            return None;
        }
        return Some(None);
    }
    for nodes in [&parents, &siblings] {
        if let Some(twice) = named_twice(nodes) {
            let fault = Fault::new("another one of this list has the same id");
            let hint =
                "give each an `id=` of its own, the same on all nodes, or remove one of the two";
            reading.refuse(twice, fault.hint(hint));
            return None;
        }
    }
    let certified = section.has(&CA) && section.has(&CERT);
    if !section.has(&KEY) && !certified {
        let fault = Fault::new("nodes of tiers prove who they are: `key_file` is missing");
        let hint = "make one by `openssl rand -hex 32 > tier.key`, the same for all nodes, or name certificates";
        reading.refuse(section.span, fault.hint(hint));
        return None;
    }
    let mut nodes = parents.iter().chain(&siblings);
    let wrong = match (section.has(&KEY), section.has(&CA)) {
        (true, false) => nodes
            .find(|node| speaks_tls(&node.value) == Some(true))
            .map(|node| (node.span, "a parent with TLS needs `ca_file`")),
        (false, _) => nodes
            .find(|node| speaks_tls(&node.value) == Some(false))
            .map(|node| (node.span, "a parent without TLS needs `key_file`")),
        (true, true) => None,
    };
    if let Some((span, why)) = wrong {
        reading.refuse(span, Fault::new(why));
        return None;
    }
    Some(Some(Tier {
        role,
        parents: values(parents),
        siblings: values(siblings),
        key: match section.has(&KEY) {
            true => Some(key?),
            false => None,
        },
        ca,
        certificate: certificate?,
        pass: pass?,
        direct: direct?,
        connect_timeout: connect_timeout?,
        silence: silence?,
        egress: egress.unwrap_or_default(),
    }))
}

/// Where a node stands that has the id of one before it: it would not be asked, and nobody would know.
fn named_twice(nodes: &[At<Parent>]) -> Option<Span> {
    let id = |node: &At<Parent>| match &node.value {
        Parent::One(one) => Some(one.id.clone()),
        Parent::Srv { .. } | Parent::File(_) => None,
    };
    let twice = nodes.iter().enumerate().find(|(nth, node)| {
        let id_here = id(node);
        id_here.is_some() && nodes[..*nth].iter().any(|other| id(other) == id_here)
    });
    twice.map(|(_, node)| node.span)
}

/// Whether a node is asked over TLS, where the configuration says so.
const fn speaks_tls(parent: &Parent) -> Option<bool> {
    match parent {
        Parent::One(one) => Some(one.secure),
        Parent::Srv { secure, .. } => Some(*secure),
        Parent::File(_) => None,
    }
}

/// Certificate and key belong together. `Some(None)` is neither.
#[expect(
    clippy::option_option,
    reason = "none is wrong, and none inside is no certificate"
)]
fn certificate(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Certificate>> {
    let cert: Option<PathBuf> = section.value(&CERT, reading);
    let key: Option<PathBuf> = section.value(&CERT_KEY, reading);
    match (section.has(&CERT), section.has(&CERT_KEY)) {
        (true, false) => {
            let fault = Fault::new("`cert_file` needs `cert_key_file`");
            reading.refuse(section.key_span_of(&CERT), fault);
            None
        }
        (false, true) => {
            let fault = Fault::new("`cert_key_file` needs `cert_file`");
            reading.refuse(section.key_span_of(&CERT_KEY), fault);
            None
        }
        (true, true) => Some(Some(Certificate {
            cert: cert?,
            key: key?,
        })),
        (false, false) => Some(None),
    }
}
