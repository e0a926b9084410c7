//! What a purge would name: a look at everything that is stored, in steps.

use std::collections::HashSet;

use purge_api::{Preview, SAMPLES_MAX, Sample};
use storage::purge::{Label, Life};
use storage::{Object, Walk};

use crate::cache::{Cached, Head};
use crate::node::Node;

/// Keys that are looked at between two pauses.
const STEP: usize = 256;

/// Goes through the memory, and counts what is alive and carries one of the labels.
pub(crate) async fn preview(node: &Node, labels: &HashSet<Label>) -> Preview {
    let mut preview = Preview {
        dry_run: true,
        matched: purge_api::Matched::default(),
        samples: Vec::new(),
    };
    let mut walk = Walk::new();
    while walk.step(node.tiers.memory(), STEP, |object| {
        let Some(membership) = object.head().membership() else {
            return;
        };
        let named = membership.labels().iter();
        if !named.into_iter().any(|label| labels.contains(label))
            || object.head().life(&node.purges) == Life::Gone
        {
            return;
        }
        preview.matched.bytes += object.cost() as u64;
        // Slices count with the one that has their head.
        let Some(cached) = object.head().cached() else {
            return;
        };
        preview.matched.objects += 1;
        if preview.samples.len() < SAMPLES_MAX {
            preview.samples.push(sample(object, cached));
        }
    }) {
        tokio::task::yield_now().await;
    }
    preview
}

fn sample(object: &Object<Head>, cached: &Cached) -> Sample {
    Sample {
        uri: cached.uri.to_string(),
        key: format!("{:?}", object.key()),
        status: cached.stored.status.as_u16(),
        bytes: object.cost() as u64,
    }
}
