//! A child process that writes and removes, and is killed in the middle of it, again and again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const DIR: &str = "LARDER_TEST_DISK_DIR";
const ROUND: &str = "LARDER_TEST_DISK_ROUND";
const KEYS: u64 = 400;

fn settings(dir: &str) -> Settings {
    let volume = VolumeSettings {
        path: PathBuf::from(dir).join("volume"),
        size: 4 << 20,
    };
    Settings {
        segment: 128 * 1024,
        object_max: 1 << 20,
        ..Settings::new(vec![volume], ticking)
    }
}

/// The seed says round and key, so that a body tells what it was stored as.
fn content(round: u64, key: u64) -> Content {
    Content::of(round * 100_000 + key, (key * 37 % 9000) as usize)
}

/// Not a test of its own: what the killed process does.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let disk = Disk::open(settings(&dir)).unwrap();
    disk.wait_until_recovered();
    for step in 0.. {
        let key = (step * 7 + round) % KEYS;
        // Keys below 50 are only ever removed after the first round.
        if key >= 50 || round == 0 {
            disk.put(key, 1, &content(round, key));
        }
        if step % 40 == 0 && round > 0 {
            let key = (step / 40 + round * 3) % 50;
            disk.remove(key_of(key));
            block_on(disk.sync()).unwrap();
            // Said aloud only when it is durable.
            writeln!(std::io::stdout(), "removed {key}").unwrap();
        }
        if round == 0 && step == 4 * KEYS {
            disk.settle();
            writeln!(std::io::stdout(), "stored").unwrap();
        }
    }
}

fn run_and_kill(dir: &str, round: u64, lines: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "disk::tests::kill::writes_until_it_is_killed"])
        .args(["--ignored", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let told = output.lines().map_while(Result::ok);
    let told = told.filter(|line| line.contains("removed ") || line.contains("stored"));
    let told: Vec<String> = told.take(lines).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let removed = told.iter().filter_map(|line| line.split("removed ").nth(1));
    removed.map(|key| key.trim().parse().unwrap()).collect()
}

#[test]
fn twenty_kills_bring_nothing_back_and_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    run_and_kill(path, 0, 1);
    let mut removed = std::collections::BTreeSet::new();
    for round in 1..=20 {
        removed.extend(run_and_kill(path, round, round as usize % 5 + 1));

        let disk = Disk::open(settings(path)).unwrap();
        disk.wait_until_recovered();
        for key in &removed {
            assert!(
                disk.found(*key, 1).is_none(),
                "round {round}: {key} came back"
            );
        }
        let mut found = 0;
        let mut damaged = 0;
        for key in 0..KEYS {
            match disk.try_get(key, 1) {
                None => {}
                Some(Ok(got)) => {
                    let stored = (0..=round).any(|round| got == content(round, key));
                    assert!(stored, "round {round}: wrong bytes for {key}");
                    found += 1;
                }
                // An older part was reclaimed after the head was written.
                Some(Err(DiskError::Gone)) => {}
                // The last write was cut; there are two ends that it may have been at.
                Some(Err(DiskError::Damaged)) => damaged += 1,
                Some(Err(error)) => panic!("round {round}: {key}: {error}"),
            }
        }
        assert!(damaged <= 2, "round {round}: {damaged} damaged");
        assert!(found > 200, "round {round}: only {found} are left");
    }
}
