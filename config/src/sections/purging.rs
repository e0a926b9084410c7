//! `[admin] tokens` and `[dialects]`: who may purge, and how.

use ipnet::IpNet;

use crate::kinds::{Choice, List, ReadableFile, Text, Whole, values};
use crate::model::{AdminToken, Dialects, Permission, Site};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{At, Value};
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};

// === [admin] tokens ===

const NAME: Setting<Text<String>> = Setting {
    key: "name",
    unset: Unset::Required {
        example: "\"shop\"",
    },
    about: "The token's name in the audit trail.",
    read: Text {
        accepts: "a token of at most 64 characters",
        parse: names::name,
    },
};

const FILE: Setting<ReadableFile> = Setting {
    key: "file",
    unset: Unset::Required {
        example: "\"shop.token\"",
    },
    about: "A file that holds the token.",
    read: ReadableFile,
};

const MAY: Setting<List<Choice<Permission>>> = Setting {
    key: "may",
    unset: Unset::Required {
        example: "[\"purge:tag\", \"purge:url\"]",
    },
    about: "What it opens; \"read\" is status, the audit trail and dry runs, \"reload\" has the node read its configuration again.",
    read: List {
        of: Choice(&[
            ("read", Permission::Read),
            ("purge:url", Permission::Url),
            ("purge:tag", Permission::Tag),
            ("purge:prefix", Permission::Prefix),
            ("purge:host", Permission::Host),
            ("purge:key", Permission::Key),
            ("purge:all", Permission::All),
            ("reload", Permission::Reload),
        ]),
        least: 1,
    },
};

const SITES: Setting<List<Text<String>>> = Setting {
    key: "sites",
    unset: Unset::Means {
        example: "[\"www\"]",
        means: "every site",
    },
    about: "The only sites it is good for, by name.",
    read: List {
        of: Text {
            accepts: "the name of a site",
            parse: names::name,
        },
        least: 1,
    },
};

const RATE: Setting<Whole<u32>> = Setting {
    key: "rate",
    unset: Unset::Is("100"),
    about: "Requests in a second; beyond them: 429.",
    read: Whole::new(1, 100_000),
};

pub(crate) const TOKEN: Rows = Rows {
    path: "admin.tokens",
    about: "A further token of the admin API, for a part of it.",
    rows: &[&NAME as &dyn Row, &FILE, &MAY, &SITES, &RATE],
};

/// A table of a token and what it opens.
#[derive(Copy, Clone, Debug)]
pub(crate) struct TokenKind;

impl Read for TokenKind {
    type Output = AdminToken;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<AdminToken> {
        let section = Section::open(value, &TOKEN, reading)?;
        let name = section.value(&NAME, reading);
        let file = section.value(&FILE, reading);
        let may = section.value(&MAY, reading);
        let sites = section.given(&SITES, reading);
        let rate = section.value(&RATE, reading);
        Some(AdminToken {
            name: name?,
            file: file?,
            may: values(may?),
            sites: sites.map(values).unwrap_or_default(),
            rate: rate?,
        })
    }

    fn accepts(&self) -> String {
        "a table such as { name = \"shop\", file = \"shop.token\", may = [\"purge:tag\"] }"
            .to_owned()
    }
}

/// Tokens are for sites that there are, and no two have one name.
pub(super) fn tokens_name_sites(tokens: &[At<AdminToken>], sites: &[Site], reading: &mut Reading) {
    for (index, token) in tokens.iter().enumerate() {
        let name = &token.value.name;
        let taken = tokens[..index].iter().any(|it| it.value.name == *name);
        if taken || name == "admin" {
            let fault = Fault::new(format!("{} is another token's name", quote(name)));
            reading.refuse(
                token.span,
                fault.hint("the audit trail tells them apart by it"),
            );
        }
        for wanted in &token.value.sites {
            if sites.iter().all(|site| site.name != *wanted) {
                let fault = Fault::new(format!("there is no site {}", quote(wanted)));
                reading.refuse(token.span, fault.hint("`sites` has names of [[site]]"));
            }
        }
    }
}

// === [dialects] ===

const NETWORK: Text<IpNet> = Text {
    accepts: "an address or a network such as \"10.0.0.0/8\"",
    parse: network,
};

const fn dialect(key: &'static str, about: &'static str) -> Setting<List<Text<IpNet>>> {
    Setting {
        key,
        unset: Unset::Is("[]"),
        about,
        read: List {
            of: NETWORK,
            least: 0,
        },
    }
}

/// In the order of [`dialects`].
const SPOKEN: [Setting<List<Text<IpNet>>>; 7] = [
    dialect(
        "purge",
        "`PURGE` of a URL on the listeners for clients, with `X-Purge-Method`.",
    ),
    dialect(
        "xkey",
        "`PURGEKEYS`, and `PURGE` with `xkey`, `xkey-purge` or `xkey-softpurge`, on the listeners for clients.",
    ),
    dialect(
        "ban",
        "`BAN` by tags, hosts and anchored paths, on the listeners for clients.",
    ),
    dialect(
        "magento",
        "`PURGE` with `X-Magento-Tags-Pattern` on the listeners for clients.",
    ),
    dialect(
        "fastly",
        "Fastly's API on the admin listener, and its `PURGE` on those for clients; with a token in `Fastly-Key`.",
    ),
    dialect(
        "cloudflare",
        "Cloudflare's `purge_cache` on the admin listener; with a token in `Authorization`.",
    ),
    dialect(
        "souin",
        "Souin's API on the admin listener; without a token.",
    ),
];

pub(crate) const DIALECTS: Rows = Rows {
    path: "dialects",
    about: "Who may purge as clients of other caches do: addresses and networks for each dialect. One without any is off.",
    rows: &[
        &SPOKEN[0] as &dyn Row,
        &SPOKEN[1],
        &SPOKEN[2],
        &SPOKEN[3],
        &SPOKEN[4],
        &SPOKEN[5],
        &SPOKEN[6],
    ],
};

/// Reads `[dialects]`.
pub(crate) fn dialects(section: &Section<'_>, reading: &mut Reading) -> Option<Dialects> {
    let read = |setting| section.value(setting, reading).map(values);
    let [purge, xkey, ban, magento, fastly, cloudflare, souin] = SPOKEN.each_ref().map(read);
    Some(Dialects {
        purge: purge?,
        xkey: xkey?,
        ban: ban?,
        magento: magento?,
        fastly: fastly?,
        cloudflare: cloudflare?,
        souin: souin?,
    })
}

/// An address is a network of one.
fn network(text: &str) -> Result<IpNet, Fault> {
    let address = || text.parse().map(|address: std::net::IpAddr| address.into());
    let network: Result<IpNet, _> = text.parse().or_else(|_| address());
    let network = network.map_err(|_neither| {
        let fault = Fault::new(format!("{} is no address and no network", quote(text)));
        fault.hint("write, for example, \"127.0.0.1\" or \"10.0.0.0/8\"")
    })?;
    if network != network.trunc() {
        let fault = Fault::new(format!("{} has an address within a network", quote(text)));
        return Err(fault.hint(format!("write \"{}\"", network.trunc())));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_or_prefixes() {
        for (text, written) in [
            ("127.0.0.1", "127.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), written);
        }
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/"] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
