//! Bodies that another engine keeps, beside a log that has everything else.
//!
//! Presence, deletion and metadata are the log's: such an engine is only ever asked for a body by a
//! number that no other body had or will have, and what it answers is checked like anything that is
//! read. Whatever it forgets, keeps too long or brings back is a miss, or is never asked for.

use std::io;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::allowance::Held;
use super::error::{DiskError, Refused};

/// The answer of another engine: a body.
pub(crate) type Elsewhere = oneshot::Receiver<io::Result<Vec<u8>>>;

/// An engine for bodies.
pub(crate) trait Bodies: Send + Sync + 'static {
    /// The longest body that it takes, in bytes.
    fn longest(&self) -> u64;

    /// Takes a body, which is found from now on. Until it is on the disk, and was read back from
    /// there, it stays in memory; if that does not succeed, it is forgotten.
    fn put(&self, id: u64, body: Bytes, held: Held) -> Result<(), Refused>;

    /// Asks for a body. What is not there is answered by `NotFound`.
    fn get(&self, id: u64) -> Result<Elsewhere, DiskError>;

    /// Bytes written to the disk so far.
    fn bytes_written(&self) -> u64;

    /// Takes nothing more, and ends.
    fn close(&self, how: Ending);

    /// The thread that ends when it was closed. It is asked for once.
    fn thread(&self) -> Option<JoinHandle<()>>;

    /// Bodies so far that were taken, and were not there when they were read back.
    fn lost(&self) -> u64;

    /// Bytes of bodies that are not known to be on the disk yet.
    fn bytes_unwritten(&self) -> u64;
}

/// What becomes of bodies that are not on the disk yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Written,
    /// As if the process had been killed.
    Lost,
}

#[cfg(not(feature = "foyer"))]
pub(crate) mod none {
    //! What stands for the engine where it is not built in.

    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use super::super::settings::Settings;
    use super::Bodies;

    /// It is not there.
    pub(crate) fn open(_: &Path, _: u64, _: &Settings) -> io::Result<Arc<dyn Bodies>> {
        let reason = "this program was built without the foyer engine";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }
}
