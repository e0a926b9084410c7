//! Where this node is in the log of its fleet: kept beside the file of purges, and written after it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tiered::landmark::{Landmark, Print};

/// A message of a log that was applied. It is found again by its id: numbers are given anew where a log lost its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Cursor {
    /// Which log.
    pub log: String,
    /// The message's place.
    pub place: u64,
    /// The id that it was published with.
    pub id: String,
    /// When the log's server took it, in nanoseconds since the server's epoch, where that is known. An id may come twice: it
    /// is sent again by who was not told that it arrived.
    #[serde(default)]
    pub stamp: Option<u64>,
}

impl Cursor {
    /// Whether it is the message with that id and stamp.
    pub(crate) fn is(&self, id: &str, stamp: Duration) -> bool {
        let same_time = self
            .stamp
            .is_none_or(|own| u128::from(own) == stamp.as_nanos());
        !id.is_empty() && self.id == id && same_time
    }

    /// What other nodes know it by.
    pub(crate) fn landmark(&self) -> Landmark {
        let stamp = self.stamp.filter(|_| !self.id.is_empty());
        let print = stamp.map(|stamp| Print::of(&self.id, Duration::from_nanos(stamp)));
        Landmark {
            place: self.place,
            print,
        }
    }
}

/// The file of the cursor.
#[derive(Debug)]
pub(crate) struct CursorFile {
    /// None keeps nothing: the node begins at the end of the log.
    path: Option<PathBuf>,
}

impl CursorFile {
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        Self {
            path: folder.map(|folder| folder.join("fleet-cursor.json")),
        }
    }

    /// The cursor, if there is one that can be read.
    pub(crate) fn read(&self) -> Option<Cursor> {
        let bytes = fs::read(self.path.as_ref()?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Takes the place of the cursor that was there. It blocks until the disk has it.
    pub(crate) fn write(&self, cursor: &Cursor) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let draft = path.with_extension("new");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(cursor)?)?;
        file.sync_data()?;
        fs::rename(&draft, path)
    }

    /// A node that leaves its fleet takes up nothing later.
    pub(crate) fn remove(&self) {
        if let Some(path) = &self.path {
            drop(fs::remove_file(path)); // mostly there is none
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_id_at_another_time_is_another_message() {
        let at = Duration::from_nanos;
        let mut cursor: Cursor = serde_json::from_str(r#"{"log":"l","place":1,"id":"i"}"#).unwrap();
        assert!(cursor.is("i", at(7)) && !cursor.is("j", at(7)));
        assert_eq!(cursor.landmark(), Landmark::unknown(1));
        cursor.stamp = Some(7);
        assert!(cursor.is("i", at(7)) && !cursor.is("i", at(8)));
        assert_eq!(cursor.landmark().print, Some(Print::of("i", at(7))));
        cursor.id.clear();
        assert!(
            !cursor.is("", at(7)),
            "an id that is not known proves nothing"
        );
        assert_eq!(cursor.landmark(), Landmark::unknown(1));
    }

    #[test]
    fn the_cursor_is_the_last_one_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = CursorFile::new(Some(folder.path()));
        assert_eq!(file.read(), None);
        for place in [1, 2] {
            let cursor = Cursor {
                log: "l".to_owned(),
                place,
                id: "i".to_owned(),
                stamp: (place > 1).then_some(7),
            };
            file.write(&cursor).unwrap();
            assert_eq!(file.read(), Some(cursor));
        }
        fs::write(folder.path().join("fleet-cursor.json"), "{").unwrap();
        assert_eq!(file.read(), None);
        file.remove();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
