//! The API in front of a node that is none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::*;
use crate::auth::Token;
use crate::dialect::Dialect;
use crate::node::{Refused, Status};
use crate::order::{Order, Patience, Scope};
use crate::receipt::{Matched, RefusedRequest};
use crate::upstreams::{EgressList, OriginList};

const ADMIN: &str = "0123456789abcdef";
const SHOP: &str = "the-token-of-shop";

/// A node with the sites `shop` and `blog`, whose hosts are called like them.
#[derive(Default)]
struct Fixed {
    readiness: Option<Readiness>,
    purged: Mutex<Vec<Order>>,
    refused: Mutex<Vec<RefusedRequest>>,
}

impl Node for Fixed {
    fn readiness(&self) -> Readiness {
        self.readiness.unwrap_or(Readiness::Ready)
    }

    fn metrics(&self) -> String {
        "larder_up 1\n".to_owned()
    }

    fn status(&self) -> Status {
        Status {
            configuration: crate::reload::Configuration {
                generation: 1,
                hash: "h".to_owned(),
                since: "t".to_owned(),
            },
            node: "n".to_owned(),
            version: "0",
            uptime_seconds: 1,
            sites: vec!["shop".to_owned()],
            objects: 2,
            bytes: 3,
            bytes_max: 4,
            connections: 5,
            tier: None,
            fleet: None,
        }
    }

    fn origins(&self) -> OriginList {
        OriginList {
            origins: Vec::new(),
        }
    }

    fn egress(&self) -> EgressList {
        EgressList { egress: Vec::new() }
    }

    fn now(&self) -> String {
        "now".to_owned()
    }

    fn instant(&self) -> Instant {
        crate::bucket::tests::any_moment()
    }

    fn new_id(&self) -> String {
        "made".to_owned()
    }

    fn site_of(&self, scope: &Scope) -> Option<String> {
        let (Scope::Host(text) | Scope::Url(text) | Scope::Prefix(text)) = scope else {
            return None;
        };
        let host = text.trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        matches!(host, "shop" | "blog").then(|| host.to_owned())
    }

    async fn purge(&self, order: Order, _patience: Patience) -> Result<Receipt, Refused> {
        if order.scopes.contains(&Scope::Host("unknown".to_owned())) {
            return Err(Refused::Invalid("unknown".to_owned()));
        }
        let mut purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        purged.push(order.clone());
        Ok(Receipt {
            order,
            sequence: 7,
            state: State::Applied,
            matched: None,
            nodes: Vec::new(),
            missing: Vec::new(),
        })
    }

    async fn preview(&self, _order: &Order) -> Result<Preview, Refused> {
        Ok(Preview {
            dry_run: true,
            matched: Matched::default(),
            samples: Vec::new(),
        })
    }

    fn purges(&self, filter: &Filter, sees: &dyn Fn(&Order) -> bool) -> Vec<Receipt> {
        let purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        let found = purged
            .iter()
            .filter(|order| filter.admits(order) && sees(order));
        let receipts = found.map(|order| Receipt {
            order: order.clone(),
            sequence: 7,
            state: State::Applied,
            matched: None,
            nodes: Vec::new(),
            missing: Vec::new(),
        });
        receipts.collect()
    }

    fn purge_by_id(&self, _id: &str) -> Option<Receipt> {
        None
    }

    fn refused(&self, refusal: &Refusal<'_>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.push(RefusedRequest::new(refusal, self.now(), 0));
    }

    fn refusals(&self, most: usize, sees: &dyn Fn(&RefusedRequest) -> bool) -> Vec<RefusedRequest> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = refused.iter().rev().filter(|it| sees(it));
        seen.take(most).cloned().collect()
    }
}

fn api() -> Api {
    let token = |text| Token::parse(text).unwrap();
    let shop = Grant::new(
        "shop".to_owned(),
        token(SHOP),
        [Permission::Tag, Permission::Url, Permission::Read],
        vec!["shop".to_owned()],
        100,
    );
    let from = || vec!["10.0.0.0/8".parse().unwrap()];
    let dialects = [
        Dialect::Purge,
        Dialect::Xkey,
        Dialect::Fastly,
        Dialect::Cloudflare,
    ];
    let dialects = dialects
        .into_iter()
        .fold(Dialects::default(), |all, it| all.open(it, from()));
    Api::new(
        Access::new(vec![Grant::admin(token(ADMIN)), shop]),
        dialects,
    )
}

struct Ask<'a> {
    client: &'a str,
    method: &'a str,
    host: &'a str,
    target: &'a str,
    fields: &'a [(&'static str, &'a str)],
    body: Option<&'a [u8]>,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            client: "10.0.0.1",
            method: "GET",
            host: "shop",
            target: "/",
            fields: &[],
            body: Some(b""),
        }
    }
}

impl Ask<'_> {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    async fn with<T>(&self, then: impl AsyncFnOnce(Asked<'_>) -> T) -> T {
        let method = Method::from_bytes(self.method.as_bytes()).unwrap();
        let headers = self.headers();
        let asked = Asked {
            client: self.client.parse().unwrap(),
            method: &method,
            host: self.host,
            target: self.target,
            headers: &headers,
            body: self.body,
        };
        then(asked).await
    }

    async fn admin(&self, node: &Fixed) -> (u16, Vec<u8>) {
        let answer = self.with(async |asked| api().answer(&asked, node).await);
        let answer = answer.await;
        (answer.status().as_u16(), answer.body().to_vec())
    }

    async fn client(&self, node: &Fixed) -> Option<u16> {
        let answer = self.with(async |asked| api().client_dialect(&asked, node).await);
        Some(answer.await?.status().as_u16())
    }
}

async fn post(token: &str, body: Option<&[u8]>) -> (u16, serde_json::Value) {
    let bearer = format!("Bearer {token}");
    let ask = Ask {
        method: "POST",
        target: "/v1/purges",
        fields: &[("authorization", &bearer)],
        body,
        ..Ask::default()
    };
    let (status, body) = ask.admin(&Fixed::default()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_purge_is_answered_with_its_sequence() {
    let (status, receipt) = post(ADMIN, Some(br#"{"tags":["a"]}"#)).await;
    assert_eq!(status, 200);
    assert_eq!(receipt["sequence"], 7);
    assert_eq!(receipt["id"], "made");
    assert_eq!(receipt["mode"], "hard");
    assert_eq!(receipt["by"], "admin");
    let (_, preview) = post(ADMIN, Some(br#"{"all":true,"dry_run":true}"#)).await;
    assert_eq!(preview["dry_run"], true);
}

#[tokio::test]
async fn what_cannot_be_purged_says_why() {
    let check = async |body: Option<&[u8]>, status: u16| {
        let (answered, problem) = post(ADMIN, body).await;
        assert_eq!(answered, status, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|it| !it.is_empty()));
    };
    check(Some(b"{}"), 422).await;
    check(Some(b"{"), 400).await;
    check(Some(br#"{"hosts":["unknown"]}"#), 422).await;
    check(None, 413).await;
    check(Some(br#"{"urls":["http://blog/a"],"site":"shop"}"#), 422).await;
    check(
        Some(br#"{"prefixes":["http://shop/a"],"hosts":["blog"],"site":"shop"}"#),
        422,
    )
    .await;
    check(
        Some(br#"{"keys":["00112233445566778899aabbccddeeff"],"site":"shop"}"#),
        422,
    )
    .await;
    check(
        Some(br#"{"hosts":["blog"],"site":"shop","dry_run":true}"#),
        422,
    )
    .await;
}

#[tokio::test]
async fn a_purge_may_say_what_site_it_is_of() {
    let body =
        br#"{"urls":["http://shop/a"],"hosts":["shop"],"tags":["t"],"all":true,"site":"shop"}"#;
    let (status, receipt) = post(ADMIN, Some(body)).await;
    assert_eq!(status, 200, "{receipt}");
    assert_eq!(receipt["scopes"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_token_opens_what_it_is_for() {
    let check = async |body: &str, status: u16| {
        let (answered, document) = post(SHOP, Some(body.as_bytes())).await;
        assert_eq!(answered, status, "{body}: {document}");
        document
    };
    let receipt = check(r#"{"tags":["a"]}"#, 200).await;
    let narrowed = serde_json::json!([{ "tag": { "site": "shop", "tag": "a" } }]);
    assert_eq!(receipt["scopes"], narrowed);
    check(r#"{"urls":["http://shop/a"]}"#, 200).await;
    check(r#"{"urls":["http://blog/a"]}"#, 403).await;
    check(r#"{"urls":["http://shop/a","http://blog/a"]}"#, 403).await;
    check(r#"{"tags":["a"],"site":"blog"}"#, 403).await;
    check(r#"{"all":true}"#, 403).await;
    check(r#"{"hosts":["shop"]}"#, 403).await;
    check(r#"{"hosts":["shop"],"dry_run":true}"#, 200).await;
    check(r#"{"hosts":["blog"],"dry_run":true}"#, 403).await;
}

#[tokio::test]
async fn a_token_sees_the_purges_of_its_sites() {
    let node = Fixed::default();
    for body in [r#"{"tags":["a"],"site":"shop"}"#, r#"{"all":true}"#] {
        let bearer = format!("Bearer {ADMIN}");
        let ask = Ask {
            method: "POST",
            target: "/v1/purges",
            fields: &[("authorization", &bearer)],
            body: Some(body.as_bytes()),
            ..Ask::default()
        };
        assert_eq!(ask.admin(&node).await.0, 200);
    }
    for (token, seen) in [(ADMIN, 2), (SHOP, 1)] {
        let bearer = format!("Bearer {token}");
        let ask = Ask {
            target: "/v1/purges",
            fields: &[("authorization", &bearer)],
            ..Ask::default()
        };
        let (_, body) = ask.admin(&node).await;
        let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(page["purges"].as_array().unwrap().len(), seen, "{token}");
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn what_is_open_and_what_is_not() {
    let check = async |method: &str, target: &str, token: Option<&str>, status: u16| {
        let fields: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        let ask = Ask { method, target, fields: &fields, ..Ask::default() };
        assert_eq!(ask.admin(&Fixed::default()).await.0, status, "{method} {target}");
    };
    let right = Some("Bearer 0123456789abcdef");
    check("GET",    "/healthz",            None,                 200).await;
    check("HEAD",   "/readyz",             None,                 200).await;
    check("GET",    "/metrics",            None,                 200).await;
    check("GET",    "/v1/openapi.json",    None,                 200).await;
    check("POST",   "/healthz",            None,                 405).await;
    check("GET",    "/v1/status",          None,                 401).await;
    check("GET",    "/v1/status",          Some("Bearer wrong"), 401).await;
    check("GET",    "/v1/status",          right,                200).await;
    check("DELETE", "/v1/status",          right,                405).await;
    check("GET",    "/v1/origins",         None,                 401).await;
    check("GET",    "/v1/origins",         right,                200).await;
    check("DELETE", "/v1/origins",         right,                405).await;
    check("GET",    "/v1/egress",          None,                 401).await;
    check("GET",    "/v1/egress",          right,                200).await;
    check("POST",   "/v1/purges",          None,                 401).await;
    check("GET",    "/v1/purges",          right,                200).await;
    check("GET",    "/v1/purges?limit=1",  right,                200).await;
    check("GET",    "/v1/purges?a=b",      right,                422).await;
    check("DELETE", "/v1/purges",          right,                405).await;
    check("GET",    "/v1/refusals",        right,                200).await;
    check("GET",    "/v1/refusals?by=x",   right,                422).await;
    check("POST",   "/v1/refusals",        right,                405).await;
    check("GET",    "/v1/refusals",        None,                 401).await;
    check("GET",    "/v1/purges/none",     right,                404).await;
    check("GET",    "/",                   None,                 401).await;
    check("GET",    "/",                   right,                404).await;
    check("POST",   "/",                   right,                404).await;
    check("GET",    "/healthz/../v1/status", None,               401).await;
    check("GET",    "//v1/status",         right,                404).await;
    check("PURGE",  "/souin-api/souin",    None,                 401).await;
}

#[tokio::test]
async fn refusals_are_told() {
    let node = Fixed::default();
    for fields in [vec![], vec![("authorization", "Bearer the-token-of-shop")]] {
        let ask = Ask {
            method: "POST",
            target: "/v1/purges",
            fields: &fields,
            body: Some(br#"{"all":true}"#),
            ..Ask::default()
        };
        ask.admin(&node).await;
    }
    let told = |token: &'static str, target: &'static str| {
        let node = &node;
        async move {
            let bearer = format!("Bearer {token}");
            let fields = [("authorization", bearer.as_str())];
            let ask = Ask {
                target,
                fields: &fields,
                ..Ask::default()
            };
            let (status, body) = ask.admin(node).await;
            assert_eq!(status, 200);
            let page: serde_json::Value = serde_json::from_slice(body.as_ref()).unwrap();
            let refusals = page["refusals"].as_array().unwrap().iter();
            let refusals = refusals.map(|it| (it["by"].clone(), it["code"].clone()));
            serde_json::json!(refusals.collect::<Vec<_>>())
        }
    };
    let all = serde_json::json!([["shop", "forbidden"], [null, "unauthorised"]]);
    assert_eq!(told(ADMIN, "/v1/refusals").await, all);
    assert_eq!(
        told(ADMIN, "/v1/refusals?limit=1").await,
        serde_json::json!([all[0]])
    );
    assert_eq!(
        told(SHOP, "/v1/refusals").await,
        serde_json::json!([all[0]]),
        "its own"
    );
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_why() {
    for (readiness, status, why) in [
        (Readiness::Ready, 200, "ready"),
        (
            Readiness::Recovering { segments: 3, of: 8 },
            200,
            "ready; reading the disks' index: 3 of 8 segments",
        ),
        (Readiness::Draining, 503, "draining"),
        (Readiness::Replaying(7), 503, "replaying purges: 7 left"),
        (
            Readiness::Lagging(Duration::from_secs(12)),
            503,
            "lagging: purges of the last 12 s",
        ),
    ] {
        let node = Fixed {
            readiness: Some(readiness),
            ..Fixed::default()
        };
        let ask = Ask {
            target: "/readyz",
            ..Ask::default()
        };
        let (answered, body) = ask.admin(&node).await;
        assert_eq!(answered, status);
        assert!(body.starts_with(why.as_bytes()), "{readiness:?}");
    }
}

#[tokio::test]
async fn clients_purge_where_it_is_open_to_them() {
    let check = async |ask: Ask<'_>, status: Option<u16>, purged: usize| {
        let node = Fixed::default();
        assert_eq!(ask.client(&node).await, status);
        let orders = node.purged.lock().unwrap();
        assert_eq!(orders.len(), purged);
        let refused = node.refused.lock().unwrap();
        assert_eq!(
            refused.len(),
            usize::from(status.is_some_and(|it| it >= 400))
        );
    };
    let purge = || Ask {
        method: "PURGE",
        target: "/a",
        ..Ask::default()
    };
    check(Ask::default(), None, 0).await;
    check(purge(), Some(200), 1).await;
    let stranger = Ask {
        client: "11.0.0.1",
        ..purge()
    };
    check(stranger, Some(403), 0).await;
    let off = Ask {
        method: "BAN",
        ..purge()
    };
    check(off, Some(405), 0).await;
    let soft = Ask {
        method: "PURGEKEYS",
        fields: &[("xkey-softpurge", "a b")],
        ..purge()
    };
    check(soft, Some(200), 1).await;
    let wrong = Ask {
        fields: &[("x-purge-method", "regex")],
        target: "/(a|b)",
        ..purge()
    };
    check(wrong, Some(422), 0).await;
    let nobody = Ask {
        fields: &[("fastly-key", "wrong")],
        ..purge()
    };
    check(nobody, Some(401), 0).await;
    let somebody = Ask {
        fields: &[("fastly-key", SHOP)],
        ..purge()
    };
    check(somebody, Some(200), 1).await;
    let foreign = Ask {
        fields: &[("fastly-key", SHOP)],
        host: "blog",
        ..purge()
    };
    check(foreign, Some(403), 0).await;
}

#[tokio::test]
async fn apis_of_others_answer_as_their_clients_expect() {
    let check = async |ask: Ask<'_>, status: u16, purged: usize| {
        let node = Fixed::default();
        let (answered, body) = ask.admin(&node).await;
        assert_eq!(answered, status);
        assert_eq!(node.purged.lock().unwrap().len(), purged);
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()
    };
    let fastly = |fields| Ask {
        method: "POST",
        target: "/service/shop/purge",
        fields,
        body: Some(br#"{"surrogate_keys":["a"]}"#),
        ..Ask::default()
    };
    let key = [("fastly-key", SHOP)];
    assert_eq!(check(fastly(&key), 200, 1).await["a"], "made-0");
    assert!(check(fastly(&[]), 401, 0).await["msg"].is_string());
    let foreign = Ask {
        target: "/service/blog/purge",
        ..fastly(&key)
    };
    check(foreign, 403, 0).await;
    let all = Ask {
        target: "/service/shop/purge_all",
        ..fastly(&key)
    };
    check(all, 403, 0).await;
    let bearer = [("authorization", "Bearer 0123456789abcdef")];
    let cloudflare = |body: &'static str| Ask {
        method: "POST",
        target: "/client/v4/zones/shop/purge_cache",
        fields: &bearer,
        body: Some(body.as_bytes()),
        ..Ask::default()
    };
    let done = check(cloudflare(r#"{"purge_everything":true}"#), 200, 1).await;
    assert_eq!(done["success"], true);
    assert_eq!(done["result"]["id"], "made");
    let foreign = check(cloudflare(r#"{"files":["http://blog/a"]}"#), 422, 0).await;
    assert_eq!(foreign["success"], false);
    let stranger = Ask {
        client: "11.0.0.1",
        ..cloudflare(r#"{"purge_everything":true}"#)
    };
    check(stranger, 403, 0).await;
}
