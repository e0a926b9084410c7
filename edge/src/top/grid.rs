//! A table on the screen: its title, its columns, and as many rows as there is room for.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::draw::{BOLD, DIM};
use super::facts::Facts;
use super::screen::{Order, Screen, Sort};
use super::sheets::{Kind, Panel, Sheet};

/// Columns of text give way to the others, down to this.
const TEXT_MIN: usize = 8;
const GAP: usize = 2;

pub(super) fn draw(
    frame: &mut Frame<'_>,
    place: Rect,
    panel: Panel,
    facts: &Facts,
    screen: &Screen,
) {
    if place.height == 0 || place.width == 0 {
        return;
    }
    let is_focus = screen.panel() == panel;
    let sheet = screen.sheet(panel, facts);
    let rows = usize::from(place.height.saturating_sub(2));
    let selected = screen.selected().min(sheet.rows.len().saturating_sub(1));
    // The selected row is always among those that are seen.
    let first = match is_focus {
        true => (selected + 1).saturating_sub(rows),
        false => 0,
    };
    let widths = widths(&sheet, usize::from(place.width));
    let mut lines = vec![title(panel, &sheet, is_focus, usize::from(place.width))];
    if sheet.rows.is_empty() {
        let nothing = match screen.filter.as_str() {
            "" => panel.nothing(),
            _ => "no row has it",
        };
        lines.push(Line::from(Span::styled(format!(" {nothing}"), DIM)));
    } else {
        lines.push(header(&sheet, &widths, screen.sort_of(panel)));
    }
    for (number, row) in sheet.rows.iter().enumerate().skip(first).take(rows) {
        let cells = row.iter().zip(&sheet.columns).zip(&widths);
        let texts = cells.map(|((cell, column), width)| fitted(&cell.text, *width, column.kind));
        let style = match is_focus && number == selected {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        let text: Vec<String> = texts.collect();
        lines.push(Line::styled(text.join(&" ".repeat(GAP)), style));
    }
    frame.render_widget(Paragraph::new(lines), place);
}

fn title(panel: Panel, sheet: &Sheet, is_focus: bool, width: usize) -> Line<'static> {
    let number = Panel::ALL.iter().position(|it| *it == panel).unwrap_or(0);
    let key = (number + 1) % Panel::ALL.len();
    let text = format!("{key} {}", panel.title());
    let rows = match sheet.rows.len() {
        0 => String::new(),
        rows => format!(" {rows}"),
    };
    let free = width.saturating_sub(text.chars().count() + rows.len() + 4);
    let style = match is_focus {
        true => BOLD.fg(Color::Cyan),
        false => BOLD,
    };
    Line::from(vec![
        Span::styled("─ ", DIM),
        Span::styled(text, style),
        Span::styled(rows, DIM),
        Span::styled(format!(" {}", "─".repeat(free + 1)), DIM),
    ])
}

fn header(sheet: &Sheet, widths: &[usize], sort: Sort) -> Line<'static> {
    let titles = sheet.columns.iter().zip(widths).enumerate();
    let titles = titles.map(|(number, (column, width))| {
        let mark = match (sort.column == Some(number), sort.order) {
            (false, _) => "",
            (true, Order::MostFirst) => "▼",
            (true, Order::LeastFirst) => "▲",
        };
        fitted(&format!("{}{mark}", column.title), *width, column.kind)
    });
    let titles: Vec<String> = titles.collect();
    Line::styled(titles.join(&" ".repeat(GAP)), DIM)
}

/// Each column as wide as what is in it; texts give way where there is no room, the first one takes what is left.
fn widths(sheet: &Sheet, room: usize) -> Vec<usize> {
    let columns = sheet.columns.iter().enumerate();
    let mut widths: Vec<usize> = columns
        .map(|(number, column)| {
            let cells = sheet.rows.iter().filter_map(|row| row.get(number));
            let longest = cells.map(|cell| cell.text.chars().count()).max();
            // The mark of the order has a place beside the title.
            longest.unwrap_or(0).max(column.title.chars().count() + 1)
        })
        .collect();
    // Amounts that there is no room for go, the last ones first.
    while widths.len() > 2 && least(sheet, &widths) > room {
        widths.pop();
    }
    let is_text = |number: &usize| sheet.columns[*number].kind == Kind::Text;
    let texts: Vec<usize> = (0..widths.len()).filter(is_text).collect();
    // The last texts give way first: the first one says which row it is.
    for number in texts.iter().rev() {
        let surplus = whole(&widths).saturating_sub(room);
        let width = widths[*number];
        widths[*number] = width.saturating_sub(surplus).max(TEXT_MIN.min(width));
    }
    if let Some(first) = texts.first() {
        widths[*first] += room.saturating_sub(whole(&widths));
    }
    widths
}

fn whole(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// What columns take whose texts have given way.
fn least(sheet: &Sheet, widths: &[usize]) -> usize {
    let columns = widths.iter().zip(&sheet.columns);
    let least = columns.map(|(width, column)| match column.kind {
        Kind::Text => TEXT_MIN.min(*width),
        Kind::Amount => *width,
    });
    whole(&least.collect::<Vec<_>>())
}

/// In this many columns: texts to the left, amounts to the right.
fn fitted(text: &str, width: usize, kind: Kind) -> String {
    let length = text.chars().count();
    let text = match length > width {
        true => {
            let kept: String = text.chars().take(width.saturating_sub(1)).collect();
            format!("{kept}…")
        }
        false => text.to_owned(),
    };
    match kind {
        Kind::Text => format!("{text:<width$}"),
        Kind::Amount => format!("{text:>width$}"),
    }
}
