//! What the system says of the thread that is measured.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Its accounts, open: to look at them costs little.
pub(crate) struct Accounts {
    switches: File,
    scheduler: File,
}

/// What they say at a moment. All of it only grows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Account {
    /// For which it ran, without what the hypervisor took.
    pub(crate) ran: Duration,
    /// For which it could have run, and others did.
    pub(crate) waited: Duration,
    /// How often it waited for something of its own accord: a lock, a page, a disk.
    pub(crate) blocked: u64,
    /// How often it was made to let go of the processor.
    pub(crate) displaced: u64,
}

impl Accounts {
    pub(crate) fn open() -> Self {
        let open = |name: &str| File::open(format!("/proc/thread-self/{name}")).expect("Linux");
        Self {
            switches: open("status"),
            scheduler: open("schedstat"),
        }
    }

    pub(crate) fn now(&self) -> Account {
        let mut buffer = [0; 4096];
        let scheduler = text(&self.scheduler, &mut buffer);
        let waited = scheduler.split(' ').nth(1).and_then(|it| it.parse().ok());
        let waited = Duration::from_nanos(waited.expect("a number"));
        let status = text(&self.switches, &mut buffer);
        let count = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let count = line.and_then(|rest| rest.trim().parse().ok());
            count.expect("a number")
        };
        Account {
            ran: ran(),
            waited,
            blocked: count("voluntary_ctxt_switches:"),
            displaced: count("nonvoluntary_ctxt_switches:"),
        }
    }
}

impl Account {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(before.ran),
            waited: self.waited.saturating_sub(before.waited),
            blocked: self.blocked - before.blocked,
            displaced: self.displaced - before.displaced,
        }
    }
}

/// For how long this thread has run.
pub(crate) fn ran() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("no negative time");
    Duration::new(
        seconds,
        u32::try_from(time.tv_nsec).expect("below a second"),
    )
}

fn text<'a>(file: &File, buffer: &'a mut [u8]) -> &'a str {
    let read = file.read_at(buffer, 0).expect("Linux");
    std::str::from_utf8(&buffer[..read]).expect("text")
}
