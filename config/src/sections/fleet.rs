//! `[fleet]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::kinds::{Choice, Lasting, List, ReadableFile, Text, values};
use crate::model::{Certificate, Fleet, OnLag, Unreachable};
use crate::names;
use crate::problems::Fault;
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const SERVERS: Setting<List<Text<String>>> = Setting {
    key: "servers",
    unset: Unset::Is("[]"),
    about: "NATS servers, all of one cluster; without one, the node is by itself.",
    read: List {
        of: Text {
            accepts: "a URL such as \"nats://nats-1:4222\" or \"tls://nats-1:4222\"",
            parse: names::nats_server,
        },
        least: 0,
    },
};

const CREDENTIALS: Setting<ReadableFile> = Setting {
    key: "credentials_file",
    unset: Unset::Means {
        example: "\"node.creds\"",
        means: "what stands in the servers' URLs, if anything",
    },
    about: "A NATS credentials file: who the node is towards the servers.",
    read: ReadableFile,
};

const CA_FILE: Setting<ReadableFile> = Setting {
    key: "ca_file",
    unset: Unset::Means {
        example: "\"nats-ca.pem\"",
        means: "the system's authorities",
    },
    about: "Authorities in PEM that sign the servers' certificates.",
    read: ReadableFile,
};

const CERT_FILE: Setting<ReadableFile> = Setting {
    key: "cert_file",
    unset: Unset::Means {
        example: "\"node.pem\"",
        means: "none",
    },
    about: "The certificate in PEM that the node shows the servers; it needs `key_file`.",
    read: ReadableFile,
};

const KEY_FILE: Setting<ReadableFile> = Setting {
    key: "key_file",
    unset: Unset::Means {
        example: "\"node-key.pem\"",
        means: "none",
    },
    about: "The private key of `cert_file` in PEM.",
    read: ReadableFile,
};

const STREAM: Setting<Text<String>> = Setting {
    key: "stream",
    unset: Unset::Is("\"LARDER\""),
    about: "The stream that is the log of purges; `larder fleet init` makes it.",
    read: Text {
        accepts: "letters, digits, `-` and `_`, at most 32",
        parse: names::stream,
    },
};

const MAX_LAG: Setting<Lasting> = Setting {
    key: "max_lag",
    unset: Unset::Is("\"10s\""),
    about: "How far behind the log of purges the node may be before `on_lag` holds.",
    read: Lasting {
        least: Duration::from_secs(3),
        most: Duration::from_secs(86_400),
    },
};

const ON_LAG: Setting<Choice<OnLag>> = Setting {
    key: "on_lag",
    unset: Unset::Is("\"revalidate\""),
    about: "While purges may be missing: \"revalidate\" asks the origin before it sends what is stored, \"pass\" uses \
            nothing stored, \"unready\" revalidates and tells load balancers, \"serve\" goes on.",
    read: Choice(&[
        ("serve", OnLag::Serve),
        ("revalidate", OnLag::Revalidate),
        ("pass", OnLag::Pass),
        ("unready", OnLag::Unready),
    ]),
};

const UNREACHABLE: Setting<Choice<Unreachable>> = Setting {
    key: "unreachable",
    unset: Unset::Is("\"refuse\""),
    about: "A purge while the log cannot be reached: \"refuse\" answers 503, \"queue\" keeps it until it can be logged. \
            It is never applied on one node alone.",
    read: Choice(&[
        ("refuse", Unreachable::Refuse),
        ("queue", Unreachable::Queue),
    ]),
};

const PUBLISH_TIMEOUT: Setting<Lasting> = Setting {
    key: "publish_timeout",
    unset: Unset::Is("\"10s\""),
    about: "How long a purge may take until it is in the log. A cluster that lost its leader takes some seconds.",
    read: Lasting {
        least: Duration::from_millis(100),
        most: Duration::from_secs(60),
    },
};

const FORGET_AFTER: Setting<Lasting> = Setting {
    key: "forget_after",
    unset: Unset::Is("\"10m\""),
    about: "A node that was silent for so long counts no more where a purge waits for all nodes.",
    read: Lasting {
        least: Duration::from_secs(5),
        most: Duration::from_secs(7 * 86_400),
    },
};

pub(crate) const FLEET: Rows = Rows {
    path: "fleet",
    about: "Nodes that share their purges, by a log in NATS JetStream. Each has its own `node.name`.",
    rows: &[
        &SERVERS as &dyn Row,
        &STREAM,
        &CREDENTIALS,
        &CA_FILE,
        &CERT_FILE,
        &KEY_FILE,
        &MAX_LAG,
        &ON_LAG,
        &UNREACHABLE,
        &PUBLISH_TIMEOUT,
        &FORGET_AFTER,
    ],
};

/// Reads `[fleet]`. `Some(None)` is a node by itself.
#[expect(
    clippy::option_option,
    reason = "none is wrong, and none inside is no fleet"
)]
pub(crate) fn fleet(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Fleet>> {
    let servers = section.value(&SERVERS, reading).map(values);
    let certificate = certificate(section, reading);
    let fleet = Parts {
        stream: section.value(&STREAM, reading),
        max_lag: section.value(&MAX_LAG, reading),
        on_lag: section.value(&ON_LAG, reading),
        unreachable: section.value(&UNREACHABLE, reading),
        publish_timeout: section.value(&PUBLISH_TIMEOUT, reading),
        forget_after: section.value(&FORGET_AFTER, reading),
    };
    let credentials = section.value(&CREDENTIALS, reading);
    let ca = section.value(&CA_FILE, reading);
    let servers = servers?;
    if servers.is_empty() {
        let mut idle = section.keys().filter(|key| key.value != SERVERS.key);
        if let Some(key) = idle.next() {
            let fault = Fault::new(format!("`{}` has no effect without `servers`", key.value));
            let hint = "write, for example, servers = [\"nats://nats-1:4222\"]";
            reading.refuse(key.span, fault.hint(hint));
            return None;
        }
        return Some(None);
    }
    Some(Some(Fleet {
        servers,
        credentials,
        ca,
        certificate: certificate?,
        stream: fleet.stream?,
        max_lag: fleet.max_lag?,
        on_lag: fleet.on_lag?,
        unreachable: fleet.unreachable?,
        publish_timeout: fleet.publish_timeout?,
        forget_after: fleet.forget_after?,
    }))
}

/// What has a default.
struct Parts {
    stream: Option<String>,
    max_lag: Option<Duration>,
    on_lag: Option<OnLag>,
    unreachable: Option<Unreachable>,
    publish_timeout: Option<Duration>,
    forget_after: Option<Duration>,
}

/// Certificate and key belong together. `Some(None)` is neither.
#[expect(
    clippy::option_option,
    reason = "none is wrong, and none inside is no certificate"
)]
fn certificate(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Certificate>> {
    let cert: Option<PathBuf> = section.value(&CERT_FILE, reading);
    let key: Option<PathBuf> = section.value(&KEY_FILE, reading);
    match (section.has(&CERT_FILE), section.has(&KEY_FILE)) {
        (true, false) => {
            let fault = Fault::new("`cert_file` needs `key_file`");
            reading.refuse(section.key_span_of(&CERT_FILE), fault);
            None
        }
        (false, true) => {
            let fault = Fault::new("`key_file` needs `cert_file`");
            reading.refuse(section.key_span_of(&KEY_FILE), fault);
            None
        }
        (true, true) => Some(Some(Certificate {
            cert: cert?,
            key: key?,
        })),
        (false, false) => Some(None),
    }
}
