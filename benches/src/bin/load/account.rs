//! What a process costs, by the kernel's own accounts: they are right on a machine that does other things, too.

use std::fs;

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
