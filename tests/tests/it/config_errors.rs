//! Bad input: one clear message with what to do, and never a panic.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use larder_tests::{Ca, Exit, Node, Origin, Reply, ensure_binary, free_port, run_to_exit};

use crate::SOON;

/// Checks a file with this text.
async fn checked(text: &str) -> Exit {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("larder.toml"), text).expect("a writable folder");
    run_to_exit(&["check", "larder.toml"], folder.path()).await
}

/// Runs with these flags in an empty folder until it ends.
async fn ran(flags: &[&str]) -> Exit {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let args: Vec<&str> = ["run"].iter().chain(flags).copied().collect();
    run_to_exit(&args, folder.path()).await
}

#[track_caller]
fn complains(exit: &Exit, words: &[&str]) {
    assert!(!matches!(exit.code, Some(0) | None), "{exit:?}");
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    assert!(exit.stdout.is_empty(), "{}", exit.stdout);
    for word in words {
        assert!(
            exit.stderr.contains(word),
            "no `{word}` in:\n{}",
            exit.stderr
        );
    }
}

const SITE: &str =
    "[[site]]\nname = \"main\"\nhosts = [\"*\"]\norigins = [\"http://127.0.0.1:3000\"]\n";

#[tokio::test]
async fn a_good_file_is_good() {
    let exit = checked(SITE).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[tokio::test]
async fn text_that_is_not_toml_is_shown_with_its_place() {
    let exit = checked("[node\nname = 1").await;
    complains(&exit, &["larder.toml:1:"]);
    assert_eq!(exit.code, Some(2));
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_a_suggestion() {
    let exit = checked(&format!("{SITE}retires = 1\n")).await;
    complains(&exit, &["larder.toml:5:1", "retires", "retries"]);
    assert_eq!(exit.code, Some(2));
}

#[tokio::test]
async fn every_problem_is_reported_at_once() {
    let exit = checked(&format!(
        "[memory]\nsize = \"512\"\n[log]\naccess = \"xml\"\n{SITE}sett_cookie = 1\n"
    ))
    .await;
    complains(&exit, &["larder.toml:2:", "larder.toml:4:", "sett_cookie"]);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    complains(&ran(&["--config", "nowhere.toml"]).await, &["nowhere.toml"]);
}

#[tokio::test]
async fn an_unreadable_certificate_is_named_with_its_path() {
    let text = format!(
        "[node]\nlisten = [{{ address = \"127.0.0.1:0\", tls = true }}]\n\
         [tls]\ncertificates = [{{ cert = \"missing.pem\", key = \"missing.key\" }}]\n{SITE}"
    );
    complains(&checked(&text).await, &["missing.pem", "larder.toml:4:"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let admin = format!("127.0.0.1:{}", free_port());
    let exit = ran(&[
        "--origin",
        "http://127.0.0.1:3000",
        "--listen",
        &address,
        "--admin",
        &admin,
    ])
    .await;
    complains(&exit, &[&address, "in use"]);
}

#[tokio::test]
async fn flags_that_make_no_sense_are_refused() {
    for (flags, word) in [
        (vec!["--origin", "not a url"], "not a url"),
        (vec!["--origin", "ftp://127.0.0.1"], "ftp"),
        (vec!["--origin", "http://127.0.0.1:3000/path"], "path"),
        (
            vec!["--origin", "http://127.0.0.1:3000", "--memory", "512"],
            "512",
        ),
        (
            vec!["--origin", "http://127.0.0.1:3000", "--listen", "nowhere"],
            "nowhere",
        ),
        (vec!["--frob"], "--frob"),
        (vec![], "--origin"),
    ] {
        complains(&ran(&flags).await, &[word]);
    }
}

#[tokio::test]
async fn what_init_prints_is_a_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "init",
        "--origin",
        "http://127.0.0.1:3000",
        "--memory",
        "64MiB",
        "--node",
        "n1",
    ];
    let made = run_to_exit(&flags, folder.path()).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let more = "\n[[site.rule]]\nmatch = { path = \"/assets/*\" }\nttl = \"1h\"\n";
    fs::write(folder.path().join("larder.toml"), made.stdout + more).unwrap();
    let exit = run_to_exit(&["check", "larder.toml"], folder.path()).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[tokio::test]
async fn an_origin_that_is_dead_at_the_start_is_a_502_and_no_reason_to_stop() {
    let mut node = Node::before(&format!("http://127.0.0.1:{}", free_port())).await;
    let answer = node.get("/a").await;
    assert_eq!(answer.status, 502);
    assert!(answer.header("Proxy-Status").is_some());
    assert!(!answer.cache_status().is_empty());
    assert!(node.is_running());
}

#[tokio::test]
async fn an_origin_name_that_does_not_resolve_is_a_502_that_says_so() {
    let mut node = Node::before("http://does-not-exist.invalid:3000").await;
    let answer = node.get("/a").await;
    assert!(matches!(answer.status, 502 | 504), "{}", answer.status);
    assert!(
        answer
            .header("Proxy-Status")
            .is_some_and(|status| status.contains("error=dns"))
    );
    assert!(node.is_running());
}

#[tokio::test]
async fn files_that_cannot_be_a_configuration_are_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("garbage"), [0xff, 0, 0xfe, b'\n']).unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    for (file, word) in [
        ("folder", "directory"),
        ("garbage", "UTF-8"),
        ("empty", "[[site]]"),
    ] {
        let exit = run_to_exit(&["check", file], folder.path()).await;
        complains(&exit, &[file, word]);
        assert!(exit.stderr.lines().count() <= 2, "{}", exit.stderr);
    }
}

#[tokio::test]
async fn an_address_that_two_listeners_want_is_refused() {
    for flags in [
        ["--listen", ":8080", "--listen", "127.0.0.1:8080"],
        ["--listen", "127.0.0.1:9180", "--admin", "127.0.0.1:9180"],
        ["--listen", "127.0.0.1:8080", "--admin", "0.0.0.0:9180"],
    ] {
        let origin = ["--origin", "http://127.0.0.1:3000"];
        let exit = ran(&[&origin[..], &flags].concat()).await;
        complains(&exit, &["hint:"]);
        assert_eq!(exit.code, Some(2), "{flags:?}");
    }
}

#[tokio::test]
async fn a_certificate_and_a_key_that_do_not_belong_together_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let (cert, _) = ca.sign(&["a.example"]).write(folder.path(), "a");
    let (_, key) = ca.sign(&["b.example"]).write(folder.path(), "b");
    let garbage = folder.path().join("garbage.pem");
    fs::write(&garbage, "garbage").unwrap();
    for (cert, key, named) in [
        (&cert, &key, "b.key"),
        (&garbage, &key, "garbage.pem"),
        (&cert, &garbage, "garbage.pem"),
    ] {
        let text = format!(
            "[node]\nlisten = [{{ address = \"127.0.0.1:0\", tls = true }}]\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n\
             [tls]\ncertificates = [{{ cert = {cert:?}, key = {key:?} }}]\n{SITE}"
        );
        fs::write(folder.path().join("larder.toml"), text).unwrap();
        let exit = run_with(&["--config", "larder.toml"], &[], folder.path());
        complains(&exit, &[named]);
        assert_eq!(exit.stderr.lines().count(), 1, "{}", exit.stderr);
    }
}

/// Runs with an environment of which only these variables are left, until it ends.
fn run_with(flags: &[&str], variables: &[(&str, &str)], folder: &std::path::Path) -> Exit {
    let output = Command::new(ensure_binary())
        .arg("run")
        .args(flags)
        .env_clear()
        .env("LARDER_ADMIN_TOKEN", "0123456789abcdef")
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Exit {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("short"), "short\n").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // Whatever is wrong here: that the address is taken would be told as well, but later.
    let address = taken.local_addr().unwrap().to_string();
    let origin = ["--origin", "http://127.0.0.1:3000", "--listen", &address];
    for (flags, variables, word) in [
        (&["--admin-token-file", "short"][..], [("A", "b")], "short"),
        (&["--admin-token-file", "none"], [("A", "b")], "none"),
        (&[], [("LARDER_ADMIN_TOKEN", "short")], "LARDER_ADMIN_TOKEN"),
        (&[], [("LARDER_LOG", "=[,")], "LARDER_LOG"),
    ] {
        let exit = run_with(&[&origin[..], flags].concat(), &variables, folder.path());
        complains(&exit, &[word]);
    }
    for (name, place) in [("HOME", "/proc"), ("XDG_STATE_HOME", "/proc"), ("A", "b")] {
        let output = Command::new(ensure_binary())
            .arg("run")
            .args(origin)
            .env_clear()
            .env(name, place)
            .output()
            .expect("the binary starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && !stderr.contains("panicked"),
            "{stderr}"
        );
        assert!(stderr.contains("--admin-token-file"), "{name}: {stderr}");
    }
}

#[tokio::test]
async fn a_node_serves_on_when_nobody_reads_what_it_prints() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let [address, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let mut child = Command::new(ensure_binary())
        .args(["run", "--origin", &origin.url(), "--listen", &address])
        .args(["--admin", &admin])
        .env("LARDER_LOG", "debug")
        .env("LARDER_ADMIN_TOKEN", "0123456789abcdef")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The first line is read, then both pipes break.
    let mut first = [0; 6];
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_exact(&mut first).expect("a summary");
    drop((stderr, child.stdout.take()));
    let address = address.parse().expect("an address");
    larder_tests::eventually(SOON, || std::net::TcpStream::connect(address).is_ok()).await;
    for n in 0..3 {
        let mut client = larder_tests::Client::connect(address).await;
        assert_eq!(client.get(&format!("/{n}")).await.status, 200);
        client.send("odd\r\n\r\n").await;
        client.rest().await;
    }
    assert!(matches!(child.try_wait(), Ok(None)));
    child.kill().expect("it still runs");
    child.wait().expect("a child");
}

#[tokio::test]
async fn what_nobody_reads_is_no_panic() {
    for arguments in [
        &["init", "--origin", "http://127.0.0.1:3000"][..],
        &["check", "nowhere.toml"],
        &["--help"],
    ] {
        let mut child = Command::new(ensure_binary())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop((child.stdout.take(), child.stderr.take()));
        let code = child.wait().expect("a child").code();
        assert!(matches!(code, Some(0..=2)), "{arguments:?}: {code:?}");
    }
}

#[tokio::test]
async fn a_check_finds_what_a_start_would_refuse_of_the_files_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let (cert, key) = ca.sign(&["a.example"]).write(folder.path(), "a");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (short, garbage) = (
        file("short.key", "too short"),
        file("garbage.pem", "garbage"),
    );
    let long = file("long.key", "a secret that is as long as it has to be");
    let tls = "[node]\nlisten = [{ address = \"127.0.0.1:0\", tls = true }]\n";
    let tier = |key| format!("[tier]\nrole = \"parent\"\nkey_file = {key:?}\n{SITE}");
    let certificates = |cert, more: &str| {
        format!("{tls}[tls]\ncertificates = [{{ cert = {cert:?}, key = {key:?} }}]\n{more}\n{SITE}")
    };
    let token = |file| {
        format!("[admin]\ntokens = [{{ name = \"t\", file = {file:?}, may = [\"read\"] }}]\n{SITE}")
    };
    let telemetry =
        |ca| format!("[telemetry]\nendpoint = \"https://127.0.0.1:9\"\nca_file = {ca:?}\n{SITE}");
    let shown = |cert| {
        let origin = "url = \"https://127.0.0.1:3000\"";
        let origin = format!("{{ {origin}, client_cert = {cert:?}, client_key = {key:?} }}");
        SITE.replace("\"http://127.0.0.1:3000\"", &origin)
    };
    for (wrong, named, right) in [
        (tier(&short), "short.key", tier(&long)),
        (
            certificates(&garbage, ""),
            "garbage.pem",
            certificates(&cert, ""),
        ),
        (
            certificates(&cert, &format!("ticket_key_file = {short:?}")),
            "short.key",
            certificates(&cert, &format!("ticket_key_file = {long:?}")),
        ),
        (shown(&garbage), "garbage.pem", shown(&cert)),
        (
            token(&short),
            "short.key",
            token(&file("token", "a-token-for-the-tests-of-32-chars")),
        ),
        (telemetry(&garbage), "garbage.pem", telemetry(&cert)),
    ] {
        let exit = checked(&wrong).await;
        complains(&exit, &[named]);
        assert_eq!(exit.stderr.lines().count(), 1, "{}", exit.stderr);
        let exit = checked(&right).await;
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{right}");
    }
}
