//! The screen on a real terminal: it draws what is known, asks the node again and again, and listens to keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::ask::{Asker, NoAnswer};
use super::draw::draw;
use super::facts::Facts;
use super::screen::{Motion, Pressed, Scope, Screen};

/// How often it is looked whether an answer has come, where no key is pressed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Answers and scopes on their way between the two threads.
const UNDER_WAY_MAX: usize = 16;

/// An answer, and what was asked about.
struct Heard {
    scope: Scope,
    answer: Result<Facts, NoAnswer>,
}

/// Shows the node until somebody ends it.
///
/// # Errors
/// What the terminal, or the node for good, says.
pub(super) fn watch(
    asker: Asker,
    first: Facts,
    scope: Scope,
    every: Duration,
) -> Result<(), String> {
    let (wanted, scopes) = sync_channel(UNDER_WAY_MAX);
    let (answers, heard) = sync_channel(UNDER_WAY_MAX);
    let began = scope.clone();
    std::thread::spawn(move || keep_asking(asker, began, every, &scopes, &answers));
    let told_to_end = told_to_end().map_err(|error| in_terminal(&error))?;
    let mut terminal = ratatui::try_init().map_err(|error| in_terminal(&error))?;
    let mut screen = Screen::new(scope, every);
    screen.heard(&first);
    let threads = (&wanted, &heard, &*told_to_end);
    let ended = run(&mut terminal, &mut screen, first, threads);
    ratatui::restore();
    ended
}

/// Turns when a signal says that the program is to end: the terminal is given back first.
fn told_to_end() -> std::io::Result<Arc<AtomicBool>> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut hangup) = {
        let _within = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        tell.store(true, Ordering::Relaxed);
    });
    Ok(told)
}

fn in_terminal(error: &std::io::Error) -> String {
    format!("the terminal cannot be used: {error}; `larder top | cat` prints text")
}

fn run(
    terminal: &mut DefaultTerminal,
    screen: &mut Screen,
    mut facts: Facts,
    (wanted, heard, told_to_end): (&SyncSender<Scope>, &Receiver<Heard>, &AtomicBool),
) -> Result<(), String> {
    loop {
        let drawn = terminal.draw(|frame| draw(frame, &facts, screen));
        drawn.map_err(|error| in_terminal(&error))?;
        let mut changed = false;
        while !changed {
            if told_to_end.load(Ordering::Relaxed) {
                return Ok(());
            }
            if event::poll(LOOK_EVERY).map_err(|error| in_terminal(&error))? {
                changed = true;
                let event = event::read().map_err(|error| in_terminal(&error))?;
                let Event::Key(key) = event else {
                    continue; // it has another size
                };
                if key.kind == KeyEventKind::Release {
                    continue;
                }
                match screen.press(key, &facts) {
                    Pressed::Quit => return Ok(()),
                    Pressed::Draw => {}
                    // Where so many are on their way, one of them is as new as this one, or nearly.
                    Pressed::Ask => drop(wanted.try_send(screen.scope.clone())),
                }
            }
            loop {
                match heard.try_recv() {
                    Ok(heard) => {
                        take_in(screen, &mut facts, heard);
                        changed = true;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        return Err("the node is not asked any more".to_owned());
                    }
                }
            }
        }
    }
}

fn take_in(screen: &mut Screen, facts: &mut Facts, heard: Heard) {
    match heard.answer {
        Err(error) => screen.trouble = Some(error.into_text()),
        // What was asked for before the scope changed comes too late.
        Ok(_) if heard.scope != screen.scope => {}
        Ok(new) if screen.motion == Motion::Running => {
            screen.heard(&new);
            *facts = new;
        }
        Ok(_) => screen.trouble = None,
    }
}

fn keep_asking(
    mut asker: Asker,
    mut scope: Scope,
    every: Duration,
    scopes: &Receiver<Scope>,
    answers: &SyncSender<Heard>,
) {
    let mut before: Option<(Scope, Facts)> = None;
    loop {
        match scopes.recv_timeout(every) {
            Ok(new) => scope = new,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let answer = asker.facts(&scope).map(|facts| {
            let same = before.as_ref().filter(|(before, _)| before.is_like(&scope));
            facts.since(same.map(|(_, facts)| facts))
        });
        if let Ok(facts) = &answer {
            before = Some((scope.clone(), facts.clone()));
        }
        let heard = Heard {
            scope: scope.clone(),
            answer,
        };
        if answers.send(heard).is_err() {
            return;
        }
    }
}
