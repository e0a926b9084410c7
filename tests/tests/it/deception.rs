//! Cache deception: one user's page under a name that is stored for everybody.

use larder_tests::{Node, Origin, Reply, Settings};

/// An application that shows the account for whatever comes after `/account`, and says nothing against storing it.
async fn careless() -> Origin {
    Origin::start(|seen| {
        if seen.target.starts_with("/assets/app.css") {
            return Reply::fresh(600, "body {}").with("Content-Type", "text/css");
        }
        let user = seen.field("Cookie").unwrap_or("nobody");
        Reply::fresh(600, format!("account of {user}")).with("Content-Type", "text/html")
    })
    .await
}

const ATTACKS: [&str; 14] = [
    "/account/x.css",
    "/account/x.JPG",
    "/account;x.css",
    "/account;x.css;y=z",
    "/account%3bx.css",
    "/account%2fx.css",
    "/account%252fx.css",
    "/account%3fx.css",
    "/account%23x.css",
    "/account%0ax.css",
    "/account/x%2ecss",
    "/account/;/x.ico",
    "/assets/..%2faccount",
    "/assets/..;/account",
];

#[tokio::test]
async fn a_page_under_the_name_of_an_asset_is_nobody_elses() {
    let origin = careless().await;
    // The rule that makes deception worth while: assets for a year, whatever the origin says.
    let settings = Settings::origins(&[&origin.url()])
        .rule("match = { path = [\"*.css\", \"*.JPG\", \"*.ico\", \"/assets/*\"] }\nttl = \"1y\"");
    let node = Node::start(settings).await;
    for target in ATTACKS {
        let victim = node.get_with(target, &[("Cookie", "victim")]).await;
        assert_eq!(victim.text(), "account of victim", "{target}");
        let detail = victim
            .cache_parameter("detail")
            .unwrap_or_default()
            .to_owned();
        assert!(detail.starts_with("deception-"), "{target}: {detail}");
        let attacker = node.get(target).await;
        assert_eq!(attacker.text(), "account of nobody", "{target}");
    }
    node.get("/assets/app.css").await;
    assert!(node.get("/assets/app.css").await.is_hit());
    // A name that promises nothing is the origin's business.
    node.get("/account").await;
    assert!(node.get("/account").await.is_hit());
}

#[tokio::test]
async fn the_guard_can_be_taken_off_for_a_site_or_some_of_its_paths() {
    let origin = careless().await;
    let settings = Settings::origins(&[&origin.url()])
        .rule("match = { path = \"/account/*\" }\ndeception_guard = false");
    let node = Node::start(settings).await;
    for target in ["/account/x.css", "/account/x/..%2fy"] {
        node.get(target).await;
        assert!(node.get(target).await.is_hit(), "{target}");
    }
    node.get("/other/x.css").await;
    assert!(!node.get("/other/x.css").await.is_hit());

    let settings = Settings::origins(&[&origin.url()]).site("deception_guard = false");
    let node = Node::start(settings).await;
    node.get("/other/x.css").await;
    assert!(node.get("/other/x.css").await.is_hit());
}

#[tokio::test]
async fn an_answer_to_post_is_guarded_as_well() {
    let origin = Origin::start(|seen| {
        Reply::fresh(600, "account")
            .with("Content-Type", "text/html")
            .with("Content-Location", &seen.target)
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.client()
        .await
        .upload("POST", "/account/x.css", &[], b"x")
        .await;
    assert!(!node.get("/account/x.css").await.is_hit());
}
