//! What the shadows begin with where something outlived the process: a sample of what is on the disks.
//!
//! The index picks it without a read, and the heads of those tell until when they may be used, and what is purged.

use std::sync::Arc;
use std::time::Duration;

use storage::curve::{Name, RESIDENTS_PICKED_MAX, Resident, Residents, Sampler};
use storage::disk::{Disk, Picked};
use storage::purge::Life;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::node::Node;

/// How often it is looked whether the disks' index has been read back.
const POLL: Duration = Duration::from_millis(20);

/// Has the shadows begin, as soon as it is known what is on the disks. Without disks they have begun.
pub(crate) async fn begin(node: Arc<Node>) {
    let Some(disk) = node.tiers.disk().cloned() else {
        return;
    };
    let mut stopping = node.stopping.clone();
    while !disk.is_recovered() {
        if timeout(POLL, stopping.changed()).await.is_ok() {
            return;
        }
    }
    let had_no_room = disk.has_no_room();
    let overhead = node.capacity.overhead;
    let Ok((sampler, picked)) = spawn_blocking(move || pick(&disk, overhead)).await else {
        return; // the runtime is ending
    };
    let mut objects = Vec::with_capacity(picked.len());
    for one in &picked {
        objects.extend(resident(&node, one, sampler).await);
    }
    let residents = Residents {
        sampler,
        objects,
        had_no_room,
    };
    node.capacity.begin(&residents, &node.metrics.requests);
}

/// As many as the shadows may begin with, the oldest first.
fn pick(disk: &Disk, overhead: u64) -> (Sampler, Vec<Picked>) {
    let mut sampler = Sampler::all();
    let mut all = Vec::new();
    let takes = |sampler: Sampler, name: Name, bytes: u64| sampler.takes(name, bytes + overhead);
    let mut parts = 0..;
    while let Some(picked) = parts.next().and_then(|part| {
        let sampler = sampler;
        disk.pick(part, |name, bytes| takes(sampler, name, bytes))
    }) {
        all.extend(picked);
        while all.len() > RESIDENTS_PICKED_MAX {
            sampler = sampler.thinned();
            all.retain(|one| takes(sampler, one.name, one.bytes));
        }
    }
    all.sort_unstable_by_key(|one| one.age);
    (sampler, all)
}

/// What the shadows are to know of it; none if it is of no use any more.
async fn resident(node: &Node, picked: &Picked, sampler: Sampler) -> Option<Resident> {
    let object = node.tiers.look_at(picked).await?;
    if object.head.life(&node.purges) == Life::Gone {
        return None;
    }
    let cost = node.capacity.cost(&object.head, object.body_len());
    sampler.takes(picked.name, cost).then(|| Resident {
        name: picked.name,
        cost,
        until: node.capacity.until(&object.head, node.clock.now()),
        queue: picked.queue,
    })
}
