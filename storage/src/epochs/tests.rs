use tempfile::TempDir;

use super::*;

const LOG: LogId = LogId(3);

fn key(number: usize) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Key(key)
}

/// A place for a file, and processes that open it one after the other.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("epochs")
    }

    fn witness(&self) -> std::path::PathBuf {
        self.0.path().join("witness")
    }

    fn open(&self, start: u64) -> Arc<Epochs> {
        self.open_of(LOG, start)
    }

    fn open_of(&self, log: LogId, start: u64) -> Arc<Epochs> {
        Epochs::open(&self.path(), &self.witness(), log, start)
    }
}

/// The number of a key, when the file is there.
fn used(epochs: &Arc<Epochs>, key: Key) -> u64 {
    let number = epochs.of(key);
    let base = epochs.known.lock().base;
    epochs.file.as_ref().unwrap().begin(base).unwrap();
    number
}

fn invalidate(epochs: &Arc<Epochs>, key: Key) {
    if let Some(unwritten) = epochs.invalidate(key) {
        unwritten.write().unwrap();
    }
}

#[test]
fn an_invalidated_key_has_another_number() {
    let epochs = Epochs::volatile(7);
    assert!(epochs.invalidate(key(1)).is_none());
    assert_eq!((epochs.of(key(1)), epochs.of(key(2))), (7, 7));
    assert!(epochs.invalidate(key(1)).is_none(), "nothing is written");
    assert_ne!(epochs.of(key(1)), 7);
    assert_eq!(epochs.of(key(2)), 7);
    let first = epochs.of(key(1));
    assert!(epochs.invalidate(key(1)).is_none());
    assert_ne!(epochs.of(key(1)), first);
}

#[test]
fn beyond_the_limit_everything_is_invalidated_and_nothing_comes_back() {
    let place = Place::new();
    let epochs = place.open(0);
    let mut seen = std::collections::HashSet::from([used(&epochs, key(0))]);
    for number in 1..=KEYS_MAX {
        let unwritten = epochs.invalidate(key(number));
        drop(unwritten);
    }
    assert_eq!(epochs.of(key(0)), 0);
    assert!(seen.insert(epochs.of(key(1))));
    invalidate(&epochs, key(KEYS_MAX + 1));
    assert!(epochs.known.lock().listed.is_empty());
    let after = epochs.of(key(0));
    assert!(seen.insert(after));
    assert_eq!(place.open(5).of(key(1)), after);
}

#[test]
fn another_process_goes_on_with_what_is_in_force() {
    let place = Place::new();
    let epochs = place.open(100);
    let first = [used(&epochs, key(1)), used(&epochs, key(2))];
    invalidate(&epochs, key(1));
    let second = epochs.of(key(1));
    drop(epochs);

    // An earlier start, as a clock that was set back gives it.
    let epochs = place.open(50);
    assert_eq!(epochs.of(key(1)), second);
    assert_eq!(epochs.of(key(2)), first[1]);
    // What the earlier process may have stored is invalidated although nobody asked in this one.
    invalidate(&epochs, key(3));
    invalidate(&epochs, key(1));
    let third = [epochs.of(key(1)), epochs.of(key(3))];
    assert!(!third.contains(&second) && !third.contains(&first[0]));
    drop(epochs);
    let epochs = place.open(1000);
    assert_eq!([epochs.of(key(1)), epochs.of(key(3))], third);
}

#[test]
fn only_what_was_asked_for_since_is_written_down() {
    let place = Place::new();
    let epochs = place.open(1);
    assert!(epochs.invalidate(key(1)).is_none());
    assert!(!place.path().exists());
    used(&epochs, key(2));
    invalidate(&epochs, key(1));
    assert!(epochs.invalidate(key(1)).is_none());
    epochs.of(key(1));
    assert!(epochs.invalidate(key(1)).is_some());
}

#[test]
fn a_number_that_was_not_written_down_is_not_used_by_another_process() {
    let place = Place::new();
    let epochs = place.open(1 << 20);
    used(&epochs, key(1));
    let lost = epochs.invalidate(key(1));
    let unsaved = epochs.of(key(1));
    drop((lost, epochs));
    let epochs = place.open(2 << 20);
    assert_eq!(epochs.of(key(1)), 1 << 20);
    invalidate(&epochs, key(1));
    assert_ne!(epochs.of(key(1)), unsaved);
}

#[test]
fn a_file_that_is_damaged_cut_or_another_logs_is_not_believed() {
    let place = Place::new();
    let epochs = place.open(10);
    let old = used(&epochs, key(1));
    invalidate(&epochs, key(2));
    let listed = epochs.of(key(2));
    drop(epochs);
    let read = || [place.path(), place.witness()].map(|path| std::fs::read(path).unwrap());
    let write = |file: &[u8], witness: &[u8]| {
        std::fs::write(place.path(), file).unwrap();
        std::fs::write(place.witness(), witness).unwrap();
    };
    let [sound, witness] = read();
    let mut files: Vec<Vec<u8>> = (0..sound.len())
        .map(|at| {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    files.extend((0..sound.len()).map(|at| sound[..at].to_vec()));
    for bytes in files {
        write(&bytes, &witness);
        let epochs = place.open(99);
        let now = [used(&epochs, key(1)), used(&epochs, key(2))];
        assert!(!now.contains(&old) && !now.contains(&listed));
    }
    write(&sound, &witness);
    assert_ne!(used(&place.open_of(LogId(4), 99), key(1)), old);
    write(&sound, &[]);
    assert_ne!(used(&place.open(99), key(1)), old);
    write(&sound, &witness);
    assert_eq!(used(&place.open(99), key(1)), old);
}

#[test]
fn an_older_copy_of_the_file_is_not_believed() {
    let place = Place::new();
    let epochs = place.open(10);
    let old = [1, 2].map(|number| used(&epochs, key(number)));
    let copy = std::fs::read(place.path()).unwrap();
    invalidate(&epochs, key(1));
    drop(epochs);
    std::fs::write(place.path(), copy).unwrap();
    let epochs = place.open(1000);
    assert!([1, 2].map(|number| epochs.of(key(number))) != old);
    assert!(!old.contains(&epochs.of(key(1))));
}

#[test]
fn numbers_that_are_written_in_another_order_than_given_are_all_in_force() {
    let place = Place::new();
    let epochs = place.open(10);
    used(&epochs, key(1));
    let first = epochs.invalidate(key(1)).unwrap();
    let second = epochs.invalidate(key(2)).unwrap();
    second.write().unwrap();
    first.write().unwrap();
    let now = [1, 2].map(|number| epochs.of(key(number)));
    drop(epochs);
    let epochs = place.open(1000);
    assert_eq!([1, 2].map(|number| epochs.of(key(number))), now);
}

#[test]
fn a_file_that_cannot_be_written_is_taken_away() {
    let place = Place::new();
    let epochs = place.open(1);
    let old = used(&epochs, key(1));
    // Nothing can be renamed over a directory that has something in it.
    std::fs::remove_file(place.path()).unwrap();
    std::fs::create_dir_all(place.path().join("full")).unwrap();
    let file = epochs.file.as_ref().unwrap();
    assert!(file.renew(9).is_err());
    std::fs::remove_dir_all(place.path()).unwrap();
    invalidate(&epochs, key(1));
    drop(epochs);
    assert_ne!(place.open(77).of(key(1)), old);
}
