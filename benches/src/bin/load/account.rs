//! What a process costs, by the kernel's own accounts: they are right on a machine that does other things, too.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Processor time of a process and of those that it started, in nanoseconds.
pub(crate) fn cpu(id: u32) -> u64 {
    processes(id).into_iter().map(cpu_of).sum()
}

/// Bytes of memory that a process and those that it started occupy, each page counted in parts where it is shared.
pub(crate) fn memory(id: u32) -> u64 {
    let all = processes(id).into_iter();
    all.map(|id| {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number
            .and_then(|number| number.trim().parse::<u64>().ok())
            .unwrap_or(0)
            << 10
    })
    .sum()
}

/// Ticks of all processors since the start, and those of them that the host of this machine took.
pub(crate) fn ticks() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1).take(8);
    let numbers: Vec<u64> = numbers.filter_map(|it| it.parse().ok()).collect();
    let stolen = numbers.get(7).copied().unwrap_or(0);
    (numbers.iter().sum(), stolen)
}

/// How often this thread was interrupted while it did nothing but look at the clock, told in words. A host that takes a
/// processor away need not say so in [`ticks`].
pub(crate) fn interruptions() -> String {
    const WATCHED: Duration = Duration::from_secs(5);
    const LONG: Duration = Duration::from_micros(500);
    let begun = Instant::now();
    let (mut last, mut many, mut all, mut longest) = (begun, 0, Duration::ZERO, Duration::ZERO);
    while last < begun + WATCHED {
        let now = Instant::now();
        let gap = now - last;
        if gap >= LONG {
            many += 1;
            all += gap;
        }
        longest = longest.max(gap);
        last = now;
    }
    format!(
        "With nothing else to do, a thread on the drivers' core was interrupted for {LONG:?} and more {many} times in \
         {WATCHED:?}, for {all:.1?} in all and {longest:.1?} at most."
    )
}

/// A process and its descendants.
fn processes(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let mut next = 0;
    while let Some(&id) = all.get(next) {
        next += 1;
        for task in tasks(id) {
            let children = fs::read_to_string(format!("/proc/{id}/task/{task}/children"));
            let children = children.unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|it| it.parse::<u32>().ok()),
            );
        }
    }
    all
}

fn tasks(id: u32) -> Vec<u32> {
    let Ok(folder) = fs::read_dir(format!("/proc/{id}/task")) else {
        return Vec::new();
    };
    let names = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.collect()
}

/// The scheduler counts nanoseconds on a processor for each thread.
fn cpu_of(id: u32) -> u64 {
    let all = tasks(id).into_iter();
    all.filter_map(|task| {
        let counts = fs::read_to_string(format!("/proc/{id}/task/{task}/schedstat")).ok()?;
        counts.split(' ').next()?.parse::<u64>().ok()
    })
    .sum()
}

/// Bytes of the files below a folder, as many as their pages take.
pub(crate) fn files(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let each = entries.filter_map(Result::ok).map(|entry| {
        // What is gone by now has no length.
        match entry.metadata() {
            Ok(found) if found.is_dir() => files(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_gone) => 0,
        }
    });
    each.sum()
}

/// Files and sockets that a process and those that it started have open.
pub(crate) fn descriptors(id: u32) -> usize {
    let each = processes(id).into_iter().map(|id| {
        let folder = fs::read_dir(format!("/proc/{id}/fd"));
        folder.map_or(0, Iterator::count)
    });
    each.sum()
}
