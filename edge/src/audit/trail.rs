//! The trail on the disk: a line of JSON for each refusal, in two files of which the older one is thrown away.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use purge_api::RefusedRequest;

/// Refusals that can be asked about.
const KEPT_MAX: usize = 1000;
/// Bytes of a file; then another one is begun, and the one before the last goes.
const LENGTH_MAX: u64 = 1 << 20;

/// The last refusals, in memory and on the disk.
#[derive(Debug)]
pub(super) struct Trail(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    last: VecDeque<RefusedRequest>,
    /// None keeps nothing beyond the process.
    written: Option<Written>,
}

#[derive(Debug)]
struct Written {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Trail {
    pub(super) fn open(folder: Option<&Path>) -> Self {
        let mut state = State::default();
        if let Some(folder) = folder {
            let path = folder.join("refusals.jsonl");
            for path in [older(&path), path.clone()] {
                read(&path).into_iter().for_each(|it| state.remember(it));
            }
            state.written = Written::open(path)
                .inspect_err(|error| {
                    tracing::warn!(%error, "what is refused is not kept beyond this process");
                })
                .ok();
        }
        Self(Mutex::new(state))
    }

    /// A line in a file: the system has it when this returns, so it outlives the process.
    pub(super) fn keep(&self, refused: RefusedRequest) {
        let mut state = self.0.lock();
        if let Some(Err(error)) = state.written.as_mut().map(|it| it.append(&refused)) {
            tracing::warn!(%error, "what is refused is no longer kept beyond this process");
            state.written = None;
        }
        state.remember(refused);
    }

    pub(super) fn last(
        &self,
        most: usize,
        sees: &dyn Fn(&RefusedRequest) -> bool,
    ) -> Vec<RefusedRequest> {
        let state = self.0.lock();
        let newest_first = state.last.iter().rev().filter(|it| sees(it));
        newest_first.take(most).cloned().collect()
    }
}

impl State {
    fn remember(&mut self, refused: RefusedRequest) {
        if self.last.len() >= KEPT_MAX {
            self.last.pop_front();
        }
        self.last.push_back(refused);
    }
}

impl Written {
    fn open(path: PathBuf) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        let length = file.seek(SeekFrom::End(0))?;
        let mut written = Self { path, file, length };
        if length > 0 {
            // A line that a crash has torn ends here.
            written.append_bytes(b"\n")?;
        }
        Ok(written)
    }

    fn append(&mut self, refused: &RefusedRequest) -> io::Result<()> {
        let mut line = serde_json::to_vec(refused)?;
        line.push(b'\n');
        if self.length + line.len() as u64 > LENGTH_MAX {
            fs::rename(&self.path, older(&self.path))?;
            *self = Self::open(self.path.clone())?;
        }
        self.append_bytes(&line)
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old.jsonl")
}

/// The refusals in a file, as far as they can be read.
fn read(path: &Path) -> Vec<RefusedRequest> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        // Longer is not ours.
        file.take(2 * LENGTH_MAX).read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        tracing::debug!(%error, file = %path.display(), "no refusals from before");
    }
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn refused(number: usize) -> RefusedRequest {
        RefusedRequest {
            at: format!("t{number}"),
            by: None,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: "POST".to_owned(),
            path: "/v1/purges".to_owned(),
            code: "invalid".to_owned(),
            detail: "x".repeat(400),
            silenced: 0,
        }
    }

    fn times(trail: &Trail, most: usize) -> Vec<String> {
        let last = trail.last(most, &|_| true).into_iter();
        last.map(|it| it.at).collect()
    }

    #[test]
    fn what_was_kept_is_there_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refusals.jsonl");
        let trail = Trail::open(Some(folder.path()));
        for number in 0..3 {
            trail.keep(refused(number));
        }
        drop(trail);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
        let trail = Trail::open(Some(folder.path()));
        trail.keep(refused(3));
        drop(trail);
        let trail = Trail::open(Some(folder.path()));
        assert_eq!(times(&trail, 10), ["t3", "t1", "t0"]);
        assert_eq!(times(&trail, 1), ["t3"]);
        let one = |it: &RefusedRequest| it.at == "t1";
        assert_eq!(trail.last(10, &one).len(), 1);
    }

    #[test]
    fn neither_the_files_nor_the_memory_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::open(Some(folder.path()));
        for number in 0..10_000 {
            trail.keep(refused(number));
        }
        let lengths = fs::read_dir(folder.path()).unwrap();
        let lengths: Vec<_> = lengths
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(lengths.len(), 2);
        assert!(lengths.iter().all(|length| *length <= LENGTH_MAX));
        assert_eq!(times(&trail, usize::MAX).len(), KEPT_MAX);
        drop(trail);
        let trail = Trail::open(Some(folder.path()));
        assert_eq!(times(&trail, usize::MAX).len(), KEPT_MAX);
        assert_eq!(times(&trail, 1), ["t9999"]);
    }

    #[test]
    fn without_a_folder_it_ends_with_the_process() {
        let trail = Trail::open(None);
        trail.keep(refused(1));
        assert_eq!(times(&trail, 10), ["t1"]);
    }
}
