//! `[[site.rule]]`: what is different for some requests or responses of a site.

use std::time::Duration;

use super::{Tables, caching, codings, egress, key, slices, vary};
use crate::glob::Glob;
use crate::kinds::{Choice, Lasting, List, OneOrMore, Text, Truth, Whole, values};
use crate::model::{
    Caching, ClientControl, DiskAdmission, HeaderMatch, Match, Method, Overrides, Rule, SetCookie,
    Ttl, UseCache,
};
use crate::names;
use crate::problems::Fault;
use crate::raw::Value;
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const TEN_YEARS: Lasting = Lasting {
    least: Duration::ZERO,
    most: Duration::from_secs(3_650 * 24 * 60 * 60),
};

const NAME: Setting<Text<String>> = Setting {
    key: "name",
    unset: Unset::Means {
        example: "\"assets\"",
        means: "its number, from 1",
    },
    about: "What the rule is called in metrics and logs. A rule with a name need not change anything: its requests are counted apart.",
    read: Text {
        accepts: "a token of at most 64 characters",
        parse: names::name,
    },
};

const MATCH_KEY: Setting<Tables> = Setting {
    key: "match",
    unset: Unset::Required {
        example: "{ path = \"/assets/*\" }",
    },
    about: "What the rule is for; all that is given has to match.",
    read: Tables {
        accepts: "a table of `path`, `methods`, `header`, `status`",
    },
};

const CACHE: Setting<Truth> = Setting {
    key: "cache",
    unset: Unset::Means {
        example: "false",
        means: "true",
    },
    about: "Whether the cache is used.",
    read: Truth,
};

const TTL: Setting<Lasting> = Setting {
    key: "ttl",
    unset: Unset::Means {
        example: "\"1y\"",
        means: "what the origin states",
    },
    about: "The freshness lifetime, whatever the origin states.",
    read: TEN_YEARS,
};

const DEFAULT_TTL: Setting<Lasting> = Setting {
    key: "default_ttl",
    unset: Unset::Means {
        example: "\"10m\"",
        means: "what the origin states",
    },
    about: "The freshness lifetime where the origin states none.",
    read: TEN_YEARS,
};

const CLIENT_CONTROL: Setting<Choice<ClientControl>> = otherwise(&caching::CLIENT_CONTROL);
const SET_COOKIE: Setting<Choice<SetCookie>> = otherwise(&caching::SET_COOKIE);
const STALE: Setting<Tables> = otherwise(&caching::STALE_KEY);
const HEURISTIC: Setting<Tables> = otherwise(&caching::HEURISTIC_KEY);
const DISK: Setting<Choice<DiskAdmission>> = otherwise(&caching::DISK);
const UNCACHEABLE: Setting<Lasting> = otherwise(&caching::UNCACHEABLE);
const TARGETS: Setting<List<Text<String>>> = otherwise(&caching::TARGETS);
const KEY: Setting<Tables> = otherwise(&key::KEY_KEY);
const VARY: Setting<Tables> = otherwise(&vary::VARY_KEY);
const SLICES: Setting<Tables> = otherwise(&slices::SLICES_KEY);
const DECEPTION_GUARD: Setting<Truth> = otherwise(&caching::DECEPTION_GUARD);
const CODINGS: Setting<Tables> = otherwise(&codings::CODINGS_KEY);
const EGRESS: Setting<List<Text<String>>> = otherwise(&egress::CHOSEN);

/// The same setting in a rule: left out, it is as the site says.
const fn otherwise<R: Copy>(setting: &Setting<R>) -> Setting<R> {
    let (Unset::Is(example) | Unset::Required { example } | Unset::Means { example, .. }) =
        setting.unset;
    let unset = Unset::Means {
        example,
        means: "as the site says",
    };
    Setting {
        key: setting.key,
        unset,
        about: setting.about,
        read: setting.read,
    }
}

pub(crate) const RULE: Rows = Rows {
    path: "site.rule",
    about: "Exceptions, in order: of the rules that match, the first that gives a key decides it. \
            What a rule leaves out of `stale`, `heuristic`, `key`, `vary`, `slices` or `codings` is as the site says.",
    rows: &[
        &MATCH_KEY as &dyn Row,
        &NAME,
        &CACHE,
        &TTL,
        &DEFAULT_TTL,
        &CLIENT_CONTROL,
        &SET_COOKIE,
        &STALE,
        &HEURISTIC,
        &DISK,
        &UNCACHEABLE,
        &TARGETS,
        &KEY,
        &VARY,
        &SLICES,
        &DECEPTION_GUARD,
        &CODINGS,
        &EGRESS,
    ],
};

/// What decides about the request comes too late when the status is known.
const BEFORE_THE_RESPONSE: &[&str] = &[
    CLIENT_CONTROL.key,
    KEY.key,
    VARY.key,
    SLICES.key,
    CODINGS.key,
    EGRESS.key,
];

/// Reads one rule of a site that caches as `base` says.
pub(crate) fn rule(value: &Value, base: Option<&Caching>, reading: &mut Reading) -> Option<Rule> {
    let section = Section::open(value, &RULE, reading)?;
    let matches = match section.has(&MATCH_KEY) {
        true => section
            .section(&MATCH_KEY, &MATCH, reading)
            .map(|section| (matches(&section, reading), section)),
        false => section.value(&MATCH_KEY, reading).and(None),
    };
    let overrides = overrides(&section, base, reading);
    let cache = overrides.as_ref().and_then(|overrides| overrides.cache);
    refuse_inert(&section, cache, reading);
    if let Some((_, conditions)) = &matches {
        refuse_too_late(&section, conditions, reading);
    }
    let name = section.given(&NAME, reading);
    Some(Rule {
        name,
        matches: matches?.0?,
        overrides: overrides?,
    })
}

fn overrides(
    section: &Section<'_>,
    base: Option<&Caching>,
    reading: &mut Reading,
) -> Option<Overrides> {
    let cache = section.given(&CACHE, reading);
    let ttl = section.given(&TTL, reading).map(Ttl::Override);
    let default_ttl = section.given(&DEFAULT_TTL, reading).map(Ttl::Default);
    Some(Overrides {
        cache: cache.map(|used| {
            if used {
                UseCache::Allowed
            } else {
                UseCache::Never
            }
        }),
        ttl: ttl.or(default_ttl),
        client_control: section.given(&CLIENT_CONTROL, reading),
        set_cookie: section.given(&SET_COOKIE, reading),
        stale: section
            .given_section(&STALE, &caching::STALE, reading)
            .and_then(|given| caching::stale(&given, base.map(|base| &base.stale), reading)),
        heuristic: section
            .given_section(&HEURISTIC, &caching::HEURISTIC, reading)
            .and_then(|given| caching::heuristic(&given, base.map(|base| base.heuristic), reading)),
        disk: section.given(&DISK, reading),
        uncacheable: section.given(&UNCACHEABLE, reading),
        targets: section.given(&TARGETS, reading).map(values),
        key: section
            .given_section(&KEY, &key::KEY, reading)
            .and_then(|given| key::key(&given, base.map(|base| &base.key), reading)),
        vary: section
            .given_section(&VARY, &vary::VARY, reading)
            .and_then(|given| vary::vary(&given, base.map(|base| &base.vary), reading)),
        slices: section
            .given_section(&SLICES, &slices::SLICES, reading)
            .and_then(|given| slices::slices(&given, base.map(|base| base.slices), reading)),
        deception_guard: section
            .given(&DECEPTION_GUARD, reading)
            .map(caching::deception_guard),
        codings: section
            .given_section(&CODINGS, &codings::CODINGS, reading)
            .and_then(|given| codings::codings(&given, base.map(|base| &base.codings), reading)),
        egress: section
            .given(&EGRESS, reading)
            .map(values)
            .unwrap_or_default(),
    })
}

/// Refuses what would be accepted and do nothing.
fn refuse_inert(section: &Section<'_>, cache: Option<UseCache>, reading: &mut Reading) {
    let mut others = section
        .keys()
        .filter(|key| ![MATCH_KEY.key, NAME.key, CACHE.key].contains(&key.value));
    let first = others.next();

    // What has a name is counted by itself.
    if first.is_none() && !section.has(&CACHE) && !section.has(&NAME) {
        let fault = Fault::new("the rule changes nothing");
        reading.refuse(
            section.span,
            fault.hint("add, for example, cache = false or ttl = \"1h\""),
        );
    }
    // It is about the way to the origin, and not about the cache.
    let first = section
        .keys()
        .find(|key| ![MATCH_KEY.key, NAME.key, CACHE.key, EGRESS.key].contains(&key.value));
    if let Some(first) = first
        && cache == Some(UseCache::Never)
    {
        let fault = Fault::new(format!(
            "`{}` has no effect beside cache = false",
            first.value
        ));
        reading.refuse(first.span, fault.hint("remove one of the two"));
    }
    refuse_second_lifetimes(section, reading);
}

/// A rule gives one freshness lifetime, and then none has to be guessed.
fn refuse_second_lifetimes(section: &Section<'_>, reading: &mut Reading) {
    let given = [TTL.key, DEFAULT_TTL.key, HEURISTIC.key];
    let given = given
        .iter()
        .filter_map(|key| section.keys().find(|given| given.value == *key));
    let given: Vec<_> = given.collect();
    let Some((first, others)) = given.split_first() else {
        return;
    };
    for other in others {
        let message = format!("`{}` has no effect beside `{}`", other.value, first.value);
        reading.refuse(
            other.span,
            Fault::new(message).hint("remove one of the two"),
        );
    }
}

fn refuse_too_late(section: &Section<'_>, conditions: &Section<'_>, reading: &mut Reading) {
    if !conditions.has(&STATUS) {
        return;
    }
    for key in section
        .keys()
        .filter(|key| BEFORE_THE_RESPONSE.contains(&key.value))
    {
        let fault = Fault::new(format!(
            "`{}` has no effect in a rule for a `status`",
            key.value
        ));
        reading.refuse(
            key.span,
            fault.hint("it decides before there is a response: match by path, methods or header"),
        );
    }
}

// === match ===

const PATH: Setting<OneOrMore<Text<Glob>>> = Setting {
    key: "path",
    unset: Unset::Means {
        example: "\"/assets/*\"",
        means: "every path",
    },
    about: "The path without its query; `*` stands for anything.",
    read: OneOrMore(Text {
        accepts: "a path such as \"/assets/*\"",
        parse: names::path,
    }),
};

const METHODS: Setting<List<Choice<Method>>> = Setting {
    key: "methods",
    unset: Unset::Means {
        example: "[\"HEAD\"]",
        means: "GET and HEAD",
    },
    about: "The methods; others are never answered from the cache.",
    read: List {
        of: Choice(&[("GET", Method::Get), ("HEAD", Method::Head)]),
        least: 1,
    },
};

const HEADER_KEY: Setting<Tables> = Setting {
    key: "header",
    unset: Unset::Means {
        example: "{ name = \"Cookie\", value = \"*session=*\" }",
        means: "any fields",
    },
    about: "A field the request has.",
    read: Tables {
        accepts: "a table of `name`, `value`",
    },
};

const STATUS: Setting<List<Whole<u16>>> = Setting {
    key: "status",
    unset: Unset::Means {
        example: "[404]",
        means: "every status",
    },
    about: "The response's status.",
    read: List {
        of: Whole::new(200, 599),
        least: 1,
    },
};

pub(crate) const MATCH: Rows = Rows {
    path: "site.rule.match",
    about: MATCH_KEY.about,
    rows: &[&PATH as &dyn Row, &METHODS, &HEADER_KEY, &STATUS],
};

fn matches(section: &Section<'_>, reading: &mut Reading) -> Option<Match> {
    let path = section.given(&PATH, reading);
    let methods = section.given(&METHODS, reading);
    let header = section
        .given_section(&HEADER_KEY, &HEADER, reading)
        .and_then(|header| self::header(&header, reading));
    let status = section.given(&STATUS, reading);

    if section.is_empty() {
        let fault = Fault::new("the rule matches everything");
        reading.refuse(
            section.span,
            fault.hint("write its settings into [[site]], or add, for example, path = \"/*\""),
        );
    }
    Some(Match {
        path: path.map(values).unwrap_or_default(),
        methods: methods.map(values).unwrap_or_default(),
        header,
        status: status.map(values).unwrap_or_default(),
    })
}

const FIELD_NAME: Setting<Text<String>> = Setting {
    key: "name",
    unset: Unset::Required {
        example: "\"Cookie\"",
    },
    about: "The field's name.",
    read: Text {
        accepts: "a field's name",
        parse: names::field,
    },
};

const FIELD_VALUE: Setting<Text<Glob>> = Setting {
    key: "value",
    unset: Unset::Is("\"*\""),
    about: "One of the field's lines; `*` stands for anything.",
    read: Text {
        accepts: "a pattern such as \"*session=*\"",
        parse: names::glob,
    },
};

pub(crate) const HEADER: Rows = Rows {
    path: "site.rule.match.header",
    about: HEADER_KEY.about,
    rows: &[&FIELD_NAME as &dyn Row, &FIELD_VALUE],
};

fn header(section: &Section<'_>, reading: &mut Reading) -> Option<HeaderMatch> {
    let (name, value) = (
        section.value(&FIELD_NAME, reading),
        section.value(&FIELD_VALUE, reading),
    );
    Some(HeaderMatch {
        name: name?,
        value: value?,
    })
}
