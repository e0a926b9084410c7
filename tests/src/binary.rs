//! The program under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The path of the `larder` binary, built from this workspace by the first caller.
///
/// `LARDER_BINARY` names another one, such as a release build; it is then used as it is. Tests
/// that move the clock need a build with debug assertions.
pub fn ensure_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| env::var_os("LARDER_BINARY").map_or_else(build, PathBuf::from))
}

/// Cargo says where it put the executable, so no target directory is guessed.
fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", "larder", "--bin", "larder"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "larder does not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().filter_map(executable).next_back();
    executable.expect("cargo names the executable")
}

fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let name = message.pointer("/target/name")?.as_str()?;
    let path = message.get("executable")?.as_str()?;
    (name == "larder").then(|| PathBuf::from(path))
}

/// The workspace's root.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_one_of_that_name() {
        let artifact =
            r#"{"reason":"compiler-artifact","target":{"name":"larder"},"executable":"/t/larder"}"#;
        assert_eq!(executable(artifact), Some(PathBuf::from("/t/larder")));
        let library =
            r#"{"reason":"compiler-artifact","target":{"name":"larder"},"executable":null}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable("no JSON"), None);
    }
}
