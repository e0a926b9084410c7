//! Where the admin token comes from: a file, the environment, or one that is made and kept.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use policy::time::Timestamp;
use purge_api::Token;

/// The variable that may hold the token.
pub const VARIABLE: &str = "LARDER_ADMIN_TOKEN";
/// What to do where no token can be made.
const INSTEAD: &str =
    "name a file that holds one with --admin-token-file, or set LARDER_ADMIN_TOKEN";
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
    let path = state_directory()?.join("admin-token");
    if path.exists() {
        return read(&path);
    }
    make(&path)
}

/// The token in a file.
pub(crate) fn read(path: &Path) -> Result<Found, String> {
    let named = |error: &dyn std::fmt::Display| format!("admin token {}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let token = Token::parse(&text).map_err(|error| named(&error))?;
    Ok(Found {
        token,
        place: Place::File(path.to_owned()),
    })
}

/// The directory for what a program keeps between runs (XDG base directories). One that everybody may write to does
/// not do: whoever made the file first would know the token.
pub(crate) fn state_directory() -> Result<PathBuf, String> {
    let directory = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = directory("XDG_STATE_HOME");
    let state = state.or_else(|| Some(directory("HOME")?.join(".local/state")));
    let state = state.ok_or_else(|| {
        format!("no place to keep an admin token: HOME is not set; {INSTEAD}, or set HOME")
    })?;
    Ok(state.join("larder"))
}

fn make(path: &Path) -> Result<Found, String> {
    let named = |error: std::io::Error| {
        let shown = path.display();
        format!("cannot make an admin token at {shown}: {error}; {INSTEAD}")
    };
    let text = random().map_err(named)?;
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory).map_err(named)?;
    // It gets its name when it is complete: nobody finds half a token, not even after a crash.
    let draft = path.with_extension(std::process::id().to_string());
    let written = write_private(&draft, &text).and_then(|()| match fs::hard_link(&draft, path) {
        // Another node of the same user was faster.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    drop(fs::remove_file(&draft)); // it was never made, or has its other name
    written.map_err(named)?;
    read(path)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
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

/// An identifier that nobody else has. Time comes first, so that identifiers sort as they were made.
pub(crate) fn identifier(now: Timestamp) -> std::io::Result<String> {
    Ok(format!("{:012x}-{}", now.unix_millis(), instance()?))
}

/// A number that nobody else has.
pub(crate) fn number() -> u64 {
    let text = instance().unwrap_or_default();
    u64::from_str_radix(&text, 16).unwrap_or_default()
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
    fn a_token_that_is_made_leaves_nothing_else_behind() {
        let directory = tempfile::tempdir().unwrap();
        make(&directory.path().join("admin-token")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
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
