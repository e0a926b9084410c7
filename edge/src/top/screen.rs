//! What the screen shows, and what a key makes of it.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::facts::Facts;
use super::sheets::{By, Cell, Panel, Sheet, sheet};

/// Rates that are remembered for the line that shows them.
const RATES_MAX: usize = 256;
/// Characters of a filter.
const FILTER_MAX: usize = 100;
/// Rows that a page moves by.
const PAGE: usize = 10;
/// The times that figures can be of, in seconds.
const WINDOWS: [u64; 4] = [60, 300, 900, 3600];

/// What a node is asked about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Scope {
    pub window: Duration,
    pub site: Option<String>,
    pub rule: Option<String>,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(WINDOWS[0]),
            site: None,
            rule: None,
        }
    }
}

impl Scope {
    /// Whether both count the same requests, in whatever time.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.site == other.site && self.rule == other.rule
    }
}

/// What keys do at the moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Mode {
    #[default]
    Watching,
    /// They write the filter.
    Filtering,
    /// Help is shown.
    Help,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Motion {
    #[default]
    Running,
    Paused,
}

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sort {
    /// None is the node's order.
    pub column: Option<usize>,
    pub order: Order,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Order {
    #[default]
    MostFirst,
    LeastFirst,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Pressed {
    /// The screen, drawn anew.
    Draw,
    /// Facts of another scope.
    Ask,
    /// The end.
    Quit,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub scope: Scope,
    pub mode: Mode,
    pub motion: Motion,
    pub filter: String,
    /// The last thing that went wrong, until something goes well.
    pub trouble: Option<String>,
    /// How often the node is asked, as the title tells it.
    pub every: Duration,
    /// The latest is the last.
    pub rates: VecDeque<f64>,
    focus: usize,
    sorts: [Sort; Panel::ALL.len()],
    selected: usize,
}

impl Screen {
    pub(super) fn new(scope: Scope, every: Duration) -> Self {
        Self {
            scope,
            every,
            ..Self::default()
        }
    }

    pub(super) const fn panel(&self) -> Panel {
        Panel::ALL[self.focus]
    }

    pub(super) const fn selected(&self) -> usize {
        self.selected
    }

    pub(super) fn sort_of(&self, panel: Panel) -> Sort {
        let at = Panel::ALL.iter().position(|it| *it == panel);
        at.map_or_else(Sort::default, |at| self.sorts[at])
    }

    /// Takes in an answer.
    pub(super) fn heard(&mut self, facts: &Facts) {
        self.trouble = None;
        if self.rates.len() >= RATES_MAX {
            self.rates.pop_front();
        }
        self.rates.push_back(facts.rate());
    }

    /// The table as it is wanted: filtered and sorted.
    pub(super) fn sheet(&self, panel: Panel, facts: &Facts) -> Sheet {
        let mut sheet = sheet(panel, facts);
        // Outcomes and reasons are a summary, and stay whole beside the table that is looked through.
        let is_summary = matches!(panel, Panel::Outcomes | Panel::Reasons);
        if !self.filter.is_empty() && (!is_summary || panel == self.panel()) {
            let wanted = self.filter.to_lowercase();
            let has = |cell: &Cell| {
                matches!(cell.by, By::Text) && cell.text.to_lowercase().contains(&wanted)
            };
            sheet.rows.retain(|row| row.iter().any(has));
        }
        let Sort { column, order } = self.sort_of(panel);
        if let Some(column) = column {
            sheet.rows.sort_by(|one, other| {
                let ordering = match (one.get(column), other.get(column)) {
                    (Some(one), Some(other)) => compare(one, other),
                    _ => Ordering::Equal,
                };
                match order {
                    Order::MostFirst => ordering,
                    Order::LeastFirst => ordering.reverse(),
                }
            });
        }
        sheet
    }

    /// Does what the key stands for.
    pub(super) fn press(&mut self, key: KeyEvent, facts: &Facts) -> Pressed {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Pressed::Quit,
                _ => Pressed::Draw,
            };
        }
        match self.mode {
            Mode::Watching => self.watch(key.code, facts),
            Mode::Filtering => {
                self.write(key.code);
                Pressed::Draw
            }
            Mode::Help => {
                self.mode = Mode::Watching;
                match key.code {
                    KeyCode::Char('q') => Pressed::Quit,
                    _ => Pressed::Draw,
                }
            }
        }
    }

    fn watch(&mut self, key: KeyCode, facts: &Facts) -> Pressed {
        match key {
            KeyCode::Char('q') => return Pressed::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filtering,
            KeyCode::Char('p' | ' ') => {
                self.motion = match self.motion {
                    Motion::Running => Motion::Paused,
                    Motion::Paused => Motion::Running,
                }
            }
            KeyCode::Tab | KeyCode::Right => self.turn_to(self.focus + 1),
            KeyCode::BackTab | KeyCode::Left => {
                self.turn_to(self.focus + Panel::ALL.len() - 1);
            }
            KeyCode::Char(digit @ '0'..='9') => {
                let digit = digit.to_digit(10).unwrap_or(0) as usize;
                self.turn_to(digit + Panel::ALL.len() - 1);
            }
            KeyCode::Char('s') => self.sort_by_next(facts),
            KeyCode::Char('r') => self.reverse(),
            KeyCode::Char('w') => return self.widen(),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected + 1, facts),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1), facts),
            KeyCode::PageDown => self.select(self.selected + PAGE, facts),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(PAGE), facts),
            KeyCode::Home => self.select(0, facts),
            KeyCode::End => self.select(usize::MAX, facts),
            KeyCode::Enter => return self.narrow(facts),
            KeyCode::Esc | KeyCode::Backspace => return self.back(),
            _ => {}
        }
        Pressed::Draw
    }

    fn write(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.mode = Mode::Watching,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Watching;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) if self.filter.chars().count() < FILTER_MAX => self.filter.push(c),
            _ => {}
        }
        self.selected = 0;
    }

    fn turn_to(&mut self, panel: usize) {
        self.focus = panel % Panel::ALL.len();
        self.selected = 0;
    }

    fn select(&mut self, row: usize, facts: &Facts) {
        let rows = self.sheet(self.panel(), facts).rows.len();
        self.selected = row.min(rows.saturating_sub(1));
    }

    fn sort_by_next(&mut self, facts: &Facts) {
        let columns = sheet(self.panel(), facts).columns.len();
        let sort = &mut self.sorts[self.focus];
        let next = sort.column.map_or(0, |column| column + 1);
        *sort = Sort {
            column: (next < columns).then_some(next),
            order: Order::MostFirst,
        };
        self.selected = 0;
    }

    fn reverse(&mut self) {
        let sort = &mut self.sorts[self.focus];
        sort.column.get_or_insert(0);
        sort.order = match sort.order {
            Order::MostFirst => Order::LeastFirst,
            Order::LeastFirst => Order::MostFirst,
        };
    }

    fn widen(&mut self) -> Pressed {
        let now = self.scope.window.as_secs();
        let at = WINDOWS.iter().position(|it| *it == now).unwrap_or(0);
        self.scope.window = Duration::from_secs(WINDOWS[(at + 1) % WINDOWS.len()]);
        Pressed::Ask
    }

    /// Only the site, or the rule, of the selected row.
    fn narrow(&mut self, facts: &Facts) -> Pressed {
        let panel = self.panel();
        let sheet = self.sheet(panel, facts);
        let Some(row) = sheet.rows.get(self.selected) else {
            return Pressed::Draw;
        };
        let text = |column: usize| row.get(column).map(|it| it.text.clone());
        match panel {
            Panel::Sites => self.scope.site = text(0),
            Panel::Rules => (self.scope.site, self.scope.rule) = (text(0), text(1)),
            Panel::Misses | Panel::Bytes => self.scope.site = text(1),
            Panel::Origins
            | Panel::Tiers
            | Panel::Storage
            | Panel::Curve
            | Panel::Outcomes
            | Panel::Reasons => return Pressed::Draw,
        }
        self.selected = 0;
        Pressed::Ask
    }

    /// Takes the last restriction away.
    fn back(&mut self) -> Pressed {
        self.selected = 0;
        if !self.filter.is_empty() {
            self.filter.clear();
            return Pressed::Draw;
        }
        match self.scope.rule.take().or_else(|| self.scope.site.take()) {
            Some(_) => Pressed::Ask,
            None => Pressed::Draw,
        }
    }
}

/// The most first among amounts; texts by the alphabet.
fn compare(one: &Cell, other: &Cell) -> Ordering {
    match (&one.by, &other.by) {
        (By::Amount(one), By::Amount(other)) => {
            let amount = |it: &Option<f64>| it.unwrap_or(f64::NEG_INFINITY);
            amount(other).total_cmp(&amount(one))
        }
        _ => one.text.cmp(&other.text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        let site = |name: &str, rate: f64| json!({ "name": name, "requests_per_second": rate, "hit_ratio": 1.0 / rate });
        let sites = [site("b", 3.0), site("a", 2.0), site("c", 5.0)];
        Facts::read(json!({ "sites": sites })).unwrap()
    }

    fn press(screen: &mut Screen, keys: &str) -> Pressed {
        let facts = facts();
        let mut last = Pressed::Draw;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                '↓' => KeyCode::Down,
                '⇟' => KeyCode::End,
                key => KeyCode::Char(key),
            };
            last = screen.press(KeyEvent::from(code), &facts);
        }
        last
    }

    fn names(screen: &Screen) -> String {
        let sheet = screen.sheet(Panel::Sites, &facts());
        sheet.rows.iter().map(|row| row[0].text.as_str()).collect()
    }

    #[track_caller]
    fn check(keys: &str, rows: &str) {
        let mut screen = Screen::default();
        press(&mut screen, keys);
        assert_eq!(screen.panel(), Panel::Sites);
        assert_eq!(names(&screen), rows, "{keys:?}");
    }

    #[test]
    fn rows_are_sorted_and_filtered_by_keys() {
        check("3", "bac"); // as the node tells them
        check("\t\ts", "abc"); // by name
        check("3sr", "cba");
        check("3ss", "cba"); // by rate
        check("3sss", "abc"); // by hit ratio
        check("3ssssssss", "bac"); // round and back
        check("3/c\n", "c");
        check("3/C\n", "c");
        check("3/zz\u{1b}", "bac");
        check("3/b\n\u{1b}", "bac");
    }

    #[test]
    fn enter_narrows_to_a_site_and_escape_widens() {
        let mut screen = Screen::default();
        assert_eq!(press(&mut screen, "3↓\n"), Pressed::Ask);
        assert_eq!(screen.scope.site.as_deref(), Some("a"));
        assert_eq!(press(&mut screen, "\u{1b}"), Pressed::Ask);
        assert_eq!(screen.scope, Scope::default());
        assert_eq!(press(&mut screen, "\u{1b}"), Pressed::Draw);
        assert_eq!(press(&mut screen, "1\n"), Pressed::Draw); // there is no row
    }

    #[test]
    fn the_selection_stays_among_the_rows() {
        let mut screen = Screen::default();
        press(&mut screen, "3↓↓↓↓↓");
        assert_eq!(screen.selected(), 2);
        press(&mut screen, "4⇟");
        assert_eq!(screen.selected(), 0);
    }

    #[test]
    fn the_window_goes_round() {
        let mut screen = Screen::default();
        for seconds in [300, 900, 3600, 60] {
            assert_eq!(press(&mut screen, "w"), Pressed::Ask);
            assert_eq!(screen.scope.window.as_secs(), seconds);
        }
    }

    #[test]
    fn letters_of_a_filter_are_no_commands() {
        let mut screen = Screen::default();
        assert_eq!(press(&mut screen, "/qp"), Pressed::Draw);
        assert_eq!(
            (screen.filter.as_str(), screen.motion),
            ("qp", Motion::Running)
        );
        press(&mut screen, &"x".repeat(500));
        assert_eq!(screen.filter.chars().count(), FILTER_MAX);
        press(&mut screen, "\u{1b}?");
        assert_eq!(screen.mode, Mode::Help);
        assert_eq!(press(&mut screen, "q"), Pressed::Quit);
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.press(control, &facts()), Pressed::Quit);
    }

    #[test]
    fn so_many_rates_are_remembered() {
        let mut screen = Screen::default();
        let facts = facts();
        (0..RATES_MAX + 9).for_each(|_| screen.heard(&facts));
        assert_eq!(screen.rates.len(), RATES_MAX);
    }
}
