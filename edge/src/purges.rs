//! Purging: what a response can be purged by, and what a purge does.

mod preview;
mod sweep;
mod tags;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use policy::key::{CacheKey, KeyRules};
use policy::time::Timestamp;
use purge_api::{Filter, Mode, Order, Scope};
use storage::Moment;
use storage::purge::{
    self, Label, Labeller, Life, LogError, Membership, PurgeIndex, PurgeLog, Recovered, Sequence,
};

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::exchange::{Request, split_target};
use crate::sites::{Asked, Site, Sites};

pub(crate) use preview::preview;
pub(crate) use sweep::{Matched, Sweeper, run as sweep};
pub(crate) use tags::TagField;

/// Path segments that a prefix can name; what lies deeper is purged with them.
pub(crate) const PREFIX_DEPTH_MAX: usize = 32;

/// Names with purges that are remembered.
const LABELS_MAX: usize = 1_000_000;
/// Dry runs under way at once.
const PREVIEWS_MAX: usize = 1;
/// Purges that can be asked about, and repeated without effect.
const KEPT_MAX: usize = 10_000;

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
    Key,
}

/// The purges of a node.
#[derive(Debug)]
pub(crate) struct Purges {
    labeller: Labeller,
    index: PurgeIndex,
    journal: Mutex<Journal>,
    pub sweeper: Sweeper,
    /// Looks at what a purge would name that may be under way at once.
    pub previews: Semaphore,
    /// Whether everything counted as purged when the log was opened, because it was damaged.
    pub was_reset: bool,
}

/// The log, and the last of what is in it.
#[derive(Debug)]
struct Journal {
    log: PurgeLog,
    /// The oldest first.
    last: VecDeque<Logged>,
}

/// A purge and its place in the order.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub sequence: Sequence,
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
    /// Since it was accepted.
    pub took: Duration,
}

/// A purge that is applied.
#[derive(Clone, Debug)]
pub(crate) enum Accepted {
    /// By now.
    Now(Logged),
    /// It was already: this was a repetition.
    Before(Logged),
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
    Log(#[from] LogError),
}

impl Journal {
    fn find(&self, id: &str) -> Option<Logged> {
        let mut newest_first = self.last.iter().rev();
        newest_first.find(|it| it.order.id == id).cloned()
    }

    fn find_sequence(&mut self, sequence: Sequence) -> Option<&mut Logged> {
        let place = self.last.binary_search_by_key(&sequence, |it| it.sequence);
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
    /// Opens the log in a folder, which is made where there is none, and applies what is in it.
    ///
    /// Where that is not possible, purges are counted and not kept: nothing that is stored outlives the process, so
    /// only the audit trail is lost.
    pub(crate) fn open(folder: Option<&Path>, sites: &Sites, now: Moment) -> Self {
        let (log, recovered) = match folder.map(open_log) {
            Some(Ok((log, recovered))) => (log, Some(recovered)),
            Some(Err(error)) => {
                tracing::warn!(%error, "purges are not kept beyond this process");
                (PurgeLog::volatile(), None)
            }
            None => (PurgeLog::volatile(), None),
        };
        let last = log.last();
        let purges = Self {
            labeller: Labeller::default(),
            index: PurgeIndex::new(LABELS_MAX),
            journal: Mutex::new(Journal {
                log,
                last: VecDeque::new(),
            }),
            sweeper: Sweeper::default(),
            previews: Semaphore::new(PREVIEWS_MAX),
            was_reset: recovered.as_ref().is_some_and(Recovered::is_doubtful),
        };
        let Some(recovered) = recovered else {
            return purges;
        };
        if purges.was_reset {
            tracing::error!(
                torn = recovered.torn,
                "the purge log is damaged: purges may be missing from it, and everything counts as purged"
            );
            let all = [purges.label(Kind::All, &[])];
            purges.index.apply(last, &all, purge::Mode::Hard, now);
        }
        for (sequence, payload) in recovered.records {
            purges.reapply(sequence, &payload, sites, now);
        }
        purges
    }

    /// A logged purge that cannot be understood any more counts as one of everything.
    fn reapply(&self, sequence: Sequence, payload: &[u8], sites: &Sites, now: Moment) {
        let order = Order::from_log(payload);
        let labels = order
            .as_ref()
            .and_then(|order| self.labels_of(order, sites).ok())
            .unwrap_or_else(|| vec![self.label(Kind::All, &[])]);
        let mode = order
            .as_ref()
            .map_or(purge::Mode::Hard, |order| mode(order.mode));
        self.index.apply(sequence, &labels, mode, now);
        if let Some(order) = order {
            let logged = Logged {
                sequence,
                order,
                matched: None,
                applied: None,
            };
            self.journal.lock().keep(logged);
        }
    }

    /// Makes a purge durable, and applies it. It blocks while the disk is written. A purge with the identifier of one
    /// of the last is that one.
    pub(crate) fn purge(
        &self,
        order: Order,
        sites: &Sites,
        clock: &Clock,
    ) -> Result<Accepted, PurgeError> {
        let began = clock.instant();
        let labels = self.labels_of(&order, sites)?;
        let mut journal = self.journal.lock();
        if let Some(known) = journal.find(&order.id) {
            return Ok(Accepted::Before(known));
        }
        let sequence = journal.log.append(&order.to_log())?.sequence;
        let at = clock.now();
        let now = Moment(at.unix_millis());
        self.index.apply(sequence, &labels, mode(order.mode), now);
        self.sweeper.applied(sequence, labels);
        let logged = Logged {
            sequence,
            order,
            matched: None,
            applied: Some(Applied {
                at,
                took: clock.instant() - began,
            }),
        };
        journal.keep(logged.clone());
        Ok(Accepted::Now(logged))
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

    fn prefix_label(&self, host: &str, prefix: &str) -> Label {
        self.label(Kind::Prefix, &[host.as_bytes(), prefix.as_bytes()])
    }

    /// What an order names.
    pub(crate) fn labels_of(&self, order: &Order, sites: &Sites) -> Result<Vec<Label>, PurgeError> {
        let mut labels = Vec::new();
        for scope in &order.scopes {
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
        }
        Ok(labels)
    }
}

fn open_log(folder: &Path) -> Result<(PurgeLog, Recovered), LogError> {
    if let Err(error) = std::fs::create_dir_all(folder) {
        tracing::debug!(%error, "no folder for the purge log");
    }
    PurgeLog::open(&folder.join("purges.log"))
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
