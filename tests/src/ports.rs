//! Free ports for programs that must be told theirs before they start.

use std::fs::File;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range from which the kernel numbers outgoing connections, so that nobody else takes
/// a port between the look and the use.
const FIRST: u32 = 12_000;
/// The ports of one test program.
const COUNT: u32 = 1_500;
/// Test programs that may run at once without a thought for each other.
const PROGRAMS: u32 = 12;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The ports of this program: nobody else's for as long as it holds the lock.
static OWN: LazyLock<(u32, Option<File>)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join("larder-tests-ports");
    drop(std::fs::create_dir_all(&folder));
    let mine = (0..PROGRAMS).find_map(|number| {
        let file = File::create(folder.join(number.to_string())).ok()?;
        file.try_lock().ok()?;
        Some((number, Some(file)))
    });
    mine.unwrap_or((std::process::id() % PROGRAMS, None))
});

/// A port of the loopback address on which nobody listens.
///
/// Every call gives another one, and test programs that run at once have different ones: a program that is killed and
/// started again finds its port as it left it.
#[must_use]
pub fn free_port() -> u16 {
    let first = FIRST + OWN.0 * COUNT;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = first + step % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {first} and {}", first + COUNT)
}
