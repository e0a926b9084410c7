//! `larder check --explain-key`: what it says of a request is what the node does with it.

use std::fs;

use larder_tests::{Node, Origin, Reply, Settings, run_to_exit};

/// The explanation of a site with these lines.
async fn explained(lines: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text =
        format!("[[site]]\nname = \"main\"\norigins = [\"http://127.0.0.1:3000\"]\n{lines}\n");
    fs::write(folder.path().join("larder.toml"), text).expect("a writable folder");
    let exit = run_to_exit(&["check", "--explain-key", "larder.toml"], folder.path()).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout
}

/// Whether what one client sends is answered to another, who does not.
async fn poisons(lines: &str, target: &str, fields: &[(&str, &str)]) -> bool {
    let origin = Origin::start(|seen| {
        let evil = seen.target.contains("evil")
            || seen.fields.iter().any(|(_, value)| value.contains("evil"));
        Reply::fresh(600, if evil { "poisoned" } else { "clean" })
    })
    .await;
    let settings = lines
        .lines()
        .fold(Settings::origins(&[&origin.url()]), Settings::site);
    let node = Node::start(settings).await;
    node.get_with(target, fields).await;
    let clean = target.split('?').next().unwrap_or_default();
    node.get(clean).await.text() == "poisoned"
}

#[tokio::test]
async fn what_is_called_unsafe_is_and_what_is_withheld_is_harmless() {
    let evil = "evil";
    let host: &[_] = &[("X-Forwarded-Host", evil)];
    let address: &[_] = &[("X-Forwarded-For", evil)];
    let passed = "pass_unkeyed = [\"X-Forwarded-Host\"]";
    let keyed = &format!("{passed}\nkey = {{ headers = [\"X-Forwarded-Host\"] }}");
    let dropped = "key = { query = { except = [\"utm_*\"] } }";
    let kept = "key = { query = { except = [\"utm_*\"] }, unkeyed_query = \"pass\" }";
    let cookies = "vary = { cookies = [\"a\"] }";
    for (lines, target, fields, says) in [
        (
            "",
            "/a",
            host,
            "X-Forwarded-Host, X-HTTP-Method-Override and others",
        ),
        (passed, "/a", host, "UNSAFE  x-forwarded-host"),
        (keyed, "/a", host, "path, query, x-forwarded-host\n"),
        (dropped, "/a?utm_x=evil", &[], "      parameters utm_*\n"),
        (kept, "/a?utm_x=evil", &[], "UNSAFE  parameters utm_*"),
        (
            "forwarded = \"append\"",
            "/a",
            address,
            "vary    X-Forwarded-For",
        ),
        ("", "/a", address, "vary    X-Forwarded-For"),
        (
            cookies,
            "/a",
            &[("Cookie", "b=evil")],
            "      other cookies\n",
        ),
        (
            "",
            "/a",
            &[("Authorization", evil)],
            "safe    Authorization",
        ),
    ] {
        let text = explained(lines).await;
        assert!(text.contains(says), "no `{says}` in:\n{text}");
        let is_unsafe = says.starts_with("UNSAFE");
        assert_eq!(poisons(lines, target, fields).await, is_unsafe, "{lines}");
    }
}
