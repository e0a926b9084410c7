//! Purging: what a response can be purged by, and what a purge does.

mod groups;
mod local;
pub(crate) mod log;
pub(crate) mod position;
mod preview;
pub(crate) mod record;
mod sweep;
mod tags;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use policy::key::{CacheKey, KeyRules};
use policy::time::Timestamp;
use purge_api::{Filter, Mode, Order, Scope};
use storage::Moment;
use storage::purge::{
    self, Label, Labeller, Life, LogError, LogFile, LogId, Membership, PurgeIndex, Sequence,
    Testimony, Witness,
};
use tiered::voucher::Born;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::exchange::{Request, split_target};
use crate::sites::{Asked, Site, Sites};
use crate::tier::Source;

pub(crate) use local::LocalLog;
use log::{Event, LogName, Placed, PublishError, Published, PurgeLog};
pub(crate) use log::{LogState, LogStatus, Reach, Reached, Sink, Trust};
use position::Position;
pub(crate) use preview::preview;
use record::{Doubt, Reason, Record};
pub(crate) use sweep::{Matched, Sweeper, run as sweep};
pub(crate) use tags::TagField;

/// Path segments that a prefix can name; what lies deeper is purged with them.
pub(crate) const PREFIX_DEPTH_MAX: usize = 32;

/// Names with purges that are remembered.
const LABELS_MAX: usize = 1_000_000;
/// Purges that can be asked about, and repeated without effect.
const KEPT_MAX: usize = 10_000;
/// Dry runs under way at once.
const PREVIEWS_MAX: usize = 1;

/// What a label stands for.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Kind {
    All,
    Site,
    Host,
    Url,
    Prefix,
    Tag,
    Search,
    Key,
}

/// The purges of a node.
#[derive(Debug)]
pub(crate) struct Purges {
    labeller: Labeller,
    index: PurgeIndex,
    log: Box<dyn PurgeLog>,
    log_id: LogId,
    journal: Mutex<Journal>,
    /// The place in the log up to which everything is applied.
    applied: watch::Sender<u64>,
    /// Where that is in the log, for other nodes.
    pub position: Arc<Position>,
    /// Beside what is stored on disks.
    witness: Option<Mutex<Witness>>,
    pub sweeper: Sweeper,
    /// Dry runs that may be begun.
    pub previews: Semaphore,
    /// How often purges were found to be missing since the node was started: everything is validated then.
    resets: AtomicU64,
}

/// The last of what was applied.
#[derive(Debug, Default)]
struct Journal {
    /// The oldest first.
    last: VecDeque<Logged>,
}

/// A purge and its place in the order.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// In the log.
    pub sequence: Sequence,
    /// In this node's own order.
    pub own: Sequence,
    pub order: Order,
    /// What of it was stored, once the sweeper has counted.
    pub matched: Option<Matched>,
    /// None where that was before the node was started.
    pub applied: Option<Applied>,
}

/// When a purge was applied here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    pub at: Timestamp,
    /// Since this node accepted it; none where another one did.
    pub took: Option<Duration>,
}

/// A purge that is applied.
#[derive(Clone, Debug)]
pub(crate) enum Accepted {
    /// By now.
    Now(Logged),
    /// It was already: this was a repetition.
    Before(Logged),
    /// Not yet: it is in the log, and that is all that was waited for, or for long enough.
    Later(Logged),
    /// Nowhere: it is durable here, and waits until the log can be reached.
    Queued(Order),
}

/// Why a purge was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PurgeError {
    /// It names a host or site that the node does not serve.
    #[error("no site answers for `{0}`")]
    UnknownHost(String),
    /// It is not an absolute URL, or a prefix with a host.
    #[error("`{0}` is no absolute http or https URL")]
    Url(String),
    /// More segments than [`PREFIX_DEPTH_MAX`].
    #[error("`{0}` has more than {PREFIX_DEPTH_MAX} path segments")]
    Depth(String),
    /// It is no key's hash.
    #[error("`{0}` is no key: a key is 32 hexadecimal digits")]
    Key(String),
    /// It could not be made durable. Nothing was purged.
    #[error(transparent)]
    Log(#[from] PublishError),
}

impl Journal {
    fn find(&self, id: &str) -> Option<Logged> {
        let mut newest_first = self.last.iter().rev();
        newest_first.find(|it| it.order.id == id).cloned()
    }

    /// The purge at a place of this node's own order.
    fn at(&mut self, own: Sequence) -> Option<&mut Logged> {
        let place = self.last.binary_search_by_key(&own, |it| it.own);
        self.last.get_mut(place.ok()?)
    }

    fn keep(&mut self, logged: Logged) {
        if self.last.len() >= KEPT_MAX {
            self.last.pop_front();
        }
        self.last.push_back(logged);
    }
}

impl Purges {
    /// Opens the file in a folder, which is made where there is none, and applies what is in it. `log` makes the log
    /// that is followed from there, of the file and of what a sequence of its end has to be taken from for its place.
    ///
    /// Where there is no file, purges are counted and not kept: the audit trail is lost with the process, and what disks
    /// have of it is not used again. A `witness` beside the disks says whether the file is all there was.
    pub(crate) fn open(
        folder: Option<&Path>,
        witness: Option<&Path>,
        sites: &Sites,
        now: Moment,
        log: impl FnOnce(LogFile, i64) -> Box<dyn PurgeLog>,
    ) -> Self {
        let fresh = LogId(crate::token::number());
        let opened = folder.map(|folder| open_log(folder, fresh));
        let opened = opened.unwrap_or_else(|| Ok(Opened::volatile(fresh)));
        let opened = opened.unwrap_or_else(|error| {
            tracing::warn!(%error, "purges are not kept beyond this process");
            Opened::volatile(fresh)
        });
        let Opened {
            mut file,
            records,
            resets,
        } = opened;
        let witness = witness.and_then(|path| hear_witness(path, &mut file));
        let log_id = file.id();
        let log = log(file, last_offset(&records));
        let purges = Self {
            labeller: Labeller::of(log_id),
            witness: witness.map(Mutex::new),
            index: PurgeIndex::new(LABELS_MAX),
            log_id,
            applied: watch::Sender::new(applied_at_start(&*log)),
            position: Arc::new(Position::new(log.name(), last_offset(&records))),
            log,
            journal: Mutex::default(),
            sweeper: Sweeper::default(),
            previews: Semaphore::new(PREVIEWS_MAX),
            resets: AtomicU64::new(resets),
        };
        let mut offset = 0;
        for (sequence, payload) in records {
            purges.reapply(sequence, &payload, &mut offset, sites, now);
        }
        purges
    }

    fn reapply(
        &self,
        sequence: Sequence,
        payload: &[u8],
        offset: &mut i64,
        sites: &Sites,
        now: Moment,
    ) {
        match Record::read(payload) {
            Record::Purge(order) => {
                let place = sequence.0.cast_signed().wrapping_sub(*offset);
                let placed = Placed {
                    sequence,
                    place: place.cast_unsigned(),
                    order,
                };
                self.apply(placed, sites, (now, None));
            }
            Record::Doubt(doubt) => {
                *offset = doubt.offset;
                self.index.doubt(sequence);
            }
            Record::Unknown => {
                let all = [self.label(Kind::All, &[])];
                self.index.apply(sequence, &all, purge::Mode::Hard, now);
            }
        }
    }

    /// Begins to follow the log: `sink` is to call [`Purges::hear`].
    pub(crate) fn start(&self, sink: Sink) {
        self.log.start(sink);
    }

    /// Applies what the log tells.
    pub(crate) fn hear(&self, event: Event, sites: &Sites, now: Moment) {
        let log = self.log.name();
        let place = match event {
            Event::Purge(placed) => {
                let (place, sequence) = (placed.place, placed.sequence);
                let at = Timestamp::from_unix_millis(now.0);
                let applied = Applied { at, took: None };
                self.apply(placed, sites, (now, Some(applied)));
                self.position.moved(log, place, sequence);
                place
            }
            Event::Doubt { sequence, place } => {
                self.index.doubt(sequence);
                // Which log is followed from here on, the next event tells.
                self.position.moved(LogName::Unknown, place, sequence);
                self.resets.fetch_add(1, Ordering::Relaxed);
                place
            }
            Event::Passed(place) => {
                self.position.passed(log, place);
                place
            }
        };
        self.testify();
        self.applied.send_replace(place);
    }

    /// Before a purge is acknowledged, the witness knows of it.
    fn testify(&self) {
        let Some(witness) = &self.witness else {
            return;
        };
        let now = Testimony {
            log: self.log_id,
            last: self.latest(),
        };
        if let Err(error) = witness.lock().say(now) {
            tracing::error!(%error, "should purges go missing from the log, a restart might not notice");
        }
    }

    fn apply(&self, placed: Placed, sites: &Sites, (now, applied): (Moment, Option<Applied>)) {
        let Placed {
            sequence,
            place,
            order,
        } = placed;
        let mut labels = Vec::new();
        for scope in &order.scopes {
            if self.add_labels(scope, sites, &mut labels).is_err() {
                labels.push(self.label_unserved(scope));
            }
        }
        self.index.apply(sequence, &labels, mode(order.mode), now);
        self.journal.lock().keep(Logged {
            sequence: Sequence(place),
            own: sequence,
            order,
            matched: None,
            applied,
        });
        if applied.is_some() {
            self.sweeper.applied(sequence, labels);
        }
    }

    /// Keeps how long a purge took that this node accepted.
    pub(crate) fn took(&self, mut logged: Logged, took: Duration) -> Logged {
        if let Some(kept) = self.journal.lock().at(logged.own) {
            kept.applied = kept.applied.map(|it| Applied {
                took: Some(took),
                ..it
            });
            logged = kept.clone();
        }
        logged
    }

    /// What was accepted elsewhere, or under another configuration, may name a site or host that is not served here.
    /// Should that change, nothing from before the purge comes back: rather a host too much goes.
    fn label_unserved(&self, scope: &Scope) -> Label {
        match scope {
            Scope::Site(site) => self.label(Kind::Site, &[site.as_bytes()]),
            Scope::Tag {
                site: Some(site),
                tag,
            } => self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()]),
            Scope::Host(host) => self.label(Kind::Host, &[host.to_ascii_lowercase().as_bytes()]),
            Scope::Url(url) | Scope::Prefix(url) => match parse_url(url) {
                Ok((host, _)) => self.label(Kind::Host, &[host.as_bytes()]),
                Err(_) => self.label(Kind::All, &[]),
            },
            Scope::All | Scope::Key(_) | Scope::Tag { site: None, .. } => {
                self.label(Kind::All, &[])
            }
        }
    }

    /// Makes a purge durable, and waits until it is applied here, if at all for so long. A purge with the identifier of
    /// one of the last is that one.
    pub(crate) async fn purge(
        &self,
        order: Order,
        sites: &Sites,
        patience: Option<Duration>,
    ) -> Result<Accepted, PurgeError> {
        self.labels_of(&order, sites)?;
        if let Some(known) = self.find(&order.id) {
            return Ok(Accepted::Before(known));
        }
        let site = only_site(&order, sites);
        let place = match self.log.publish(&order, site.as_deref()).await? {
            Published::At(place) => place,
            Published::Queued => return Ok(Accepted::Queued(order)),
        };
        // Who does not wait is told what is so already.
        let waiting = self.applied_here(&order.id, place);
        Ok(match timeout(patience.unwrap_or_default(), waiting).await {
            Ok(logged) => Accepted::Now(logged),
            Err(_elapsed) => Accepted::Later(Logged {
                sequence: Sequence(place),
                own: self.latest(),
                order,
                matched: None,
                applied: None,
            }),
        })
    }

    /// Waits until a purge is applied here. Its place alone does not tell: a log that lost its end gives places again.
    async fn applied_here(&self, id: &str, place: u64) -> Logged {
        let mut applied = self.applied.subscribe();
        loop {
            let reached = *applied.borrow_and_update() >= place;
            if let Some(logged) = reached.then(|| self.find(id)).flatten() {
                return logged;
            }
            // The sender is a part of this.
            drop(applied.changed().await);
        }
    }

    /// The place in the log up to which everything is applied.
    pub(crate) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// What may be done with what is stored.
    pub(crate) fn trust(&self) -> Trust {
        self.log.trust()
    }

    /// How far the other nodes are with a purge.
    pub(crate) fn reach(&self, place: u64) -> Vec<Reach> {
        self.log.reach(place)
    }

    /// Returns when all nodes have applied the purge at a place.
    pub(crate) async fn reached_by_all(&self, place: u64) {
        self.log.reached_by_all(place).await;
    }

    /// The node stops.
    pub(crate) async fn leave(&self) {
        self.log.leave().await;
    }

    /// How often purges were found to be missing.
    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }

    /// How the log stands.
    pub(crate) fn log_status(&self) -> LogStatus {
        self.log.status()
    }

    /// The log that sequences are of. What was born under another one has to be validated before it is used: the two
    /// cannot be compared.
    pub(crate) const fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The last purges that are asked for and may be seen, the newest first: one more than the page has.
    pub(crate) fn last(&self, filter: &Filter, sees: &dyn Fn(&Order) -> bool) -> Vec<Logged> {
        let journal = self.journal.lock();
        let before = |it: &&Logged| filter.before.is_none_or(|before| it.sequence.0 < before);
        let newest_first = journal.last.iter().rev().filter(before);
        let found = newest_first.filter(|it| filter.admits(&it.order) && sees(&it.order));
        found.take(filter.limit + 1).cloned().collect()
    }

    /// One of the last purges.
    pub(crate) fn find(&self, id: &str) -> Option<Logged> {
        self.journal.lock().find(id)
    }

    /// The sequence that a response is born at whose request is sent now.
    pub(crate) fn latest(&self) -> Sequence {
        self.index.latest()
    }

    /// The sequence up to which everything was swept.
    pub(crate) fn forgotten(&self) -> Sequence {
        self.index.forgotten()
    }

    /// What another node, which follows the same log, can hold a response against purges by.
    pub(crate) fn vouch(&self, membership: &Membership) -> Option<Born> {
        self.position.vouch(&self.index, membership)
    }

    /// The same for a response that is not stored, and was asked for at `begun`.
    pub(crate) fn vouch_passed(&self, begun: Sequence) -> Option<Born> {
        self.position.vouch_passed(&self.index, begun)
    }

    /// When a response was born that was asked for at `begun`, and came from where `source` says.
    pub(crate) fn born(&self, begun: Sequence, source: &Source) -> Sequence {
        match source {
            Source::Origin => begun,
            Source::Tier(born) => self.position.born(&self.index, begun, born.as_ref()),
        }
    }

    /// What the purges leave of a response.
    pub(crate) fn life(&self, membership: &Membership) -> Life {
        self.index.life(membership)
    }

    /// Labels with purges that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn label(&self, kind: Kind, parts: &[&[u8]]) -> Label {
        self.labeller.label(kind as u8, parts)
    }

    /// What the response to a request can be purged by, and since when.
    pub(crate) fn membership(
        &self,
        born: Sequence,
        request: &Request,
        response: &HeaderMap,
    ) -> Membership {
        Membership::new(born, self.labels(request, response))
    }

    /// Everything that the response to a request can be purged by.
    pub(crate) fn labels(&self, request: &Request, response: &HeaderMap) -> Vec<Label> {
        let site = &*request.site;
        let authority = &request.head.authority;
        let name = site.name.as_bytes();
        let mut labels = vec![
            self.label(Kind::All, &[]),
            self.label(Kind::Site, &[name]),
            self.label(Kind::Host, &[authority.host.as_bytes()]),
            self.url_label(site, &authority.host, &request.head.target),
            self.label(Kind::Key, &[&request.key.hash()]),
        ];
        let (path, _) = split_target(&request.head.target);
        for prefix in prefixes(path) {
            labels.push(self.prefix_label(&authority.host, prefix));
        }
        for tag in tags::tags(response, &site.tag_fields) {
            labels.push(self.label(Kind::Tag, &[name, &tag]));
        }
        for tag in groups::tags(request, response) {
            labels.push(self.label(Kind::Tag, &[name, tag.as_bytes()]));
        }
        if response.contains_key(policy::search::NO_VARY_SEARCH) {
            labels.push(self.search_label(site, &authority.host, path));
        }
        labels
    }

    /// The URL as the site's key rules see it, whatever the scheme: fields and cookies in the key make variants of it.
    fn url_label(&self, site: &Site, host: &str, target: &str) -> Label {
        let (path, query) = split_target(target);
        let headers = HeaderMap::new();
        let asked = Asked {
            method: &http::Method::GET,
            path,
            headers: &headers,
        };
        let rules = KeyRules {
            headers: Vec::new(),
            cookies: Vec::new(),
            ..site.treatment(&asked, None).key.clone()
        };
        let target = policy::key::Target {
            site: &site.name,
            scheme: "",
            host,
            port: 0,
            path,
            query,
        };
        let key = CacheKey::new(&target, &rules, &headers);
        self.label(Kind::Url, &[&key.hash()])
    }

    /// All queries of a path whose responses say which of them are equal: a purge of one of their URLs does not know
    /// under which of the others a response was stored, and takes them all.
    fn search_label(&self, site: &Site, host: &str, path: &str) -> Label {
        let parts = [site.name.as_bytes(), host.as_bytes(), path.as_bytes()];
        self.label(Kind::Search, &parts)
    }

    fn prefix_label(&self, host: &str, prefix: &str) -> Label {
        self.label(Kind::Prefix, &[host.as_bytes(), prefix.as_bytes()])
    }

    /// What an order names.
    pub(crate) fn labels_of(&self, order: &Order, sites: &Sites) -> Result<Vec<Label>, PurgeError> {
        let mut labels = Vec::new();
        for scope in &order.scopes {
            self.add_labels(scope, sites, &mut labels)?;
        }
        Ok(labels)
    }

    fn add_labels(
        &self,
        scope: &Scope,
        sites: &Sites,
        labels: &mut Vec<Label>,
    ) -> Result<(), PurgeError> {
        match scope {
            Scope::All => labels.push(self.label(Kind::All, &[])),
            Scope::Site(site) => {
                known_site(sites, site)?;
                labels.push(self.label(Kind::Site, &[site.as_bytes()]));
            }
            Scope::Host(host) => {
                let host = host.to_ascii_lowercase();
                known_host(sites, &host)?;
                labels.push(self.label(Kind::Host, &[host.as_bytes()]));
            }
            Scope::Url(url) => {
                let (host, target) = parse_url(url)?;
                let site = known_host(sites, &host)?;
                labels.push(self.url_label(site, &host, &target));
                labels.push(self.search_label(site, &host, split_target(&target).0));
            }
            Scope::Key(key) => {
                let hash = parse_key(key).ok_or_else(|| PurgeError::Key(key.clone()))?;
                labels.push(self.label(Kind::Key, &[&hash]));
            }
            Scope::Prefix(prefix) => {
                let (host, target) = parse_url(prefix)?;
                known_host(sites, &host)?;
                let (path, _) = split_target(&target);
                let path = path.strip_suffix('/').unwrap_or(path);
                if path.split('/').count() > PREFIX_DEPTH_MAX {
                    return Err(PurgeError::Depth(prefix.clone()));
                }
                labels.push(self.prefix_label(&host, path));
            }
            Scope::Tag {
                site: Some(site),
                tag,
            } => {
                known_site(sites, site)?;
                labels.push(self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()]));
            }
            Scope::Tag { site: None, tag } => {
                let names = sites.names();
                labels.extend(
                    names.map(|site| self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()])),
                );
            }
        }
        Ok(())
    }
}

/// The log in a folder and its records. Where some may be missing, the last one says so.
/// A log's file, and what was in it.
struct Opened {
    file: LogFile,
    records: Vec<(Sequence, Bytes)>,
    /// One where it was damaged.
    resets: u64,
}

impl Opened {
    fn volatile(id: LogId) -> Self {
        Self {
            file: LogFile::volatile(id),
            records: Vec::new(),
            resets: 0,
        }
    }
}

fn open_log(folder: &Path, fresh: LogId) -> Result<Opened, LogError> {
    if let Err(error) = std::fs::create_dir_all(folder) {
        tracing::debug!(%error, "no folder for the purge log");
    }
    let (mut file, recovered) = LogFile::open(&folder.join("purges.log"), fresh)?;
    let mut records = recovered.records;
    let mut resets = 0;
    if recovered.damage == purge::Damage::Found {
        tracing::error!(
            "the purge log is damaged: purges may be missing from it, and everything stored is validated"
        );
        let (doubt, offset) = (Reason::Damage, 0);
        let payload = Doubt { doubt, offset }.payload();
        file.append(std::slice::from_ref(&payload))?;
        records.push((file.last(), payload));
        resets = 1;
    }
    Ok(Opened {
        file,
        records,
        resets,
    })
}

/// The host that a scope names, in lower case, where it names one.
pub(crate) fn host_of(scope: &Scope) -> Option<String> {
    match scope {
        Scope::Host(host) => Some(host.to_ascii_lowercase()),
        Scope::Url(url) | Scope::Prefix(url) => Some(parse_url(url).ok()?.0),
        Scope::All | Scope::Site(_) | Scope::Key(_) | Scope::Tag { .. } => None,
    }
}

/// The hash of a cache key from its digits.
fn parse_key(digits: &str) -> Option<[u8; 16]> {
    let all = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let hash = u128::from_str_radix(digits, 16).ok().filter(|_| all)?;
    Some(hash.to_be_bytes())
}

/// Up to where a log is applied when its file was read; one that others share is to tell.
fn applied_at_start(log: &dyn PurgeLog) -> u64 {
    let LogStatus { last, state } = log.status();
    match state {
        LogState::Current => last,
        LogState::Unknown | LogState::Replaying(_) | LogState::Lagging(_) => 0,
    }
}

/// What a sequence behind the last record has to be taken from for its place.
fn last_offset(records: &[(Sequence, Bytes)]) -> i64 {
    let newest_first = records.iter().rev();
    let mut offsets = newest_first.filter_map(|(_, payload)| match Record::read(payload) {
        Record::Doubt(doubt) => Some(doubt.offset),
        Record::Purge(_) | Record::Unknown => None,
    });
    offsets.next().unwrap_or_default()
}

/// The only site that a purge touches, where there is one.
pub(crate) fn only_site(order: &Order, sites: &Sites) -> Option<String> {
    let mut all = order.scopes.iter().map(|scope| site_of(scope, sites));
    let first = all.next()??;
    all.all(|site| site.as_ref() == Some(&first))
        .then_some(first)
}

/// Whether a purge touches no other site than that one. What is not served here touches nothing here.
pub(crate) fn is_within(order: &Order, site: &str, sites: &Sites) -> bool {
    order.scopes.iter().all(|scope| match scope {
        Scope::All | Scope::Key(_) | Scope::Tag { site: None, .. } => false,
        _ => site_of(scope, sites).is_none_or(|only| only == site),
    })
}

/// The site that a scope is of, where that is one, and served here.
fn site_of(scope: &Scope, sites: &Sites) -> Option<String> {
    let host = match scope {
        Scope::Site(site)
        | Scope::Tag {
            site: Some(site), ..
        } => return Some(site.clone()),
        Scope::All | Scope::Key(_) | Scope::Tag { site: None, .. } => return None,
        Scope::Host(host) => host.to_ascii_lowercase(),
        Scope::Url(url) | Scope::Prefix(url) => parse_url(url).ok()?.0,
    };
    sites.find(&host).map(|site| site.name.clone())
}

/// Asks the witness whether this log is the one that the disks' responses were born under, and all of it. If it is not,
/// none of them may be used again: the log becomes another one.
fn hear_witness(path: &Path, file: &mut LogFile) -> Option<Witness> {
    let opened = Witness::open(path);
    let mut witness = opened
        .inspect_err(|error| {
            let path = path.display();
            tracing::error!(%path, %error, "no witness of the purges: the disks begin empty");
        })
        .ok();
    let (log, last) = (file.id(), file.last());
    let trusted = match witness.as_ref().and_then(Witness::said) {
        None => false,
        Some(said) if said.log != log => {
            tracing::error!("the purge log is not the one that the disks know: they begin empty");
            false
        }
        Some(said) if said.last > last => {
            let (said, last) = (said.last.0, last.0);
            tracing::error!(
                said,
                last,
                "purges are missing from the log: the disks begin empty"
            );
            false
        }
        Some(_) => true,
    };
    if !trusted && let Err(error) = file.renew(LogId(crate::token::number())) {
        tracing::error!(%error, "the purge log cannot be renewed");
        return None;
    }
    let log = file.id();
    let now = Testimony { log, last };
    if let Some(Err(error)) = witness.as_mut().map(|witness| witness.say(now)) {
        tracing::error!(%error, "the witness of the purges cannot be written");
    }
    witness
}

const fn mode(mode: Mode) -> purge::Mode {
    match mode {
        Mode::Hard => purge::Mode::Hard,
        Mode::Soft => purge::Mode::Soft,
    }
}

fn known_host<'a>(sites: &'a Sites, host: &str) -> Result<&'a Site, PurgeError> {
    let site = sites.find(host);
    site.map(|site| &**site)
        .ok_or_else(|| PurgeError::UnknownHost(host.to_owned()))
}

fn known_site(sites: &Sites, name: &str) -> Result<(), PurgeError> {
    if sites.names().any(|known| known == name) {
        return Ok(());
    }
    Err(PurgeError::UnknownHost(name.to_owned()))
}

/// Host and target of an absolute URL. The port is none of a purge's business.
fn parse_url(url: &str) -> Result<(String, String), PurgeError> {
    let bad = || PurgeError::Url(url.to_owned());
    let uri: http::Uri = url.parse().map_err(|_invalid| bad())?;
    let http = uri
        .scheme_str()
        .is_some_and(|it| it == "http" || it == "https");
    let authority = uri.authority().filter(|_| http).ok_or_else(bad)?;
    let authority = wire::check_authority(authority.as_str()).map_err(|_refused| bad())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Ok((authority.host, target.to_owned()))
}

/// A path and the folders above it, without the slash at their ends: `/a/b` has the empty one, `/a` and `/a/b`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    let own = (!path.ends_with('/')).then_some(path);
    folders.chain(own).take(PREFIX_DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_folders_above_it() {
        let all = |path| prefixes(path).collect::<Vec<_>>();
        assert_eq!(all("/"), [""]);
        assert_eq!(all("/a"), ["", "/a"]);
        assert_eq!(all("/a/b.js"), ["", "/a", "/a/b.js"]);
        assert_eq!(all("/a/b/"), ["", "/a", "/a/b"]);
        let deep = "/x".repeat(2 * PREFIX_DEPTH_MAX);
        assert_eq!(all(&deep).len(), PREFIX_DEPTH_MAX);
    }

    #[test]
    fn a_url_to_purge_is_absolute() {
        let parsed = parse_url("https://WWW.Example.com:8443/a?b").unwrap();
        assert_eq!(parsed, ("www.example.com".to_owned(), "/a?b".to_owned()));
        assert_eq!(parse_url("http://e.com").unwrap().1, "/");
        for bad in [
            "/a",
            "ftp://e.com/",
            "e.com/a",
            "http:///a",
            "http://u@e.com/",
            "",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
