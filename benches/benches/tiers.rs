//! Which node of a tier a key belongs to: how long that takes, and how even the shares are.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tiered::{Member, Ring};

/// Keys whose owners are counted.
const KEYS: u64 = 1_000_000;

fn ring(nodes: usize, weight: impl Fn(usize) -> u32) -> Ring {
    let members = (0..nodes).map(|number| Member {
        id: format!("10.0.{}.{}:8080", number / 256, number % 256),
        weight: weight(number),
    });
    Ring::new(&members.collect::<Vec<_>>())
}

/// As in a hash, every bit counts.
fn key(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d)
}

fn lookup(c: &mut Criterion) {
    for nodes in [2, 8, 64, 512] {
        let ring = ring(nodes, |_| 1);
        let mut number = 0;
        c.bench_function(&format!("tiers/owner of {nodes}"), |b| {
            b.iter(|| {
                number += 1;
                ring.candidates(black_box(key(number)))
            });
        });
    }
    let weighted = ring(64, |number| 1 + u32::from(number % 4 == 0));
    let mut number = 0;
    c.bench_function("tiers/owner of 64, of two weights", |b| {
        b.iter(|| {
            number += 1;
            weighted.candidates(black_box(key(number)))
        });
    });
}

/// Measured once, and held against its limit: the most that a node may have of the mean.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts are far below what a double holds"
)]
#[expect(clippy::print_stderr, reason = "criterion has no word for it")]
fn balance(_: &mut Criterion) {
    for (nodes, limit) in [(8, 1.01), (64, 1.05), (512, 1.10)] {
        let ring = ring(nodes, |_| 1);
        let mut shares = vec![0_u64; nodes];
        for number in 0..KEYS {
            let owner = ring.candidates(key(number)).expect("a node");
            shares[owner.first] += 1;
        }
        let most = shares.iter().max().copied().unwrap_or(0);
        let imbalance = most as f64 * nodes as f64 / KEYS as f64;
        eprintln!("tiers/imbalance of {nodes}: {imbalance:.4}, at most {limit}");
        assert!(imbalance <= limit, "{nodes} nodes");
    }
}

criterion_group!(benches, balance, lookup);
criterion_main!(benches);
