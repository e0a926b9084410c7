//! How a site's origins share its requests: `balance`, `health`, `breaker`, `ejection` and the budget of retries.

use std::time::Duration;

use super::Tables;
use crate::kinds::{Choice, Lasting, List, Text, Whole, values};
use crate::model::{Balance, Breaker, Ejection, Health, Probe, Sharing};
use crate::names;
use crate::problems::{Fault, quote};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const UP_TO_AN_HOUR: Lasting = Lasting {
    least: Duration::ZERO,
    most: Duration::from_secs(3_600),
};
const SOME_TIME: Lasting = Lasting {
    least: Duration::from_millis(10),
    most: Duration::from_secs(3_600),
};

pub(crate) const BALANCE: Setting<Choice<Balance>> = Setting {
    key: "balance",
    unset: Unset::Is("\"round-robin\""),
    about: "Which of several origins is asked: in turn by their weights, the less busy one of two, by the cache key \
            (consistent hashing), always the same one for a client, or the first that is up.",
    read: Choice(&[
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
        ("hash", Balance::Hash),
        ("sticky", Balance::Sticky),
        ("first", Balance::First),
    ]),
};

pub(crate) const STICKY_COOKIE: Setting<Text<String>> = Setting {
    key: "sticky_cookie",
    unset: Unset::Means {
        example: "\"session\"",
        means: "the client's address",
    },
    about: "The cookie by which balance = \"sticky\" knows a client. Who has none is known by the address.",
    read: Text {
        accepts: "a cookie's name",
        parse: names::cookie,
    },
};

pub(crate) const SLOW_START: Setting<Lasting> = Setting {
    key: "slow_start",
    unset: Unset::Is("\"0s\""),
    about: "For how long an origin that came back, or that a reload added to others, takes less than its share: a tenth at first.",
    read: UP_TO_AN_HOUR,
};

pub(crate) const RETRY_BUDGET: Setting<Whole<u8>> = Setting {
    key: "retry_budget",
    unset: Unset::Is("20"),
    about: "Hundredths of the requests that may be further attempts; ten in a second are allowed in any case.",
    read: Whole::new(0, 100),
};

pub(crate) const RETRY_STATUSES: Setting<List<Whole<u16>>> = Setting {
    key: "retry_statuses",
    unset: Unset::Is("[502, 503, 504]"),
    about: "Statuses for which another origin is tried, where there is one that is up. Only what is safe and has no \
            content is sent twice.",
    read: List {
        of: Whole::new(500, 599),
        least: 0,
    },
};

// === health ===

pub(crate) const HEALTH_KEY: Setting<Tables> = Setting {
    key: "health",
    unset: Unset::Is("{ failures = 3, pause = \"5s\", pause_max = \"1m\" }"),
    about: "When an origin is taken for down. While all are, all are asked.",
    read: Tables {
        accepts: "a table of `failures`, `pause`, `path`",
    },
};

const FAILURES: Setting<Whole<u32>> = Setting {
    key: "failures",
    unset: Unset::Is("3"),
    about: "Requests in a row that failed: no connection, no response in time, or none that may be passed on.",
    read: Whole::new(1, 1_000),
};

const PAUSE: Setting<Lasting> = Setting {
    key: "pause",
    unset: Unset::Is("\"5s\""),
    about: "How long it is out; then one request tries. Each time it fails again, the pause is twice as long.",
    read: SOME_TIME,
};

const PAUSE_MAX: Setting<Lasting> = Setting {
    key: "pause_max",
    unset: Unset::Is("\"1m\""),
    about: "How long it is out at the most.",
    read: SOME_TIME,
};

const PATH: Setting<Text<String>> = Setting {
    key: "path",
    unset: Unset::Means {
        example: "\"/healthz\"",
        means: "it is not probed",
    },
    about: "What probes ask for, over a connection like those of requests.",
    read: Text {
        accepts: "a path such as \"/healthz\"",
        parse: probe_path,
    },
};

const PROBE_HOST: Setting<Text<String>> = Setting {
    key: "host",
    unset: Unset::Means {
        example: "\"www.example.com\"",
        means: "the origin's own",
    },
    about: "The `Host` of probes.",
    read: Text {
        accepts: "a host, perhaps with a port",
        parse: names::host_field,
    },
};

const INTERVAL: Setting<Lasting> = Setting {
    key: "interval",
    unset: Unset::Is("\"5s\""),
    about: "From one probe to the next.",
    read: SOME_TIME,
};

const TIMEOUT: Setting<Lasting> = Setting {
    key: "timeout",
    unset: Unset::Is("\"2s\""),
    about: "How long a probe may take.",
    read: SOME_TIME,
};

const STATUSES: Setting<Text<(u16, u16)>> = Setting {
    key: "statuses",
    unset: Unset::Is("\"200-399\""),
    about: "Statuses with which a probe passes.",
    read: Text {
        accepts: "a status, or two with a dash between them",
        parse: statuses,
    },
};

const FAILED: Setting<Whole<u32>> = Setting {
    key: "failed",
    unset: Unset::Is("3"),
    about: "Probes in a row that failed and put it out.",
    read: Whole::new(1, 100),
};

const PASSED: Setting<Whole<u32>> = Setting {
    key: "passed",
    unset: Unset::Is("2"),
    about: "Probes in a row that passed and bring it back.",
    read: Whole::new(1, 100),
};

pub(crate) const HEALTH: Rows = Rows {
    path: "site.health",
    about: HEALTH_KEY.about,
    rows: &[
        &FAILURES as &dyn Row,
        &PAUSE,
        &PAUSE_MAX,
        &PATH,
        &PROBE_HOST,
        &INTERVAL,
        &TIMEOUT,
        &STATUSES,
        &FAILED,
        &PASSED,
    ],
};

// === breaker, ejection ===

pub(crate) const BREAKER_KEY: Setting<Tables> = Setting {
    key: "breaker",
    unset: Unset::Is("{ percent = 0 }"),
    about: "A circuit breaker: an origin that fails so many requests is left alone, even if it is the only one. What \
            is stale is sent then, or 503.",
    read: Tables {
        accepts: "a table of `percent`, `requests`, `window`, `pause`",
    },
};

const BREAKER_PERCENT: Setting<Whole<u8>> = Setting {
    key: "percent",
    unset: Unset::Is("0"),
    about: "Hundredths of the requests that failed, statuses of 500 and more among them; 0 is no breaker.",
    read: Whole::new(0, 100),
};

const REQUESTS: Setting<Whole<u64>> = Setting {
    key: "requests",
    unset: Unset::Is("20"),
    about: "Fewer requests than this within the window are not judged.",
    read: Whole::new(1, 1_000_000),
};

const WINDOW: Setting<Lasting> = Setting {
    key: "window",
    unset: Unset::Is("\"10s\""),
    about: "How far back requests count.",
    read: SOME_TIME,
};

const BREAKER_PAUSE: Setting<Lasting> = Setting {
    key: "pause",
    unset: Unset::Is("\"5s\""),
    about: "How long it is left alone; then one request tries.",
    read: SOME_TIME,
};

pub(crate) const BREAKER: Rows = Rows {
    path: "site.breaker",
    about: BREAKER_KEY.about,
    rows: &[
        &BREAKER_PERCENT as &dyn Row,
        &REQUESTS,
        &WINDOW,
        &BREAKER_PAUSE,
    ],
};

pub(crate) const EJECTION_KEY: Setting<Tables> = Setting {
    key: "ejection",
    unset: Unset::Is("{ percent = 50, requests = 20, window = \"10s\" }"),
    about: "An origin that fails so many requests, and at least twice as many as the others, is out as if it were \
            down; at most half of them are.",
    read: Tables {
        accepts: "a table of `percent`, `requests`, `window`",
    },
};

const EJECTION_PERCENT: Setting<Whole<u8>> = Setting {
    key: "percent",
    unset: Unset::Is("50"),
    about: "Hundredths of the requests that failed, statuses of 500 and more among them; 0 ejects none.",
    read: Whole::new(0, 100),
};

pub(crate) const EJECTION: Rows = Rows {
    path: "site.ejection",
    about: EJECTION_KEY.about,
    rows: &[&EJECTION_PERCENT as &dyn Row, &REQUESTS, &WINDOW],
};

/// Reads how the origins of a site share its requests.
pub(crate) fn sharing(site: &Section<'_>, reading: &mut Reading) -> Option<Sharing> {
    let balance = site.value(&BALANCE, reading);
    let sticky_cookie = site.value(&STICKY_COOKIE, reading);
    if !matches!(balance, None | Some(Balance::Sticky)) && site.has(&STICKY_COOKIE) {
        let fault = Fault::new("`sticky_cookie` has no effect without balance = \"sticky\"");
        let hint = "remove it, or write balance = \"sticky\"";
        reading.refuse(site.key_span_of(&STICKY_COOKIE), fault.hint(hint));
    }
    let slow_start = site.value(&SLOW_START, reading);
    let retry_budget = site.value(&RETRY_BUDGET, reading);
    let retry_statuses = site.value(&RETRY_STATUSES, reading).map(values);
    let health = site
        .section(&HEALTH_KEY, &HEALTH, reading)
        .and_then(|section| health(&section, reading));
    let breaker = site
        .section(&BREAKER_KEY, &BREAKER, reading)
        .and_then(|section| breaker(&section, reading));
    let ejection = site
        .section(&EJECTION_KEY, &EJECTION, reading)
        .and_then(|section| ejection(&section, reading));
    Some(Sharing {
        balance: balance?,
        sticky_cookie,
        slow_start: slow_start?,
        retry_budget: retry_budget?,
        retry_statuses: retry_statuses?,
        health: health?,
        breaker: breaker?,
        ejection: ejection?,
    })
}

fn health(section: &Section<'_>, reading: &mut Reading) -> Option<Health> {
    let failures = section.value(&FAILURES, reading);
    let pause = section.value(&PAUSE, reading);
    let pause_max = section.value(&PAUSE_MAX, reading);
    let path = section.value(&PATH, reading);
    let host = section.value(&PROBE_HOST, reading);
    let interval = section.value(&INTERVAL, reading);
    let timeout = section.value(&TIMEOUT, reading);
    let statuses = section.value(&STATUSES, reading);
    let failed = section.value(&FAILED, reading);
    let passed = section.value(&PASSED, reading);
    if !section.has(&PATH) {
        let of_probes = [
            "host", "interval", "timeout", "statuses", "failed", "passed",
        ];
        for key in section.keys().filter(|key| of_probes.contains(&key.value)) {
            let fault = Fault::new(format!("`{}` has no effect without `path`", key.value));
            reading.refuse(
                key.span,
                fault.hint("remove it, or name the path of probes"),
            );
        }
    }
    let probe = |path| {
        Some(Probe {
            path,
            host,
            interval: interval?,
            timeout: timeout?,
            statuses: statuses?,
            failed: failed?,
            passed: passed?,
        })
    };
    Some(Health {
        failures: failures?,
        pause: pause?,
        pause_max: pause_max?,
        probe: match path {
            Some(path) => Some(probe(path)?),
            None => None,
        },
    })
}

fn breaker(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Breaker>> {
    let percent = section.value(&BREAKER_PERCENT, reading);
    let requests = section.value(&REQUESTS, reading);
    let window = section.value(&WINDOW, reading);
    let pause = section.value(&BREAKER_PAUSE, reading);
    without_effect(section, percent, reading);
    let breaker = Breaker {
        percent: percent?,
        requests: requests?,
        window: window?,
        pause: pause?,
    };
    Some((breaker.percent > 0).then_some(breaker))
}

fn ejection(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Ejection>> {
    let percent = section.value(&EJECTION_PERCENT, reading);
    let requests = section.value(&REQUESTS, reading);
    let window = section.value(&WINDOW, reading);
    without_effect(section, percent, reading);
    let ejection = Ejection {
        percent: percent?,
        requests: requests?,
        window: window?,
    };
    Some((ejection.percent > 0).then_some(ejection))
}

/// Refuses what is said beside a share of nothing.
fn without_effect(section: &Section<'_>, percent: Option<u8>, reading: &mut Reading) {
    let mut others = section.keys().filter(|key| key.value != "percent");
    if percent == Some(0)
        && let Some(other) = others.next()
    {
        let fault = Fault::new(format!(
            "`{}` has no effect beside percent = 0",
            other.value
        ));
        reading.refuse(other.span, fault.hint("remove it, or name a share"));
    }
}

fn probe_path(text: &str) -> Result<String, Fault> {
    let is_sent_as_it_is = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.starts_with('/') && text.bytes().all(is_sent_as_it_is) {
        return Ok(text.to_owned());
    }
    let fault = Fault::new(format!("{} is not a path", quote(text)));
    Err(fault.hint("begin it with a slash, and encode what a URL cannot have"))
}

fn statuses(text: &str) -> Result<(u16, u16), Fault> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let status = text.trim().parse().ok();
        status.filter(|status| (200..=599).contains(status))
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => {
            let fault = Fault::new(format!("{} is no range of statuses", quote(text)));
            Err(fault.hint("write \"200\", or \"200-399\""))
        }
    }
}
