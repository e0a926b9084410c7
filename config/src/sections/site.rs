//! `[[site]]`: the hosts it answers for, where it comes from, and how it is cached.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::origin::OriginKind;
use super::{Tables, caching, codings, edits, egress, key, rule, sharing, slices, vary};
use crate::kinds::{Choice, Lasting, List, Text, Truth, Whole, values};
use crate::model::{
    Caching, Debug, EarlyHints, FieldEdits, Forwarded, ForwardedAs, HostPattern, LearnHints,
    Origin, ProxyStatus, Rule, Sharing, Site, UnknownTransferCoding, Upstream,
};
use crate::names;
use crate::problems::{Fault, quote};
use crate::raw::{At, Span, Value};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset, most_similar};

/// Request fields that many applications build responses from although no cache key has them. They do not reach the
/// origin unless [`Site::pass_unkeyed`] or the key names them: who sends one could otherwise choose what others are
/// answered. Lower case.
pub const UNKEYED: &[&str] = &[
    "base-url",
    "client-ip",
    "destination",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "proxy",
    "request-uri",
    "true-client-ip",
    "x-backend-host",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-override-url",
    "x-proxy-url",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-request-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
    "x-wap-profile",
];

const TIMEOUT: Lasting = Lasting {
    least: Duration::from_millis(1),
    most: Duration::from_secs(3_600),
};

const NAME: Setting<Text<String>> = Setting {
    key: "name",
    unset: Unset::Means {
        example: "\"www\"",
        means: "the first of `hosts`; \"default\" for \"*\"",
    },
    about: "The site's name in keys, metrics and logs.",
    read: Text {
        accepts: "a token of at most 64 characters",
        parse: names::name,
    },
};

const HOSTS: Setting<List<Text<HostPattern>>> = Setting {
    key: "hosts",
    unset: Unset::Is("[\"*\"]"),
    about: "The hosts it answers for: a host, \"*.example.net\" for all below it, \"*\" for those no other site has.",
    read: List {
        of: Text {
            accepts: "a host such as \"www.example.com\"",
            parse: names::host_pattern,
        },
        least: 1,
    },
};

const ORIGINS: Setting<List<OriginKind>> = Setting {
    key: "origins",
    unset: Unset::Required {
        example: "[\"http://127.0.0.1:3000\"]",
    },
    about: "Where it comes from: URLs, sockets such as \"unix:/run/app.sock\", or the servers of SRV records, \
            \"dns+srv://_http._tcp.example.com\". An address that fails is left alone while a name or a service has others.",
    read: List {
        of: OriginKind,
        least: 1,
    },
};

const fn timeout(
    key: &'static str,
    default: &'static str,
    about: &'static str,
) -> Setting<Lasting> {
    Setting {
        key,
        unset: Unset::Is(default),
        about,
        read: TIMEOUT,
    }
}

const CONNECT_TIMEOUT: Setting<Lasting> = timeout(
    "connect_timeout",
    "\"5s\"",
    "To a connection, TLS included.",
);
const FIRST_BYTE_TIMEOUT: Setting<Lasting> = timeout(
    "first_byte_timeout",
    "\"30s\"",
    "From the request's last byte to the response's first.",
);
const BETWEEN_BYTES_TIMEOUT: Setting<Lasting> = timeout(
    "between_bytes_timeout",
    "\"30s\"",
    "Between two reads of a response.",
);
const IDLE_TIMEOUT: Setting<Lasting> = timeout(
    "idle_timeout",
    "\"4s\"",
    "How long an unused connection to an origin is kept; less than the origin keeps it.",
);

const RETRIES: Setting<Whole<u32>> = Setting {
    key: "retries",
    unset: Unset::Is("1"),
    about: "Attempts after one that failed before a response began.",
    read: Whole::new(0, 10),
};

const UNKNOWN_TRANSFER_CODING: Setting<Choice<UnknownTransferCoding>> = Setting {
    key: "unknown_transfer_coding",
    unset: Unset::Is("\"refuse\""),
    about: "A response in an unknown transfer coding: is refused, or read until the connection closes.",
    read: Choice(&[
        ("refuse", UnknownTransferCoding::Refuse),
        ("until-close", UnknownTransferCoding::UntilClose),
    ]),
};

const FORWARDED: Setting<Choice<Forwarded>> = Setting {
    key: "forwarded",
    unset: Unset::Is("\"set\""),
    about: "Who the client is, for the origin: its address alone, that with the trusted proxies' before the node, or nothing.",
    read: Choice(&[
        ("set", Forwarded::Set),
        ("append", Forwarded::Append),
        ("off", Forwarded::Off),
    ]),
};

const FORWARDED_AS: Setting<Choice<ForwardedAs>> = Setting {
    key: "forwarded_as",
    unset: Unset::Is("\"x-forwarded\""),
    about: "How that is written: `X-Forwarded-For`, `-Proto` and, where the origin is sent another `Host`, `-Host`; \
            `Forwarded` (RFC 7239); or both.",
    read: Choice(&[
        ("x-forwarded", ForwardedAs::XForwarded),
        ("forwarded", ForwardedAs::Forwarded),
        ("both", ForwardedAs::Both),
    ]),
};

const EARLY_HINTS: Setting<Choice<EarlyHints>> = Setting {
    key: "early_hints",
    unset: Unset::Is("\"forward\""),
    about: "Responses with status 103: are forwarded, to clients with HTTP/2 only, or are dropped (RFC 8297).",
    read: Choice(&[
        ("forward", EarlyHints::Forward),
        ("http2", EarlyHints::Http2),
        ("off", EarlyHints::Off),
    ]),
};

const LEARN_HINTS: Setting<Truth> = Setting {
    key: "learn_hints",
    unset: Unset::Is("false"),
    about: "Whether links of a response, such as rel=preload, are sent early to who has to wait for the next one.",
    read: Truth,
};

const PROXY_STATUS: Setting<Choice<ProxyStatus>> = Setting {
    key: "proxy_status",
    unset: Unset::Is("\"errors\""),
    about: "What `Proxy-Status` tells (RFC 9209): the kind of an error, also addresses and details, or nothing.",
    read: Choice(&[
        ("errors", ProxyStatus::Errors),
        ("full", ProxyStatus::Full),
        ("off", ProxyStatus::Off),
    ]),
};

const PASS_UNKEYED: Setting<List<Text<String>>> = Setting {
    key: "pass_unkeyed",
    unset: Unset::Is("[]"),
    about: "Fields such as `X-Forwarded-Host` that reach the origin although the key does not have them. \
            Who sends them may choose what others are answered.",
    read: List {
        of: Text {
            accepts: "a field's name",
            parse: unkeyed,
        },
        least: 0,
    },
};

const TAG_FIELDS: Setting<List<Text<String>>> = Setting {
    key: "tag_fields",
    unset: Unset::Is(
        "[\"Surrogate-Key\", \"Cache-Tag\", \"xkey\", \"X-Cache-Tags\", \"X-Magento-Tags\", \"Cache-Groups\"]",
    ),
    about: "Response fields with the tags that it can be purged by. Clients get none of them but `Cache-Groups`.",
    read: List {
        of: Text {
            accepts: "a field's name",
            parse: names::field,
        },
        least: 0,
    },
};

const DEBUG: Setting<Truth> = Setting {
    key: "debug",
    unset: Unset::Is("false"),
    about: "Whether `Cache-Status` tells the cache key, as `key=`.",
    read: Truth,
};

const RULES: Setting<Tables> = Setting {
    key: "rule",
    unset: Unset::Means {
        example: "[]",
        means: "no exceptions",
    },
    about: "Exceptions, see `[[site.rule]]`.",
    read: Tables { accepts: "tables" },
};

pub(crate) const SITE: Rows = Rows {
    path: "site",
    about: "A site: the hosts it answers for, where it comes from, and how it is cached. At least one.",
    rows: &[
        &NAME as &dyn Row,
        &HOSTS,
        &ORIGINS,
        &CONNECT_TIMEOUT,
        &FIRST_BYTE_TIMEOUT,
        &BETWEEN_BYTES_TIMEOUT,
        &IDLE_TIMEOUT,
        &RETRIES,
        &sharing::RETRY_BUDGET,
        &sharing::RETRY_STATUSES,
        &sharing::BALANCE,
        &sharing::STICKY_COOKIE,
        &sharing::SLOW_START,
        &sharing::HEALTH_KEY,
        &sharing::BREAKER_KEY,
        &sharing::EJECTION_KEY,
        &egress::CHOSEN,
        &edits::REQUEST_FIELDS,
        &edits::RESPONSE_FIELDS,
        &UNKNOWN_TRANSFER_CODING,
        &FORWARDED,
        &FORWARDED_AS,
        &PASS_UNKEYED,
        &caching::CLIENT_CONTROL,
        &caching::SET_COOKIE,
        &caching::STALE_KEY,
        &caching::HEURISTIC_KEY,
        &caching::DISK,
        &caching::UNCACHEABLE,
        &caching::TARGETS,
        &key::KEY_KEY,
        &vary::VARY_KEY,
        &slices::SLICES_KEY,
        &caching::DECEPTION_GUARD,
        &codings::CODINGS_KEY,
        &EARLY_HINTS,
        &LEARN_HINTS,
        &PROXY_STATUS,
        &TAG_FIELDS,
        &DEBUG,
        &RULES,
    ],
};

fn unkeyed(text: &str) -> Result<String, Fault> {
    let name = names::field(text)?;
    if UNKEYED.contains(&name.as_str()) {
        return Ok(name);
    }
    let fault = Fault::new(format!("{} is passed in any case", quote(text)));
    Err(
        match most_similar(&name.replace('-', "_"), UNKEYED.iter().copied()) {
            Some(similar) => fault.hint(format!("did you mean \"{similar}\"?")),
            None if name == "x-forwarded-for" => fault.hint("see `forwarded`"),
            None => fault.hint("remove it"),
        },
    )
}

/// Reads all sites: at least one, no host and no name in two of them.
pub(crate) fn sites(sites: &[Value], reading: &mut Reading) -> Option<Vec<Site>> {
    let (mut names, mut hosts) = (HashMap::new(), HashMap::new());
    let read = sites.iter().map(|value| {
        let site = site(value, reading)?;
        if let Some(name) = &site.name {
            once(&mut names, name, "the name of", reading);
        }
        for host in site.hosts.iter().flatten() {
            once(&mut hosts, host, "a host of", reading);
        }
        site.finish()
    });
    let read: Vec<_> = read.collect();

    if read.is_empty() {
        let fault = Fault::new("there is no site");
        reading.refuse(
            Span::default(),
            fault.hint("add [[site]] with origins = [\"http://127.0.0.1:3000\"]"),
        );
    }
    read.into_iter().collect()
}

/// What a `[[site]]` says.
#[derive(Debug)]
struct SiteRead {
    name: Option<At<String>>,
    hosts: Option<Vec<At<HostPattern>>>,
    origins: Option<Vec<Origin>>,
    upstream: Option<Upstream>,
    sharing: Option<Sharing>,
    egress: Vec<String>,
    request_fields: Option<FieldEdits>,
    response_fields: Option<FieldEdits>,
    caching: Option<Caching>,
    rules: Option<Vec<Rule>>,
    forwarded: Option<Forwarded>,
    forwarded_as: Option<ForwardedAs>,
    early_hints: Option<EarlyHints>,
    learn_hints: Option<bool>,
    proxy_status: Option<ProxyStatus>,
    pass_unkeyed: Option<Vec<String>>,
    tag_fields: Option<Vec<String>>,
    debug: Option<bool>,
}

fn site(value: &Value, reading: &mut Reading) -> Option<SiteRead> {
    let section = Section::open(value, &SITE, reading)?;
    let name = section.given(&NAME, reading);
    let hosts = section.value(&HOSTS, reading);
    let name = match section.has(&NAME) {
        true => name,
        false => hosts
            .as_ref()
            .and_then(|hosts| hosts.first())
            .map(|host| name_after(&host.value)),
    };
    let origins = section.value(&ORIGINS, reading).map(values);
    let upstream = upstream(&section, reading);
    let sharing = sharing::sharing(&section, reading);
    let request_fields = section
        .section(&edits::REQUEST_FIELDS, &edits::REQUEST, reading)
        .and_then(|section| edits::field_edits(&section, reading));
    let response_fields = section
        .section(&edits::RESPONSE_FIELDS, &edits::RESPONSE, reading)
        .and_then(|section| edits::field_edits(&section, reading));
    let caching = caching::caching(&section, reading);
    let rules = section.list(&RULES, reading).map(|rules| {
        let rules = rules
            .iter()
            .map(|value| rule::rule(value, caching.as_ref(), reading));
        rules.collect::<Vec<_>>()
    });
    Some(SiteRead {
        name: name.map(|value| At {
            span: section.span_of(&NAME),
            value,
        }),
        hosts,
        origins,
        upstream,
        sharing,
        egress: section
            .value(&egress::CHOSEN, reading)
            .map(values)
            .unwrap_or_default(),
        request_fields,
        response_fields,
        caching,
        rules: rules.and_then(|rules| rules.into_iter().collect()),
        forwarded: section.value(&FORWARDED, reading),
        forwarded_as: section.value(&FORWARDED_AS, reading),
        early_hints: section.value(&EARLY_HINTS, reading),
        learn_hints: section.value(&LEARN_HINTS, reading),
        proxy_status: section.value(&PROXY_STATUS, reading),
        pass_unkeyed: section.value(&PASS_UNKEYED, reading).map(values),
        tag_fields: section.value(&TAG_FIELDS, reading).map(values),
        debug: section.value(&DEBUG, reading),
    })
}

/// The name of a site that gives none: a host is a token but for the signs of an IPv6 address.
fn name_after(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(host) | HostPattern::Below(host) => {
            host.replace(['[', ']'], "").replace(':', "-")
        }
        HostPattern::Any => "default".to_owned(),
    }
}

fn upstream(section: &Section<'_>, reading: &mut Reading) -> Option<Upstream> {
    let connect_timeout = section.value(&CONNECT_TIMEOUT, reading);
    let first_byte_timeout = section.value(&FIRST_BYTE_TIMEOUT, reading);
    let between_bytes_timeout = section.value(&BETWEEN_BYTES_TIMEOUT, reading);
    let idle_timeout = section.value(&IDLE_TIMEOUT, reading);
    let retries = section.value(&RETRIES, reading);
    let unknown_transfer_coding = section.value(&UNKNOWN_TRANSFER_CODING, reading);
    Some(Upstream {
        connect_timeout: connect_timeout?,
        first_byte_timeout: first_byte_timeout?,
        between_bytes_timeout: between_bytes_timeout?,
        idle_timeout: idle_timeout?,
        retries: retries?,
        unknown_transfer_coding: unknown_transfer_coding?,
    })
}

impl SiteRead {
    fn finish(self) -> Option<Site> {
        Some(Site {
            name: self.name?.value,
            hosts: values(self.hosts?),
            origins: self.origins?,
            upstream: self.upstream?,
            sharing: self.sharing?,
            egress: self.egress,
            request_fields: self.request_fields?,
            response_fields: self.response_fields?,
            caching: self.caching?,
            rules: self.rules?,
            forwarded: self.forwarded?,
            forwarded_as: self.forwarded_as?,
            early_hints: self.early_hints?,
            learn_hints: if self.learn_hints? {
                LearnHints::On
            } else {
                LearnHints::Off
            },
            proxy_status: self.proxy_status?,
            pass_unkeyed: self.pass_unkeyed?,
            tag_fields: self.tag_fields?,
            debug: if self.debug? {
                Debug::CacheKey
            } else {
                Debug::Off
            },
        })
    }
}

/// Refuses what another site has already.
fn once<T>(seen: &mut HashMap<T, Span>, at: &At<T>, what: &str, reading: &mut Reading)
where
    T: Clone + Eq + std::hash::Hash + std::fmt::Display,
{
    match seen.entry(at.value.clone()) {
        Entry::Vacant(entry) => {
            entry.insert(at.span);
        }
        Entry::Occupied(_) => {
            let message = format!(
                "{} is {what} another site already",
                quote(&at.value.to_string())
            );
            reading.refuse(
                at.span,
                Fault::new(message).hint("give it to one site only"),
            );
        }
    }
}
