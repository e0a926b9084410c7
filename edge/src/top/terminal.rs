//! The screen on a real terminal: it draws what is known, asks the node again and again, and listens to keys.

use std::io::{self, IsTerminal as _};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
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

/// It is never dropped: what it cannot give back it would complain of on standard error, which is gone with the terminal.
type Drawn = Mutex<ManuallyDrop<DefaultTerminal>>;

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
    let (end, ended) = sync_channel(1);
    end_at_a_signal(end.clone()).map_err(|error| in_terminal(&error))?;
    let terminal = ratatui::try_init().map_err(|error| in_terminal(&error))?;
    let terminal: Arc<Drawn> = Arc::new(Mutex::new(ManuallyDrop::new(terminal)));
    let mut screen = Screen::new(scope, every);
    screen.heard(&first);
    // Whoever reads keys from a terminal that is gone may never return: nobody waits for that thread.
    let drawn_on = Arc::clone(&terminal);
    std::thread::spawn(move || {
        let outcome = match run(&drawn_on, &mut screen, first, (&wanted, &heard)) {
            // It ends with its terminal, whether or not a signal has said so yet.
            Err(Trouble::Terminal(_)) if is_gone() => Ok(()),
            Err(Trouble::Terminal(error)) => Err(in_terminal(&error)),
            Err(Trouble::NobodyAsks) => Err("the node is not asked any more".to_owned()),
            Ok(()) => Ok(()),
        };
        drop(end.try_send(outcome));
    });
    let outcome = ended.recv().unwrap_or(Ok(()));
    // Nothing is drawn on it after it was given back.
    let mut kept = terminal.lock();
    // It cannot be given back where it is gone.
    drop(kept.show_cursor());
    drop(ratatui::try_restore());
    outcome
}

/// Ends it when a signal says so: the terminal is given back before the program ends.
fn end_at_a_signal(end: SyncSender<Result<(), String>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut hangup) = {
        let _within = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        drop(end.try_send(Ok(())));
    });
    Ok(())
}

/// Why nothing is shown any more.
enum Trouble {
    Terminal(io::Error),
    NobodyAsks,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Terminal(error)
    }
}

/// Whether there is no terminal any more: its window was closed, or its connection. What fails then fails in many ways.
fn is_gone() -> bool {
    !io::stdout().is_terminal()
}

fn in_terminal(error: &io::Error) -> String {
    format!("the terminal cannot be used: {error}; `larder top | cat` prints text")
}

fn run(
    terminal: &Drawn,
    screen: &mut Screen,
    mut facts: Facts,
    (wanted, heard): (&SyncSender<Scope>, &Receiver<Heard>),
) -> Result<(), Trouble> {
    loop {
        terminal.lock().draw(|frame| draw(frame, &facts, screen))?;
        let mut changed = false;
        while !changed {
            if event::poll(LOOK_EVERY)? {
                changed = true;
                let Event::Key(key) = event::read()? else {
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
                        return Err(Trouble::NobodyAsks);
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
