//! A terminal: the program on one end of a pseudo-terminal, and at the other what somebody would see and press.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::time::{Instant, sleep};

use crate::binary::ensure_binary;

/// How long the program may take until something is seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program on a terminal. It is killed when this is dropped.
pub struct Terminal {
    keyboard: File,
    /// It stays: whoever looks at it goes on looking.
    open: Arc<AtomicBool>,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Terminal").field(&self.text()).finish()
    }
}

impl Terminal {
    /// Runs the program on a terminal of this size.
    #[must_use]
    pub fn run(args: &[&str], folder: &Path, columns: u16, rows: u16) -> Self {
        // No program has this end open by accident: a terminal is gone when nobody has.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a pseudo-terminal");
        grantpt(&ours).expect("our own");
        unlockpt(&ours).expect("our own");
        let keyboard = File::from(ours);
        resize(&keyboard, columns, rows);
        let name = ptsname(&keyboard, Vec::new()).expect("a name");
        let name = name.to_str().expect("text").to_owned();
        let open = || {
            let theirs = File::options().read(true).write(true).open(&name);
            Stdio::from(theirs.expect("the other end"))
        };
        // It becomes the terminal of the program, and not whichever the tests are started from.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(ensure_binary())
            .args(args)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .current_dir(folder)
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("setsid of util-linux");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(columns), 0)));
        let mut output = keyboard.try_clone().expect("a descriptor");
        let open = Arc::new(AtomicBool::new(true));
        let (seen, looked_at) = (Arc::clone(&screen), Arc::clone(&open));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Where the program has ended, reading fails.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                lock(&seen).process(&bytes[..count]);
                if !looked_at.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self {
            keyboard,
            open,
            child,
            screen,
        }
    }

    /// Takes the terminal away, as when its window is closed. What these keys show is the last that is seen.
    pub fn take_away(&mut self, keys: &str) {
        self.open.store(false, Ordering::Relaxed);
        self.press(keys);
        self.keyboard = File::open("/dev/null").expect("a device");
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        let pressed = self.keyboard.write_all(keys.as_bytes());
        pressed.expect("the terminal is open");
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        lock(&self.screen)
            .screen_mut()
            .set_size(some(rows), some(columns));
        resize(&self.keyboard, columns, rows);
    }

    /// What is seen.
    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.screen).screen().contents()
    }

    /// Waits until all of this is seen at once.
    pub async fn shows(&self, parts: &[&str]) {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "{missing:?} is not seen in:\n{text}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the terminal waits for whole lines and echoes them, as shells leave it; a program with a screen does not.
    #[must_use]
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).expect("a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Whether the program shows its own screen in place of the lines before it.
    #[must_use]
    pub fn is_alternate(&self) -> bool {
        lock(&self.screen).screen().alternate_screen()
    }

    /// Sends the program a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal");
    }

    /// Waits until the program has ended by itself.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "it still runs:\n{}", self.text());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only when the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn some(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("a terminal has a size")
}

fn lock(screen: &Mutex<vt100::Parser>) -> std::sync::MutexGuard<'_, vt100::Parser> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}
