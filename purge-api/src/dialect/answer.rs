//! Who is answered in which dialect.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use super::{Dialect, Meant, Said, Spoken, Words, cloudflare, fastly, may_purge, souin, varnish};
use crate::access::Grant;
use crate::node::{Node, Refusal};
use crate::order::{Intent, Order, Patience, Scope, Sent};
use crate::problem::Problem;
use crate::receipt::Receipt;
use crate::routes::{Api, Asked, Given, document, give, of_site, stamp};

impl Api {
    /// Answers a request on a listener for clients, if its method is one that purges.
    ///
    /// A dialect that is off answers 405, and one that is not open to the client 403: then nobody learns what it might
    /// have done.
    pub async fn client_dialect<N: Node>(
        &self,
        asked: &Asked<'_>,
        node: &N,
    ) -> Option<Response<Bytes>> {
        if !may_purge(asked.method) {
            return None;
        }
        let host = Scope::Host(asked.host.to_owned());
        let site = node.site_of(&host);
        let words = words(asked, site.as_deref());
        let (dialect, meant) = varnish(&words);
        let spoke = async {
            self.is_spoken(dialect, asked)?;
            let grant = match dialect {
                Dialect::Fastly => Some(self.fastly_grant(asked, node)?),
                _ => None,
            };
            let meant = meant.map_err(Problem::Invalid)?;
            self.order(asked, node, (dialect, grant), meant).await
        };
        Some(match spoke.await {
            Ok(receipt) => document(StatusCode::OK, ok(&receipt)),
            Err(problem) => {
                tell(asked, node, dialect, &problem);
                let body = Bytes::from(format!("{}\n", problem.detail()));
                failed(&problem, body)
            }
        })
    }

    /// Answers a request on the admin listener, if it is in a dialect that is on.
    pub(crate) async fn admin_dialect<N: Node>(
        &self,
        asked: &Asked<'_>,
        node: &N,
    ) -> Option<Response<Bytes>> {
        let body = asked.body.unwrap_or_default();
        let words = words(asked, None);
        // A dialect that is off is nothing at all: the token decides what is told.
        let on = |dialect| self.dialects.spoken(dialect, asked.client) != Spoken::Off;
        let (dialect, answer) = if on(Dialect::Fastly)
            && let Some(service) = fastly::fastly(&words, body)
        {
            let spoke = async {
                let grant =
                    self.opened(Dialect::Fastly, asked, || self.fastly_grant(asked, node))?;
                let service = service?;
                let meant = service.meant.clone();
                of_site(node, service.site.as_deref(), &meant.scopes)?;
                let by = (Dialect::Fastly, Some(grant));
                let receipt = self.order(asked, node, by, meant).await?;
                Ok(Bytes::from(service.done(&receipt.order.id).to_string()))
            };
            (Dialect::Fastly, spoke.await)
        } else if on(Dialect::Cloudflare)
            && let Some(zone) = cloudflare::cloudflare(&words, body)
        {
            let spoke = async {
                let grant = self.opened(Dialect::Cloudflare, asked, || {
                    let grant = self.access.by_bearer(asked.headers);
                    let grant = grant.ok_or(Problem::Unauthorised)?;
                    grant.count(node.instant())?;
                    Ok(grant)
                })?;
                let zone = zone?;
                of_site(node, Some(&zone.site), &zone.meant.scopes)?;
                let by = (Dialect::Cloudflare, Some(grant));
                let receipt = self.order(asked, node, by, zone.meant).await?;
                Ok(Bytes::from(cloudflare::done(&receipt.order.id).to_string()))
            };
            (Dialect::Cloudflare, spoke.await)
        } else {
            let said = on(Dialect::Souin).then(|| souin(&words, body)).flatten()?;
            let spoke = async {
                self.is_spoken(Dialect::Souin, asked)?;
                if let Said::Purge(meant) = said? {
                    let by = (Dialect::Souin, None);
                    self.order(asked, node, by, meant).await?;
                }
                Ok(Bytes::new())
            };
            (Dialect::Souin, spoke.await)
        };
        Some(match answer {
            Ok(_) if dialect == Dialect::Souin => document(StatusCode::NO_CONTENT, Bytes::new()),
            Ok(body) => document(StatusCode::OK, body),
            Err(problem) => {
                tell(asked, node, dialect, &problem);
                let body = match dialect {
                    Dialect::Cloudflare => cloudflare::failed(&problem),
                    Dialect::Fastly => fastly::failed(&problem),
                    _ => return Some(problem.response()),
                };
                failed(&problem, body)
            }
        })
    }

    fn opened<'a>(
        &self,
        dialect: Dialect,
        asked: &Asked<'_>,
        grant: impl FnOnce() -> Result<&'a Grant, Problem>,
    ) -> Result<&'a Grant, Problem> {
        self.is_spoken(dialect, asked)?;
        let grant = grant()?;
        // After the token: who has none learns nothing of the content's limits.
        asked.body.ok_or(Problem::TooLarge)?;
        Ok(grant)
    }

    fn is_spoken(&self, dialect: Dialect, asked: &Asked<'_>) -> Result<(), Problem> {
        match self.dialects.spoken(dialect, asked.client) {
            Spoken::Here => Ok(()),
            Spoken::Off => Err(Problem::Method),
            Spoken::NotHere => {
                let why = format!("{} may not purge here", asked.client.to_canonical());
                Err(Problem::Forbidden(why))
            }
        }
    }

    fn fastly_grant<N: Node>(&self, asked: &Asked<'_>, node: &N) -> Result<&Grant, Problem> {
        let grant = self.access.by_field(asked.headers, fastly::KEY);
        let grant = grant.ok_or(Problem::Unauthorised)?;
        grant.count(node.instant())?;
        Ok(grant)
    }

    async fn order<N: Node>(
        &self,
        asked: &Asked<'_>,
        node: &N,
        (dialect, grant): (Dialect, Option<&Grant>),
        meant: Meant,
    ) -> Result<Receipt, Problem> {
        let who = match grant {
            Some(grant) => grant.name.clone(),
            None => asked.client.to_canonical().to_string(),
        };
        let by = format!("{}:{who}", dialect.as_str());
        let order = Order::new(meant.scopes, meant.mode, stamp(asked, node, &by)?)?;
        let sent = Sent {
            order,
            intent: Intent::Purge,
            patience: Patience::default(),
            site: None,
        };
        match give(node, grant, sent).await? {
            Given::Receipt(receipt) => Ok(receipt),
            // Dialects know no dry run.
            Given::Preview(_) => Err(Problem::NotFound),
        }
    }
}

fn words<'a>(asked: &Asked<'a>, site: Option<&'a str>) -> Words<'a> {
    Words {
        method: asked.method,
        host: asked.host,
        target: asked.target,
        headers: asked.headers,
        site,
    }
}

fn ok(receipt: &Receipt) -> Bytes {
    let document = json!({
        "status": "ok",
        "id": receipt.order.id,
        "sequence": receipt.sequence,
        "mode": receipt.order.mode,
        "scopes": receipt.order.scopes,
    });
    Bytes::from(document.to_string())
}

/// The answer to a problem, with the fields of its document and a body of the dialect.
fn failed(problem: &Problem, body: Bytes) -> Response<Bytes> {
    let mut answer = problem.response();
    let kind = if body.starts_with(b"{") {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    let kind = http::HeaderValue::from_static(kind);
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    *answer.body_mut() = body;
    answer
}

fn tell<N: Node>(asked: &Asked<'_>, node: &N, dialect: Dialect, problem: &Problem) {
    node.refused(&Refusal {
        by: Some(dialect.as_str()),
        client: asked.client,
        method: asked.method.as_str(),
        path: asked.path(),
        problem,
    });
}
