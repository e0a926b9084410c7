//! The response to the client: preconditions, ranges, and the fields that say what the cache did.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use policy::conditional::Precondition;
use policy::partial::Extent;
use policy::range::{ByteRange, Multipart, RangeAnswer};
use policy::store::Kept;
use policy::time::Timestamp;
use storage::{Cut, Fate, Object, Reader};

use super::content::{Content, next_or_flush};
use super::represent::{self, Representation};
use super::rest::{Of, Rest};
use super::{Client, Head, Interrupted, slices};
use crate::downstream::content_length;
use crate::error::UpstreamError;
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::{Outcome, Told};
use crate::proxy_status::{self, PROXY_STATUS, Telling};
use crate::sites::ShowKey;
use crate::tier::LARDER_TIER;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Content that one turn gives a client of what has come meanwhile, in bytes.
const GATHERED_MAX: u64 = 512 * 1024;

/// A response that is being received.
pub(super) struct Incoming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub received: Timestamp,
    pub reader: Reader<Head>,
    /// Which bytes are read, where it is not all of them.
    pub part: Option<policy::partial::Part>,
}

/// What came of sending a response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sent {
    /// It is sent.
    Done,
    /// Nothing was sent: the origin has something else by now.
    Changed,
    /// Nothing was sent: some of it is not stored, and the client does not want it asked for.
    NotCached,
}

/// What of a representation the client gets.
#[derive(Debug)]
pub(super) enum Part {
    Nothing,
    Whole,
    One(ByteRange),
    Many(Multipart),
}

/// A response's head, and which part of the content belongs to it.
pub(super) struct Selected {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub part: Part,
}

/// A stored response's fields with its age (RFC 9111 §5.1).
pub(super) fn aged(stored: &Kept, now: Timestamp) -> HeaderMap {
    let mut headers = stored.headers.to_map();
    let age = stored.reception.current_age(now).as_secs();
    headers.insert(header::AGE, HeaderValue::from(age));
    headers
}

/// Sends a stored response.
pub(super) async fn stored(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    object: &Arc<Object<Head>>,
    now: Timestamp,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let head = Arc::clone(object.head());
    let stored = head.stored().ok_or(Interrupted::Origin)?;
    match head.extent() {
        Extent::Whole => {}
        Extent::Part(part) => {
            let part = (object, part);
            return Box::pin(stored_part(node, exchange, request, part, now, client)).await;
        }
        Extent::Sliced(_) => {
            let from = (object, None);
            let sent = slices::respond(node, exchange, request, from, now, client);
            return Box::pin(sent).await;
        }
    }
    note_birth(node, exchange, &head);
    let received = stored.reception.response_time;
    let mut headers = aged(stored, now);
    let whole = (stored.status, &mut headers);
    let representation = represent::of_stored(&node.coder, request, object, whole);
    exchange.coding = representation.coding();
    let (body, length) = match representation {
        Representation::AsStored => (object.body().clone(), Some(object.body().len())),
        Representation::Ready(_, body) => (body.clone(), Some(body.len())),
        Representation::HeadOnly(_) => (object.body().clone(), None),
        Representation::Underway(_, reader) => {
            let incoming = Incoming {
                status: stored.status,
                headers,
                received,
                reader,
                part: None,
            };
            let sent = pass_on(node, exchange, request, (incoming, None), client);
            return Box::pin(sent).await;
        }
    };
    if let Some(length) = length.filter(|_| stored.status != StatusCode::NO_CONTENT) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let representation = Selected {
        status: stored.status,
        headers,
        part: Part::Whole,
    };
    let ranges_max = request.site.common.ranges_max;
    let selected = select(request, representation, received, length, ranges_max);
    let mut content = Content::of(&body, &selected.part);
    if body.is_on_disk() {
        let of = Of::Stored(object);
        content = content.or_else(Rest::of_whole((node, request), of, object.body().len()));
    }
    if let Err(error) = content.prepare().await {
        tracing::debug!(%error, "a stored response cannot be read");
        node.tiers.forget(object, Fate::Unreadable);
        return Err(Interrupted::Unreadable);
    }
    let part = send_head(node, exchange, request, selected, client).await?;
    content.send(part, client).await?;
    client.end().await?;
    Ok(Sent::Done)
}

/// Sends what a client wants of a stored part of a representation.
async fn stored_part(
    node: &Node,
    exchange: &mut Exchange,
    request: &Request,
    (object, part): (&Arc<Object<Head>>, policy::partial::Part),
    now: Timestamp,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let stored = object.head().stored().ok_or(Interrupted::Origin)?;
    note_birth(node, exchange, object.head());
    let complete = part.complete;
    let mut headers = aged(stored, now);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(complete));
    let whole = Selected {
        status: stored.status,
        headers,
        part: Part::Whole,
    };
    let received = stored.reception.response_time;
    let selected = select(request, whole, received, Some(complete), 1);
    let wanted = match send_head(node, exchange, request, selected, client).await? {
        // Of the part, and not of the whole.
        Part::One(range) => Part::One(ByteRange {
            first: range.first - part.range.first,
            last: range.last - part.range.first,
        }),
        wanted => wanted,
    };
    let rest = Rest {
        node,
        request,
        of: Of::Stored(object),
        part,
    };
    let content = Content::of(object.body(), &wanted).or_else(rest);
    content.send(wanted, client).await?;
    client.end().await?;
    Ok(Sent::Done)
}

/// Sends a response while it is being received.
pub(super) async fn incoming(
    node: &Node,
    exchange: &mut Exchange,
    request: &Request,
    mut incoming: Incoming,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    note_birth(node, exchange, incoming.reader.head());
    let head = Arc::clone(incoming.reader.head());
    let length = incoming.reader.announced();
    if incoming.part.is_none() {
        let whole = (incoming.status, &mut incoming.headers);
        (incoming.reader, exchange.coding) =
            represent::of_incoming(&node.coder, request, incoming.reader, whole);
    }
    let is_as_received = incoming.part.is_none() && exchange.coding.is_none();
    let length = length.filter(|_| is_as_received);
    let of = Of::Incoming(&head);
    let rest = length.map(|length| Rest::of_whole((node, request), of, length));
    pass_on(node, exchange, request, (incoming, rest), client).await
}

/// Sends what comes in; what cannot be read after all comes from `rest`.
async fn pass_on(
    node: &Node,
    exchange: &mut Exchange,
    request: &Request,
    (incoming, rest): (Incoming, Option<Rest<'_>>),
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let length = content_length(&incoming.headers);
    let start = incoming.part.map_or(0, |part| part.range.first);
    let representation = Selected {
        status: incoming.status,
        headers: incoming.headers,
        part: Part::Whole,
    };
    // Several ranges would have to be sent in the order they were asked for: they are left to the stored response.
    let selected = select(request, representation, incoming.received, length, 1);
    let bytes = match send_head(node, exchange, request, selected, client).await? {
        Part::Nothing => 0..0,
        Part::Whole | Part::Many(_) => 0..u64::MAX,
        Part::One(range) => range.first - start..range.last - start + 1,
    };
    send_incoming(incoming.reader, bytes, rest, client).await?;
    client.end().await?;
    Ok(Sent::Done)
}

/// Applies the client's preconditions, then its ranges (RFC 9110 §13.2.2).
pub(super) fn select(
    request: &Request,
    whole: Selected,
    received: Timestamp,
    length: Option<u64>,
    ranges_max: usize,
) -> Selected {
    let (method, asked) = (request.method(), request.headers());
    match policy::conditional::evaluate(method, asked, whole.status, &whole.headers, received) {
        Precondition::NotModified => Selected {
            status: StatusCode::NOT_MODIFIED,
            headers: policy::conditional::not_modified_headers(asked, &whole.headers),
            part: Part::Nothing,
        },
        Precondition::Failed => Selected {
            status: StatusCode::PRECONDITION_FAILED,
            headers: empty(),
            part: Part::Nothing,
        },
        Precondition::Proceed if *method == Method::HEAD => Selected {
            part: Part::Nothing,
            ..whole
        },
        Precondition::Proceed => match length {
            Some(length) => cut_out(request, whole, length, ranges_max),
            None => whole,
        },
    }
}

fn empty() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers
}

fn cut_out(request: &Request, mut whole: Selected, length: u64, ranges_max: usize) -> Selected {
    let (method, asked) = (request.method(), request.headers());
    let headers = &mut whole.headers;
    match policy::range::answer(method, asked, whole.status, headers, length, ranges_max) {
        RangeAnswer::Whole => return whole,
        RangeAnswer::Unsatisfiable => {
            // RFC 9110 §14.4: an unsatisfied range tells the current length.
            let mut headers = empty();
            let current = policy::range::unsatisfied_range(length);
            headers.insert(header::CONTENT_RANGE, current);
            return Selected {
                status: StatusCode::RANGE_NOT_SATISFIABLE,
                headers,
                part: Part::Nothing,
            };
        }
        RangeAnswer::Single(range) => {
            let sent = range.len();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sent));
            headers.insert(
                header::CONTENT_RANGE,
                policy::range::content_range(range, length),
            );
            whole.part = Part::One(range);
        }
        RangeAnswer::Multiple(ranges) => {
            let kind = headers.get(header::CONTENT_TYPE).cloned();
            let seed = request.seed();
            let multipart = Multipart::new(&ranges, length, kind.as_ref(), seed);
            headers.insert(header::CONTENT_TYPE, multipart.content_type.clone());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(multipart.len));
            whole.part = Part::Many(multipart);
        }
    }
    whole.status = StatusCode::PARTIAL_CONTENT;
    whole
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and punctuation are field content")
}

pub(super) async fn send_head(
    node: &Node,
    exchange: &mut Exchange,
    request: &Request,
    selected: Selected,
    client: &mut impl Client,
) -> Result<Part, Interrupted> {
    let Selected {
        status,
        mut headers,
        part,
    } = selected;
    finish_head(node, exchange, request, status, &mut headers);
    client.head(status, headers).await?;
    Ok(part)
}

/// Makes the head of a response what its client gets.
pub(super) fn finish_head(
    node: &Node,
    exchange: &mut Exchange,
    request: &Request,
    status: StatusCode,
    headers: &mut HeaderMap,
) {
    let key = (request.site.show_key == ShowKey::Yes).then(|| request.key_text());
    exchange.note(node.log.response_fields(), headers);
    withhold(request, headers);
    tell_way(node, request, headers);
    if let Some(outcome) = &exchange.outcome {
        let coding = exchange.coding;
        let key = key.as_deref();
        mark(node, headers, outcome, Told { key, coding });
    }
    vouch(node, exchange, status, headers);
    exchange.begins(node.clock.instant(), status, headers);
}

/// Notes what another node can hold a response against purges by, where one asks.
pub(super) fn note_birth(node: &Node, exchange: &mut Exchange, head: &Head) {
    if let Some(peer) = &exchange.peer {
        exchange.born = head.vouch(&node.purges, peer.here);
    }
}

/// Tells another node of a tier what the response is, where one asks.
pub(crate) fn vouch(node: &Node, exchange: &Exchange, status: StatusCode, headers: &mut HeaderMap) {
    headers.remove(LARDER_TIER);
    if let Some(peer) = &exchange.peer
        && let Some(tier) = node.tiers_of(exchange)
    {
        let about = (exchange.outcome.as_ref(), exchange.born.clone());
        if let Some(field) = tier.vouch(peer, status, about, exchange.request.as_deref()) {
            headers.insert(LARDER_TIER, field);
        }
    }
}

/// The same of an interim response.
pub(crate) fn vouch_interim(request: &Request, status: StatusCode, headers: &mut HeaderMap) {
    headers.remove(LARDER_TIER);
    if let (Some(tier), Some(peer)) = (&request.site.common.tier, &request.peer)
        && let Some(field) = tier.vouch_interim(peer, status)
    {
        headers.insert(LARDER_TIER, field);
    }
}

/// Takes off what is between the origin and its caches: the node's own targeted field, and tags. Another node of a tier
/// is one of them.
pub(crate) fn withhold(request: &Request, headers: &mut HeaderMap) {
    if request.peer.is_some() {
        return;
    }
    let tags = &request.site.tag_fields;
    let is_tag = |name: &HeaderName| tags.iter().any(|it| it.name == *name && it.is_for_caches());
    let is_between =
        |name: &HeaderName| name.as_str() == policy::cache_control::OWN_TARGET || is_tag(name);
    // There are fewer fields than names to look up, and mostly none of these.
    let between = headers.keys().filter(|name| is_between(name));
    let between: Vec<_> = between.cloned().collect();
    for name in between {
        headers.remove(name);
    }
}

/// Adds the node's own fields to a response: `Via`, `Cache-Status`, and `Date` where nobody gave one.
pub(crate) fn mark(node: &Node, headers: &mut HeaderMap, outcome: &Outcome, told: Told<'_>) {
    let status = outcome.cache_status(&node.name, told);
    if let Ok(status) = HeaderValue::try_from(status) {
        headers.append(CACHE_STATUS, status);
    }
    tiered::via::append(headers, http::Version::HTTP_11, &node.name);
    date(node, headers);
}

/// RFC 9110 §6.6.1: a recipient with a clock records when it received a response that has no `Date`.
pub(crate) fn date(node: &Node, headers: &mut HeaderMap) {
    if !headers.contains_key(header::DATE) {
        let now = node.clock.now().http_date();
        headers.insert(header::DATE, ascii(now));
    }
}

async fn send_incoming(
    mut reader: Reader<Head>,
    bytes: Range<u64>,
    rest: Option<Rest<'_>>,
    client: &mut impl Client,
) -> Result<(), Interrupted> {
    let Range { start: mut at, end } = bytes;
    reader.skip_to(at);
    while at < end {
        let data = match next_or_flush(reader.next(), client).await? {
            Ok(Some(data)) => cut(&data, 0, end - at),
            Ok(None) => break,
            Err(why) => {
                let end = reader.announced().map_or(end, |length| length.min(end));
                return break_off(why, at..end, rest, client).await;
            }
        };
        at += data.len() as u64;
        let more = gathered(&mut reader, &mut at, end);
        if more.is_empty() {
            client.content(data).await?;
        } else {
            client.contents([vec![data], more].concat()).await?;
        }
        // Where many read along, nobody gets a second piece before everybody had the first.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// What else has come by now, as much as one turn takes. For each write the client is woken.
fn gathered(reader: &mut Reader<Head>, at: &mut u64, end: u64) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let until = end.min(at.saturating_add(GATHERED_MAX));
    while *at < until
        && let Some(data) = reader.more()
    {
        let data = cut(&data, 0, end - *at);
        *at += data.len() as u64;
        pieces.push(data);
    }
    pieces
}

/// Sends the bytes that the reader does not get. Where the response itself was cut, there are none.
async fn break_off(
    why: Cut,
    bytes: Range<u64>,
    rest: Option<Rest<'_>>,
    client: &mut impl Client,
) -> Result<(), Interrupted> {
    tracing::debug!(%why, "a response cannot be completed");
    let is_elsewhere = matches!(why, Cut::Lagged | Cut::Disk) && !bytes.is_empty();
    if let Some(rest) = rest.filter(|_| is_elsewhere) {
        return Box::pin(rest.send(&why, bytes, client)).await;
    }
    // A head that the client has seen tells it that the response is cut, and not that there is none.
    client.flush().await?;
    Err(Interrupted::Origin)
}

/// `data` without its first `skip` bytes, and at most `left` of the others.
pub(super) fn cut(data: &Bytes, skip: u64, left: u64) -> Bytes {
    let start = usize::try_from(skip).unwrap_or(usize::MAX).min(data.len());
    let room = usize::try_from(left).unwrap_or(usize::MAX);
    let end = start.saturating_add(room).min(data.len());
    data.slice(start..end)
}

/// The next content of a body that can be gone on with where it breaks off. What is prepared leaves before anything is
/// waited for.
pub(super) async fn piece(
    reader: &mut Reader<Head>,
    client: &mut impl Client,
) -> Result<Option<Bytes>, Interrupted> {
    Ok(next_or_flush(reader.next(), client)
        .await?
        .unwrap_or_else(|cut| {
            tracing::debug!(%cut, "a slice cannot be completed");
            None
        }))
}

/// Answers without any response from upstream.
pub(crate) async fn failure(
    node: &Node,
    exchange: &mut Exchange,
    error: UpstreamError,
    client: &mut impl Client,
) -> Result<(), Interrupted> {
    let message = format!("{error}\n");
    let details = error.to_string();
    let headers = told_error(node, exchange, error.proxy_status(), &details);
    made_up(node, exchange, client, error.status(), headers, message).await
}

/// The fields that tell of an error (RFC 9209), as far as the site has it told. Without a site, the error alone.
pub(crate) fn told_error(
    node: &Node,
    exchange: &Exchange,
    error: &str,
    details: &str,
) -> HeaderMap {
    let request = exchange.request.as_deref();
    let telling = request.map_or(Telling::Errors, |request| request.site.telling);
    let trail = request.map(|request| &request.trail);
    let member = proxy_status::of_error(&node.name, error, (telling, trail), details.trim());
    let field = member.and_then(|member| HeaderValue::try_from(member).ok());
    field
        .map(|field| (PROXY_STATUS, field))
        .into_iter()
        .collect()
}

/// Tells where a response came from, where the site has it told.
pub(crate) fn tell_way(node: &Node, request: &Request, headers: &mut HeaderMap) {
    let member = proxy_status::of_response(&node.name, request.site.telling, &request.trail);
    if let Some(field) = member.and_then(|member| HeaderValue::try_from(member).ok()) {
        headers.append(PROXY_STATUS, field);
    }
}

/// Answers with the node's own words.
pub(super) async fn local(
    node: &Node,
    exchange: &mut Exchange,
    client: &mut impl Client,
    status: StatusCode,
    outcome: Outcome,
) -> Result<(), Interrupted> {
    let message = format!("{}\n", outcome.detail().unwrap_or_default());
    exchange.outcome = Some(outcome);
    let headers = told_error(node, exchange, "proxy_internal_response", &message);
    made_up(node, exchange, client, status, headers, message).await
}

/// A response that the node makes up: short, plain and never stored.
pub(crate) async fn made_up(
    node: &Node,
    exchange: &mut Exchange,
    client: &mut impl Client,
    status: StatusCode,
    mut headers: HeaderMap,
    message: String,
) -> Result<(), Interrupted> {
    plain(&mut headers, message.len());
    if let Some(outcome) = &exchange.outcome {
        mark(node, &mut headers, outcome, Told::default());
    }
    vouch(node, exchange, status, &mut headers);
    exchange.begins(node.clock.instant(), status, &headers);
    client.head(status, headers).await?;
    client.content(Bytes::from(message)).await?;
    client.end().await
}

/// The fields of a short answer that nobody stores: text, unless it says what it is.
pub(crate) fn plain(headers: &mut HeaderMap, length: usize) {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.entry(header::CONTENT_TYPE).or_insert(text);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
