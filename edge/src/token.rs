//! Where the admin token comes from: a file, the environment, or one that is made and kept.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use purge_api::Token;

/// The variable that may hold the token.
pub const VARIABLE: &str = "LARDER_ADMIN_TOKEN";
/// Bytes of randomness in a token that is made.
const RANDOM: usize = 32;

/// A token, and where an operator finds it.
#[derive(Debug)]
pub struct Found {
    /// The token.
    pub token: Token,
    /// Where it is.
    pub place: Place,
}

/// Where a token is.
#[derive(Debug)]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// In [`VARIABLE`].
    Environment,
}

/// Finds the token: in `file` where one is named, else in the environment, else in the user's state directory, where
/// it is made the first time.
///
/// # Errors
/// A sentence that says what is wrong with which place.
pub fn find(file: Option<&Path>) -> Result<Found, String> {
    if let Some(path) = file {
        return read(path);
    }
    if let Ok(text) = std::env::var(VARIABLE) {
        let token = Token::parse(&text).map_err(|error| format!("{VARIABLE}: {error}"))?;
        return Ok(Found {
            token,
            place: Place::Environment,
        });
    }
    let path = state_directory().join("admin-token");
    if path.exists() {
        return read(&path);
    }
    make(&path)
}

fn read(path: &Path) -> Result<Found, String> {
    let named = |error: &dyn std::fmt::Display| format!("admin token {}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let token = Token::parse(&text).map_err(|error| named(&error))?;
    Ok(Found {
        token,
        place: Place::File(path.to_owned()),
    })
}

/// The directory for what a program keeps between runs (XDG base directories).
pub(crate) fn state_directory() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    state
        .filter(|path| path.is_absolute())
        .or_else(home)
        .unwrap_or_else(std::env::temp_dir)
        .join("larder")
}

fn make(path: &Path) -> Result<Found, String> {
    let named = |error: std::io::Error| {
        let shown = path.display();
        format!("admin token {shown}: {error}; name one with --admin-token-file or {VARIABLE}")
    };
    let text = random().map_err(named)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(named)?;
    }
    let mut options = OpenOptions::new();
    let created = options.write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(named)?,
        // Another node of the same user was faster.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(named(error)),
    }
    read(path)
}

/// A secret in hexadecimal digits.
fn random() -> std::io::Result<String> {
    let mut bytes = [0; RANDOM];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A token that tells this process from all others, for `CDN-Loop`.
///
/// # Errors
/// Where the system has no randomness.
pub fn instance() -> std::io::Result<String> {
    let mut text = random()?;
    text.truncate(16);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/admin-token");
        make(&path).unwrap();
        let first = fs::read_to_string(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_without_a_token_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("empty");
        fs::write(&path, "\n").unwrap();
        let error = find(Some(&path)).unwrap_err();
        assert!(error.contains("empty"), "{error}");
    }
}
