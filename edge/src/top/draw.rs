//! The screen: a function of the facts, the state of the keys, and a size.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Sparkline};

use super::amounts::{bytes, count, millis, percent, span};
use super::facts::{Facts, Volume, float};
use super::grid;
use super::plain;
use super::screen::{Mode, Motion, Screen};
use super::sheets::Panel;
use super::shown;

/// Smaller than this, there is no room for more than one table.
const NARROW: u16 = 60;
const LOW: u16 = 18;
/// From this width on, tables stand side by side.
const WIDE: u16 = 140;
/// Lines of the tables of outcomes and reasons.
const SUMMARY_LINES: u16 = 8;
/// Lines that a table needs to be worth showing.
const TABLE_LINES_MIN: u16 = 8;
/// Between two tables side by side.
const GAP: u16 = 2;
/// What outcomes take of the width; they have more columns than reasons.
const OUTCOMES_PERCENT: u16 = 58;
/// The rate of requests is drawn beside its number, which has this much room.
const RATE_WIDTH: u16 = 21;

pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

const HELP: &[(&str, &str)] = &[
    ("tab, 1 … 9, 0", "the next table; a table by its number"),
    ("↑ ↓, page, home, end", "another row"),
    ("s, r", "sort by the next column; the other way round"),
    ("/", "only rows that hold a text"),
    ("enter", "only the site, or the rule, of the row"),
    ("esc", "take the last restriction away"),
    ("w", "the last 1, 5, 15 or 60 minutes"),
    ("p, space", "pause, and go on"),
    ("?", "this help"),
    ("q, ctrl-c", "end"),
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, facts: &Facts, screen: &Screen) {
    let area = frame.area();
    if area.height < 4 || area.width < 10 {
        return;
    }
    let is_small = area.width < NARROW || area.height < LOW;
    let [head, body, foot] = parts(area, if is_small { 4 } else { 6 });
    title(frame, line(head, 0), facts, screen);
    figures(frame, head, facts, screen);
    for (panel, place) in places(body, screen.panel(), is_small) {
        grid::draw(frame, place, panel, facts, screen);
    }
    keys(frame, foot, screen);
    if screen.mode == Mode::Help {
        help(frame, area);
    }
}

/// The first lines, the last one, and what is between.
fn parts(area: Rect, head_lines: u16) -> [Rect; 3] {
    let head = Rect {
        height: head_lines.min(area.height - 1),
        ..area
    };
    let foot = line(area, area.height - 1);
    let body = Rect {
        y: area.y + head.height,
        height: area.height - 1 - head.height,
        ..area
    };
    [head, body, foot]
}

fn line(area: Rect, number: u16) -> Rect {
    Rect {
        y: area.y + number,
        height: u16::from(number < area.height),
        ..area
    }
}

/// Which tables there is room for, and where.
fn places(body: Rect, focus: Panel, is_small: bool) -> Vec<(Panel, Rect)> {
    if is_small {
        return vec![(focus, body)];
    }
    let mut places = Vec::new();
    let summary = Rect {
        height: SUMMARY_LINES.min(body.height),
        ..body
    };
    let [left, right] = split(summary, OUTCOMES_PERCENT);
    places.push((Panel::Outcomes, left));
    places.push((Panel::Reasons, right));
    let rest = Rect {
        y: body.y + left.height,
        height: body.height - left.height,
        ..body
    };
    let columns: u16 = if body.width < WIDE { 1 } else { 2 };
    let rows = (rest.height / TABLE_LINES_MIN).clamp(1, 4);
    let count = usize::from(columns * rows).min(Panel::ALL.len());
    for (number, panel) in from(focus, count).enumerate() {
        let number = u16::try_from(number).unwrap_or_default();
        let (row, column) = (number / columns, number % columns);
        let height = rest.height / rows;
        let y = rest.y + height * row;
        let whole = Rect {
            y,
            // What does not divide is the last one's.
            height: if row + 1 == rows {
                rest.bottom() - y
            } else {
                height
            },
            ..rest
        };
        let place = match columns {
            1 => whole,
            _ => split(whole, 50)[usize::from(column)],
        };
        places.push((panel, place));
    }
    places
}

/// So many tables: those in their order, among which the focus is; outcomes and reasons are there already.
fn from(focus: Panel, count: usize) -> impl Iterator<Item = Panel> {
    let at = Panel::ALL.iter().position(|it| *it == focus).unwrap_or(0);
    let rest = Panel::ALL.len() - 2;
    // While there is room, what is shown stays where it is when the focus moves.
    let first = match at {
        at if at >= rest => at,
        at => at / count.max(1) * count.max(1),
    };
    let cycle = Panel::ALL.into_iter().cycle().skip(first);
    cycle
        .filter(move |panel| *panel == focus || !matches!(panel, Panel::Outcomes | Panel::Reasons))
        .take(count.min(rest))
}

/// Two places side by side, the first with so much of the width.
fn split(area: Rect, percent: u16) -> [Rect; 2] {
    let room = u32::from(area.width.saturating_sub(GAP));
    let width = u16::try_from(room * u32::from(percent) / 100).unwrap_or(area.width);
    let left = Rect { width, ..area };
    let x = left.right() + GAP;
    let right = Rect {
        x,
        width: area.right().saturating_sub(x),
        ..area
    };
    [left, right]
}

fn title(frame: &mut Frame<'_>, place: Rect, facts: &Facts, screen: &Screen) {
    let stats = &facts.stats;
    let about = Line::from(vec![
        Span::styled(shown(&stats.node), BOLD.fg(Color::Cyan)),
        Span::styled(format!("  {}", plain::about(stats)), DIM),
    ]);
    frame.render_widget(Paragraph::new(about), place);
    let state = match (&screen.trouble, screen.motion) {
        (Some(_), _) => Span::styled(" no answer ", Style::new().fg(Color::White).bg(Color::Red)),
        (None, Motion::Paused) => {
            Span::styled(" paused ", Style::new().fg(Color::Black).bg(Color::Yellow))
        }
        (None, Motion::Running) => Span::styled(
            format!(" every {} ", span(screen.every)),
            Style::new().fg(Color::Green),
        ),
    };
    let state = Line::from(vec![
        Span::raw(format!(" last {}", span(screen.scope.window))),
        state,
    ]);
    frame.render_widget(Paragraph::new(state).alignment(Alignment::Right), place);
}

fn figures(frame: &mut Frame<'_>, head: Rect, facts: &Facts, screen: &Screen) {
    let stats = &facts.stats;
    let it = &stats.window.figures;
    let rate = line(head, 1);
    let number = vec![
        Span::styled("requests ", DIM),
        Span::styled(format!("{}/s", count(facts.rate())), BOLD),
    ];
    frame.render_widget(Paragraph::new(Line::from(number)), rate);
    rates(frame, rate, screen);
    let mut lines = vec![
        labelled(&[
            ("hits ", percent(it.hit_ratio), Color::Green),
            ("bytes ", percent(it.byte_hit_ratio), Color::Green),
            ("offload ", percent(it.offload), Color::Green),
            ("errors ", count(float(it.errors)), red_if(it.errors > 0)),
            ("collapsed ", count(float(stats.collapsed)), Color::Reset),
        ]),
        labelled(&[
            ("p50 ", millis(it.p50_ms), Color::Reset),
            ("p99 ", millis(it.p99_ms), Color::Reset),
            ("sent ", per_second(it.bytes_per_second), Color::Reset),
            (
                "origin ",
                format!("{}/s", count(it.origin_requests_per_second)),
                Color::Reset,
            ),
            (
                "",
                per_second(float(it.origin_bytes) / stats.window.seconds.max(1.0)),
                Color::Reset,
            ),
        ]),
        labelled(&[
            (
                "origin's first byte: p50 ",
                millis(stats.origin.p50_ttfb_ms),
                Color::Reset,
            ),
            ("p99 ", millis(stats.origin.p99_ttfb_ms), Color::Reset),
            ("connections ", stats.connections.to_string(), Color::Reset),
            (
                "lines lost ",
                count(float(stats.log_dropped)),
                red_if(stats.log_dropped > 0),
            ),
        ]),
        Line::from(storage(facts)),
    ];
    if head.height < 6 {
        lines.truncate(2);
    }
    let rest = Rect {
        y: head.y + 2,
        height: head.height.saturating_sub(2),
        ..head
    };
    frame.render_widget(Paragraph::new(lines), rest);
}

/// The last rates, the latest to the right.
fn rates(frame: &mut Frame<'_>, place: Rect, screen: &Screen) {
    let room = Rect {
        x: place.x + RATE_WIDTH.min(place.width),
        width: place.width.saturating_sub(RATE_WIDTH),
        ..place
    };
    let latest = screen.rates.len().saturating_sub(usize::from(room.width));
    let max = screen.rates.iter().copied().fold(0.0, f64::max);
    let bars: Vec<u64> = screen
        .rates
        .iter()
        .skip(latest)
        .map(|rate| steps(*rate, max, SPARK_STEPS))
        .collect();
    let line = Sparkline::default()
        .data(&bars)
        .max(SPARK_STEPS)
        .style(Style::new().fg(Color::Cyan));
    let free = u16::try_from(usize::from(room.width) - bars.len()).unwrap_or_default();
    let room = Rect {
        x: room.x + free,
        width: room.width - free,
        ..room
    };
    frame.render_widget(line, room);
}

/// Eighths of a line.
const SPARK_STEPS: u64 = 8;
/// Signs of the line that shows how full memory is.
const GAUGE_STEPS: u64 = 16;

/// So many of all steps as a part is of a whole. Anything at all is at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies between 0 and the steps"
)]
fn steps(part: f64, whole: f64, all: u64) -> u64 {
    match part > 0.0 && whole > 0.0 {
        true => ((part / whole * float(all)).round() as u64).clamp(1, all),
        false => 0,
    }
}

fn labelled(parts: &[(&'static str, String, Color)]) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, (label, value, color)) in parts.iter().enumerate() {
        if number > 0 {
            spans.push(Span::raw(if label.is_empty() { " " } else { "   " }));
        }
        spans.push(Span::styled(*label, DIM));
        spans.push(Span::styled(value.clone(), BOLD.fg(*color)));
    }
    Line::from(spans)
}

const fn red_if(is_bad: bool) -> Color {
    if is_bad { Color::Red } else { Color::Reset }
}

fn per_second(rate: f64) -> String {
    format!("{}/s", bytes(rate))
}

fn storage(facts: &Facts) -> Vec<Span<'static>> {
    let memory = &facts.stats.memory;
    let (used, all) = (float(memory.bytes), float(memory.bytes_max));
    let full = steps(used, all, GAUGE_STEPS);
    let bar = |count: u64, sign: &str| sign.repeat(usize::try_from(count).unwrap_or_default());
    let mut spans = vec![
        Span::styled("memory ", DIM),
        Span::styled(bar(full, "█"), Style::new().fg(Color::Cyan)),
        Span::styled(bar(GAUGE_STEPS - full, "░"), DIM),
        Span::raw(format!(
            " {} of {}, {} objects",
            bytes(used),
            bytes(all),
            count(float(memory.objects))
        )),
    ];
    let disks = &facts.stats.disks;
    if !disks.is_empty() {
        let sum = |of: fn(&Volume) -> u64| float(disks.iter().map(of).sum());
        let segments = sum(|it| it.segments);
        let full = segments - sum(|it| it.segments_free.min(it.segments));
        spans.push(Span::styled("   disk ", DIM));
        spans.push(Span::raw(percent(
            (segments > 0.0).then(|| full / segments),
        )));
        let lost = disks.iter().filter(|it| it.offline).count();
        if lost > 0 {
            let style = BOLD.fg(Color::Red);
            spans.push(Span::styled(format!(" {lost} out of service"), style));
        }
    }
    spans
}

/// What the keys do, or what is wrong, or what is shown only.
fn keys(frame: &mut Frame<'_>, place: Rect, screen: &Screen) {
    let text = match (&screen.trouble, screen.mode) {
        (_, Mode::Filtering) => Line::from(vec![
            Span::styled("only rows with: ", BOLD),
            Span::raw(shown(&screen.filter)),
            Span::styled("█", Style::new().fg(Color::Cyan)),
        ]),
        (Some(trouble), _) => Line::from(Span::styled(shown(trouble), BOLD.fg(Color::Red))),
        (None, _) => {
            let mut spans = Vec::new();
            let restrictions = [
                ("site ", screen.scope.site.as_deref()),
                ("rule ", screen.scope.rule.as_deref()),
                (
                    "rows with ",
                    Some(screen.filter.as_str()).filter(|it| !it.is_empty()),
                ),
            ];
            for (what, value) in restrictions {
                if let Some(value) = value {
                    spans.push(Span::styled(
                        format!(" {what}{} ", shown(value)),
                        Style::new().fg(Color::Black).bg(Color::Cyan),
                    ));
                    spans.push(Span::raw(" "));
                }
            }
            spans.push(Span::styled(
                "? help  q end  tab next  / filter  s sort  enter site  w time  p pause",
                DIM,
            ));
            Line::from(spans)
        }
    };
    frame.render_widget(Paragraph::new(text), place);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, does)| {
            Line::from(vec![
                Span::styled(format!(" {keys:<22}"), BOLD),
                Span::raw(*does),
            ])
        })
        .collect();
    let place = Rect {
        height: u16::try_from(lines.len())
            .unwrap_or_default()
            .min(area.height - 2),
        y: area.y + 1,
        ..area
    };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines), place);
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
