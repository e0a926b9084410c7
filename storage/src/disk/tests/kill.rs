//! A child process that writes, updates, removes and purges, and is killed in the middle of it, again
//! and again.
//!
//! ```text
//! LARDER_KILL_ROUNDS=1000 cargo test -p larder-storage kills_bring -- --nocapture
//! LARDER_KILL_ROUNDS=1000 LARDER_TEST_ENGINE=foyer cargo test -p larder-storage --features foyer kills_bring
//! ```

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use parking_lot::RwLock;

use super::*;
use crate::purge::{LogFile, LogId};

const DIR: &str = "LARDER_TEST_DISK_DIR";
const ROUND: &str = "LARDER_TEST_DISK_ROUND";
const ROUNDS: &str = "LARDER_KILL_ROUNDS";
const KEYS: u64 = 400;

/// Keys that are purged together.
const GROUPS: u64 = 8;

/// When something was done: the round, and the step in it.
type When = (u64, u64);

fn settings(dir: &str) -> Settings {
    let engine = engine();
    // A log of half of the size where foyer keeps the bodies: heads and removals are what it has to turn over.
    let share = if engine == Engine::Log { 1 } else { 4 };
    let volume = VolumeSettings {
        engine,
        ..VolumeSettings::new(PathBuf::from(dir).join("volume"), share * (4 << 20))
    };
    Settings {
        segment: share * 128 * 1024,
        object_max: 1 << 20,
        ..Settings::new(vec![volume], ticking)
    }
}

/// A head that says when the body was stored, so that the body can be known again; what follows the
/// first line came with a later head.
fn content((round, step): When, key: u64) -> Content {
    let mut content = Content::of(round << 32 | step, (key * 37 % 9000) as usize);
    content.head = Bytes::from(format!("{round} {step} {key}\n"));
    content
}

/// When this was stored; it is checked that it is whole.
fn stored_at(key: u64, got: &Content) -> When {
    let head = std::str::from_utf8(&got.head).unwrap();
    let line = head.lines().next().unwrap();
    let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
    assert_eq!((numbers.len(), numbers[2]), (3, key), "{head}");
    let when = (numbers[0], numbers[1]);
    assert!(got.body == content(when, key).body, "wrong bytes for {key}");
    when
}

/// The purges of groups: in a log that is synced before a purge is acknowledged.
struct Purges {
    log: LogFile,
    /// What was born before is gone.
    groups: Arc<RwLock<HashMap<u64, u64>>>,
}

impl Purges {
    fn open(dir: &str) -> Self {
        let path = PathBuf::from(dir).join("purges");
        let (log, recovered) = LogFile::open(&path, LogId(1)).unwrap();
        let groups = recovered.records.iter();
        let groups = groups.map(|(sequence, payload)| (u64::from(payload[0]), sequence.0));
        Self {
            log,
            groups: Arc::new(RwLock::new(groups.collect())),
        }
    }

    fn born(&self) -> u64 {
        self.log.last().0
    }

    fn purge(&mut self, group: u64) {
        self.log.append(&[Bytes::from(vec![group as u8])]).unwrap();
        self.groups.write().insert(group, self.log.last().0);
    }

    fn liveness(&self) -> Liveness {
        let groups = Arc::clone(&self.groups);
        Arc::new(move |key, born| {
            let number = key.0[8..]
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte));
            let purged = groups.read().get(&(number % GROUPS)).copied();
            born >= purged.unwrap_or(0)
        })
    }
}

/// Not a test of its own: what the killed process does.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let mut purges = Purges::open(&dir);
    let disk = Disk::open(settings(&dir)).unwrap();
    disk.set_liveness(purges.liveness());
    // In every third round it works while the index is still being read.
    if !round.is_multiple_of(3) {
        disk.wait_until_recovered();
    }
    for step in 1.. {
        let key = (step * 7 + round) % KEYS;
        match step % 5 {
            0 => freshen(&disk, key, round, step),
            1 => disk
                .found(key, 1)
                .iter()
                .for_each(|found| disk.accessed(found)),
            _ => store(&disk, key, (round, step), purges.born()),
        }
        // Said aloud only when it is durable.
        if step % 40 == 0 {
            let key = (step / 40 * 11 + round * 3) % KEYS;
            disk.remove(key_of(key));
            block_on(disk.sync()).unwrap();
            writeln!(std::io::stdout(), "removed {key} {round} {step}").unwrap();
        }
        if step % 170 == 0 {
            let group = (step / 170 + round) % GROUPS;
            purges.purge(group);
            writeln!(std::io::stdout(), "purged {group} {round} {step}").unwrap();
        }
    }
}

fn store(disk: &Disk, key: u64, when: When, born: u64) {
    let content = content(when, key);
    loop {
        let record = NewRecord {
            key: key_of(key),
            variant: Variant([1; 16]),
            born,
            stored_at: 1_700_000_000,
            head: content.head.clone(),
            body_len: None,
        };
        let mut writer = disk.writer(record).unwrap();
        let pieces = content.body.chunks(700);
        let written = pieces.map(|piece| writer.write(Bytes::copy_from_slice(piece)));
        match written
            .collect::<Result<(), _>>()
            .and_then(|()| writer.commit())
        {
            Ok(()) => return,
            Err(Refused::Busy) => std::thread::yield_now(),
            // So many removals in so short a log that they became one of everything.
            Err(Refused::Gone) => return,
            Err(refused) => panic!("{refused}"),
        }
    }
}

/// As after a 304: another head, whose first line is that of the body.
fn freshen(disk: &Disk, key: u64, round: u64, step: u64) {
    let Some(found) = disk.found(key, 1) else {
        return;
    };
    let Ok(head) = block_on(disk.head(&found)) else {
        return;
    };
    let first = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut updated = first.to_vec();
    updated.extend_from_slice(format!("\nfreshened {round} {step}").as_bytes());
    disk.update_head(&found, &updated.into())
        .unwrap_or_default();
}

/// What the killed processes said was gone, and when.
#[derive(Default)]
struct Acknowledged {
    removed: HashMap<u64, When>,
    purged: HashMap<u64, When>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        let mut words = line.rsplit(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(step), Some(round), Some(which)) = (number(), number(), number()) else {
            return;
        };
        let what = if line.contains("purged ") {
            &mut self.purged
        } else {
            &mut self.removed
        };
        what.insert(which, (round, step));
    }

    fn check(&self, key: u64, stored: When) {
        let removed = self.removed.get(&key);
        assert!(
            removed.is_none_or(|removed| stored > *removed),
            "{key} came back: {stored:?}"
        );
        let purged = self.purged.get(&(key % GROUPS));
        assert!(
            purged.is_none_or(|purged| stored > *purged),
            "{key} was purged: {stored:?}"
        );
    }
}

fn spawn(dir: &str, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "disk::tests::kill::writes_until_it_is_killed"])
        .args(["--ignored", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child when it has said so many lines, or soon after its start if that is none.
fn run_and_kill(dir: &str, round: u64, lines: usize, acknowledged: &mut Acknowledged) {
    let mut child = spawn(dir, round);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut told = 0;
    let mut line = String::new();
    while told < lines && output.read_line(&mut line).unwrap() > 0 {
        if line.contains("removed ") || line.contains("purged ") {
            acknowledged.note(line.trim());
            told += 1;
        }
        line.clear();
    }
    child.kill().unwrap();
    // What it said before it died counts as well.
    while output.read_line(&mut line).unwrap() > 0 {
        if line.ends_with('\n') {
            acknowledged.note(line.trim());
        }
        line.clear();
    }
    child.wait().unwrap();
}

#[test]
fn kills_bring_nothing_back_and_nothing_wrong() {
    let rounds = std::env::var(ROUNDS).map_or(20, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut acknowledged = Acknowledged::default();
    let (mut whole, mut damaged) = (0, 0);
    run_and_kill(path, 0, 30, &mut acknowledged);
    for round in 1..=rounds {
        let random = Content::of(round, 1).body[0];
        run_and_kill(path, round, usize::from(random % 24), &mut acknowledged);

        let purges = Purges::open(path);
        let disk = Disk::open(settings(path)).unwrap();
        disk.set_liveness(purges.liveness());
        disk.wait_until_recovered();
        for key in 0..KEYS {
            match disk.try_get(key, 1) {
                Some(Ok(got)) => {
                    acknowledged.check(key, stored_at(key, &got));
                    whole += 1;
                }
                // Never stored, removed, or a part of it was reclaimed after the head was written.
                None | Some(Err(DiskError::Gone)) => {}
                // The last write was cut.
                Some(Err(DiskError::Damaged)) => damaged += 1,
                Some(Err(error)) => panic!("round {round}: {key}: {error}"),
            }
        }
    }
    let told = acknowledged.removed.len() + acknowledged.purged.len();
    assert!(told > 20, "only {told} were acknowledged");
    assert!(
        whole > 20 * rounds,
        "only {whole} are left in {rounds} rounds"
    );
    // A kill can cut a write at each of two ends; what it cut may be met once more at the next start.
    assert!(
        damaged <= 4 * rounds,
        "{damaged} damaged in {rounds} rounds"
    );
}
