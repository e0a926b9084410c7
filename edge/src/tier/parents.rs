//! Who the parents are: by configuration, by SRV records, or by a file that is read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use rustls::pki_types::{IpAddr as TlsAddress, ServerName};
use tiered::Ring;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use super::parent::Parent;
use super::{Links, Making, Place, Shared};
use crate::egress::Pool;
use crate::origins::Host;

/// Parents of one source; what is more is left out.
const PARENTS_MAX: usize = 512;
/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often SRV records are asked for, whatever their TTL says.
const SRV_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Bytes of a file of parents.
const FILE_MAX: u64 = 256 << 10;

/// Where parents are known from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Fixed(Place),
    /// SRV records (RFC 2782).
    Srv {
        name: String,
        secure: bool,
    },
    File(PathBuf),
}

/// What a line of a file says.
type Parse = fn(&str) -> Result<Place, String>;

/// The parents of a node.
#[derive(Debug)]
pub(crate) struct Parents {
    sources: Vec<Known>,
    table: RwLock<Arc<Table>>,
    making: Template,
    parse: Parse,
    /// Those of the configuration before, for those that are the same.
    adopted: Mutex<Vec<Arc<Parent>>>,
    /// Who looks for others. They go with these.
    watchers: Mutex<JoinSet<()>>,
}

/// A source, and whom it named last.
#[derive(Debug)]
struct Known {
    source: Source,
    named: Mutex<Vec<Place>>,
}

/// How connections to any parent are made.
#[derive(Clone)]
pub(crate) struct Template {
    pub connect: Duration,
    /// How long a parent may owe a sign of life.
    pub silence: Duration,
    pub tls: Option<TlsConnector>,
    pub plain: Plain,
    /// To one parent.
    pub connections: usize,
    /// The pools that they leave from, in order.
    pub egress: Arc<[Arc<Pool>]>,
}

/// What becomes of parents without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Asked,
    /// Nothing would prove who they are.
    LeftOut,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template")
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Table {
    ring: Ring,
    all: Vec<Arc<Parent>>,
}

impl Parents {
    pub(crate) fn new(sources: Vec<Source>, making: Template, parse: Parse) -> Self {
        let sources = sources.into_iter().map(|source| Known {
            named: Mutex::new(match &source {
                Source::Fixed(place) => vec![place.clone()],
                Source::Srv { .. } | Source::File(_) => Vec::new(),
            }),
            source,
        });
        let parents = Self {
            sources: sources.collect(),
            table: RwLock::default(),
            making,
            parse,
            adopted: Mutex::default(),
            watchers: Mutex::default(),
        };
        for known in &parents.sources {
            if let Source::File(path) = &known.source
                && let Ok(named) = parents.read(path)
            {
                *known.named.lock() = named;
            }
        }
        parents
    }

    /// These, with what those of the configuration before know; where their links are made in the same way, with the
    /// parents themselves.
    pub(super) fn after(self, before: &Self, links: Links) -> Self {
        for known in &self.sources {
            let same = before.sources.iter().find(|it| it.source == known.source);
            let mut named = known.named.lock();
            if let Some(same) = same.filter(|_| named.is_empty()) {
                named.clone_from(&same.named.lock());
            }
        }
        if links == Links::Same {
            *self.adopted.lock() = before.all();
        }
        self
    }

    /// Whether this node has none, and never will.
    pub(crate) fn is_none(&self) -> bool {
        self.sources.is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Parent>> {
        self.table.read().all.clone()
    }

    /// Who may have a key, its owner first.
    pub(crate) fn candidates(&self, key: u64) -> Vec<Arc<Parent>> {
        let table = Arc::clone(&self.table.read());
        let Some(found) = table.ring.candidates(key) else {
            return Vec::new();
        };
        let places = [Some(found.first), found.second];
        let places = places.into_iter().flatten();
        places
            .filter_map(|place| table.all.get(place).cloned())
            .collect()
    }

    /// Requests under way to all parents, and how many those are.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        let table = Arc::clone(&self.table.read());
        let under_way = table.all.iter().map(|parent| parent.in_flight()).sum();
        (under_way, table.all.len())
    }

    /// Makes the table of what the sources name now. Parents that stay keep their connections and their health.
    fn rebuild(&self, shared: &Arc<Shared>) {
        let mut places: Vec<Place> = Vec::new();
        for known in &self.sources {
            for place in known.named.lock().iter() {
                if !places.iter().any(|other| other.id == place.id) {
                    places.push(place.clone());
                }
            }
        }
        let adopted = std::mem::take(&mut *self.adopted.lock());
        let mut table = self.table.write();
        let mut all = Vec::with_capacity(places.len());
        for place in places {
            let mut known = table.all.iter().chain(&adopted);
            let kept = known.find(|parent| parent.place == place);
            if let Some(kept) = kept {
                all.push(Arc::clone(kept));
                continue;
            }
            let Some(making) = self.making.of(&place) else {
                tracing::error!(
                    parent = place.id,
                    "a parent with TLS needs `ca_file`, one without it `key_file`: it is left out"
                );
                continue;
            };
            let parent = Arc::new(Parent::new(place, making, self.making.connections));
            tokio::spawn(Parent::keep(Arc::downgrade(&parent), Arc::clone(shared)));
            all.push(parent);
        }
        for gone in table
            .all
            .iter()
            .filter(|old| !all.iter().any(|new| new.place.id == old.place.id))
        {
            shared.metrics.forget(&gone.place.id);
        }
        let members: Vec<_> = all.iter().map(|parent| parent.place.member()).collect();
        let ring = Ring::new(&members);
        *table = Arc::new(Table { ring, all });
    }

    fn read(&self, path: &Path) -> Result<Vec<Place>, String> {
        let shown = path.display();
        let length = std::fs::metadata(path)
            .map_err(|error| format!("{shown}: {error}"))?
            .len();
        if length > FILE_MAX {
            return Err(format!("{shown} has more than {FILE_MAX} bytes"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let places: Result<Vec<_>, _> = lines.map(self.parse).collect();
        places.map_err(|error| format!("{shown}: {error}"))
    }
}

impl Template {
    fn of(&self, place: &Place) -> Option<Making> {
        let (connect, silence) = (self.connect, self.silence);
        let egress = Arc::clone(&self.egress);
        if !place.secure {
            let asked = self.plain == Plain::Asked;
            return asked.then_some(Making {
                connect,
                silence,
                tls: None,
                egress,
            });
        }
        let name = match &place.host {
            Host::Name(name) => ServerName::try_from(name.clone()).ok()?,
            Host::Address(address) => ServerName::IpAddress(TlsAddress::from(*address)),
            Host::Socket(_) | Host::Service(_) => return None,
        };
        let tls = Some((self.tls.clone()?, name));
        Some(Making {
            connect,
            silence,
            tls,
            egress,
        })
    }
}

/// Begins to look for parents.
pub(super) fn start(parents: &Arc<Parents>, shared: &Arc<Shared>) {
    parents.rebuild(shared);
    for (number, known) in parents.sources.iter().enumerate() {
        let (weak, shared) = (Arc::downgrade(parents), Arc::clone(shared));
        match &known.source {
            Source::Fixed(_) => {}
            Source::File(path) => {
                let watch = watch(weak, shared, number, path.clone());
                parents.watchers.lock().spawn(watch);
            }
            Source::Srv { name, secure } => {
                let look_up = look_up(weak, shared, number, (name.clone(), *secure));
                parents.watchers.lock().spawn(look_up);
            }
        }
    }
}

impl Parents {
    /// What a source names now. Nobody at all is taken for a mistake.
    fn names(&self, number: usize, mut places: Vec<Place>, shared: &Arc<Shared>) {
        if places.is_empty() {
            tracing::warn!("nobody is named as a parent: the parents stay what they were");
        }
        if places.len() > PARENTS_MAX {
            tracing::error!(
                named = places.len(),
                asked = PARENTS_MAX,
                "more parents are named than one source may have: the others are left out"
            );
            places.truncate(PARENTS_MAX);
        }
        let changed = {
            let mut named = self.sources[number].named.lock();
            let changed = !places.is_empty() && *named != places;
            if changed {
                tracing::info!(parents = places.len(), "the parents have changed");
                *named = places;
            }
            changed
        };
        if changed {
            self.rebuild(shared);
        }
    }
}

/// What is seen of a file without reading it.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

async fn watch(parents: Weak<Parents>, shared: Arc<Shared>, number: usize, path: PathBuf) {
    let mut seen = None;
    loop {
        let Some(parents) = parents.upgrade() else {
            return;
        };
        let now = tokio::task::block_in_place(|| stamp(&path));
        if now != seen || now.is_none() {
            match tokio::task::block_in_place(|| parents.read(&path)) {
                Ok(places) => parents.names(number, places, &shared),
                // The same is told once.
                Err(error) if now != seen || seen.is_some() => {
                    tracing::error!(%error, "the parents stay what they were");
                }
                Err(_) => {}
            }
            seen = now;
        }
        drop(parents);
        sleep(LOOK_EVERY).await;
    }
}

async fn look_up(
    parents: Weak<Parents>,
    shared: Arc<Shared>,
    number: usize,
    (name, secure): (String, bool),
) {
    let (least, most) = SRV_EVERY;
    let mut said = false;
    loop {
        let now = shared.clock.instant();
        let found = shared.names.services(&name).await;
        let Some(parents) = parents.upgrade() else {
            return;
        };
        let pause = match found.filter(|(services, _)| !services.is_empty()) {
            Some((services, until)) => {
                said = false;
                let first = services.iter().map(|service| service.priority).min();
                let best = services
                    .into_iter()
                    .filter(|service| Some(service.priority) == first);
                let places = best.map(|service| Place {
                    id: format!("{}:{}", service.host, service.port),
                    weight: u32::from(service.weight.max(1)),
                    secure,
                    host: Host::Name(service.host),
                    port: service.port,
                });
                let mut places: Vec<_> = places.collect();
                places.sort_by(|one, other| one.id.cmp(&other.id));
                parents.names(number, places, &shared);
                until.saturating_duration_since(now).clamp(least, most)
            }
            None => {
                // Once, however often it is asked for in vain.
                if !said {
                    tracing::warn!(name, "no SRV records: the parents stay what they were");
                }
                said = true;
                least
            }
        };
        drop(parents);
        sleep(pause).await;
    }
}
