//! `larder top`: what a node does right now, on a terminal or as text.

mod amounts;
mod ask;
mod draw;
mod facts;
mod grid;
mod plain;
mod screen;
mod sheets;
mod terminal;

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use purge_api::Token;

use ask::Asker;
use screen::Scope;

/// How often the node is asked, unless told otherwise.
const EVERY: Duration = Duration::from_secs(2);

/// What is shown, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the node's admin API listens.
    pub admin: String,
    /// How often it is asked. None is once, or for a screen every two seconds.
    pub interval: Option<Duration>,
    /// Only this site.
    pub site: Option<String>,
    /// How.
    pub form: Form,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// On the whole terminal, with keys.
    Screen,
    /// As text.
    Text,
    /// What the node answers.
    Json,
}

/// Shows what the node does. On a terminal it goes on until somebody ends it; otherwise it ends after the first time,
/// unless an interval is given.
///
/// # Errors
/// A sentence that says why there is nothing to show.
pub fn show(options: Options, token: Token, output: &mut impl Write) -> Result<(), String> {
    let Options {
        admin,
        interval,
        site,
        form,
    } = options;
    let scope = Scope {
        site,
        ..Scope::default()
    };
    let mut asker = Asker::new(admin, token);
    let first = asker.facts(&scope).map_err(ask::NoAnswer::into_text)?;
    if form == Form::Screen {
        return terminal::watch(asker, first, scope, interval.unwrap_or(EVERY));
    }
    let mut facts = first;
    loop {
        let written = match form {
            Form::Json => writeln!(output, "{}", facts.json()),
            Form::Text | Form::Screen => write!(output, "{}", plain::text(&facts, &scope)),
        };
        // Whoever read it may have gone.
        let (Ok(()), Some(interval)) = (written.and_then(|()| output.flush()), interval) else {
            return Ok(());
        };
        sleep(interval);
        let next = asker.facts(&scope).map_err(ask::NoAnswer::into_text)?;
        facts = next.since(Some(&facts));
        if form == Form::Text && writeln!(output).is_err() {
            return Ok(());
        }
    }
}

/// A text of the node's, or of its clients', without what a terminal would obey.
fn shown(text: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_control() || is_invisible(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(plain).collect()
}

/// Marks that turn the direction of writing, and those without width.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
