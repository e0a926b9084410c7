//! What the clients of a test got, what its origins were asked, and what its nodes said on standard output, written down, so that
//! two runs of a test can be compared.
//!
//! With `LARDER_TESTS_TRANSCRIPTS=FOLDER`, each test has a file there: a line for each entry, an array of texts in JSON.

use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;

use crate::wire::{End, Fields, latin1};

/// Content up to this length is written as it is; of what is longer, its length and a hash.
const CONTENT_SHOWN: usize = 2 << 10;

static FOLDER: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("LARDER_TESTS_TRANSCRIPTS").map(PathBuf::from));

/// Whether anything is written down.
pub(crate) fn wanted() -> bool {
    FOLDER.is_some()
}

/// Writes an entry into the file of the test that runs on this thread; other threads have none.
pub(crate) fn enter(entry: &[&str]) {
    let Some(folder) = &*FOLDER else { return };
    let thread = thread::current();
    let Some(test) = thread.name().filter(|name| name.contains("::")) else {
        return;
    };
    let mut line = serde_json::to_string(entry).expect("texts");
    line.push('\n');
    // In one piece: what a test left running may write, too.
    let path = folder.join(test.replace("::", "."));
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.expect("a folder for transcripts");
}

/// Bytes, up to any length.
#[derive(Debug, Default)]
pub(crate) struct Content {
    first: Vec<u8>,
    length: usize,
    hash: DefaultHasher,
}

impl Content {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut content = Self::default();
        content.add(bytes);
        content
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if !wanted() {
            return;
        }
        let room = CONTENT_SHOWN.saturating_sub(self.first.len());
        self.first
            .extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.length += bytes.len();
        self.hash.write(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What it is, and nothing from now on.
    pub(crate) fn take(&mut self) -> String {
        let Self {
            first,
            length,
            hash,
        } = std::mem::take(self);
        if length <= CONTENT_SHOWN {
            return latin1(&first);
        }
        format!("{length} bytes, {:016x}", hash.finish())
    }
}

/// Fields a line each, as a head has them.
pub(crate) fn lines(fields: &Fields) -> String {
    let line = |(name, value): &(String, String)| format!("{name}: {value}\r\n");
    fields.iter().map(line).collect()
}

/// A message: its heads, and what came behind them.
pub(crate) fn message(heads: &str, body: &[u8], end: End, trailers: &Fields) -> String {
    let body = Content::of(body).take();
    let end = if end == End::Cut { "\n(cut)" } else { "" };
    format!("{heads}{body}{end}{}", lines(trailers))
}
