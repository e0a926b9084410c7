//! Purging: what a response can be purged by, and what a purge does.

mod groups;
mod local;
pub(crate) mod log;
pub(crate) mod record;
mod tags;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use policy::key::{CacheKey, KeyRules};
use purge_api::{Mode, Order, Scope};
use storage::Moment;
use storage::purge::{
    self, Label, Labeller, Life, LogError, LogFile, LogId, Membership, PurgeIndex, Sequence,
};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::exchange::{Request, split_target};
use crate::sites::{Asked, Site, Sites};

pub(crate) use local::LocalLog;
use log::{Event, Placed, PublishError, Published, PurgeLog, Reach};
pub(crate) use log::{LogState, LogStatus, Sink, Trust};
use record::{Doubt, Reason, Record};
pub(crate) use tags::TagField;

/// Path segments that a prefix can name; what lies deeper is purged with them.
pub(crate) const PREFIX_DEPTH_MAX: usize = 32;

/// Names with purges that are remembered.
const LABELS_MAX: usize = 1_000_000;
/// Purges that can be asked about, and repeated without effect.
const KEPT_MAX: usize = 10_000;
/// How long a purge that is in the log may take until it is applied here.
const APPLY_PATIENCE: Duration = Duration::from_secs(10);

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
    pub sequence: Sequence,
    pub order: Order,
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
    /// It could not be made durable. Nothing was purged.
    #[error(transparent)]
    Log(#[from] PublishError),
    /// The log cannot be reached. It is durable here, and applied nowhere until it is in the log.
    #[error("the purge waits until the log can be reached; nothing is purged yet")]
    Queued,
    /// It is in the log, and this node has not applied it in time.
    #[error("the purge has place {0} in the log, and is not applied here yet")]
    Pending(u64),
}

impl Journal {
    fn find(&self, id: &str) -> Option<Logged> {
        let mut newest_first = self.last.iter().rev();
        newest_first.find(|it| it.order.id == id).cloned()
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
    /// Where there is no file, purges are counted and not kept: nothing that is stored outlives the process, so only the
    /// audit trail is lost.
    pub(crate) fn open(
        folder: Option<&Path>,
        sites: &Sites,
        now: Moment,
        log: impl FnOnce(LogFile, i64) -> Box<dyn PurgeLog>,
    ) -> Self {
        let fresh = LogId(crate::token::number());
        let opened = folder.map(|folder| open_log(folder, fresh));
        let (file, records) = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => {
                tracing::warn!(%error, "purges are not kept beyond this process");
                (LogFile::volatile(fresh), Vec::new())
            }
            None => (LogFile::volatile(fresh), Vec::new()),
        };
        let offset = last_offset(&records);
        let purges = Self {
            labeller: Labeller::default(),
            index: PurgeIndex::new(LABELS_MAX),
            log_id: file.id(),
            applied: watch::Sender::new(0),
            log: log(file, offset),
            journal: Mutex::default(),
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
                self.apply(placed, sites, now);
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
        let place = match event {
            Event::Purge(placed) => {
                let place = placed.place;
                self.apply(placed, sites, now);
                place
            }
            Event::Doubt { sequence, place } => {
                self.index.doubt(sequence);
                place
            }
            Event::Passed(place) => place,
        };
        self.applied.send_replace(place);
    }

    fn apply(&self, placed: Placed, sites: &Sites, now: Moment) {
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
        let sequence = Sequence(place);
        self.journal.lock().keep(Logged { sequence, order });
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
            Scope::All | Scope::Tag { site: None, .. } => self.label(Kind::All, &[]),
        }
    }

    /// Makes a purge durable, and waits until it is applied. A purge with the identifier of one of the last is that
    /// one.
    pub(crate) async fn purge(&self, order: Order, sites: &Sites) -> Result<Logged, PurgeError> {
        self.labels_of(&order, sites)?;
        if let Some(known) = self.find(&order.id) {
            return Ok(known);
        }
        let site = only_site(&order, sites);
        let place = match self.log.publish(&order, site.as_deref()).await? {
            Published::At(place) => place,
            Published::Queued => return Err(PurgeError::Queued),
        };
        let mut applied = self.applied.subscribe();
        let waiting = applied.wait_for(|applied| *applied >= place);
        let waited = timeout(APPLY_PATIENCE, waiting).await;
        waited.map_err(|_elapsed| PurgeError::Pending(place))?.ok();
        let sequence = Sequence(place);
        let known = self.find(&order.id);
        Ok(known.unwrap_or(Logged { sequence, order }))
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
    #[expect(dead_code, reason = "who asks is told of this node alone")]
    pub(crate) fn reach(&self, place: u64) -> Vec<Reach> {
        self.log.reach(place)
    }

    /// Returns when all nodes have applied the purge at a place.
    #[expect(dead_code, reason = "who asks is told of this node alone")]
    pub(crate) async fn reached_by_all(&self, place: u64) {
        self.log.reached_by_all(place).await;
    }

    /// The node stops.
    pub(crate) async fn leave(&self) {
        self.log.leave().await;
    }

    /// How the log stands.
    pub(crate) fn log_status(&self) -> LogStatus {
        self.log.status()
    }

    /// The log that sequences are of. What was born under another one has to be validated before it is used: the two
    /// cannot be compared.
    #[expect(dead_code, reason = "nothing outlives the process yet")]
    pub(crate) const fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The last purges, the newest first.
    pub(crate) fn last(&self, most: usize) -> Vec<Logged> {
        let journal = self.journal.lock();
        journal.last.iter().rev().take(most).cloned().collect()
    }

    /// One of the last purges.
    pub(crate) fn find(&self, id: &str) -> Option<Logged> {
        self.journal.lock().find(id)
    }

    /// The sequence that a response is born at whose request is sent now.
    pub(crate) fn latest(&self) -> Sequence {
        self.index.latest()
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

    /// Everything that the response to a request can be purged by.
    pub(crate) fn membership(
        &self,
        born: Sequence,
        request: &Request,
        response: &HeaderMap,
    ) -> Membership {
        let site = &*request.site;
        let authority = &request.head.authority;
        let name = site.name.as_bytes();
        let mut labels = vec![
            self.label(Kind::All, &[]),
            self.label(Kind::Site, &[name]),
            self.label(Kind::Host, &[authority.host.as_bytes()]),
            self.url_label(site, &authority.host, &request.head.target),
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
        Membership::new(born, labels)
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

    fn labels_of(&self, order: &Order, sites: &Sites) -> Result<Vec<Label>, PurgeError> {
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
fn open_log(folder: &Path, fresh: LogId) -> Result<(LogFile, Vec<(Sequence, Bytes)>), LogError> {
    if let Err(error) = std::fs::create_dir_all(folder) {
        tracing::debug!(%error, "no folder for the purge log");
    }
    let (mut file, recovered) = LogFile::open(&folder.join("purges.log"), fresh)?;
    let mut records = recovered.records;
    if recovered.damage == purge::Damage::Found {
        tracing::error!(
            "the purge log is damaged: purges may be missing from it, and everything stored is validated"
        );
        let (doubt, offset) = (Reason::Damage, 0);
        let payload = Doubt { doubt, offset }.payload();
        file.append(std::slice::from_ref(&payload))?;
        records.push((file.last(), payload));
    }
    Ok((file, records))
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
        Scope::All | Scope::Tag { site: None, .. } => false,
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
        Scope::All | Scope::Tag { site: None, .. } => return None,
        Scope::Host(host) => host.to_ascii_lowercase(),
        Scope::Url(url) | Scope::Prefix(url) => parse_url(url).ok()?.0,
    };
    sites.find(&host).map(|site| site.name.clone())
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
