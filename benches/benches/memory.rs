//! The memory tier: finding a response, and storing one while others have to leave.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use larder_benches::{Head, exchange, request_headers, response_headers};
use policy::settings::Settings;
use storage::{Key, Memory, Variant};

const VARIANT: Variant = Variant([0; 16]);
const BODY: usize = 10 * 1024;
const CAPACITY: usize = 64 << 20;

fn head() -> Head {
    let (request, response) = (request_headers(), response_headers());
    let stored = policy::store::decide(&exchange(&request, &response), &Settings::default());
    Head(stored.expect("a response that may be stored").packed(""))
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    // As in a hash, every byte counts.
    key[8..].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    Key(key)
}

fn insert(memory: &Arc<Memory<Head>>, number: u64, head: Head, body: &Bytes) {
    drop(memory.insert_ready(key(number), VARIANT, head, body.clone()));
}

fn hit(c: &mut Criterion) {
    let body = Bytes::from(vec![0; BODY]);
    let memory = Memory::new(storage::Settings::new(CAPACITY));
    for number in 0..4096 {
        insert(&memory, number, head(), &body);
    }
    let mut number = 0;
    c.bench_function("memory/hit", |b| {
        b.iter(|| {
            number = (number + 1) % 4096;
            let found = memory.lookup(black_box(key(number)));
            let object = found.find(VARIANT).cloned();
            if let Some(object) = &object {
                memory.accessed(object);
            }
            object
        });
    });
    c.bench_function("memory/miss", |b| {
        b.iter(|| {
            memory
                .lookup(black_box(key(u64::MAX)))
                .find(VARIANT)
                .is_some()
        });
    });
}

fn fill(c: &mut Criterion) {
    let body = Bytes::from(vec![0; BODY]);
    let mut group = c.benchmark_group("memory/fill");
    group.throughput(Throughput::Bytes(BODY as u64));
    for (name, eviction) in [
        ("gdsf", storage::Eviction::SampledGdsf),
        ("lru", storage::Eviction::Lru),
    ] {
        let memory = Memory::new(storage::Settings {
            eviction,
            ..storage::Settings::new(CAPACITY)
        });
        let mut number = 0;
        group.bench_function(name, |b| {
            let insert = |head| {
                number += 1;
                insert(&memory, number, head, &body);
            };
            b.iter_batched(head, insert, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, hit, fill);
criterion_main!(benches);
