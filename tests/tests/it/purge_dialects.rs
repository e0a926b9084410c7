//! Plug-ins of other caches drive a node: each request here is what the named client puts on the wire.

use std::time::Duration;

use larder_tests::{Client, Node, Origin, Reply, Response, Settings, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(5);
const HOST: &str = "www.example.com";

/// A node in front of pages with tags, where `dialects` are open to the loopback address.
async fn speaking(dialects: &[&'static str]) -> (Origin, Node) {
    let origin = Origin::start(|seen| {
        let reply = Reply::fresh(600, seen.nth.to_string());
        match seen.target.as_str() {
            "/product" => reply.with("X-Magento-Tags", "cat_p,cat_p_23,cms_b"),
            "/category" => reply.with("X-Magento-Tags", "cat_c,cat_c_4"),
            "/xkey" => reply.with("xkey", "product-1 home"),
            "/fos" => reply.with("X-Cache-Tags", "mytag,foo.bar"),
            "/drupal" => reply.with("Purge-Cache-Tags", "node:1 node_list"),
            "/fastly" => reply.with("Surrogate-Key", "key-1 key-2"),
            _ => reply,
        }
    })
    .await;
    let fields = "tag_fields = [\"Surrogate-Key\", \"xkey\", \"X-Cache-Tags\", \"X-Magento-Tags\", \
                  \"Purge-Cache-Tags\"]";
    let mut settings = Settings::origins(&[&origin.url()]).site(fields);
    for dialect in dialects {
        let line: &'static str = Box::leak(format!("{dialect} = [\"127.0.0.0/8\"]").into());
        settings = settings.table("dialects", line);
    }
    (origin, Node::start(settings).await)
}

/// Sends the lines of a request's head, and a body.
async fn say(address: std::net::SocketAddr, lines: &[&str], body: &str) -> Response {
    let mut head = lines.join("\r\n");
    if !body.is_empty() {
        head += &format!("\r\nContent-Length: {}", body.len());
    }
    let mut client = Client::connect(address).await;
    client.send(format!("{head}\r\n\r\n{body}")).await;
    let method = lines[0].split(' ').next().unwrap_or_default();
    client.answer_to(method).await.expect("an answer")
}

/// After the request, these are purged, and those are not.
async fn check(node: &Node, lines: &[&str], gone: &[&str], kept: &[&str]) {
    for target in gone.iter().chain(kept) {
        node.get(target).await;
        assert!(node.get(target).await.is_hit(), "{target} before {lines:?}");
    }
    let answer = say(node.address(), lines, "").await;
    assert_eq!(answer.status, 200, "{lines:?}: {}", answer.text());
    for target in gone {
        assert!(!node.get(target).await.is_hit(), "{target} after {lines:?}");
    }
    for target in kept {
        assert!(node.get(target).await.is_hit(), "{target} after {lines:?}");
    }
}

#[tokio::test]
async fn wordpress_proxy_cache_purge() {
    let (_origin, node) = speaking(&["purge"]).await;
    let head = |line: &'static str, method: &'static str| {
        [
            line,
            "User-Agent: WordPress/6.6.2; http://www.example.com",
            "Accept: */*",
            "Accept-Encoding: deflate, gzip, br",
            "host: www.example.com",
            method,
            "Connection: close",
        ]
    };
    let exact = "X-Purge-Method: default";
    let post = head("PURGE /2026/11/hello/ HTTP/1.1", exact);
    check(
        &node,
        &post,
        &["/2026/11/hello/"],
        &["/2026/11/other/", "/"],
    )
    .await;
    let regex = "X-Purge-Method: regex";
    let below = head("PURGE /2026/11/.* HTTP/1.1", regex);
    check(
        &node,
        &below,
        &["/2026/11/a/", "/2026/11/b/?c"],
        &["/2026/12/"],
    )
    .await;
    let all = head("PURGE /.* HTTP/1.1", regex);
    check(&node, &all, &["/", "/2026/11/a/", "/wp-content/a.css"], &[]).await;
}

#[tokio::test]
async fn foshttpcache_on_varnish() {
    let (_origin, node) = speaking(&["purge", "ban", "xkey"]).await;
    let agent = "User-Agent: GuzzleHttp/7";
    let host = "Host: www.example.com";
    let purge = ["PURGE /news HTTP/1.1", agent, host];
    check(&node, &purge, &["/news"], &["/news/1"]).await;
    let any = ["X-Url: .*", "X-Content-Type: .*"];
    for tags in [
        "X-Cache-Tags: (^|,)(mytag|other\\-tag)(,|$)",
        "X-Cache-Tags: (^|,)(foo\\.bar)(,|$)",
    ] {
        let ban = [
            "BAN / HTTP/1.1",
            agent,
            host,
            "X-Host: .*",
            any[0],
            any[1],
            tags,
        ];
        check(&node, &ban, &["/fos"], &["/news"]).await;
    }
    let hosts = "X-Host: ^(www.example.com|static.example.com)$";
    let path = [
        "BAN / HTTP/1.1",
        agent,
        host,
        hosts,
        "X-Url: ^/news/.*",
        any[1],
    ];
    check(
        &node,
        &path,
        &["/news/1", "/news/2"],
        &["/newsletter", "/fos"],
    )
    .await;
    let all = ["BAN / HTTP/1.1", agent, host, "X-Host: .*", any[0], any[1]];
    check(&node, &all, &["/news", "/fos", "/"], &[]).await;
    let keys = [
        "PURGEKEYS / HTTP/1.1",
        agent,
        host,
        "xkey-softpurge: product-1 none",
    ];
    check(&node, &keys, &["/xkey"], &["/fos"]).await;
}

#[tokio::test]
async fn what_is_no_exact_pattern_is_refused_with_a_reason() {
    let (_origin, node) = speaking(&["purge", "ban", "magento"]).await;
    node.get("/fos").await;
    for (line, field) in [
        ("BAN / HTTP/1.1", "X-Url: .*\\.css$"),
        ("BAN / HTTP/1.1", "X-Url: /articles/.*"),
        ("BAN / HTTP/1.1", "X-Host: example.com"),
        ("BAN / HTTP/1.1", "X-Content-Type: image/png"),
        ("BAN / HTTP/1.1", "X-Cache-Tags: (^|,)my.*(,|$)"),
        ("BAN / HTTP/1.1", "X-Nothing: here"),
        ("PURGE /(a|b) HTTP/1.1", "X-Purge-Method: regex"),
        ("PURGE / HTTP/1.1", "X-Magento-Tags-Pattern: ((^|,)cat_p_2"),
    ] {
        let answer = say(node.address(), &[line, "Host: www.example.com", field], "").await;
        assert_eq!(answer.status, 422, "{field}: {}", answer.text());
        assert!(answer.text().len() > 10, "{field}");
    }
    assert!(node.get("/fos").await.is_hit());
    let invalid = [("reason", "invalid")];
    let refused = [("outcome", "refused")];
    node.metrics_when(|metrics| {
        metrics.sum("larder_admin_refusals_total", &invalid) == 8.0
            && metrics.sum("larder_requests_total", &refused) == 8.0
    })
    .await;
}

#[tokio::test]
async fn magento() {
    let (_origin, node) = speaking(&["magento"]).await;
    let head = |pattern: &'static str| {
        [
            "PURGE / HTTP/1.1",
            "Host: www.example.com",
            "Connection: close",
            pattern,
        ]
    };
    let product = head("X-Magento-Tags-Pattern: ((^|,)cat_p_23(,|$))|((^|,)cat_p_2(,|$))");
    check(&node, &product, &["/product"], &["/category", "/fos"]).await;
    let all = head("X-Magento-Tags-Pattern: .*");
    check(&node, &all, &["/product", "/category", "/"], &[]).await;
}

#[tokio::test]
async fn drupal_and_shopware() {
    let (_origin, node) = speaking(&["purge", "ban", "xkey"]).await;
    let ban = [
        "BAN / HTTP/1.1",
        "Host: www.example.com",
        "Purge-Cache-Tags: node:1 user:7",
    ];
    check(&node, &ban, &["/drupal"], &["/fos"]).await;
    let keys = [
        "PURGE / HTTP/1.1",
        "User-Agent: GuzzleHttp/7",
        "Host: www.example.com",
        "xkey: home",
    ];
    check(&node, &keys, &["/xkey"], &["/", "/fos"]).await;
}

#[tokio::test]
async fn fastlys_clients() {
    let (_origin, node) = speaking(&["fastly"]).await;
    let key = format!("Fastly-Key: {}", node.token());
    let url = [
        "PURGE /page HTTP/1.1",
        "Host: www.example.com",
        "Fastly-Soft-Purge: 1",
        &key,
    ];
    check(&node, &url, &["/page"], &["/fastly"]).await;
    let post = async |line: &str, field: &str, body: &str| {
        let host = "Host: api.fastly.com";
        let accept = "Accept: application/json";
        let answer = say(node.admin(), &[line, host, accept, &key, field], body).await;
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let none = "X-None: none";
    let is_purged = async || !node.get("/fastly").await.is_hit();
    let keys = r#"{"surrogate_keys":["key-1","key-9"]}"#;
    let ids = post(
        "POST /service/main/purge HTTP/1.1",
        "Fastly-Soft-Purge: 1",
        keys,
    )
    .await;
    assert!(ids["key-1"].is_string() && ids["key-9"].is_string());
    assert!(is_purged().await);
    let done = post("POST /service/main/purge/key-2 HTTP/1.1", none, "").await;
    assert_eq!(done["status"], "ok");
    assert!(is_purged().await);
    post(
        "POST /service/main/purge HTTP/1.1",
        "Surrogate-Key: key-1 key-2",
        "",
    )
    .await;
    assert!(is_purged().await);
    post("POST /service/main/purge_all HTTP/1.1", none, "").await;
    assert!(is_purged().await);
    post("POST /purge/www.example.com/fastly HTTP/1.1", none, "").await;
    assert!(is_purged().await);
    assert!(!is_purged().await);
    let wrong = [
        "POST /service/main/purge_all HTTP/1.1",
        "Host: a",
        "Fastly-Key: wrong",
    ];
    let answer = say(node.admin(), &wrong, "").await;
    assert_eq!(answer.status, 401);
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(problem["msg"].is_string());
    assert!(!is_purged().await);
}

#[tokio::test]
async fn cloudflares_clients() {
    let (_origin, node) = speaking(&["cloudflare"]).await;
    let bearer = format!("Authorization: Bearer {}", node.token());
    let post = async |token: &str, body: &str| {
        let line = "POST /client/v4/zones/main/purge_cache HTTP/1.1";
        let answer = say(
            node.admin(),
            &[line, "Host: api.cloudflare.com", token],
            body,
        )
        .await;
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, document)
    };
    let is_purged = async || !node.get("/fastly").await.is_hit();
    is_purged().await;
    for body in [
        r#"{"files":["http://www.example.com/fastly"]}"#,
        r#"{"files":[{"url":"https://www.example.com/fastly","headers":{"Accept-Language":"de"}}]}"#,
        r#"{"tags":["key-1"]}"#,
        r#"{"hosts":["www.example.com"]}"#,
        r#"{"prefixes":["www.example.com/fastly"]}"#,
        r#"{"purge_everything":true}"#,
    ] {
        let (status, document) = post(&bearer, body).await;
        assert_eq!(
            (status, &document["success"]),
            (200, &Value::Bool(true)),
            "{body}"
        );
        assert!(document["result"]["id"].is_string());
        assert!(is_purged().await, "{body}");
    }
    for (token, body, status) in [
        (
            "Authorization: Bearer wrong",
            r#"{"purge_everything":true}"#,
            401,
        ),
        (bearer.as_str(), r#"{"purge_everything":1}"#, 422),
        (bearer.as_str(), "{", 400),
        (bearer.as_str(), "{}", 422),
    ] {
        let (answered, document) = post(token, body).await;
        assert_eq!(answered, status, "{body}: {document}");
        assert_eq!(document["success"], false);
        assert!(document["errors"][0]["message"].is_string());
    }
    assert!(!is_purged().await);
}

#[tokio::test]
async fn souins_clients() {
    let (_origin, node) = speaking(&["souin"]).await;
    let is_purged = async || !node.get("/fastly").await.is_hit();
    is_purged().await;
    let host = "Host: larder:9180";
    for (line, field, body) in [
        (
            "PURGE /souin-api/souin HTTP/1.1",
            "Surrogate-Key: key-1, /books",
            "",
        ),
        ("PURGE /souin-api/souin/flush HTTP/1.1", "Accept: */*", ""),
        (
            "PURGE /souin-api/souin/GET-http-www.example.com-/fastly HTTP/1.1",
            "Accept: */*",
            "",
        ),
        (
            "POST /souin-api/souin HTTP/1.1",
            "Accept: */*",
            r#"{"type":"group","groups":["key-2"],"purge":true}"#,
        ),
    ] {
        let answer = say(node.admin(), &[line, host, field], body).await;
        assert_eq!(answer.status, 204, "{line}: {}", answer.text());
        assert!(is_purged().await, "{line}");
    }
    let regex = ["PURGE /souin-api/souin/.+ HTTP/1.1", host];
    assert_eq!(say(node.admin(), &regex, "").await.status, 422);
    assert!(!is_purged().await);
}

#[tokio::test]
async fn each_dialect_has_a_switch_of_its_own_and_a_list_of_addresses() {
    let all = [
        "purge",
        "xkey",
        "ban",
        "magento",
        "fastly",
        "cloudflare",
        "souin",
    ];
    let (_origin, node) = speaking(&[]).await;
    let strangers = Settings::origins(&["http://127.0.0.1:9"]);
    let strangers = all.iter().fold(strangers, |settings, dialect| {
        let line: &'static str = Box::leak(format!("{dialect} = [\"192.0.2.0/24\"]").into());
        settings.table("dialects", line)
    });
    let closed = Node::start(strangers).await;
    let host = format!("Host: {HOST}");
    for (line, field) in [
        ("PURGE /a HTTP/1.1", "Accept: */*"),
        ("PURGE / HTTP/1.1", "xkey: a"),
        ("PURGEKEYS / HTTP/1.1", "xkey-purge: a"),
        ("BAN / HTTP/1.1", "X-Cache-Tags: a"),
        ("PURGE / HTTP/1.1", "X-Magento-Tags-Pattern: .*"),
        ("PURGE /a HTTP/1.1", "Fastly-Key: a"),
    ] {
        let off = say(node.address(), &[line, &host, field], "").await;
        assert_eq!(off.status, 405, "{line} {field}");
        let stranger = say(closed.address(), &[line, &host, field], "").await;
        assert_eq!(stranger.status, 403, "{line} {field}");
    }
    for line in [
        "POST /service/main/purge_all HTTP/1.1",
        "POST /client/v4/zones/main/purge_cache HTTP/1.1",
        "PURGE /souin-api/souin/flush HTTP/1.1",
    ] {
        let off = say(node.admin(), &[line, &host], "").await;
        assert_eq!(off.status, 401, "{line}");
        let stranger = say(closed.admin(), &[line, &host], "").await;
        assert_eq!(stranger.status, 403, "{line}");
    }
    let told = || {
        let lines = closed.stderr();
        lines.iter().filter(|it| it.contains("forbidden")).count() >= 9
    };
    eventually(SOON, told).await;
}

#[tokio::test]
async fn who_comes_through_a_trusted_proxy_is_not_the_proxy() {
    let settings = Settings::origins(&["http://127.0.0.1:9"])
        .table("node", "trusted_proxies = [\"127.0.0.1\"]")
        .table("dialects", "purge = [\"127.0.0.1\", \"192.0.2.7\"]");
    let node = Node::start(settings).await;
    let ask = async |forwarded: &str| {
        let lines = ["PURGE /a HTTP/1.1", "Host: www.example.com", forwarded];
        say(node.address(), &lines, "").await.status
    };
    assert_eq!(ask("X-Forwarded-For: 203.0.113.9").await, 403);
    assert_eq!(ask("X-Forwarded-For: 192.0.2.7").await, 200);
    assert_eq!(ask("X-None: none").await, 200);
}
