//! Where this node is in the log of its fleet: kept beside the file of purges, and written after it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A message of a log that was applied. It is found again by its id: numbers are given anew where a log lost its end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Cursor {
    /// Which log.
    pub log: String,
    /// The message's place.
    pub place: u64,
    /// The id that it was published with.
    pub id: String,
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
    fn the_cursor_is_the_last_one_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = CursorFile::new(Some(folder.path()));
        assert_eq!(file.read(), None);
        for place in [1, 2] {
            let cursor = Cursor {
                log: "l".to_owned(),
                place,
                id: "i".to_owned(),
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
