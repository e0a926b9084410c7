//! How responses are cached: the settings that a site has and its rules may have otherwise.

use std::time::Duration;

use super::Tables;
use super::codings::{self, CODINGS, CODINGS_KEY};
use super::key::{self, KEY, KEY_KEY};
use super::slices::{self, SLICES, SLICES_KEY};
use super::vary::{self, VARY, VARY_KEY};
use crate::kinds::{Choice, Lasting, List, Text, Truth, Whole, values};
use crate::model::{
    Caching, ClientControl, DeceptionGuard, DiskAdmission, Heuristic, SetCookie, Stale,
};
use crate::names;
use crate::problems::Fault;
use crate::raw::{At, Span};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const DAY: u64 = 24 * 60 * 60;

pub(crate) const UP_TO_A_YEAR: Lasting = Lasting {
    least: Duration::ZERO,
    most: Duration::from_secs(365 * DAY),
};

pub(crate) const CLIENT_CONTROL: Setting<Choice<ClientControl>> = Setting {
    key: "client_control",
    unset: Unset::Is("\"validate\""),
    about: "How far a client's `Cache-Control` reaches: not at all, to a validation, or as far as it says.",
    read: Choice(&[
        ("ignore", ClientControl::Ignore),
        ("validate", ClientControl::Validate),
        ("obey", ClientControl::Obey),
    ]),
};

pub(crate) const SET_COOKIE: Setting<Choice<SetCookie>> = Setting {
    key: "set_cookie",
    unset: Unset::Is("\"refuse\""),
    about: "A response with `Set-Cookie`: is not stored, is stored without it, or is stored with it.",
    read: Choice(&[
        ("refuse", SetCookie::Refuse),
        ("strip", SetCookie::Strip),
        ("store", SetCookie::Store),
    ]),
};

pub(crate) const DISK: Setting<Choice<DiskAdmission>> = Setting {
    key: "disk",
    unset: Unset::Is("\"auto\""),
    about: "At which request for it a response is written to a disk, where there is one. Most are asked for once. `auto`: at the first while a third of the disk is free, then at the second that memory does not answer, or the eighth that it does.",
    read: Choice(&[
        ("auto", DiskAdmission::Auto),
        ("always", DiskAdmission::Always),
        ("second", DiskAdmission::Second),
        ("third", DiskAdmission::Third),
        ("never", DiskAdmission::Never),
    ]),
};

pub(crate) const UNCACHEABLE: Setting<Lasting> = Setting {
    key: "uncacheable",
    unset: Unset::Is("\"120s\""),
    about: "How long it is remembered that a response could not be stored, so that requests do not wait for each other.",
    read: UP_TO_A_YEAR,
};

pub(crate) const TARGETS: Setting<List<Text<String>>> = Setting {
    key: "targets",
    unset: Unset::Is("[\"Larder-Cache-Control\", \"CDN-Cache-Control\", \"Surrogate-Control\"]"),
    about: "Fields that go before `Cache-Control`, the first before the others (RFC 9213).",
    read: List {
        of: Text {
            accepts: "a field's name",
            parse: target,
        },
        least: 0,
    },
};

pub(crate) const DECEPTION_GUARD: Setting<Truth> = Setting {
    key: "deception_guard",
    unset: Unset::Is("true"),
    about: "Whether a response is kept out of the cache whose type is not what the suffix of its path promises, or whose \
            path the origin may take for another one (`/account/x.css` with a page, `/static/..%2faccount`).",
    read: Truth,
};

/// What a truth value of [`DECEPTION_GUARD`] means.
pub(crate) const fn deception_guard(on: bool) -> DeceptionGuard {
    if on {
        DeceptionGuard::On
    } else {
        DeceptionGuard::Off
    }
}

fn target(text: &str) -> Result<String, Fault> {
    match names::field(text)?.as_str() {
        "cache-control" => Err(Fault::new(
            "`Cache-Control` is read in any case, after the targets",
        )),
        name => Ok(name.to_owned()),
    }
}

// === stale ===

pub(crate) const STALE_KEY: Setting<Tables> = Setting {
    key: "stale",
    unset: Unset::Is(
        "{ while_revalidate = \"0s\", if_error = \"1d\", statuses = [500, 502, 503, 504] }",
    ),
    about: "When a stale response may be sent, where the origin does not say.",
    read: Tables {
        accepts: "a table of `while_revalidate`, `if_error`, `statuses`",
    },
};

const WHILE_REVALIDATE: Setting<Lasting> = Setting {
    key: "while_revalidate",
    unset: Unset::Is("\"0s\""),
    about: "How stale it may be while it is validated in the background (RFC 5861 §3).",
    read: UP_TO_A_YEAR,
};

const IF_ERROR: Setting<Lasting> = Setting {
    key: "if_error",
    unset: Unset::Is("\"1d\""),
    about: "How stale it may be when the origin fails (RFC 5861 §4).",
    read: UP_TO_A_YEAR,
};

const STATUSES: Setting<List<Whole<u16>>> = Setting {
    key: "statuses",
    unset: Unset::Is("[500, 502, 503, 504]"),
    about: "Statuses by which an origin fails.",
    read: List {
        of: Whole::new(500, 599),
        least: 0,
    },
};

pub(crate) const STALE: Rows = Rows {
    path: "site.stale",
    about: STALE_KEY.about,
    rows: &[&WHILE_REVALIDATE as &dyn Row, &IF_ERROR, &STATUSES],
};

/// Reads `stale`; what it leaves out is as in `base`.
pub(crate) fn stale(
    section: &Section<'_>,
    base: Option<&Stale>,
    reading: &mut Reading,
) -> Option<Stale> {
    let while_revalidate = section.value_or(
        &WHILE_REVALIDATE,
        base.map(|base| base.while_revalidate),
        reading,
    );
    let if_error = section.value_or(&IF_ERROR, base.map(|base| base.if_error), reading);
    let statuses = section.value_or(
        &STATUSES,
        base.map(|base| unplaced(&base.statuses)),
        reading,
    );
    Some(Stale {
        while_revalidate: while_revalidate?,
        if_error: if_error?,
        statuses: values(statuses?),
    })
}

/// Values of the model as if they stood in the file.
pub(crate) fn unplaced<T: Clone>(values: &[T]) -> Vec<At<T>> {
    values
        .iter()
        .map(|value| At {
            span: Span::default(),
            value: value.clone(),
        })
        .collect()
}

// === heuristic ===

pub(crate) const HEURISTIC_KEY: Setting<Tables> = Setting {
    key: "heuristic",
    unset: Unset::Is("{ percent = 10, most = \"1d\" }"),
    about: "Freshness of responses that state none but have `Last-Modified` (RFC 9111 §4.2.2).",
    read: Tables {
        accepts: "a table of `percent`, `most`",
    },
};

const PERCENT: Setting<Whole<u8>> = Setting {
    key: "percent",
    unset: Unset::Is("10"),
    about: "The share of the time since `Last-Modified`; 0 is off.",
    read: Whole::new(0, 100),
};

const MOST: Setting<Lasting> = Setting {
    key: "most",
    unset: Unset::Is("\"1d\""),
    about: "The longest freshness that is assumed.",
    read: Lasting {
        least: Duration::from_secs(1),
        most: UP_TO_A_YEAR.most,
    },
};

pub(crate) const HEURISTIC: Rows = Rows {
    path: "site.heuristic",
    about: HEURISTIC_KEY.about,
    rows: &[&PERCENT as &dyn Row, &MOST],
};

/// Reads `heuristic`; what it leaves out is as in `base`.
pub(crate) fn heuristic(
    section: &Section<'_>,
    base: Option<Heuristic>,
    reading: &mut Reading,
) -> Option<Heuristic> {
    let (base_percent, base_most) = match base {
        None => (None, None),
        Some(Heuristic::Off) => (Some(0), None),
        Some(Heuristic::Fraction { percent, most }) => (Some(percent), Some(most)),
    };
    let percent = section.value_or(&PERCENT, base_percent, reading);
    let most = section.value_or(&MOST, base_most, reading);

    if percent == Some(0) && section.has(&MOST) {
        let fault = Fault::new("`most` has no effect beside percent = 0");
        reading.refuse(
            section.key_span_of(&MOST),
            fault.hint("remove it, or raise `percent`"),
        );
    }
    Some(match percent? {
        0 => Heuristic::Off,
        percent => Heuristic::Fraction {
            percent,
            most: most?,
        },
    })
}

// === all together ===

/// Reads the caching settings of a site.
pub(crate) fn caching(site: &Section<'_>, reading: &mut Reading) -> Option<Caching> {
    let client_control = site.value(&CLIENT_CONTROL, reading);
    let set_cookie = site.value(&SET_COOKIE, reading);
    let stale = site
        .section(&STALE_KEY, &STALE, reading)
        .and_then(|section| stale(&section, None, reading));
    let heuristic = site
        .section(&HEURISTIC_KEY, &HEURISTIC, reading)
        .and_then(|section| heuristic(&section, None, reading));
    let disk = site.value(&DISK, reading);
    let uncacheable = site.value(&UNCACHEABLE, reading);
    let targets = site.value(&TARGETS, reading);
    let key = site
        .section(&KEY_KEY, &KEY, reading)
        .and_then(|section| key::key(&section, None, reading));
    let vary = site
        .section(&VARY_KEY, &VARY, reading)
        .and_then(|section| vary::vary(&section, None, reading));
    let slices = site
        .section(&SLICES_KEY, &SLICES, reading)
        .and_then(|section| slices::slices(&section, None, reading));
    let guard = site.value(&DECEPTION_GUARD, reading);

    let codings = site
        .section(&CODINGS_KEY, &CODINGS, reading)
        .and_then(|section| codings::codings(&section, None, reading));

    Some(Caching {
        client_control: client_control?,
        set_cookie: set_cookie?,
        stale: stale?,
        heuristic: heuristic?,
        disk: disk?,
        uncacheable: uncacheable?,
        targets: values(targets?),
        key: key?,
        vary: vary?,
        slices: slices?,
        deception_guard: deception_guard(guard?),
        codings: codings?,
    })
}
