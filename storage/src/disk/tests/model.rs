use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What may happen to the tier.
#[derive(Clone, Debug)]
enum Step {
    Put { key: u64, variant: u8, len: usize },
    Update { key: u64, variant: u8 },
    Get { key: u64, variant: u8 },
    Remove { key: u64 },
    RemoveVariant { key: u64, variant: u8 },
    Sync,
    Stop,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let (key, variant) = (0..12_u64, 0..3_u8);
    let named = (key, variant);
    prop_oneof![
        8 => (named.clone(), 0..12_000_usize)
            .prop_map(|((key, variant), len)| Step::Put { key, variant, len }),
        3 => named.clone().prop_map(|(key, variant)| Step::Update { key, variant }),
        6 => named.clone().prop_map(|(key, variant)| Step::Get { key, variant }),
        2 => (0..12_u64).prop_map(|key| Step::Remove { key }),
        1 => named.prop_map(|(key, variant)| Step::RemoveVariant { key, variant }),
        1 => Just(Step::Sync),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
    ]
}

/// Everything that was ever stored under a name since it was last removed durably.
#[derive(Default)]
struct Model {
    history: HashMap<(u64, u8), Vec<Content>>,
    /// Removed, but not durably: a kill may bring them back.
    doubtful: HashMap<(u64, u8), Vec<Content>>,
    seed: u64,
}

impl Model {
    fn put(&mut self, name: (u64, u8), content: Content) {
        self.history.entry(name).or_default().push(content);
    }

    fn remove(&mut self, goes: impl Fn(&(u64, u8)) -> bool) {
        let names: Vec<_> = self
            .history
            .keys()
            .filter(|name| goes(name))
            .copied()
            .collect();
        for name in names {
            let gone = self.history.remove(&name).unwrap();
            self.doubtful.entry(name).or_default().extend(gone);
        }
    }

    fn killed(&mut self) {
        for (name, contents) in self.doubtful.drain() {
            self.history.entry(name).or_default().splice(0..0, contents);
        }
    }

    /// While the process lives, what is found is the latest; it may have been evicted.
    fn check_latest(&self, name: (u64, u8), got: Option<Content>) {
        if let Some(got) = got {
            let latest = self.history.get(&name).and_then(|contents| contents.last());
            assert!(latest == Some(&got), "{name:?} is not the latest");
        }
    }

    /// After a kill, what is found was stored once, and is not removed; it is the latest from now.
    fn check_known(&mut self, name: (u64, u8), got: Option<Content>) {
        if let Some(got) = got {
            let known = self
                .history
                .get_mut(&name)
                .expect("a removed object came back");
            assert!(known.contains(&got), "{name:?} was never that");
            *known = vec![got];
        }
    }
}

fn run(steps: Vec<Step>) {
    let place = Place::of(640 * 1024, 32 * 1024);
    let mut disk = place.open();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put { key, variant, len } => {
                model.seed += 1;
                let content = Content::of(model.seed, len);
                disk.put(key, variant, &content);
                model.put((key, variant), content);
            }
            Step::Update { key, variant } => update(&disk, &mut model, key, variant),
            Step::Get { key, variant } => {
                if let Some(found) = disk.found(key, variant) {
                    disk.accessed(&found);
                }
                model.check_latest((key, variant), disk.get(key, variant));
            }
            Step::Remove { key } => {
                disk.remove(key_of(key));
                model.remove(|name| name.0 == key);
            }
            Step::RemoveVariant { key, variant } => {
                disk.remove_variant(key_of(key), Variant([variant; 16]));
                model.remove(|name| *name == (key, variant));
            }
            Step::Sync => {
                block_on(disk.sync()).unwrap();
                model.doubtful.clear();
            }
            Step::Stop => {
                block_on(disk.sync()).unwrap();
                model.doubtful.clear();
                block_on(disk.close());
                drop(disk);
                disk = place.open();
                for key in 0..12 {
                    (0..3).for_each(|variant| {
                        model.check_latest((key, variant), disk.get(key, variant))
                    });
                }
            }
            Step::Kill => {
                drop(disk);
                disk = place.open();
                model.killed();
                for key in 0..12 {
                    (0..3).for_each(|variant| {
                        model.check_known((key, variant), disk.get(key, variant))
                    });
                }
                // What was lost may not come back later either.
                let lost = |name: &(u64, u8)| disk.found(name.0, name.1).is_none();
                model.history.retain(|name, _| !lost(name));
            }
        }
    }
    for (name, contents) in &model.history {
        let got = disk.get(name.0, name.1);
        assert!(got.is_none() || got.as_ref() == contents.last());
    }
    assert_eq!(disk.stats().volumes[0].faults_damaged, 0);
}

fn update(disk: &Disk, model: &mut Model, key: u64, variant: u8) {
    let Some(found) = disk.found(key, variant) else {
        return;
    };
    let Ok(old) = block_on(disk.read(&found)) else {
        return;
    };
    model.seed += 1;
    let head = Bytes::from(format!("head {}", model.seed));
    if disk.update_head(&found, &head).is_ok() {
        model.put((key, variant), Content { head, ..old });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_is_a_map_that_may_forget_and_never_lies(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        run(steps);
    }
}
