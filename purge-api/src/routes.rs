//! What the admin listener answers.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

use crate::access::{Access, Grant, Permission};
use crate::dialect::Dialects;
use crate::filter::{self, Filter};
use crate::node::{Node, Readiness, Refusal};
use crate::openapi;
use crate::order::{Intent, Scope, Sent, Stamp};
use crate::problem::Problem;
use crate::receipt::{Page, Preview, Receipt, Refusals, State};

/// A request to the API.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub client: IpAddr,
    /// The request's method.
    pub method: &'a Method,
    /// Its host, in lower case and without a port.
    pub host: &'a str,
    /// Its path and query, as they were sent.
    pub target: &'a str,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Its content; none where there was more than [`BODY_MAX`](crate::BODY_MAX) bytes of it.
    pub body: Option<&'a [u8]>,
}

impl<'a> Asked<'a> {
    pub(crate) fn path(&self) -> &'a str {
        let target = self.target;
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The admin API.
#[derive(Debug)]
pub struct Api {
    pub(crate) access: Access,
    pub(crate) dialects: Dialects,
}

/// What came of a purge.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    Receipt(Receipt),
    Preview(Preview),
}

impl Api {
    /// An API that these tokens open, and these dialects.
    #[must_use]
    pub const fn new(access: Access, dialects: Dialects) -> Self {
        Self { access, dialects }
    }

    /// Answers a request. Its path is taken as it is: nothing is decoded or resolved, so nothing leads around a check.
    pub async fn answer<N: Node>(&self, asked: &Asked<'_>, node: &N) -> Response<Bytes> {
        let method = asked.method;
        match asked.path() {
            "/healthz" => return read(method, || text(StatusCode::OK, "ok\n")),
            "/readyz" => return read(method, || readiness(node.readiness())),
            "/metrics" => return read(method, || exposition(node.metrics())),
            "/v1/openapi.json" => {
                let document = || response(StatusCode::OK, JSON, openapi::TEXT.into());
                return read(method, document);
            }
            _ => {}
        }
        if let Some(answer) = self.admin_dialect(asked, node).await {
            return answer;
        }
        let Some(grant) = self.access.by_bearer(asked.headers) else {
            return refuse(asked, node, None, &Problem::Unauthorised);
        };
        match granted(asked, node, grant).await {
            Ok(answer) => answer,
            Err(problem) => refuse(asked, node, Some(&grant.name), &problem),
        }
    }
}

/// Somebody who may read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a Grant);

impl Reader<'_> {
    /// Whether what is told of this site is for them.
    #[must_use]
    pub fn sees(self, site: &str) -> bool {
        self.0.sees_site(site)
    }

    /// Whether what is told of all sites is for them.
    #[must_use]
    pub const fn sees_all(self) -> bool {
        self.0.sees_all()
    }
}

impl Api {
    /// Lets those who may read have what `tell` has to say. Whoever may not is refused as anywhere else.
    ///
    /// # Errors
    /// The answer to who may not, or to what `tell` finds wrong.
    pub fn reading<N: Node, T>(
        &self,
        asked: &Asked<'_>,
        node: &N,
        tell: impl FnOnce(Reader<'_>) -> Result<T, Problem>,
    ) -> Result<T, Box<Response<Bytes>>> {
        let Some(grant) = self.access.by_bearer(asked.headers) else {
            return Err(Box::new(refuse(asked, node, None, &Problem::Unauthorised)));
        };
        let may_read = || {
            grant.count(node.instant())?;
            grant.allows(Permission::Read)
        };
        let told = may_read().map_err(Problem::from);
        told.and_then(|()| tell(Reader(grant)))
            .map_err(|problem| Box::new(refuse(asked, node, Some(&grant.name), &problem)))
    }

    /// Who asks for something that is no purge and changes the node, where the token is for that and for all sites: its
    /// name.
    ///
    /// # Errors
    /// The answer to who may not.
    pub fn permit<N: Node>(
        &self,
        asked: &Asked<'_>,
        node: &N,
        wanted: Permission,
    ) -> Result<String, Box<Response<Bytes>>> {
        let Some(grant) = self.access.by_bearer(asked.headers) else {
            return Err(Box::new(refuse(asked, node, None, &Problem::Unauthorised)));
        };
        let may = || {
            grant.count(node.instant())?;
            grant.allows(wanted)
        };
        let permitted = may()
            .map_err(Problem::from)
            .and_then(|()| match *asked.method {
                Method::POST if grant.sees_all() => Ok(()),
                Method::POST => Err(Problem::Forbidden(
                    "this is for tokens that are good for all sites".to_owned(),
                )),
                _ => Err(Problem::Method),
            });
        match permitted {
            Ok(()) => Ok(grant.name.clone()),
            Err(problem) => Err(Box::new(refuse(asked, node, Some(&grant.name), &problem))),
        }
    }

    /// As [`Api::reading`], where what is told is a document in JSON.
    pub fn read<N: Node>(
        &self,
        asked: &Asked<'_>,
        node: &N,
        tell: impl FnOnce(Reader<'_>) -> Result<Bytes, Problem>,
    ) -> Response<Bytes> {
        match self.reading(asked, node, tell) {
            Ok(body) => response(StatusCode::OK, JSON, body),
            Err(refused) => *refused,
        }
    }
}

/// What a token opens.
async fn granted<N: Node>(
    asked: &Asked<'_>,
    node: &N,
    grant: &Grant,
) -> Result<Response<Bytes>, Problem> {
    grant.count(node.instant())?;
    let path = asked.path();
    match *asked.method {
        Method::POST if path == "/v1/purges" => {
            let (status, body) = match purge(asked, node, grant).await? {
                Given::Receipt(receipt) if receipt.state != State::Applied => {
                    (StatusCode::ACCEPTED, json(&receipt))
                }
                Given::Receipt(receipt) => (StatusCode::OK, json(&receipt)),
                Given::Preview(preview) => (StatusCode::OK, json(&preview)),
            };
            return Ok(response(status, JSON, body));
        }
        Method::GET | Method::HEAD => {}
        _ if is_route(path) => return Err(Problem::Method),
        _ => return Err(Problem::NotFound),
    }
    let body = match path {
        "/v1/status" => grant
            .allows(Permission::Read)
            .map(|()| json(&node.status()))?,
        "/v1/origins" => grant
            .allows(Permission::Read)
            .map(|()| json(&node.origins()))?,
        "/v1/egress" => grant
            .allows(Permission::Read)
            .map(|()| json(&node.egress()))?,
        "/v1/purges" => json(&list(asked, node, grant)?),
        "/v1/refusals" => json(&refusals(asked, node, grant)?),
        _ => json(&one(path, node, grant)?),
    };
    Ok(response(StatusCode::OK, JSON, body))
}

fn is_route(path: &str) -> bool {
    matches!(
        path,
        "/v1/status" | "/v1/origins" | "/v1/egress" | "/v1/purges" | "/v1/refusals"
    ) || path.starts_with("/v1/purges/")
}

fn list<N: Node>(asked: &Asked<'_>, node: &N, grant: &Grant) -> Result<Page, Problem> {
    grant.allows(Permission::Read)?;
    let filter = Filter::parse(asked.query()).map_err(Problem::Invalid)?;
    let sees = |order: &_| grant.sees(order, |scope| node.site_of(scope));
    let mut purges = node.purges(&filter, &sees);
    let more = purges.len() > filter.limit;
    purges.truncate(filter.limit);
    let last = purges.last().map(|receipt| receipt.sequence);
    let next = last.filter(|_| more);
    Ok(Page { purges, next })
}

fn refusals<N: Node>(asked: &Asked<'_>, node: &N, grant: &Grant) -> Result<Refusals, Problem> {
    grant.allows(Permission::Read)?;
    let most = filter::limit(asked.query()).map_err(Problem::Invalid)?;
    let refusals = node.refusals(most, &|refused| grant.sees_refused(refused.by.as_deref()));
    Ok(Refusals { refusals })
}

fn one<N: Node>(path: &str, node: &N, grant: &Grant) -> Result<Receipt, Problem> {
    grant.allows(Permission::Read)?;
    let id = path.strip_prefix("/v1/purges/").ok_or(Problem::NotFound)?;
    let receipt = node.purge_by_id(id).ok_or(Problem::NotFound)?;
    // Who may not see it does not learn that it exists.
    if !grant.sees(&receipt.order, |scope| node.site_of(scope)) {
        return Err(Problem::NotFound);
    }
    Ok(receipt)
}

async fn purge<N: Node>(asked: &Asked<'_>, node: &N, grant: &Grant) -> Result<Given, Problem> {
    let body = asked.body.ok_or(Problem::TooLarge)?;
    let sent = Sent::parse(body, stamp(asked, node, &grant.name)?)?;
    give(node, Some(grant), sent).await
}

/// Gives an order, as far as the token goes; without one, somebody else has found out that it may be given.
pub(crate) async fn give<N: Node>(
    node: &N,
    grant: Option<&Grant>,
    sent: Sent,
) -> Result<Given, Problem> {
    let Sent {
        mut order,
        intent,
        patience,
        site,
    } = sent;
    if let Some(grant) = grant {
        match intent {
            Intent::Purge => grant.permits(&order)?,
            Intent::DryRun => grant.allows(Permission::Read)?,
        }
    }
    of_site(node, site.as_deref(), &order.scopes)?;
    if let Some(grant) = grant {
        grant.narrow(&mut order, |scope| node.site_of(scope))?;
    }
    Ok(match intent {
        Intent::Purge => Given::Receipt(node.purge(order, patience).await?),
        Intent::DryRun => Given::Preview(node.preview(&order).await?),
    })
}

/// What is asked of a site is of that site. A key tells of none.
pub(crate) fn of_site<N: Node>(
    node: &N,
    site: Option<&str>,
    scopes: &[Scope],
) -> Result<(), Problem> {
    let Some(site) = site else {
        return Ok(());
    };
    let is_elsewhere = |scope: &&Scope| {
        let found = scope.site().cloned().or_else(|| node.site_of(scope));
        found.as_deref() != Some(site)
    };
    match scopes.iter().find(is_elsewhere) {
        None => Ok(()),
        Some(scope) => {
            let what = scope.text();
            Err(Problem::Invalid(format!(
                "`{what}` is not of the site `{site}`"
            )))
        }
    }
}

pub(crate) fn stamp<N: Node>(asked: &Asked<'_>, node: &N, by: &str) -> Result<Stamp, Problem> {
    let id = match asked.headers.get(IDEMPOTENCY_KEY).map(HeaderValue::to_str) {
        Some(Ok(id)) => id.to_owned(),
        Some(Err(_)) => return Err(Problem::Invalid("Idempotency-Key is not text".to_owned())),
        None => node.new_id(),
    };
    Ok(Stamp {
        id,
        by: by.to_owned(),
        accepted_at: node.now(),
    })
}

/// Tells of a refusal, and answers it.
pub fn refuse<N: Node>(
    asked: &Asked<'_>,
    node: &N,
    by: Option<&str>,
    problem: &Problem,
) -> Response<Bytes> {
    node.refused(&Refusal {
        by,
        client: asked.client,
        method: asked.method.as_str(),
        path: asked.path(),
        problem,
    });
    problem.response()
}

const JSON: &str = "application/json";

fn readiness(readiness: Readiness) -> Response<Bytes> {
    let why = match readiness {
        Readiness::Ready => return text(StatusCode::OK, "ready\n"),
        Readiness::Recovering { segments, of } => {
            let state = format!("ready; reading the disks' index: {segments} of {of} segments\n");
            return text(StatusCode::OK, state);
        }
        Readiness::Draining => "draining\n".to_owned(),
        Readiness::Apart => "waiting for the purge log\n".to_owned(),
        Readiness::Replaying(left) => format!("replaying purges: {left} left\n"),
        Readiness::Lagging(lag) => format!(
            "lagging: purges of the last {} s may be missing\n",
            lag.as_secs()
        ),
    };
    text(StatusCode::SERVICE_UNAVAILABLE, why)
}

fn read(method: &Method, answer: impl FnOnce() -> Response<Bytes>) -> Response<Bytes> {
    match *method {
        Method::GET | Method::HEAD => answer(),
        _ => Problem::Method.response(),
    }
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    response(status, "text/plain; charset=utf-8", body.into())
}

fn exposition(metrics: String) -> Response<Bytes> {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    response(StatusCode::OK, kind, Bytes::from(metrics))
}

fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

/// A document in JSON.
#[must_use]
pub fn document(status: StatusCode, body: Bytes) -> Response<Bytes> {
    response(status, JSON, body)
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
