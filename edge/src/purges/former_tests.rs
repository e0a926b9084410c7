//! Purges, reloads, starts and kills in any order, against the rule: what was purged is not used.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use purge_api::{Fleet, Scope};
use storage::purge::{LogFile, LogId};

use super::log::{LogName, Reach};
use super::*;
use crate::clock::Clock;

/// A log that the test writes.
#[derive(Debug)]
struct Written;

#[async_trait]
impl PurgeLog for Written {
    fn start(&self, _sink: Sink) {}
    async fn publish(&self, _order: &Order, _: Option<&str>) -> Result<Published, PublishError> {
        Err(PublishError::Busy)
    }
    fn queued(&self, _id: &str) -> Option<Order> {
        None
    }
    fn status(&self) -> LogStatus {
        LogStatus {
            last: 0,
            state: LogState::Current,
        }
    }
    fn name(&self) -> LogName {
        LogName::Own
    }
    fn trust(&self) -> Trust {
        Trust::Full
    }
    fn reach(&self, _place: u64) -> Vec<Reach> {
        Vec::new()
    }
    fn fleet(&self) -> Option<Fleet> {
        None
    }
    async fn reached_by_all(&self, _place: u64) {}
    fn outlived(&self, _upto: Sequence) {}
    async fn leave(&self) {}
}

/// Numbers that are the same for a seed (Steele, Lea and Flood, 2014).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ mixed >> 31) % end as u64).unwrap()
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

const HOSTS: [&str; 3] = ["a.example", "b.example", "c.test"];
const TARGETS: [&str; 6] = [
    "/x",
    "/x?id=1",
    "/x?utm_a=1",
    "/x?utm_a=1&id=1",
    "/p/y",
    "/p/y?id=1&b=2",
];
const KEYS: [&str; 5] = [
    "",
    "key = { query = \"ignore\" }",
    "key = { query = { except = [\"utm_*\"] } }",
    "key = { query = { only = [\"id\"] } }",
    "key = { query = \"all\", sort = true }",
];

/// A configuration in the making.
fn text(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    let mut site = |numbers: &mut Numbers, name: &str, hosts: &str| {
        let key = numbers.of(&KEYS);
        text += &format!(
            "[[site]]\nname = \"{name}\"\nhosts = [{hosts}]\norigins = [\"http://127.0.0.1:9\"]\n{key}\n"
        );
        if numbers.below(3) == 0 {
            let key = KEYS[1 + numbers.below(KEYS.len() - 1)];
            text += &format!("[[site.rule]]\nmatch = {{ path = \"/p/*\" }}\n{key}\n");
        }
    };
    match numbers.below(4) {
        0 => site(numbers, "all", "\"*\""),
        1 => {
            site(numbers, "all", "\"*\"");
            site(numbers, "shop", "\"a.example\"");
        }
        2 => {
            site(numbers, "shop", "\"*.example\"");
            site(numbers, "all", "\"*\"");
        }
        _ => {
            let (one, other) = match numbers.below(2) {
                0 => ("all", "shop"),
                _ => ("shop", "all"),
            };
            site(numbers, one, "\"a.example\", \"c.test\"");
            site(numbers, other, "\"b.example\"");
        }
    }
    text
}

fn sites(text: &str) -> Arc<Sites> {
    Arc::new(crate::wiring::sites_of(text))
}

/// What is stored, as a disk has it, and as memory has.
struct Stored {
    host: &'static str,
    target: &'static str,
    born: Sequence,
    labels: Vec<purge::Label>,
    membership: Membership,
    is_purged: bool,
}

/// A node's purges, and what it has stored.
struct World<'a> {
    folder: &'a Path,
    purges: Purges,
    file: Arc<Mutex<Option<LogFile>>>,
    sites: Arc<Sites>,
    /// All that were in force.
    former: Vec<Arc<Sites>>,
    /// What was purged, and at which sequence.
    purged: Vec<(Sequence, Scope)>,
    stored: Vec<Stored>,
}

fn open(folder: &Path, sites: &Sites) -> (Purges, Arc<Mutex<Option<LogFile>>>) {
    let file = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&file);
    let (purges, unapplied) = Purges::open(
        Some(folder),
        Some(&folder.join("witness")),
        |file, _tail| {
            *kept.lock() = Some(file);
            Box::new(Written)
        },
    );
    purges.know(sites).unwrap();
    purges.apply_again(unapplied, sites, Moment(1));
    (purges, file)
}

impl<'a> World<'a> {
    fn new(folder: &'a Path, first: Arc<Sites>) -> Self {
        let (purges, file) = open(folder, &first);
        Self {
            folder,
            purges,
            file,
            former: vec![Arc::clone(&first)],
            sites: first,
            purged: Vec::new(),
            stored: Vec::new(),
        }
    }

    /// What a URL is called under some sites, if they answer for it.
    fn url(&self, sites: &Sites, host: &str, target: &str) -> Option<purge::Label> {
        let site = sites.find(host)?;
        Some(self.purges.url_label_now(site, host, target))
    }

    /// Whether a purge names what has these labels, by the names that there were so far.
    fn is_named(&self, scope: &Scope, labels: &[purge::Label]) -> bool {
        let mut former = self.former.iter();
        former.any(|sites| match scope {
            Scope::Url(url) => {
                let (host, target) = names::parse_url(url).unwrap();
                let label = self.url(sites, &host, &target);
                label.is_some_and(|label| labels.contains(&label))
            }
            Scope::Tag { tag, .. } => sites.names().any(|site| {
                let parts = [site.as_bytes(), tag.as_bytes()];
                labels.contains(&self.purges.label(Kind::Tag, &parts))
            }),
            _ => false,
        })
    }

    /// Stores the answer to a request that was sent now, or one from another node that is so old.
    fn store(&mut self, host: &'static str, target: &'static str, born: Sequence) {
        let Some(site) = self.sites.find(host) else {
            return;
        };
        let name = site.name.as_bytes();
        let labels = vec![
            self.purges.label(Kind::All, &[]),
            self.purges.label(Kind::Host, &[host.as_bytes()]),
            self.purges.url_label_now(site, host, target),
            self.purges.label(Kind::Tag, &[name, b"t"]),
        ];
        let mut later = self.purged.iter().filter(|(at, _)| *at > born);
        let is_purged = later.any(|(_, scope)| self.is_named(scope, &labels));
        self.stored.push(Stored {
            host,
            target,
            born,
            membership: Membership::new(born, labels.clone()),
            labels,
            is_purged,
        });
    }

    fn purge(&mut self, scope: Scope) {
        let body = match &scope {
            Scope::Url(url) => format!("{{\"urls\":[\"{url}\"]}}"),
            _ => "{\"tags\":[\"t\"]}".to_owned(),
        };
        let id = self.purged.len().to_string();
        let at = "1970-01-01T00:00:00.001Z".to_owned();
        let order = Order::parse(body.as_bytes(), id, at).unwrap();
        let mut file = self.file.lock();
        let file = file.as_mut().unwrap();
        file.append(&[Bytes::from(order.to_log())]).unwrap();
        let sequence = file.last();
        let placed = Placed {
            sequence,
            place: sequence.0,
            print: None,
            stamp: None,
            order,
        };
        let now = (Moment(1), Clock::default().instant());
        let events = vec![Event::Purge(placed)];
        self.purges.hear(events, &self.sites, now, &|_, _| {});
        let named: Vec<bool> = self
            .stored
            .iter()
            .map(|it| it.born < sequence && self.is_named(&scope, &it.labels))
            .collect();
        for (stored, is_named) in self.stored.iter_mut().zip(named) {
            stored.is_purged |= is_named;
        }
        self.purged.push((sequence, scope));
    }

    fn reload(&mut self, sites: Arc<Sites>) {
        self.purges.know(&sites).unwrap();
        self.former.push(Arc::clone(&sites));
        self.sites = sites;
    }

    /// The process is killed, and started with other sites.
    fn restart(&mut self, sites: Arc<Sites>) {
        *self.file.lock() = None;
        let log = self.purges.log_id();
        self.former.push(Arc::clone(&sites));
        (self.purges, self.file) = open(self.folder, &sites);
        assert_eq!(self.purges.log_id(), log);
        self.sites = sites;
        for stored in &mut self.stored {
            stored.membership = Membership::new(stored.born, stored.labels.clone());
        }
    }

    /// As the sweeper does.
    fn sweep(&mut self) {
        let upto = self.purges.latest();
        let purges = &self.purges;
        self.stored
            .retain(|it| purges.life(&it.membership) != Life::Gone);
        self.purges.index.forget(upto);
    }

    #[track_caller]
    fn check(&self, said: &str) {
        let urls = self
            .purged
            .iter()
            .filter_map(|(_, scope)| host_and_path(scope));
        let urls: BTreeSet<_> = urls.collect();
        let tags = self.purged.iter();
        let tags = tags
            .filter(|(_, scope)| matches!(scope, Scope::Tag { .. }))
            .count();
        for stored in &self.stored {
            let (host, target) = (stored.host, stored.target);
            let life = self.purges.life(&stored.membership);
            if stored.is_purged {
                assert_eq!(life, Life::Gone, "{host}{target}, {said}");
            }
            let path = split_path(target).to_owned();
            if tags == 0 && !urls.contains(&(host.to_owned(), path)) {
                assert_eq!(life, Life::Alive, "{host}{target}, {said}");
            }
        }
    }
}

fn split_path(target: &str) -> &str {
    crate::exchange::split_target(target).0
}

fn host_and_path(scope: &Scope) -> Option<(String, String)> {
    let Scope::Url(url) = scope else {
        return None;
    };
    let (host, target) = names::parse_url(url).ok()?;
    Some((host, split_path(&target).to_owned()))
}

fn url(host: &str, target: &str) -> Scope {
    Scope::Url(format!("http://{host}{target}"))
}

const SEEDS: u64 = 48;
const STEPS: usize = 40;

#[test]
fn no_order_of_purges_reloads_and_starts_brings_back_what_was_purged() {
    for seed in 0..SEEDS {
        let folder = tempfile::tempdir().unwrap();
        let mut numbers = Numbers(seed);
        let texts: Vec<String> = (0..3).map(|_| text(&mut numbers)).collect();
        let all: Vec<Arc<Sites>> = texts.iter().map(|text| sites(text)).collect();
        let mut world = World::new(folder.path(), Arc::clone(&all[0]));
        let mut said = format!("seed {seed}");
        let mut purged = None;
        for _ in 0..STEPS {
            let (host, target) = (numbers.of(&HOSTS), numbers.of(&TARGETS));
            let number = numbers.below(all.len());
            let other = Arc::clone(&all[number]);
            let step = match numbers.below(17) {
                0..=5 => {
                    world.store(host, target, world.purges.latest());
                    format!("store {host}{target}")
                }
                6 | 15 => {
                    let (host, target) = purged.unwrap_or((host, target));
                    let latest = world.purges.latest().0;
                    let floor = world.purges.forgotten().0;
                    let born =
                        floor + numbers.below(usize::try_from(latest - floor).unwrap() + 1) as u64;
                    world.store(host, target, Sequence(born));
                    format!("store {host}{target} of {born}")
                }
                7..=9 => {
                    world.purge(url(host, target));
                    purged = Some((host, target));
                    format!("purge {host}{target}")
                }
                10 if seed % 4 == 0 => {
                    world.purge(Scope::Tag {
                        site: None,
                        tag: "t".to_owned(),
                    });
                    "purge t".to_owned()
                }
                11 | 12 => {
                    world.reload(other);
                    format!("reload {number}")
                }
                13 => {
                    world.restart(other);
                    format!("start {number}")
                }
                14 => {
                    world.sweep();
                    "sweep".to_owned()
                }
                _ => "look".to_owned(),
            };
            said += &format!("; {step}");
            if step != "look" && numbers.below(2) == 0 {
                continue;
            }
            world.check(&said);
        }
        world.check(&said);
    }
}

#[test]
fn where_names_are_lost_everything_older_is_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let one =
        sites("[[site]]\nname = \"all\"\nhosts = [\"*\"]\norigins = [\"http://127.0.0.1:9\"]\n");
    let mut world = World::new(folder.path(), Arc::clone(&one));
    world.store("a.example", "/x", world.purges.latest());
    world.restart(Arc::clone(&one));
    let life = |world: &World<'_>| world.purges.life(&world.stored[0].membership);
    assert_eq!(life(&world), Life::Alive);
    std::fs::write(folder.path().join("purges.names"), "{").unwrap();
    world.restart(Arc::clone(&one));
    assert_eq!((life(&world), world.purges.resets()), (Life::Doubtful, 1));
    world.store("a.example", "/y", world.purges.latest());
    world.restart(one);
    assert_eq!((life(&world), world.purges.resets()), (Life::Doubtful, 0));
    let newer = &world.stored[1].membership;
    assert_eq!(world.purges.life(newer), Life::Alive);
}

#[test]
fn names_of_another_log_are_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let one =
        sites("[[site]]\nname = \"all\"\nhosts = [\"*\"]\norigins = [\"http://127.0.0.1:9\"]\n");
    let (before, file) = open(folder.path(), &one);
    let log = before.log_id();
    drop((before, file));
    std::fs::remove_file(folder.path().join("witness")).unwrap();
    let (after, _file) = open(folder.path(), &one);
    assert_ne!(after.log_id(), log);
    assert_eq!((after.latest(), after.resets()), (Sequence(0), 0));
    assert_ne!(after.log_id(), LogId(0));
}
