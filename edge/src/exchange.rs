//! One request on its way: what was asked, what was found, how it ended. It is Pingora's context.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use policy::coding::Coding;
use policy::key::CacheKey;
use policy::request::RequestTerms;
use policy::search::SearchVariance;
use policy::settings::DeceptionGuard;
use policy::store::{DoNotStore, Kept};
use policy::time::Timestamp;
use storage::purge::Sequence;
use storage::{Epochs, Object};
use tiered::voucher::Born;
use wire::{Authority, RequestHead};

use crate::cache::{CACHE_STATUS, Copying, Head, Slices};
use crate::downstream::Facts;
use crate::metrics::Tally;
use crate::origins::attempts::{Attempts, Candidate};
use crate::outcome::{Forward, Outcome};
use crate::proxy_status::Trail;
use crate::queries::{self, Content};
use crate::searches::Searches;
use crate::sites::{Asked, Site, Sites, Treatment};
use crate::spent::Spent;
use crate::telemetry::{Open, Trace};
use crate::tier::{Hop, Peer};

/// What a client asked, parsed once.
#[derive(Debug)]
pub(crate) struct Request {
    pub head: Arc<RequestHead>,
    pub facts: Arc<Facts>,
    pub site: Arc<Site>,
    pub treatment: Arc<Treatment>,
    pub terms: RequestTerms,
    pub key: CacheKey,
    /// What the path's last response said of its queries: the key is the one that equal queries share.
    pub search: Option<Arc<SearchVariance>>,
    pub content: Content,
    /// The client, and the trusted proxies between it and the node.
    pub path: Vec<IpAddr>,
    /// Where the request went.
    pub trail: Trail,
    /// The node of a tier that sent it, where it was one.
    pub peer: Option<Arc<Peer>>,
    /// The trace that it belongs to, where traces are sent.
    pub trace: Option<Arc<Trace>>,
    /// What it cost there.
    spent: OnceLock<Arc<Spent>>,
}

/// What becomes of a request that is given another target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turned {
    SameTreatment,
    /// Other rules hold for it.
    OtherTreatment,
}

/// What earlier requests taught about keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learnt<'a> {
    pub searches: &'a Searches,
    pub epochs: &'a Arc<Epochs>,
}

impl Request {
    /// It waited for a fetch of another request: its step of the trace says so.
    pub(crate) fn waited_for<H: storage::Head>(&self, follower: &storage::Follower<H>) {
        if let (Some(trace), Some(fetch)) = (&self.trace, follower.sign()) {
            trace.waited_for(fetch);
        }
    }

    /// Finds out how the site treats a request.
    pub(crate) fn new(
        (head, facts, content): (Arc<RequestHead>, Arc<Facts>, Content),
        site: Arc<Site>,
        learnt: Learnt<'_>,
    ) -> Self {
        let treatment = site.treatment(&asked(&head), None);
        let terms = RequestTerms::read(&head.method, &head.headers, &treatment.settings);
        let parts = (&*head, &*facts, &*site);
        let target = key_target(parts, &head.target);
        let search = learnt
            .searches
            .recall(|| path_key(&target, &treatment, &head.headers));
        let mut key = cache_key(&target, &treatment, &head.headers, search.as_deref());
        if let (true, Some(content)) = (queries::is_query(&head.method), content.whole()) {
            let epoch = learnt.epochs.of(storage::Key(key.hash()));
            let about = queries::about_content(&head.headers);
            key = key.with_content(&about, content, epoch);
        }
        Self {
            head,
            facts,
            site,
            treatment,
            terms,
            key,
            search,
            content,
            path: Vec::new(),
            trail: Trail::default(),
            peer: None,
            trace: None,
            spent: OnceLock::new(),
        }
    }

    /// The same request once more, for [`Self::turn_to`] and [`Self::move_to`].
    pub(crate) fn again(&self) -> Self {
        Self {
            head: Arc::new(RequestHead::clone(&self.head)),
            facts: Arc::clone(&self.facts),
            site: Arc::clone(&self.site),
            treatment: Arc::clone(&self.treatment),
            terms: self.terms.clone(),
            key: self.key.clone(),
            search: self.search.clone(),
            content: Content::Unread,
            path: self.path.clone(),
            trail: Trail::default(),
            peer: None,
            trace: None,
            spent: OnceLock::new(),
        }
    }

    /// Makes it a request for another host, whose target is given by [`Self::turn_to`].
    ///
    /// None where it names no site, or one of another configuration, and where somebody still looks at what it was: then
    /// it is none for any.
    pub(crate) fn move_to(&mut self, host: &str, sites: &Sites) -> Option<()> {
        let head = Arc::get_mut(&mut self.head)?;
        head.address(host).ok()?;
        let site = sites.find(&head.authority.host)?;
        if site.common.generation != self.site.common.generation {
            return None;
        }
        if !Arc::ptr_eq(site, &self.site) {
            self.site = Arc::clone(site);
        }
        Some(())
    }

    /// Makes it the request that differs from it in its target only. It has asked nobody for anything so far.
    ///
    /// None where somebody still looks at what it was.
    pub(crate) fn turn_to(&mut self, target: &str, learnt: Learnt<'_>) -> Option<Turned> {
        let head = Arc::get_mut(&mut self.head)?;
        head.target.clear();
        head.target.push_str(target);
        let treatment = self.site.treatment(&asked(&self.head), None);
        let turned = match Arc::ptr_eq(&treatment, &self.treatment) {
            true => Turned::SameTreatment,
            false => {
                let Self { head, .. } = self;
                self.terms = RequestTerms::read(&head.method, &head.headers, &treatment.settings);
                self.treatment = treatment;
                Turned::OtherTreatment
            }
        };
        let parts = (&*self.head, &*self.facts, &*self.site);
        let target = key_target(parts, &self.head.target);
        let headers = &self.head.headers;
        let search = learnt
            .searches
            .recall(|| path_key(&target, &self.treatment, headers));
        self.key = cache_key(&target, &self.treatment, headers, search.as_deref());
        self.search = search;
        Some(turned)
    }

    pub(crate) fn method(&self) -> &Method {
        &self.head.method
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Where requests that are treated like this one are counted.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        self.site.tally(self.treatment.rule)
    }

    /// What is spent for it beyond the node, from now on if nothing was so far.
    pub(crate) fn spent(&self) -> &Arc<Spent> {
        let begin = || Arc::new(Spent::new(self.tally()));
        self.spent.get_or_init(begin)
    }

    /// What was spent for it, if anything was.
    pub(crate) fn spent_so_far(&self) -> Option<&Arc<Spent>> {
        self.spent.get()
    }

    pub(crate) fn storage_key(&self) -> storage::Key {
        storage::Key(self.key.hash())
    }

    /// The URI within the key, for people.
    pub(crate) fn key_text(&self) -> String {
        let parts = (&*self.head, &*self.facts, &*self.site);
        self.key.text(&key_target(parts, &self.head.target))
    }

    /// Whether a response under the request's key says itself that its query is equal to the request's.
    pub(crate) fn is_found_by(&self, stored: &Kept) -> bool {
        let Some(search) = &self.search else {
            return true;
        };
        SearchVariance::read(&stored.headers).as_ref() == Some(&**search)
    }

    /// Where what is known of the path's queries is kept.
    pub(crate) fn path_key(&self) -> storage::Key {
        let parts = (&*self.head, &*self.facts, &*self.site);
        let target = key_target(parts, &self.head.target);
        path_key(&target, &self.treatment, self.headers())
    }

    /// Where responses for another target of the same host would be stored, for a GET like this request: as it is
    /// asked for, and with all queries that are equal to it.
    pub(crate) fn keys_of(&self, target: &str, searches: &Searches) -> Vec<storage::Key> {
        let (path, _) = split_target(target);
        let asked = Asked {
            method: &Method::GET,
            path,
            headers: self.headers(),
        };
        let treatment = self.site.treatment(&asked, None);
        let parts = (&*self.head, &*self.facts, &*self.site);
        let target = key_target(parts, target);
        let headers = self.headers();
        let search = searches.recall(|| path_key(&target, &treatment, headers));
        let exact = cache_key(&target, &treatment, headers, None);
        let shared = search.map(|search| cache_key(&target, &treatment, headers, Some(&search)));
        let keys = [Some(exact), shared].into_iter().flatten();
        keys.map(|key| storage::Key(key.hash())).collect()
    }

    /// How a response with this status is treated: rules may look at it.
    pub(crate) fn treatment_of(&self, status: StatusCode) -> Arc<Treatment> {
        self.site.treatment(&asked(&self.head), Some(status))
    }

    /// Whether the cache may answer it, as far as the request tells.
    pub(crate) fn is_for_the_cache(&self) -> bool {
        crate::cache::passes_by(self).is_none()
    }

    /// The target that the origin is asked for: without the parameters that nobody keyed.
    pub(crate) fn origin_target(&self) -> Cow<'_, str> {
        let target = &self.head.target;
        if !self.is_for_the_cache() {
            return Cow::Borrowed(target);
        }
        let (path, query) = split_target(target);
        match self.treatment.key.origin_query(query) {
            None => Cow::Borrowed(path),
            Some(kept) if Some(&*kept) == query => Cow::Borrowed(target),
            Some(kept) => Cow::Owned(format!("{path}?{kept}")),
        }
    }

    /// Whether a response with this head is what its path promises.
    pub(crate) fn guard(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        guard: DeceptionGuard,
    ) -> Result<(), DoNotStore> {
        let (path, _) = split_target(&self.head.target);
        policy::deception::check(path, status, headers, guard)
    }

    /// How the response would be treated if this were a GET.
    pub(crate) fn treatment_as_get(&self, status: StatusCode) -> Arc<Treatment> {
        let asked = Asked {
            method: &Method::GET,
            ..asked(&self.head)
        };
        self.site.treatment(&asked, Some(status))
    }

    /// A number that tells this request's multipart boundary from others.
    pub(crate) fn seed(&self) -> u64 {
        RandomState::new().hash_one(self.key.hash())
    }

    /// Host and target, for people.
    pub(crate) fn uri_text(&self) -> Box<str> {
        let Authority { host, .. } = &self.head.authority;
        [host.as_str(), &self.head.target].concat().into()
    }

    /// The target URI (RFC 9110 §7.1), where it can be written as one.
    pub(crate) fn uri(&self) -> Option<http::Uri> {
        http::Uri::builder()
            .scheme(self.facts.scheme.as_str())
            .authority(self.head.authority.to_string())
            .path_and_query(self.head.target.as_str())
            .build()
            .ok()
    }
}

fn cache_key(
    target: &policy::key::Target<'_>,
    treatment: &Treatment,
    headers: &HeaderMap,
    search: Option<&SearchVariance>,
) -> CacheKey {
    match search {
        Some(search) => CacheKey::searched(target, &treatment.key, headers, search),
        None => CacheKey::new(target, &treatment.key, headers),
    }
}

fn path_key(
    target: &policy::key::Target<'_>,
    treatment: &Treatment,
    headers: &HeaderMap,
) -> storage::Key {
    storage::Key(CacheKey::of_path(target, &treatment.key, headers).hash())
}

fn key_target<'a>(
    (head, facts, site): (&'a RequestHead, &Facts, &'a Site),
    target: &'a str,
) -> policy::key::Target<'a> {
    let (path, query) = split_target(target);
    let scheme = facts.scheme;
    policy::key::Target {
        site: &site.name,
        scheme: scheme.as_str(),
        host: &head.authority.host,
        port: head.authority.port.unwrap_or_else(|| scheme.default_port()),
        path,
        query,
    }
}

fn asked(head: &RequestHead) -> Asked<'_> {
    Asked {
        method: &head.method,
        path: split_target(&head.target).0,
        headers: &head.headers,
    }
}

/// Path and query of a target in origin form.
pub(crate) fn split_target(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// One request on its way.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub started: Instant,
    pub received: Timestamp,
    /// Known once the request was found to be for one of the sites.
    pub request: Option<Arc<Request>>,
    /// Who asked for what, where it is for none of the sites.
    pub stranger: Option<(Arc<RequestHead>, Arc<Facts>)>,
    /// The status that the client was sent.
    pub status: Option<StatusCode>,
    /// When it was sent.
    pub answered: Option<Instant>,
    /// The `Age` that the client was told.
    pub age: Option<Duration>,
    /// What the nodes beyond this one said of it, where it went there.
    pub upstream: Option<HeaderValue>,
    /// Fields of the response, as far as the log tells any.
    pub fields: HeaderMap,
    /// What the client was sent, as the origin calls it.
    pub content_type: Option<HeaderValue>,
    pub outcome: Option<Outcome>,
    /// Where the slices of the answer came from, if it was made of some.
    pub slices: Option<Slices>,
    /// The coding that the node converted the response to.
    pub coding: Option<Coding>,
    /// Set where the request passes the cache by and goes through Pingora's own proxying.
    pub passing: Option<Passing>,
    /// The node of a tier that sent the request.
    pub peer: Option<Arc<Peer>>,
    /// What that node can hold the response against purges by.
    pub born: Option<Born>,
}

/// The way of a request that passes by, past the nodes of tiers.
#[derive(Debug)]
pub(crate) struct Beyond {
    /// Parents that are tried before the origin, the next one last.
    pub hops: Vec<Hop>,
    /// The place in the node's own order of purges at which the request was sent.
    pub begun: Sequence,
}

/// The way of a request to an origin.
#[derive(Debug)]
pub(crate) struct Way {
    pub attempts: Attempts,
    /// Where the attempt under way goes.
    pub candidate: Option<Candidate>,
    /// Pooled connections that turned out to be closed.
    pub dead: usize,
}

/// A request that passes the cache by.
#[derive(Debug)]
pub(crate) struct Passing {
    pub why: Forward,
    /// The stored response that a HEAD may freshen (RFC 9111 §4.3.5).
    pub selected: Option<Arc<Object<Head>>>,
    /// Where there are tiers: none before it is known.
    pub beyond: Option<Box<Beyond>>,
    /// None before the first attempt.
    pub way: Option<Box<Way>>,
    /// Interim responses so far.
    pub interim: usize,
    pub sent: Option<Timestamp>,
    /// When, for durations.
    pub asked: Option<Instant>,
    /// The attempt under way, as a step of the request's trace.
    pub step: Option<Open>,
    /// The response to a POST may be stored for a later GET.
    pub copying: Copying,
}

impl Passing {
    pub(crate) const fn new(why: Forward, selected: Option<Arc<Object<Head>>>) -> Self {
        Self {
            why,
            selected,
            beyond: None,
            way: None,
            interim: 0,
            sent: None,
            asked: None,
            step: None,
            copying: Copying::No,
        }
    }
}

impl Exchange {
    /// The response begins with this head.
    pub(crate) fn begins(&mut self, now: Instant, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        self.answered = Some(now);
        let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
        let seconds = age.and_then(|age| age.trim().parse().ok());
        self.age = seconds.map(Duration::from_secs);
        self.content_type = headers.get(header::CONTENT_TYPE).cloned();
    }

    /// Notes what the log tells of a response's fields beside the rest, before the node changes any.
    pub(crate) fn note(&mut self, told: &[HeaderName], headers: &HeaderMap) {
        for name in told {
            if let Some(value) = headers.get(name) {
                self.fields.insert(name, value.clone());
            }
        }
        if matches!(self.outcome, Some(Outcome::Forwarded(_))) {
            self.upstream = headers.get(CACHE_STATUS).cloned();
        }
    }

    pub(crate) fn new(started: Instant, received: Timestamp) -> Self {
        Self {
            started,
            received,
            request: None,
            stranger: None,
            status: None,
            answered: None,
            age: None,
            upstream: None,
            fields: HeaderMap::new(),
            content_type: None,
            outcome: None,
            slices: None,
            coding: None,
            passing: None,
            peer: None,
            born: None,
        }
    }
}
