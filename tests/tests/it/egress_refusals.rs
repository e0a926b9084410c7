//! What refuses a pool of addresses and ports at the start: slices that the kernel would not keep to, or that something
//! else has.

#![expect(
    clippy::print_stderr,
    reason = "what is left out is said to whoever runs the tests"
)]

use std::fs;
use std::process::{Command, Output};

use larder_tests::{Settings, ensure_binary};
use tempfile::TempDir;

fn pool(address: &str, ports: &str) -> String {
    format!("[[egress]]\nname = \"p\"\naddresses = [\"{address}\"]\nports = \"{ports}\"\n")
}

fn write(folder: &TempDir, listen: &str, admin: &str, pool: &str) {
    let token = folder.path().join("token");
    fs::write(&token, "a-token-for-the-tests-of-32-chars").expect("a writable folder");
    let settings = Settings::origins(&["http://127.0.0.1:1"]).append(pool);
    let at = |text: &str| text.parse().expect("an address");
    let text = settings.text(at(listen), at(admin), &token);
    fs::write(folder.path().join("larder.toml"), text).expect("a writable folder");
}

/// Runs a shell as root of a network of its own; none where that is refused.
fn in_a_network(folder: &TempDir, script: &str) -> Option<Output> {
    let is_there = Command::new("unshare").args(["-r", "-n", "true"]).output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: the system refuses network namespaces");
        return None;
    }
    let script = format!("set -e\nip link set lo up\n{script}");
    let output = Command::new("unshare")
        .args(["-r", "-n", "sh", "-c", &script])
        .env("LARDER", ensure_binary())
        .env("XDG_STATE_HOME", folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .current_dir(folder.path())
        .output();
    Some(output.expect("a shell"))
}

const SET_RANGE: &str = "echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range\n\
                         echo 2 > /proc/sys/net/ipv4/tcp_tw_reuse\n";
/// It ends by itself where it is refused, and by this where it is not.
const RUN: &str = "exec timeout -s TERM 2 \"$LARDER\" run --config larder.toml\n";

/// What is said when a node with this pool starts in a network that was set up so.
fn said(pool: &str, set_up: &str) -> Option<(bool, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "127.0.0.1:8080", "127.0.0.1:9180", pool);
    let output = in_a_network(&folder, &format!("{SET_RANGE}{set_up}\n{RUN}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((
        text.contains("egress") && output.status.code() == Some(1),
        text,
    ))
}

#[test]
fn a_slice_that_has_the_port_of_a_listener_is_refused() {
    for (listen, admin, pool_of, named) in [
        (
            "127.0.0.1:40050",
            "127.0.0.1:9180",
            "127.0.0.1",
            "127.0.0.1:40050",
        ),
        (
            "0.0.0.0:40050",
            "127.0.0.1:9180",
            "127.0.0.9",
            "0.0.0.0:40050",
        ),
        (
            "127.0.0.1:8080",
            "127.0.0.1:40050",
            "127.0.0.1",
            "127.0.0.1:40050",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder, listen, admin, &pool(pool_of, "40000-40100"));
        let checked = Command::new(ensure_binary())
            .args(["check", "larder.toml"])
            .current_dir(folder.path())
            .output()
            .expect("the program starts");
        let text = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(2), "{text}");
        let wanted = format!("has the port of the listener {named}");
        assert!(text.contains(&wanted), "{text}");
    }
}

#[test]
fn ports_that_the_system_does_not_give_are_refused() {
    let slice = pool("127.0.0.1", "40000-40100");
    let narrow = "echo 50000 60999 > /proc/sys/net/ipv4/ip_local_port_range";
    let reserved =
        |ports: &str| format!("echo {ports} > /proc/sys/net/ipv4/ip_local_reserved_ports");
    let rows = [
        (narrow.to_owned(), "ip_local_port_range"),
        (reserved("40000-40100"), "ip_local_reserved_ports"),
        (reserved("8000,40100-40200"), "ip_local_reserved_ports"),
        (reserved("40007"), "ip_local_reserved_ports"),
    ];
    for (set_up, why) in rows {
        let Some((refused, text)) = said(&slice, &set_up) else {
            return;
        };
        assert!(refused && text.contains(why), "{set_up}: {text}");
    }
    // Others are reserved: it starts.
    let Some((refused, text)) = said(&slice, &reserved("8000,40101-40200,39999")) else {
        return;
    };
    assert!(!refused, "{text}");
}

#[test]
fn a_short_slice_of_ports_that_are_not_used_again_is_refused() {
    let address = "ip address add 192.0.2.7/32 dev lo";
    let never = "echo 0 > /proc/sys/net/ipv4/tcp_tw_reuse";
    let always = "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse";
    let rows = [
        ("127.0.0.1", "40000-40100", never, true),
        ("127.0.0.1", "40000-40100", "", false),
        // 2, the default, is for loopback only.
        ("192.0.2.7", "40000-40100", "", true),
        ("192.0.2.7", "40000-40100", always, false),
        ("192.0.2.7", "40000-48191", "", false),
        ("192.0.2.7", "40000-48190", "", true),
    ];
    for (at, ports, set_up, expected) in rows {
        let Some((refused, text)) = said(&pool(at, ports), &format!("{address}\n{set_up}")) else {
            return;
        };
        assert_eq!(refused, expected, "{at} {ports} {set_up}: {text}");
        assert_eq!(text.contains("tcp_tw_reuse"), expected, "{text}");
    }
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let Some((refused, text)) = said(&pool("192.0.2.7", "40000-50000"), "") else {
        return;
    };
    assert!(
        refused && text.contains("is no address of this machine"),
        "{text}"
    );
}
