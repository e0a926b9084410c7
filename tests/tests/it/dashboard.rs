//! The dashboard, as a real browser shows it.

use std::io::Write as _;

use larder_tests::{Chromium, Client, Node, Origin, Reply, Scheme, Settings, find_chromium};
use serde_json::Value;

use crate::many_sites;

/// A page that is blank makes a picture of few bytes, however large it is.
const PICTURE_MIN: usize = 15_000;
/// More than this is felt as a page that moves (Web Vitals: 0.1).
const MOVED_MAX: f64 = 0.1;

/// The browser; says aloud where there is none.
async fn browser() -> Option<Chromium> {
    let Some(program) = find_chromium() else {
        let line = "\nSKIPPED: chromium is not installed, and the dashboard not looked at (apt-get install chromium)\n";
        drop(std::io::stderr().write_all(line.as_bytes()));
        return None;
    };
    Some(Chromium::start(&program).await)
}

/// Sites `main`, `second`, and so many others.
async fn started(others: usize) -> (Origin, Node) {
    let second = "name = \"second\"\nhosts = [\"second.example\"]\norigins = [\"ORIGIN\"]\n\
        [[site.rule]]\nname = \"assets\"\nmatch = { path = \"/s*\" }\nttl = \"1h\"";
    many_sites::started(&[second], others).await
}

async fn visit(node: &Node) {
    many_sites::visit(node).await;
    node.client().await.host("second.example").get("/s").await;
    node.metrics_when(|it| it.sum("larder_requests_total", &[]) >= 5.0)
        .await;
}

fn url(node: &Node) -> String {
    format!("http://{}/ui", node.admin())
}

/// By keys alone: the focus is where the token goes.
async fn sign_in(page: &mut Chromium, token: &str) {
    page.until("document.activeElement.id === 'token'").await;
    page.write(token).await;
    page.press("Enter").await;
}

async fn signed_in(page: &mut Chromium, node: &Node) {
    sign_in(page, node.token()).await;
    page.until("!document.getElementById('main').hidden").await;
}

/// What a card says.
fn card(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#cards div')]\
         .find((it) => it.querySelector('dt').textContent === '{name}')?.querySelector('dd').textContent"
    )
}

/// Nothing sticks out, nothing moved, nothing went wrong, nobody else was asked; and it is not blank.
async fn looks_well(page: &mut Chromium, node: &Node, name: &str) {
    let wide = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(page.value(wide).await, true, "{name} is too wide");
    let moved = page.value("window.moved").await.as_f64();
    assert!(
        moved.is_some_and(|moved| moved < MOVED_MAX),
        "{name} moved: {moved:?}"
    );
    let picture = page.picture(name).await;
    assert!(
        picture.len() > PICTURE_MIN,
        "{name}: {} bytes",
        picture.len()
    );
    assert!(
        page.complaints().is_empty(),
        "{name}: {:?}",
        page.complaints()
    );
    let own = format!("http://{}/", node.admin());
    let elsewhere: Vec<_> = page
        .requests()
        .iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:") && *url != "about:blank")
        .collect();
    assert!(elsewhere.is_empty(), "{name}: {elsewhere:?}");
}

#[tokio::test]
async fn it_is_usable_on_a_desk_and_on_a_phone_in_light_and_in_dark() {
    let Some(mut page) = browser().await else {
        return;
    };
    let (_origin, node) = started(0).await;
    visit(&node).await;
    page.open(&url(&node), 1280, 900, Scheme::Light).await;
    let entry = page.picture("entry").await;
    assert!(entry.len() > 5_000, "{} bytes", entry.len());
    signed_in(&mut page, &node).await;
    page.until(&format!("{} === '40.0 %'", card("Hit ratio")))
        .await;
    page.until("document.querySelectorAll('#chart-requests path').length > 0")
        .await;
    page.until("document.getElementById('table-misses').innerText.includes('second.example/s')")
        .await;
    page.until("document.getElementById('table-reasons').innerText.includes('private')")
        .await;
    page.until("document.getElementById('map').innerText.includes('Memory')")
        .await;
    page.until("document.getElementById('settings-tables').innerText.includes('[[site]] second')")
        .await;
    looks_well(&mut page, &node, "desk-light").await;
    let light = page
        .value("getComputedStyle(document.body).backgroundColor")
        .await;

    // Headings are buttons: a key sorts. A chart tells its points to who moves along it by keys.
    let heading = "document.querySelectorAll('#table-sites th button')[0].focus()";
    page.value(heading).await;
    page.press("Enter").await;
    let sorted =
        "document.querySelector('#table-sites th').getAttribute('aria-sort') === 'ascending'";
    page.until(sorted).await;
    page.value("document.getElementById('chart-requests').focus()")
        .await;
    page.press("ArrowLeft").await;
    page.until("document.querySelectorAll('#chart-requests .at').length === 1")
        .await;

    // What is typed stays in this tab: the page opens again without asking.
    page.open(&url(&node), 375, 812, Scheme::Dark).await;
    page.until("!document.getElementById('main').hidden").await;
    page.until("document.querySelectorAll('#chart-requests path').length > 0")
        .await;
    looks_well(&mut page, &node, "phone-dark").await;
    let dark = page
        .value("getComputedStyle(document.body).backgroundColor")
        .await;
    assert_ne!(light, dark);
    assert_eq!(
        page.value("localStorage.length + document.cookie.length")
            .await,
        0
    );
    page.value("document.getElementById('leave').click()").await;
    page.until("document.getElementById('main').hidden && sessionStorage.length === 0")
        .await;
}

#[tokio::test]
async fn it_filters_and_purges() {
    let Some(mut page) = browser().await else {
        return;
    };
    let (_origin, node) = started(0).await;
    visit(&node).await;
    assert!(node.get("/a").await.is_hit());
    page.open(&url(&node), 1280, 900, Scheme::Dark).await;
    signed_in(&mut page, &node).await;
    page.until("document.getElementById('site').options.length === 3")
        .await;

    let choose = |id: &str, value: &str| {
        format!(
            "(() => {{ const it = document.getElementById('{id}'); it.value = '{value}'; \
             it.dispatchEvent(new Event('change')); }})()"
        )
    };
    page.value(&choose("site", "second")).await;
    page.until("document.querySelectorAll('#table-sites tbody tr').length === 1")
        .await;
    page.until(&format!("{} === '0.0 %'", card("Hit ratio")))
        .await;
    page.until("!document.getElementById('table-misses').innerText.includes('/private')")
        .await;
    page.until("[...document.getElementById('rule').options].some((it) => it.value === 'assets')")
        .await;
    page.value(&choose("rule", "assets")).await;
    page.until("document.querySelectorAll('#table-rules tbody tr').length === 1")
        .await;

    page.value(
        "document.getElementById('purge-list').value = 'http://www.example.com/a'; \
         document.querySelector('#purge-form [value=dry]').click()",
    )
    .await;
    page.until(
        "document.getElementById('purge-said').innerText.includes('It would purge 1 objects')",
    )
    .await;
    assert!(node.get("/a").await.is_hit(), "a dry run purges nothing");
    page.value("document.querySelector('#purge-form [value=wet]').click()")
        .await;
    page.until("document.getElementById('purge-said').innerText.includes('Purged: 1 objects')")
        .await;
    page.until("document.getElementById('table-purges').innerText.includes('www.example.com/a')")
        .await;
    assert!(!node.get("/a").await.is_hit(), "it is gone");

    // Everything goes only if it is said twice.
    page.value(&choose("purge-kind", "all")).await;
    page.value("document.querySelector('#purge-form [value=wet]').click()")
        .await;
    page.until("document.getElementById('purge-said').innerText.includes('once more')")
        .await;
    assert!(node.get("/a").await.is_hit());
    looks_well(&mut page, &node, "purged").await;
}

#[tokio::test]
async fn a_wrong_token_and_a_node_that_has_gone_are_one_clear_message() {
    let Some(mut page) = browser().await else {
        return;
    };
    let (_origin, mut node) = started(0).await;
    page.open(&url(&node), 375, 812, Scheme::Light).await;
    sign_in(&mut page, "a-token-that-nobody-has-given-out").await;
    let message = "document.getElementById('entry-message').textContent";
    page.until(&format!(
        "{message} === 'The node does not know this token.'"
    ))
    .await;
    assert_eq!(
        page.value("document.getElementById('main').hidden").await,
        true
    );
    assert_eq!(page.value("sessionStorage.length").await, 0);

    signed_in(&mut page, &node).await;
    page.until(&format!("{} === '–'", card("Hit ratio"))).await;
    page.until("document.getElementById('table-sites').innerText.includes('No requests')")
        .await;
    looks_well(&mut page, &node, "phone-quiet").await;
    node.kill();
    page.until(
        "document.getElementById('trouble').textContent.startsWith('No answer from the node')",
    )
    .await;
    assert_eq!(
        page.value("document.getElementById('state').textContent")
            .await,
        "no answer"
    );
}

#[tokio::test]
async fn two_hundred_sites_fit() {
    let Some(mut page) = browser().await else {
        return;
    };
    let (_origin, node) = started(198).await;
    for number in 0..198 {
        let host = format!("{number}.example");
        node.client().await.host(&host).get("/a").await;
    }
    for (width, scheme) in [(375, Scheme::Light), (1920, Scheme::Dark)] {
        page.open(&url(&node), width, 900, scheme).await;
        if width == 375 {
            signed_in(&mut page, &node).await;
        }
        page.until("document.getElementById('site').options.length === 201")
            .await;
        // A node tells 128 rules of sites apart, and has the others as one.
        page.until("document.querySelectorAll('#table-sites tbody tr').length >= 128")
            .await;
        looks_well(&mut page, &node, &format!("many-{width}")).await;
    }
}

#[tokio::test]
async fn its_policy_allows_nothing_but_itself() {
    let (_origin, node) = started(0).await;
    let mut admin = Client::connect(node.admin()).await;
    let page = admin.get("/ui").await;
    assert_eq!(page.status, 200);
    let policy = page.header("Content-Security-Policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    ] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("Referrer-Policy"), Some("no-referrer"));
    assert_eq!(admin.request("HEAD", "/ui", &[]).await.status, 200);
    assert_eq!(admin.request("PUT", "/ui", &[]).await.status, 405);
}

#[tokio::test]
async fn the_settings_are_told_without_secrets_to_who_may_see_all_sites() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let reader = folder.path().join("reader");
    std::fs::write(&reader, "a-token-that-may-read-its-own-site").expect("a writable folder");
    let tokens = format!(
        "tokens = [{{ name = \"reader\", file = \"{}\", may = [\"read\"], sites = [\"main\"] }}]",
        reader.display()
    );
    let node = Node::start(Settings::origins(&[&origin.url()]).table("admin", &tokens)).await;
    let ask = async |token: &str| {
        let mut admin = Client::connect(node.admin()).await;
        let bearer = format!("Bearer {token}");
        admin
            .get_with("/v1/config", &[("Authorization", &bearer)])
            .await
    };
    let answer = ask(node.token()).await;
    let document: Value = serde_json::from_str(&answer.text()).expect("JSON");
    let tables = document["tables"].as_array().expect("a list");
    let titles: Vec<_> = tables
        .iter()
        .filter_map(|it| it["table"].as_str())
        .collect();
    assert!(
        titles.contains(&"[memory]") && titles.contains(&"[[site]] main"),
        "{titles:?}"
    );
    assert!(!answer.text().contains(node.token()));
    assert!(!answer.text().contains("a-token-that-may-read"));
    assert_eq!(ask("a-token-that-may-read-its-own-site").await.status, 403);
    assert_eq!(ask("a-token-that-nobody-has-given-out").await.status, 401);
}
