//! The facts as text, for whoever reads them without a terminal.

use std::fmt::{Result, Write};
use std::time::Duration;

use super::amounts::{bytes, count, millis, percent, span};
use super::facts::{Facts, Stats, float};
use super::screen::Scope;
use super::sheets::{Kind, Panel, Sheet, sheet};
use super::shown;

/// Rows of a table.
const ROWS_MAX: usize = 20;

/// Everything that is known, as text.
pub(super) fn text(facts: &Facts, scope: &Scope) -> String {
    let mut text = String::new();
    write(&mut text, facts, scope).unwrap_or_default(); // a string takes everything
    text
}

/// What runs, for how long, and since when by this configuration, where it was another one before.
pub(super) fn about(stats: &Stats) -> String {
    let (version, up) = (
        shown(&stats.version),
        Duration::from_secs(stats.uptime_seconds),
    );
    let about = format!("larder {version}, up {}", span(up));
    match stats.configuration.reloaded() {
        Some(ago) => format!("{about}, reloaded {} ago", span(ago)),
        None => about,
    }
}

fn write(text: &mut String, facts: &Facts, scope: &Scope) -> Result {
    let stats = &facts.stats;
    let it = &stats.window.figures;
    writeln!(
        text,
        "node {}, {}, {}",
        shown(&stats.node),
        about(stats),
        shown(&stats.now)
    )?;
    write!(text, "last {}", span(scope.window))?;
    for (what, value) in [("site", &scope.site), ("rule", &scope.rule)] {
        if let Some(value) = value {
            write!(text, ", {what} {}", shown(value))?;
        }
    }
    writeln!(text)?;
    let seconds = stats.window.seconds.max(1.0);
    let figures = [
        ("requests/s", count(facts.rate())),
        ("hit ratio", percent(it.hit_ratio)),
        ("byte hit ratio", percent(it.byte_hit_ratio)),
        ("origin offload", percent(it.offload)),
        ("errors", count(float(it.errors))),
        ("p50", millis(it.p50_ms)),
        ("p99", millis(it.p99_ms)),
        ("sent/s", bytes(it.bytes_per_second)),
        ("origin requests/s", count(it.origin_requests_per_second)),
        ("from origins/s", bytes(float(it.origin_bytes) / seconds)),
        ("origin first byte p50", millis(stats.origin.p50_ttfb_ms)),
        ("origin first byte p99", millis(stats.origin.p99_ttfb_ms)),
        ("collapsed", count(float(stats.collapsed))),
        ("connections", stats.connections.to_string()),
        ("log lines lost", count(float(stats.log_dropped))),
    ];
    for (name, value) in figures {
        writeln!(text, "  {name:<22} {value}")?;
    }
    for panel in Panel::ALL {
        writeln!(text, "\n{}", panel.title())?;
        table(text, &sheet(panel, facts), panel)?;
    }
    Ok(())
}

fn table(text: &mut String, sheet: &Sheet, panel: Panel) -> Result {
    if sheet.rows.is_empty() {
        return writeln!(text, "  {}", panel.nothing());
    }
    let rows = || sheet.rows.iter().take(ROWS_MAX);
    let columns = sheet.columns.iter().enumerate();
    let widths: Vec<usize> = columns
        .map(|(number, column)| {
            let cells = rows().filter_map(|row| row.get(number));
            let longest = cells.map(|cell| cell.text.chars().count()).max();
            longest.unwrap_or(0).max(column.title.chars().count())
        })
        .collect();
    let line = |texts: &mut dyn Iterator<Item = &str>| {
        let cells = texts.zip(&sheet.columns).zip(&widths);
        let cells = cells.map(|((text, column), width)| match column.kind {
            Kind::Text => format!("{text:<width$}"),
            Kind::Amount => format!("{text:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let titles = &mut sheet.columns.iter().map(|it| it.title.as_str());
    writeln!(text, "  {}", line(titles))?;
    for row in rows() {
        writeln!(
            text,
            "  {}",
            line(&mut row.iter().map(|it| it.text.as_str()))
        )?;
    }
    match sheet.rows.len().checked_sub(ROWS_MAX) {
        Some(more @ 1..) => writeln!(text, "  and {more} more"),
        _ => Ok(()),
    }
}
