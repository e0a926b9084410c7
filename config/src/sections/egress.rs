//! `[[egress]]`: pools of local addresses from which origins are reached, and who uses which.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::kinds::{Choice, Lasting, List, Text, values};
use crate::model::{EgressPool, Exhausted, Site};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{Span, Value};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const NAME: Setting<Text<String>> = Setting {
    key: "name",
    unset: Unset::Required {
        example: "\"de-1\"",
    },
    about: "What it is called where it is chosen, and in metrics.",
    read: Text {
        accepts: "a token of at most 64 characters",
        parse: names::name,
    },
};

const ADDRESSES: Setting<List<Text<IpAddr>>> = Setting {
    key: "addresses",
    unset: Unset::Required {
        example: "[\"198.51.100.7\"]",
    },
    about: "Addresses of this machine, of either family.",
    read: List {
        of: Text {
            accepts: "an address such as \"198.51.100.7\"",
            parse: address,
        },
        least: 1,
    },
};

const PORTS: Setting<Text<(u16, u16)>> = Setting {
    key: "ports",
    unset: Unset::Means {
        example: "\"40960-43007\"",
        means: "those that the system chooses",
    },
    about: "The ports of these addresses that this node uses: nodes with other ports may share the addresses. They have \
            to be within the system's own range for outgoing connections.",
    read: Text {
        accepts: "two ports with a dash between them",
        parse: ports,
    },
};

const COUNTRY: Setting<Text<String>> = Setting {
    key: "country",
    unset: Unset::Means {
        example: "\"DE\"",
        means: "none",
    },
    about: "The country that the addresses stand for: a label by which pools are chosen.",
    read: Text {
        accepts: "a country's two letters",
        parse: country,
    },
};

const PURPOSE: Setting<Text<String>> = Setting {
    key: "purpose",
    unset: Unset::Means {
        example: "\"api\"",
        means: "none",
    },
    about: "What it is for: a label by which pools are chosen.",
    read: Text {
        accepts: "a token of at most 64 characters",
        parse: names::name,
    },
};

/// The same without the time of a wait.
#[derive(Copy, Clone, Debug)]
enum Policy {
    Next,
    Wait,
    Fail,
}

const EXHAUSTED: Setting<Choice<Policy>> = Setting {
    key: "exhausted",
    unset: Unset::Is("\"next\""),
    about: "What is done when no port is left for a destination: the next of the chosen pools is tried, the request \
            waits, or it fails with 503.",
    read: Choice(&[
        ("next", Policy::Next),
        ("wait", Policy::Wait),
        ("fail", Policy::Fail),
    ]),
};

const WAIT: Setting<Lasting> = Setting {
    key: "wait",
    unset: Unset::Is("\"200ms\""),
    about: "How long it waits with exhausted = \"wait\".",
    read: Lasting {
        least: Duration::from_millis(1),
        most: Duration::from_secs(60),
    },
};

pub(crate) const EGRESS: Rows = Rows {
    path: "egress",
    about: "A pool of local addresses from which origins are reached. Pools share no connections.",
    rows: &[
        &NAME as &dyn Row,
        &ADDRESSES,
        &PORTS,
        &COUNTRY,
        &PURPOSE,
        &EXHAUSTED,
        &WAIT,
    ],
};

/// Which pools a site, an origin or a rule uses.
pub(crate) const CHOSEN: Setting<List<Text<String>>> = Setting {
    key: "egress",
    unset: Unset::Means {
        example: "[\"de-1\", \"country=DE\"]",
        means: "the addresses that the system chooses",
    },
    about: "The pools from which origins are reached, by name or label, in order. A rule's go before an origin's, and \
            those before the site's.",
    read: List {
        of: Text {
            accepts: "a pool's name, or a label such as \"country=DE\"",
            parse: chosen,
        },
        least: 1,
    },
};

/// Reads all pools: no name twice, and no port of an address in two of them.
pub(crate) fn pools(tables: &[Value], reading: &mut Reading) -> Option<Vec<EgressPool>> {
    let mut pools: Vec<EgressPool> = Vec::with_capacity(tables.len());
    let mut complete = true;
    for value in tables {
        let section = Section::open(value, &EGRESS, reading);
        let pool = section.and_then(|section| {
            let pool = pool(&section, reading)?;
            apart(&section, &pool, &pools, reading);
            Some(pool)
        });
        complete &= pool.is_some();
        pools.extend(pool);
    }
    complete.then_some(pools)
}

fn pool(section: &Section<'_>, reading: &mut Reading) -> Option<EgressPool> {
    let name = section.value(&NAME, reading);
    let addresses = section.value(&ADDRESSES, reading).map(values);
    let ports = section.value(&PORTS, reading);
    let country = section.value(&COUNTRY, reading);
    let purpose = section.value(&PURPOSE, reading);
    let exhausted = section.value(&EXHAUSTED, reading);
    let wait = section.value(&WAIT, reading);
    if section.has(&WAIT) && !matches!(exhausted, None | Some(Policy::Wait)) {
        let fault = Fault::new("`wait` has no effect without exhausted = \"wait\"");
        reading.refuse(section.key_span_of(&WAIT), fault.hint("remove it"));
    }
    Some(EgressPool {
        name: name?,
        addresses: addresses?,
        ports,
        country,
        purpose,
        exhausted: match exhausted? {
            Policy::Next => Exhausted::Next,
            Policy::Wait => Exhausted::Wait(wait?),
            Policy::Fail => Exhausted::Fail,
        },
    })
}

/// Refuses what another pool has already.
fn apart(section: &Section<'_>, pool: &EgressPool, others: &[EgressPool], reading: &mut Reading) {
    for other in others {
        if other.name == pool.name {
            let fault = Fault::new(format!("{} is another pool's name", quote(&pool.name)));
            reading.refuse(section.span_of(&NAME), fault.hint("choose another one"));
        }
        let shared = pool
            .addresses
            .iter()
            .find(|it| other.addresses.contains(it));
        if let (Some(address), true) = (shared, overlap(pool.ports, other.ports)) {
            let fault = Fault::new(format!(
                "pool {} has the same ports of {address}",
                quote(&other.name)
            ));
            let hint = "give them ports that do not overlap";
            reading.refuse(section.span_of(&ADDRESSES), fault.hint(hint));
        }
    }
}

fn overlap(one: Option<(u16, u16)>, other: Option<(u16, u16)>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.0 <= other.1 && other.0 <= one.1,
        (None, _) | (_, None) => true,
    }
}

/// No listener has a port of a pool: clients and origins would want it at once.
pub(crate) fn apart_from_listeners(
    pools: &[EgressPool],
    listeners: &[SocketAddr],
    reading: &mut Reading,
) {
    for pool in pools {
        let Some((first, last)) = pool.ports else {
            continue;
        };
        for address in listeners {
            let has_address =
                address.ip().is_unspecified() || pool.addresses.contains(&address.ip());
            if has_address && (first..=last).contains(&address.port()) {
                let fault = Fault::new(format!(
                    "egress pool {} has the port of the listener {address}",
                    quote(&pool.name)
                ));
                let hint = "give it other ports";
                reading.refuse(Span::default(), fault.hint(hint));
            }
        }
    }
}

/// Puts names in the place of labels, and refuses those that nothing has.
pub(crate) fn resolve(sites: &mut [Site], pools: &[EgressPool], reading: &mut Reading) {
    for site in sites {
        let place = format!("site {}", quote(&site.name));
        resolve_for(&mut site.egress, &place, pools, reading);
        for origin in &mut site.origins {
            resolve_for(&mut origin.egress, &place, pools, reading);
        }
        for rule in &mut site.rules {
            resolve_for(&mut rule.overrides.egress, &place, pools, reading);
        }
    }
}

/// The same for what one place has chosen.
pub(crate) fn resolve_for(
    chosen: &mut Vec<String>,
    place: &str,
    pools: &[EgressPool],
    reading: &mut Reading,
) {
    let mut found: Vec<String> = Vec::new();
    for wanted in std::mem::take(chosen) {
        let is_meant = |pool: &&EgressPool| match wanted.split_once('=') {
            None => pool.name == wanted,
            Some((label, value)) => has_label(pool, label, value),
        };
        let meant: Vec<_> = pools.iter().filter(is_meant).collect();
        if meant.is_empty() {
            let fault = Fault::new(format!(
                "{place}: there is no egress pool {}",
                quote(&wanted)
            ));
            reading.refuse(Span::default(), fault.hint("add it as [[egress]]"));
        }
        for EgressPool { name, .. } in meant {
            if !found.contains(name) {
                found.push(name.clone());
            }
        }
    }
    *chosen = found;
}

fn has_label(pool: &EgressPool, label: &str, value: &str) -> bool {
    let own = match label {
        "country" => &pool.country,
        _ => &pool.purpose,
    };
    own.as_deref() == Some(value)
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    let address: Option<IpAddr> = text.parse().ok();
    let address = address.filter(|it| !it.is_unspecified() && !it.is_multicast());
    address.ok_or_else(|| Fault::new(format!("{} is not an address of a machine", quote(text))))
}

fn ports(text: &str) -> Result<(u16, u16), Fault> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let range = text.split_once('-');
    let range = range.and_then(|(first, last)| Some((port(first)?, port(last)?)));
    // One port alone is none: the kernel's option takes a range.
    range.filter(|(first, last)| first < last).ok_or_else(|| {
        let fault = Fault::new(format!("{} is no range of ports", quote(text)));
        fault.hint("write, for example, \"40960-43007\"")
    })
}

fn country(text: &str) -> Result<String, Fault> {
    if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(text.to_ascii_uppercase());
    }
    let fault = Fault::new(format!("{} is no country", quote(text)));
    Err(fault.hint("write two letters (ISO 3166-1), such as \"DE\""))
}

fn chosen(text: &str) -> Result<String, Fault> {
    match text.split_once('=') {
        None => names::name(text),
        Some(("country", value)) => Ok(format!("country={}", country(value)?)),
        Some(("purpose", value)) => Ok(format!("purpose={}", names::name(value)?)),
        Some((label, _)) => {
            let fault = Fault::new(format!("there is no label {}", quote(label)));
            Err(fault.hint("write `country=` or `purpose=`"))
        }
    }
}
