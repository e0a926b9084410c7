//! The tables of a node's facts, the same for the screen and for plain text.

use serde_json::Value;

use super::amounts::{NONE, bytes, count, millis, percent};
use super::facts::{Facts, Figures, Memory, Url, Volume, float};
use super::shown;

/// A table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Panel {
    Misses,
    Bytes,
    Sites,
    Rules,
    Origins,
    Tiers,
    Storage,
    Curve,
    Outcomes,
    Reasons,
}

impl Panel {
    pub(super) const ALL: [Self; 10] = [
        Self::Misses,
        Self::Bytes,
        Self::Sites,
        Self::Rules,
        Self::Origins,
        Self::Tiers,
        Self::Storage,
        Self::Curve,
        Self::Outcomes,
        Self::Reasons,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Misses => "URLs by misses",
            Self::Bytes => "URLs by bytes",
            Self::Sites => "sites",
            Self::Rules => "rules",
            Self::Origins => "origins",
            Self::Tiers => "tiers",
            Self::Storage => "memory and disks",
            Self::Curve => "other sizes",
            Self::Outcomes => "outcomes",
            Self::Reasons => "why it was no hit",
        }
    }

    /// What it says where it has no rows.
    pub(super) const fn nothing(self) -> &'static str {
        match self {
            Self::Misses => "no misses lately",
            Self::Bytes => "nothing was sent lately",
            Self::Sites | Self::Rules | Self::Outcomes => "no requests in this time",
            Self::Reasons => "every request was a hit, or there was none",
            Self::Origins => "the node tells nothing of single origins",
            Self::Tiers => "none",
            Self::Storage => "none",
            Self::Curve => "nothing is known of other sizes yet",
        }
    }
}

/// A cell and what it is sorted by.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub text: String,
    pub by: By,
}

#[derive(Clone, Debug)]
pub(super) enum By {
    Text,
    /// Nothing is less than any number.
    Amount(Option<f64>),
}

/// A table, as it is shown.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub title: String,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// It is to the left, and takes what is left of the width.
    Text,
    Amount,
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self {
            text: shown(text),
            by: By::Text,
        }
    }

    fn amount(text: String, by: Option<f64>) -> Self {
        Self {
            text,
            by: By::Amount(by),
        }
    }

    fn count(number: u64) -> Self {
        Self::amount(count(float(number)), Some(float(number)))
    }

    fn rate(rate: f64) -> Self {
        Self::amount(count(rate), Some(rate))
    }

    fn bytes(number: f64) -> Self {
        Self::amount(bytes(number), Some(number))
    }

    fn part(part: Option<f64>) -> Self {
        Self::amount(percent(part), part)
    }

    fn millis(time: Option<f64>) -> Self {
        Self::amount(millis(time), time)
    }
}

fn columns(texts: &[&str], amounts: &[&str]) -> Vec<Column> {
    let column = |kind| {
        move |title: &&str| Column {
            title: (*title).to_owned(),
            kind,
        }
    };
    let texts = texts.iter().map(column(Kind::Text));
    texts
        .chain(amounts.iter().map(column(Kind::Amount)))
        .collect()
}

/// The table, its rows in the node's order: the largest first.
pub(super) fn sheet(panel: Panel, facts: &Facts) -> Sheet {
    let stats = &facts.stats;
    match panel {
        Panel::Misses => urls(&stats.top.misses, "misses", Cell::count),
        Panel::Bytes => urls(&stats.top.bytes, "about", |it| Cell::bytes(float(it))),
        Panel::Sites => figures(
            &["site"],
            stats
                .sites
                .iter()
                .map(|it| (vec![it.name.as_str()], &it.figures)),
        ),
        Panel::Rules => figures(
            &["site", "rule"],
            stats
                .rules
                .iter()
                .map(|it| (vec![it.site.as_str(), it.rule.as_str()], &it.figures)),
        ),
        Panel::Origins => origins(facts),
        Panel::Tiers => tiers(facts),
        Panel::Storage => storage(&stats.memory, &stats.disks),
        Panel::Curve => facts.curve.as_ref().map_or_else(nothing, curve),
        Panel::Outcomes => outcomes(facts),
        Panel::Reasons => reasons(facts),
    }
}

fn nothing() -> Sheet {
    Sheet {
        columns: Vec::new(),
        rows: Vec::new(),
    }
}

fn urls(urls: &[Url], what: &str, amount: fn(u64) -> Cell) -> Sheet {
    let row = |it: &Url| vec![Cell::text(&it.url), Cell::text(&it.site), amount(it.count)];
    Sheet {
        columns: columns(&["URL", "site"], &[what]),
        rows: urls.iter().map(row).collect(),
    }
}

fn figures<'a>(names: &[&str], all: impl Iterator<Item = (Vec<&'a str>, &'a Figures)>) -> Sheet {
    let row = |(names, it): (Vec<&str>, &Figures)| {
        let names = names.into_iter().map(Cell::text);
        let amounts = [
            Cell::rate(it.requests_per_second),
            Cell::part(it.hit_ratio),
            Cell::part(it.byte_hit_ratio),
            Cell::part(it.offload),
            Cell::millis(it.p99_ms),
            Cell::count(it.errors),
        ];
        names.chain(amounts).collect()
    };
    Sheet {
        columns: columns(
            names,
            &["req/s", "hits", "bytes", "offload", "p99", "errors"],
        ),
        rows: all.map(row).collect(),
    }
}

fn outcomes(facts: &Facts) -> Sheet {
    let all = float(facts.stats.window.figures.requests);
    let row = |it: &super::facts::Named| {
        let share = (all > 0.0).then(|| float(it.figures.requests) / all);
        vec![
            Cell::text(&it.name),
            Cell::rate(it.figures.requests_per_second),
            Cell::part(share),
            Cell::millis(it.figures.p50_ms),
            Cell::millis(it.figures.p99_ms),
        ]
    };
    Sheet {
        columns: columns(&["outcome"], &["req/s", "share", "p50", "p99"]),
        rows: facts.stats.outcomes.iter().map(row).collect(),
    }
}

fn reasons(facts: &Facts) -> Sheet {
    let reasons = &facts.stats.reasons;
    let all: u64 = reasons.iter().map(|it| it.requests).sum();
    let row = |it: &super::facts::OfReason| {
        let share = (all > 0).then(|| float(it.requests) / float(all));
        vec![
            Cell::text(&it.reason),
            Cell::count(it.requests),
            Cell::part(share),
        ]
    };
    Sheet {
        columns: columns(&["reason"], &["count", "share"]),
        rows: reasons.iter().map(row).collect(),
    }
}

/// The origins one by one where the node tells them, else what all of them were asked for.
fn origins(facts: &Facts) -> Sheet {
    if let Some(told_of) = &facts.origins {
        return told(told_of);
    }
    let kinds = facts.stats.origin.kinds.iter();
    let asked = kinds.filter(|it| it.requests > 0 || it.bytes > 0);
    let row = |it: &super::facts::Kind| {
        vec![
            Cell::text(&it.kind),
            Cell::count(it.requests),
            Cell::bytes(float(it.bytes)),
        ]
    };
    Sheet {
        columns: columns(&["asked to"], &["requests", "received"]),
        rows: asked.map(row).collect(),
    }
}

/// How far requests went, and the tiers above where the node tells of them.
fn tiers(facts: &Facts) -> Sheet {
    if let Some(told_of) = &facts.tiers {
        let sheet = told(told_of);
        if !sheet.rows.is_empty() {
            return sheet;
        }
    }
    let all = float(facts.stats.window.figures.requests);
    let row = |it: &super::facts::Named| {
        let share = (all > 0.0).then(|| float(it.figures.requests) / all);
        vec![
            Cell::text(if it.name == "-" {
                "the node itself"
            } else {
                &it.name
            }),
            Cell::rate(it.figures.requests_per_second),
            Cell::part(share),
            Cell::bytes(float(it.figures.bytes)),
            Cell::millis(it.figures.p50_ms),
            Cell::millis(it.figures.p99_ms),
        ]
    };
    Sheet {
        columns: columns(&["answered by"], &["req/s", "share", "sent", "p50", "p99"]),
        rows: facts.stats.tiers.iter().map(row).collect(),
    }
}

fn storage(memory: &Memory, disks: &[Volume]) -> Sheet {
    let full = |used: f64, all: f64| (all > 0.0).then(|| used / all);
    let in_memory = vec![
        Cell::text("memory"),
        Cell::text(&format!("{} objects", count(float(memory.objects)))),
        Cell::bytes(float(memory.bytes_max)),
        Cell::part(full(float(memory.bytes), float(memory.bytes_max))),
        Cell::count(memory.evictions),
        Cell::count(memory.rejected),
    ];
    let on_disk = |it: &Volume| {
        let used = it.segments.saturating_sub(it.segments_free);
        let state = match it.offline {
            true => "out of service".to_owned(),
            false => format!(
                "read {}, written {}",
                bytes(float(it.bytes_read)),
                bytes(float(it.bytes_written))
            ),
        };
        vec![
            Cell::text(&it.path),
            Cell::text(&state),
            Cell::bytes(float(it.bytes_max)),
            Cell::part(full(float(used), float(it.segments))),
            Cell::count(it.evicted),
            Cell::count(it.faults),
        ]
    };
    let disks = disks.iter().map(on_disk);
    Sheet {
        columns: columns(
            &["where", "state"],
            &["size", "full", "evicted", "refused, faults"],
        ),
        rows: std::iter::once(in_memory).chain(disks).collect(),
    }
}

fn change(it: &Value) -> String {
    match (it["policy"].as_str(), it["change"].as_str(), &it["factor"]) {
        (Some(policy), ..) => format!("{policy} instead"),
        (None, Some(what), factor) => format!("{what} × {factor}"),
        (None, None, _) => NONE.to_owned(),
    }
}

/// Why nothing is said of other sizes.
fn untold(document: &Value) -> Option<String> {
    let count = |name: &str| document[name].as_u64().unwrap_or(0);
    match document["state"].as_str()? {
        "reading" => Some("the disks are being read back".to_owned()),
        "few-objects" => Some(format!(
            "too early to tell: {} of {} objects sampled",
            count("sampled_objects"),
            count("sampled_objects_min"),
        )),
        _ => None,
    }
}

/// What each change of the sizes, or of the policy, would do; in 95 of 100 cases no farther off than it says.
fn curve(document: &Value) -> Sheet {
    let points = document["points"].as_array().into_iter().flatten();
    let filling = document["filling"].as_array().into_iter().flatten();
    let empty = || Cell::amount(String::new(), None);
    let said = |what: &str, text: &str| {
        let first = Cell::amount(text.to_owned(), None);
        vec![Cell::text(what), first, empty(), empty(), empty()]
    };
    let untold = untold(document).map(|text| said(&text, ""));
    let filling = filling.map(|it| {
        let filled = it["filled"].as_f64().unwrap_or(0.0) * 100.0;
        said(&change(it), &format!("filling: {filled:.0} %"))
    });
    let row = |it: &Value| {
        let part = |name: &str| Cell::part(it[name].as_f64());
        let error = |name: &str| {
            let error = it[name].as_f64();
            let text = error.map_or_else(String::new, |it| format!("± {:.1}", it * 100.0));
            Cell::amount(text, error)
        };
        vec![
            Cell::text(&change(it)),
            part("request_hit_ratio"),
            error("request_hit_ratio_error"),
            part("byte_hit_ratio"),
            error("byte_hit_ratio_error"),
        ]
    };
    Sheet {
        columns: columns(&["with"], &["hits", "", "bytes", ""]),
        rows: points.map(row).chain(filling).chain(untold).collect(),
    }
}

/// The members that say which of them a row is about, first.
const FIRST: [&str; 11] = [
    "origin",
    "node",
    "id",
    "site",
    "state",
    "role",
    "in_flight",
    "requests",
    "answers",
    "hits",
    "hop_ms",
];
/// Columns of a table whose members nobody knows beforehand.
const COLUMNS_MAX: usize = 9;

/// The first list of a document, as a table.
fn told(document: &Value) -> Sheet {
    let list = match document {
        Value::Array(list) => Some(list),
        Value::Object(members) => members
            .values()
            .filter_map(Value::as_array)
            .find(|list| list.iter().any(Value::is_object)),
        _ => None,
    };
    let Some(list) = list else {
        return nothing();
    };
    let Some(first) = list.iter().find_map(Value::as_object) else {
        return nothing();
    };
    let mut names: Vec<&str> = first
        .iter()
        .filter(|(_, value)| !value.is_array() && !value.is_object())
        .map(|(name, _)| name.as_str())
        .collect();
    let place = |name: &str| FIRST.iter().position(|it| *it == name);
    names.sort_by_key(|name| place(name).unwrap_or(FIRST.len()));
    names.truncate(COLUMNS_MAX);
    let columns = names.iter().map(|name| Column {
        title: shown(&name.replace('_', " ")),
        kind: match first[*name] {
            Value::Number(_) => Kind::Amount,
            _ => Kind::Text,
        },
    });
    let row = |it: &Value| names.iter().map(|name| member(name, &it[*name])).collect();
    Sheet {
        columns: columns.collect(),
        rows: list.iter().map(row).collect(),
    }
}

fn member(name: &str, value: &Value) -> Cell {
    let number = value.as_f64();
    match (value, number) {
        (Value::String(text), _) => Cell::text(text),
        (Value::Null, _) => Cell::text(NONE),
        (_, Some(number)) if name.contains("ratio") => Cell::part(Some(number)),
        (_, Some(number)) if name.contains("bytes") || name == "size" => Cell::bytes(number),
        (_, Some(number)) if name.ends_with("_ms") => Cell::millis(Some(number)),
        (_, Some(number)) => Cell::rate(number),
        (other, None) => Cell::text(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(sheet: &Sheet) -> Vec<Vec<&str>> {
        sheet
            .rows
            .iter()
            .map(|row| row.iter().map(|it| it.text.as_str()).collect())
            .collect()
    }

    #[test]
    fn a_document_becomes_a_table_by_its_first_list() {
        let sheet = told(&json!({ "origins": [
            { "under_way": 3, "site": "s", "origin": "http://o", "hit_ratio": 0.5 },
            { "site": "s", "origin": "http://p" },
        ]}));
        let titles: Vec<_> = sheet.columns.iter().map(|it| it.title.as_str()).collect();
        assert_eq!(titles, ["origin", "site", "hit ratio", "under way"]);
        assert_eq!(
            texts(&sheet),
            [
                ["http://o", "s", "50.0 %", "3"],
                ["http://p", "s", NONE, NONE]
            ]
        );
        for nothing in [json!({}), json!(3), json!({ "a": [1] }), json!([])] {
            assert!(told(&nothing).rows.is_empty());
        }
    }

    #[test]
    fn control_characters_of_a_url_do_not_reach_the_terminal() {
        let facts = json!({ "top": { "misses": [{ "url": "a\u{1b}[2Jb\u{7}", "site": "s", "count": 1 }] } });
        let sheet = sheet(Panel::Misses, &Facts::read(facts).unwrap());
        assert_eq!(sheet.rows[0][0].text, "a\u{fffd}[2Jb\u{fffd}");
    }
}
