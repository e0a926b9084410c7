//! Who is eligible, and the manners of sharing that need no hash.

use super::rendezvous::mix;
use super::{Fitness, Peer, Role, Room, Trials, Tried};

/// The peers to choose among: those of the best kind that there is.
pub(super) fn eligible(peers: &[Peer], tried: Tried, trials: Trials) -> Vec<usize> {
    let left = |wanted: &dyn Fn(&Peer) -> bool| -> Vec<usize> {
        let left = (0..peers.len()).filter(|&peer| !tried.has(peer) && wanted(&peers[peer]));
        left.collect()
    };
    let is_trial = |peer: &Peer| peer.fitness == Fitness::Trial && peer.room == Room::Free;
    if trials == Trials::Welcome
        && let Some(trial) = left(&is_trial).first()
    {
        // Whoever finds out does so for everybody.
        return vec![*trial];
    }
    let is_up =
        |peer: &Peer, role: Role| peer.role == role && matches!(peer.fitness, Fitness::Up { .. });
    let kinds: [&dyn Fn(&Peer) -> bool; 6] = [
        &|peer| is_up(peer, Role::Primary) && peer.room == Room::Free,
        &|peer| is_up(peer, Role::Primary),
        &|peer| is_up(peer, Role::Backup) && peer.room == Room::Free,
        &|peer| is_up(peer, Role::Backup),
        &|peer| matches!(peer.fitness, Fitness::Trial | Fitness::Out) && peer.room == Room::Free,
        &|peer| matches!(peer.fitness, Fitness::Trial | Fitness::Out),
    ];
    let mut found = kinds.iter().map(|kind| left(*kind));
    found.find(|peers| !peers.is_empty()).unwrap_or_default()
}

/// Smooth weighted round robin: everybody is owed its weight, the one who is owed most is asked and pays for all.
pub(super) fn in_turn(
    owed: &mut [i64],
    peers: &[usize],
    weigh: impl Fn(usize) -> u64,
) -> Option<usize> {
    let mut all = 0_i64;
    for &peer in peers {
        let weight = i64::try_from(weigh(peer)).unwrap_or(i64::MAX / 1024);
        owed[peer] = owed[peer].saturating_add(weight);
        all = all.saturating_add(weight);
    }
    // The first of those who are owed as much.
    let most = peers
        .iter()
        .copied()
        .max_by_key(|&peer| (owed[peer], std::cmp::Reverse(peer)))?;
    owed[most] = owed[most].saturating_sub(all);
    Some(most)
}

/// The power of two choices: of two peers drawn at random, the one with less under way for its weight.
pub(super) fn less_busy(
    peers: &[usize],
    random: u64,
    under_way: impl Fn(usize) -> u32,
    weigh: impl Fn(usize) -> u64,
) -> Option<usize> {
    let count = peers.len() as u64;
    let one = below(mix(random), count);
    let step = 1 + below(mix(random ^ u64::MAX), count.saturating_sub(1).max(1));
    let (one, other) = (peer_at(peers, one)?, peer_at(peers, one + step)?);
    // (under_way + 1) / weight, compared without a division.
    let load = |peer, other| u128::from(under_way(peer) + 1) * u128::from(weigh(other));
    Some(if load(one, other) <= load(other, one) {
        one
    } else {
        other
    })
}

const fn below(random: u64, count: u64) -> u64 {
    if count == 0 { 0 } else { random % count }
}

fn peer_at(peers: &[usize], index: u64) -> Option<usize> {
    let count = peers.len() as u64;
    let index = usize::try_from(index % count.max(1)).ok()?;
    peers.get(index).copied()
}
