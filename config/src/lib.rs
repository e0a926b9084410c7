//! Configuration: what the file says, and what the program may rely on.
//!
//! [`parse`] reads TOML into a [`Config`] that is complete and without contradictions, or tells every problem at once,
//! each with its place and a hint. A key that is unknown, or that would have no effect, is a problem. [`init`] writes
//! the file that equals a command line, so flags and files have one way into the program; [`reference()`] describes all
//! settings.
//!
//! Nothing here opens a socket, reads a clock or knows another crate; the only files are the configuration itself and,
//! to see that they can be read, those it names.

#![forbid(unsafe_code)]

mod changes;
mod effective;
mod explain;
mod glob;
mod init;
mod kinds;
pub mod model;
mod names;
mod problems;
mod raw;
mod reference;
mod sections;
mod setting;
mod units;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use changes::{Change, Changes, Takes};
pub use explain::explain_key;
pub use glob::Glob;
pub use init::{Flags, from_flags, init};
pub use model::Config;
pub use problems::{PROBLEMS_MAX, Place, Problem, Problems};
pub use reference::reference;
pub use sections::UNKEYED;

use problems::Fault;
use raw::Value;
use setting::Reading;

/// Reads a number of bytes as configurations have it: `512MiB`, `10MB`.
///
/// # Errors
///
/// What is wrong with it.
pub fn size(text: &str) -> Result<u64, String> {
    units::size(text).map_err(|fault| fault.message)
}

/// Reads a duration as configurations have it: `500ms`, `1d`.
///
/// # Errors
///
/// What is wrong with it.
pub fn span(text: &str) -> Result<std::time::Duration, String> {
    units::span(text).map_err(|fault| fault.message)
}

/// Bytes of the largest configuration that is read.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Reads where a parent is, as a line of a file of parents says it.
///
/// # Errors
///
/// What is wrong with it.
pub fn parent(line: &str) -> Result<model::ParentUrl, String> {
    names::parent_url(line).map_err(|fault| fault.to_string())
}

/// Reads a configuration. `name` is the file's name: it stands before every problem, and relative paths begin in its
/// folder.
///
/// # Errors
///
/// Everything that is wrong with the text, also files it names that cannot be read.
pub fn parse(name: &str, text: &str) -> Result<Config, Problems> {
    parse_in(Path::new(name).parent(), name, text)
}

fn parse_in(folder: Option<&Path>, name: &str, text: &str) -> Result<Config, Problems> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Problems::one(
            Place::File {
                file: name.to_owned(),
            },
            too_large(),
        ));
    }

    let base = folder.map(Path::to_owned).unwrap_or_default();
    let mut reading = Reading {
        base,
        found: Vec::new(),
    };
    let config = match Value::parse(text) {
        Ok(file) => sections::config(&file, &mut reading),
        Err((span, fault)) => {
            reading.refuse(span, fault);
            None
        }
    };
    match (Problems::in_text(name, text, reading.found), config) {
        (Some(problems), _) => Err(problems),
        (None, Some(config)) => Ok(config),
        // Whoever gives no value has refused one; a forgotten refusal is not to become a configuration.
        (None, None) => Err(Problems::one(
            Place::File {
                file: name.to_owned(),
            },
            Fault::new("it is incomplete"),
        )),
    }
}

/// Reads a configuration file.
///
/// # Errors
///
/// The file cannot be read, is larger than [`FILE_BYTES_MAX`], is not UTF-8, or [`parse`] refuses it.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let name = path.to_string_lossy();
    let text = read(path).map_err(|fault| {
        Problems::one(
            Place::File {
                file: name.clone().into_owned(),
            },
            fault,
        )
    })?;
    parse_in(path.parent(), &name, &text)
}

fn read(path: &Path) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let read =
        File::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| cannot_read(&error))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Fault::new(format!("it is not UTF-8: byte {at} begins no character"))
    })
}

fn cannot_read(error: &io::Error) -> Fault {
    let fault = Fault::new(format!("cannot read it: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => {
            fault.hint("`larder init --origin URL > larder.toml` writes one")
        }
        _ => fault,
    }
}

fn too_large() -> Fault {
    Fault::new(format!("it is larger than {FILE_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests;
