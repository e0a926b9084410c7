//! What a purge would name: a look at everything that is stored, in memory and on disks, in steps.

use std::collections::HashSet;

use purge_api::{Preview, SAMPLES_MAX, Sample};
use storage::purge::{Label, Life};
use storage::{Key, Walk};

use super::sweep::{DISK_STEP, is_in_memory, recovered};
use crate::cache::Head;
use crate::node::Node;

/// Keys that are looked at between two pauses.
const STEP: usize = 256;

/// Goes through what is stored, and counts what is alive and carries one of the labels.
pub(crate) async fn preview(node: &Node, labels: &HashSet<Label>) -> Preview {
    recovered(node).await;
    let mut seen = Seen {
        node,
        labels,
        preview: nothing(),
    };
    let mut walk = Walk::new();
    while walk.step(node.tiers.memory(), STEP, |object| {
        seen.look(object.key(), object.head(), object.cost() as u64);
    }) {
        tokio::task::yield_now().await;
    }
    let Some(mut walk) = node.tiers.walk_disks() else {
        return seen.preview;
    };
    while let Some(step) = node.tiers.step(&mut walk, DISK_STEP).await {
        for object in step.iter().filter(|it| !is_in_memory(node, it)) {
            seen.look(object.key(), &object.head, object.bytes());
        }
        tokio::task::yield_now().await;
    }
    seen.preview
}

fn nothing() -> Preview {
    Preview {
        dry_run: true,
        matched: purge_api::Matched::default(),
        samples: Vec::new(),
    }
}

/// What was seen so far.
struct Seen<'a> {
    node: &'a Node,
    labels: &'a HashSet<Label>,
    preview: Preview,
}

impl Seen<'_> {
    fn look(&mut self, key: Key, head: &Head, bytes: u64) {
        let Some(membership) = head.membership() else {
            return;
        };
        let mut named = membership.labels().iter();
        if !named.any(|label| self.labels.contains(label))
            || head.life(&self.node.purges) == Life::Gone
        {
            return;
        }
        self.preview.matched.bytes += bytes;
        // Slices count with the one that has their head.
        let Some(cached) = head.cached() else {
            return;
        };
        self.preview.matched.objects += 1;
        if self.preview.samples.len() < SAMPLES_MAX {
            self.preview.samples.push(Sample {
                uri: cached.uri().to_owned(),
                key: format!("{key:?}"),
                status: cached.stored.status.as_u16(),
                bytes,
            });
        }
    }
}
