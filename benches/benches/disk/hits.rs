//! Hits that are in the page cache: what they cost the processor, in the storage layer.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use storage::disk::Engine;

use crate::{HEAD, Volume, get, process_cpu, put, runtime, scatter, until_written};

const HITS: u64 = 30_000;

/// Runs of which the median is told.
const RUNS: usize = 5;

pub(crate) fn run(dir: &Path) {
    println!("hits in the page cache           CPU (µs)   p50 (µs)   p99 (µs)   of the baseline");
    for (len, count) in [(1500, 40_000), (4096, 40_000), (65_536, 8_000)] {
        let baseline = baseline(dir, len, count);
        if let Some(hit) = &baseline {
            row(len, "foyer alone", hit, baseline.as_ref());
        }
        if cfg!(feature = "foyer") {
            row(
                len,
                "larder over foyer",
                &ours(dir, len, count, Engine::Foyer),
                baseline.as_ref(),
            );
        }
        row(
            len,
            "larder",
            &ours(dir, len, count, Engine::Log),
            baseline.as_ref(),
        );
    }
}

/// What a hit costs, in microseconds.
struct Hit {
    cpu: f64,
    p50: f64,
    p99: f64,
}

fn row(len: usize, who: &str, hit: &Hit, baseline: Option<&Hit>) {
    let share = baseline.map_or_else(String::new, |baseline| {
        format!("{:.2}", hit.cpu / baseline.cpu)
    });
    let Hit { cpu, p50, p99 } = hit;
    println!("{len:>7} B  {who:<22} {cpu:>8.2}   {p50:>8.2}   {p99:>8.2}   {share}");
}

fn ours(dir: &Path, len: usize, count: u64, engine: Engine) -> Hit {
    let volume = Volume::new(dir, 2 << 30, engine);
    let body = Bytes::from(vec![7; len]);
    (0..count).for_each(|number| put(&volume.disk, number, &body));
    until_written(&volume.disk);
    runtime().block_on(measure(count, async |number| {
        assert_eq!(get(&volume.disk, number).await, Some(len + HEAD));
    }))
}

#[cfg(not(feature = "foyer"))]
fn baseline(_: &Path, _: usize, _: u64) -> Option<Hit> {
    None
}

/// foyer as one would use it by itself: head and body are one value, and its index is the only one.
#[cfg(feature = "foyer")]
fn baseline(dir: &Path, len: usize, count: u64) -> Option<Hit> {
    use foyer::{
        BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
        HybridCachePolicy, Load, PsyncIoEngineConfig,
    };

    let path = dir.join("foyer");
    let hit = runtime().block_on(async {
        let device = FsDeviceBuilder::new(&path)
            .with_capacity(2 << 30)
            .build()
            .expect("a device");
        let engine = BlockEngineConfig::new(device).with_buffer_pool_size(64 << 20);
        let cache: HybridCache<u64, Vec<u8>> = HybridCacheBuilder::new()
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory(1)
            .with_shards(1)
            .storage()
            .with_io_engine_config(PsyncIoEngineConfig::new())
            .with_engine_config(engine)
            .build()
            .await
            .expect("a cache");
        for number in 0..count {
            drop(
                cache
                    .storage_writer(number)
                    .force()
                    .insert(vec![7; len + HEAD]),
            );
            // More at once is dropped without a word.
            if number.is_multiple_of((4 << 20) / len as u64) {
                cache.storage().wait().await;
            }
        }
        cache.storage().wait().await;
        let hit = measure(count, async |number| {
            let loaded = cache.storage().load(&number).await.expect("no error");
            let Load::Entry { value, .. } = loaded else {
                panic!("no entry");
            };
            assert_eq!(value.len(), len + HEAD);
        });
        let hit = hit.await;
        cache.close().await.expect("an end");
        hit
    });
    std::fs::remove_dir_all(path).expect("the directory");
    Some(hit)
}

async fn measure(count: u64, hit: impl AsyncFn(u64)) -> Hit {
    let mut runs = Vec::new();
    for run in 0..=RUNS as u64 {
        let mut wall = Vec::new();
        let cpu = process_cpu();
        for number in 0..HITS {
            let begin = Instant::now();
            hit(scatter(run * HITS + number) % count).await;
            wall.push(begin.elapsed());
        }
        let cpu = (process_cpu() - cpu) * 1e6 / HITS as f64;
        wall.sort();
        let at = |percent: usize| wall[wall.len() * percent / 100].as_secs_f64() * 1e6;
        // The first one is to warm up.
        if run > 0 {
            runs.push(Hit {
                cpu,
                p50: at(50),
                p99: at(99),
            });
        }
    }
    runs.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
    runs.swap_remove(RUNS / 2)
}
