//! The tables of the file, one module each: their settings, and how they become the model.

mod admin;
mod caching;
mod codings;
mod disk;
mod edits;
mod egress;
mod fleet;
mod key;
mod limits;
mod log;
mod memory;
mod node;
mod origin;
mod purging;
mod rule;
mod sharing;
mod site;
mod slices;
mod telemetry;
mod tier;
mod tls;
mod vary;

pub use site::UNKEYED;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::model::{Config, ListenerTransport};
use crate::problems::{Fault, quote};
use crate::raw::Value;
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

/// A key of the file whose value is a table, or a list of tables.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) accepts: &'static str,
}

impl Read for Tables {
    /// Tables are opened, not read.
    type Output = ();

    fn read(&self, _: &Value, _: &mut Reading) -> Option<()> {
        Some(())
    }

    fn accepts(&self) -> String {
        self.accepts.to_owned()
    }
}

const fn table(key: &'static str, about: &'static str) -> Setting<Tables> {
    let unset = Unset::Means {
        example: "{}",
        means: "its defaults",
    };
    Setting {
        key,
        unset,
        about,
        read: Tables { accepts: "a table" },
    }
}

const NODE: Setting<Tables> = table("node", node::NODE.about);
const ADMIN: Setting<Tables> = table("admin", admin::ADMIN.about);
const FLEET: Setting<Tables> = table("fleet", fleet::FLEET.about);
const TIER: Setting<Tables> = table("tier", tier::TIER.about);
const DIALECTS: Setting<Tables> = table("dialects", purging::DIALECTS.about);
const MEMORY: Setting<Tables> = table("memory", memory::MEMORY.about);
const CACHE: Setting<Tables> = table("cache", disk::CACHE.about);
const EGRESS: Setting<Tables> = Setting {
    key: "egress",
    unset: Unset::Means {
        example: "[]",
        means: "the system chooses",
    },
    about: egress::EGRESS.about,
    read: Tables { accepts: "tables" },
};
const LOG: Setting<Tables> = table("log", log::LOG.about);
const TELEMETRY: Setting<Tables> = table("telemetry", telemetry::TELEMETRY.about);
const LIMITS: Setting<Tables> = table("limits", limits::LIMITS.about);
const TLS: Setting<Tables> = table("tls", tls::TLS.about);
const SITE: Setting<Tables> = Setting {
    key: "site",
    unset: Unset::Means {
        example: "[]",
        means: "an error",
    },
    about: site::SITE.about,
    read: Tables { accepts: "tables" },
};

const ROOT: Rows = Rows {
    path: "",
    about: "the file",
    rows: &[
        &NODE as &dyn Row,
        &ADMIN,
        &FLEET,
        &TIER,
        &DIALECTS,
        &MEMORY,
        &CACHE,
        &EGRESS,
        &LOG,
        &TELEMETRY,
        &LIMITS,
        &TLS,
        &SITE,
    ],
};

/// All tables that have settings, in the order of the reference.
pub(crate) fn all() -> &'static [Rows] {
    &[
        node::NODE,
        node::LISTENER,
        admin::ADMIN,
        fleet::FLEET,
        tier::TIER,
        purging::TOKEN,
        purging::DIALECTS,
        memory::MEMORY,
        disk::DISK,
        egress::EGRESS,
        log::LOG,
        telemetry::TELEMETRY,
        limits::LIMITS,
        tls::TLS,
        tls::CERTIFICATE,
        site::SITE,
        origin::ORIGIN,
        sharing::HEALTH,
        sharing::BREAKER,
        sharing::EJECTION,
        edits::REQUEST,
        edits::RESPONSE,
        caching::STALE,
        caching::HEURISTIC,
        key::KEY,
        key::QUERY,
        vary::VARY,
        slices::SLICES,
        codings::CODINGS,
        rule::RULE,
        rule::MATCH,
        rule::HEADER,
    ]
}

/// The configuration the file means. It is one only if nothing was found to be wrong.
pub(crate) fn config(file: &Value, reading: &mut Reading) -> Option<Config> {
    let root = Section::open(file, &ROOT, reading)?;
    let node = root
        .section(&NODE, &node::NODE, reading)
        .map(|section| node::node(&section, reading));
    let admin = root
        .section(&ADMIN, &admin::ADMIN, reading)
        .map(|section| admin::admin(&section, reading));
    let fleet = root
        .section(&FLEET, &fleet::FLEET, reading)
        .and_then(|section| fleet::fleet(&section, reading));
    let mut tier = root
        .section(&TIER, &tier::TIER, reading)
        .and_then(|section| tier::tier(&section, reading));
    let dialects = root
        .section(&DIALECTS, &purging::DIALECTS, reading)
        .and_then(|section| purging::dialects(&section, reading));
    let volumes = root
        .section(&CACHE, &disk::CACHE, reading)
        .and_then(|section| section.list(&disk::DISK_KEY, reading));
    let below = match volumes.is_none_or(<[_]>::is_empty) {
        true => memory::Below::Nothing,
        false => memory::Below::Disks,
    };
    let memory = root
        .section(&MEMORY, &memory::MEMORY, reading)
        .and_then(|section| memory::memory(&section, below, reading));
    let disks = volumes.and_then(|volumes| disk::disks(volumes, memory.as_ref(), reading));
    let log = root
        .section(&LOG, &log::LOG, reading)
        .and_then(|section| log::log(&section, reading));
    let telemetry = root
        .section(&TELEMETRY, &telemetry::TELEMETRY, reading)
        .and_then(|section| telemetry::telemetry(&section, reading));
    let limits = root
        .section(&LIMITS, &limits::LIMITS, reading)
        .and_then(|section| limits::limits(&section, reading));
    let tls = root
        .section(&TLS, &tls::TLS, reading)
        .map(|section| tls::tls(&section, reading));
    let egress = root
        .list(&EGRESS, reading)
        .and_then(|pools| egress::pools(pools, reading));
    let mut sites = root
        .list(&SITE, reading)
        .and_then(|sites| site::sites(sites, reading));
    if let (Some(pools), Some(sites)) = (&egress, &mut sites) {
        egress::resolve(sites, pools, reading);
        if let Some(Some(tier)) = &mut tier {
            egress::resolve_for(&mut tier.egress, "[tier]", pools, reading);
        }
    }

    let (node, admin, tls) = (node?, admin?, tls?);
    addresses_are_apart(&node, &admin, reading);
    certificates_are_used(&node, &tls, reading);
    node.announcing_is_trusted(reading);
    if let Some(pools) = &egress {
        let listening = node.listeners().into_iter().map(|it| it.address);
        let listening: Vec<_> = listening
            .chain(admin.listen.iter().map(|it| it.value))
            .collect();
        egress::apart_from_listeners(pools, &listening, reading);
    }
    if let (Some(tokens), Some(sites)) = (&admin.tokens, &sites) {
        purging::tokens_name_sites(tokens, sites, reading);
    }
    Some(Config {
        node: node.finish()?,
        admin: admin.finish()?,
        fleet: fleet?,
        tier: tier?,
        dialects: dialects?,
        memory: memory?,
        disks: disks?,
        egress: egress?,
        log: log?,
        telemetry: telemetry?,
        limits: limits?,
        tls: tls.finish()?,
        sites: sites?,
        effective: crate::effective::effective(file),
    })
}

/// No two listeners overlap, and the clients' are not the administration's.
fn addresses_are_apart(node: &node::NodeRead, admin: &admin::AdminRead, reading: &mut Reading) {
    let listeners = node.listen.as_deref().unwrap_or_default();
    for (index, listener) in listeners.iter().enumerate() {
        let address = listener.value.address;
        if listeners[..index]
            .iter()
            .any(|earlier| overlap(earlier.value.address, address))
        {
            let message = format!(
                "{} overlaps an address before it",
                quote(&address.to_string())
            );
            reading.refuse(
                listener.span,
                Fault::new(message).hint("remove one of the two"),
            );
        }
        if let Some(admin) = &admin.listen
            && overlap(admin.value, address)
        {
            let message = format!(
                "{} is the administration's address",
                quote(&address.to_string())
            );
            let hint = "clients must not reach [admin]: give one of the two another port";
            // A default has no place, the later of two is the one that was not expected.
            let later = if admin.span.start > listener.span.start {
                admin.span
            } else {
                listener.span
            };
            reading.refuse(later, Fault::new(message).hint(hint));
        }
    }
}

/// Whether two listeners would want the same connections. Port 0 is a port of its own each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: IpAddr, other: IpAddr| match one {
        IpAddr::V6(any) if any.is_unspecified() => true,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => other.is_ipv4(),
        IpAddr::V4(_) | IpAddr::V6(_) => one == other,
    };
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port()
        && one.port() != 0
        && (covers(one_ip, other_ip) || covers(other_ip, one_ip))
}

/// TLS listeners have certificates, and certificates a listener.
fn certificates_are_used(node: &node::NodeRead, tls: &tls::TlsRead, reading: &mut Reading) {
    let (Some(listeners), Some(certificates)) = (&node.listen, &tls.certificates) else {
        return;
    };
    let first_tls = listeners
        .iter()
        .find(|listener| listener.value.transport == ListenerTransport::Tls);
    match (first_tls, certificates.first()) {
        (Some(listener), None) => {
            let fault = Fault::new("a TLS listener needs a certificate");
            let hint =
                "add [tls] with certificates = [{ cert = \"fullchain.pem\", key = \"key.pem\" }]";
            reading.refuse(listener.span, fault.hint(hint));
        }
        (None, Some(certificate)) => {
            let fault = Fault::new("no listener uses this certificate");
            let hint = "in [node], write listen = [{ address = \":443\", tls = true }]";
            reading.refuse(certificate.span, fault.hint(hint));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}
