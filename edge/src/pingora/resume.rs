//! A body that breaks off because a parent is lost is gone on with from another one, or from the origin: the same bytes,
//! or none.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use policy::partial::Part;
use policy::range::ByteRange;
use policy::slices::Strong;
use tiered::landmark::Landmark;
use tokio::sync::mpsc;

use super::fetch::{Asking, Carrier, Fetched, Fetcher, Through};
use crate::downstream::content_length;
use crate::exchange::Request;
use crate::metrics::Asked;
use crate::origins::slots::Queueing;
use crate::spent::Spent;

/// How often one body is gone on with.
const RESUMES_MAX: u8 = 2;

/// What a representation is told by (RFC 9110 §8), beside its bytes.
const REPRESENTATION: [HeaderName; 7] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// What is needed to go on with a body.
pub(super) struct Resume {
    fetcher: Arc<Fetcher>,
    request: Arc<Request>,
    target: String,
    /// What was asked.
    headers: HeaderMap,
    spent: Arc<Spent>,
    /// Who sent what there is so far.
    parent: String,
    status: StatusCode,
    /// The fields of the response that say what it is.
    representation: HeaderMap,
    proof: Proof,
    received: u64,
    /// What was read already of what comes.
    ahead: Bytes,
    left: u8,
}

/// How it is made sure that the rest belongs to what was sent.
enum Proof {
    /// By a strong validator: the rest of this part is asked for.
    Validator(Part),
    /// By what there is so far, which the other response has to begin with. It must not be older than the first.
    Beginning {
        hash: digest::Context,
        least: Option<Landmark>,
    },
}

/// Where a body goes on.
pub(super) enum Rest {
    From(Carrier),
    /// Nothing was missing but its end.
    Nothing,
}

impl Resume {
    /// For the answer of `parent` to what is asked, which had read the log of purges up to `here`. None where the request
    /// cannot be sent once more.
    pub(super) fn new(
        fetcher: &Arc<Fetcher>,
        (asking, again): (&Asking<'_>, &Arc<Request>),
        (parent, here): (String, Option<Landmark>),
        (status, headers): (StatusCode, &HeaderMap),
    ) -> Option<Box<Self>> {
        if asking.method != Method::GET || asking.content.is_some() {
            return None;
        }
        let representation = representation(headers);
        let part = part(status, &representation).filter(|_| Strong::of(&representation).is_some());
        let least = asking.through.and_then(|through| through.least);
        Some(Box::new(Self {
            fetcher: Arc::clone(fetcher),
            request: Arc::clone(again),
            target: asking.target.to_owned(),
            headers: asking.headers.clone(),
            spent: Arc::clone(asking.spent),
            parent,
            status,
            representation,
            proof: match part {
                Some(part) => Proof::Validator(part),
                None => Proof::Beginning {
                    hash: digest::Context::new(&digest::SHA256),
                    least: match (least, here) {
                        (Some(least), Some(here)) => Some(least.further(here)),
                        (least, here) => least.or(here),
                    },
                },
            },
            received: 0,
            ahead: Bytes::new(),
            left: RESUMES_MAX,
        }))
    }

    /// Notes what came.
    pub(super) fn received(&mut self, data: &[u8]) {
        self.received += data.len() as u64;
        if let Proof::Beginning { hash, .. } = &mut self.proof {
            hash.update(data);
        }
    }

    /// What was read already of what comes.
    pub(super) fn ahead(&mut self) -> Option<Bytes> {
        let ahead = std::mem::take(&mut self.ahead);
        (!ahead.is_empty()).then_some(ahead)
    }

    /// Who sends it.
    pub(super) fn parent(self) -> String {
        self.parent
    }

    /// Asks others for the rest.
    pub(super) async fn go_on(&mut self) -> Option<Rest> {
        let rest = self.look_for_rest().await;
        if let Some(tier) = &self.request.site.common.tier {
            tier.metrics().resumed(rest.is_some());
        }
        rest
    }

    async fn look_for_rest(&mut self) -> Option<Rest> {
        self.left = self.left.checked_sub(1)?;
        let rest = match &self.proof {
            Proof::Validator(part) => match rest(*part, self.received) {
                None => return Some(Rest::Nothing),
                Some(rest) => Some(rest),
            },
            Proof::Beginning { .. } => None,
        };
        let mut fetched = self.ask(rest).await?;
        let skip = match rest {
            Some(rest) => {
                let answer = (fetched.status, &fetched.headers);
                policy::partial::bytes_before(&self.representation, rest, answer)
            }
            None => {
                let same = fetched.status == self.status
                    && representation(&fetched.headers) == self.representation;
                same.then_some(self.received)
            }
        };
        let data = match skip {
            Some(skip) => self.skip(&mut fetched, skip).await,
            None => None,
        };
        let Some(data) = data else {
            tracing::debug!(
                parent = self.parent,
                "another response is not the one that broke off"
            );
            fetched.give_up().await;
            return None;
        };
        let (carrier, parent) = fetched.into_carrier();
        self.parent = parent.unwrap_or_default();
        self.ahead = data;
        Some(Rest::From(carrier))
    }

    async fn ask(&self, rest: Option<Part>) -> Option<Fetched> {
        let mut headers = self.headers.clone();
        if let Some(rest) = rest {
            policy::validation::strip_preconditions(&mut headers);
            let range = policy::partial::asking(rest.range, rest.complete);
            headers.insert(header::RANGE, range);
            Strong::of(&self.representation)?.demand(&mut headers);
        }
        let least = match &self.proof {
            Proof::Validator(_) => None,
            Proof::Beginning { least, .. } => *least,
        };
        let asking = Asking {
            method: Method::GET,
            target: &self.target,
            authority: &self.request.head.authority,
            headers,
            content: None,
            trail: &self.request.trail,
            site: &self.request.site,
            on_behalf: Some(&self.request),
            queueing: Queueing::Wait,
            spent: &self.spent,
            kind: Asked::Retry,
            step: None,
            through: Some(Through {
                request: &self.request,
                least,
                again: Some(&self.request),
                without: Some(&self.parent),
            }),
        };
        // The final response's head is sent already.
        let (interim, _nobody) = mpsc::channel(1);
        let fetched = Box::pin(self.fetcher.fetch(asking, &interim)).await;
        let failed = |error: &_| tracing::debug!(%error, "nobody has the rest of a response");
        fetched.inspect_err(failed).ok()
    }

    /// Reads what was sent already, and returns what comes behind it in the same piece.
    async fn skip(&self, fetched: &mut Fetched, mut skip: u64) -> Option<Bytes> {
        let mut again = digest::Context::new(&digest::SHA256);
        let mut behind = Bytes::new();
        while skip > 0 {
            let mut data = fetched.read().await.ok()??;
            let known = data.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            behind = data.split_off(known);
            again.update(&data);
            skip -= data.len() as u64;
        }
        match &self.proof {
            Proof::Validator(_) => Some(behind),
            Proof::Beginning { hash, .. } => {
                let (before, again) = (hash.clone().finish(), again.finish());
                (before.as_ref() == again.as_ref()).then_some(behind)
            }
        }
    }
}

fn representation(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(REPRESENTATION.len());
    for name in REPRESENTATION {
        for value in headers.get_all(&name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Which bytes a response has, where it says so.
fn part(status: StatusCode, headers: &HeaderMap) -> Option<Part> {
    match status {
        StatusCode::PARTIAL_CONTENT => Part::read(headers),
        StatusCode::OK => {
            let complete = content_length(headers)?;
            let last = complete.checked_sub(1)?;
            let range = ByteRange { first: 0, last };
            Some(Part { range, complete })
        }
        _ => None,
    }
}

/// What is missing of a part; none where it is all there.
fn rest(part: Part, received: u64) -> Option<Part> {
    let Part { range, complete } = part;
    let first = range.first + received;
    let last = range.last;
    let range = ByteRange { first, last };
    (first <= last).then_some(Part { range, complete })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_part_begins_where_it_broke_off() {
        let range = ByteRange {
            first: 10,
            last: 19,
        };
        let part = Part {
            range,
            complete: 100,
        };
        let missing = |received| rest(part, received).map(|rest| rest.range);
        assert_eq!(missing(0), Some(range));
        let last = ByteRange {
            first: 19,
            last: 19,
        };
        assert_eq!(missing(9), Some(last));
        assert_eq!(missing(10), None);
    }

    #[test]
    fn only_what_says_its_length_has_a_part() {
        let mut headers = HeaderMap::new();
        assert_eq!(part(StatusCode::OK, &headers), None);
        headers.insert(header::CONTENT_LENGTH, "0".parse().unwrap());
        assert_eq!(part(StatusCode::OK, &headers), None);
        headers.insert(header::CONTENT_LENGTH, "5".parse().unwrap());
        assert_eq!(part(StatusCode::OK, &headers).unwrap().complete, 5);
        assert_eq!(part(StatusCode::NOT_FOUND, &headers), None);
    }
}
