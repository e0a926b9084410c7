//! The thread of a volume that writes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use super::health::Fault;
use super::life::Life;
use super::log::{Frozen, Phase};
use super::volume::Volume;

/// How long a record waits for company. A kill loses no more than this.
const LINGER: Duration = Duration::from_millis(20);

/// The most bytes of a buffer that is still filling written at once: they are copied under the lock.
const PARTIAL_MAX: usize = 256 * 1024;

/// What the thread does next.
enum Next {
    Write(Frozen),
    /// Everything has been written, and nothing more will come.
    End,
}

/// The life of the thread.
pub(crate) fn serve(shared: &Shared, volume: &Volume) {
    while let Next::Write(frozen) = next(volume) {
        let offset = volume.geometry.offset(frozen.life.segment, frozen.at);
        match volume.medium.write(&frozen.bytes, offset) {
            Ok(()) => written(volume, &frozen),
            Err(error) => failed(shared, volume, &frozen.life, &error),
        }
    }
    end(volume);
}

fn next(volume: &Volume) -> Next {
    let mut log = volume.log.lock();
    let mut lingered = false;
    loop {
        if log.phase == Phase::Abandoned || volume.health.is_offline() && log.phase != Phase::Open {
            return Next::End;
        }
        if volume.health.is_offline() {
            log.queue.clear();
        } else if let Some(frozen) = log.queue.front() {
            return Next::Write(frozen.rest());
        } else if let Some(frozen) = log.unwritten(PARTIAL_MAX) {
            if lingered {
                return Next::Write(frozen);
            }
            if log.phase == Phase::Open {
                volume.dirty.wait_for(&mut log, LINGER);
            }
            lingered = true;
            continue;
        } else if log.phase == Phase::Closing {
            return Next::End;
        }
        volume.clean.notify_all();
        volume.dirty.wait(&mut log);
    }
}

fn written(volume: &Volume, frozen: &Frozen) {
    let len = frozen.bytes.len() as u64;
    volume
        .counters
        .bytes_written
        .fetch_add(len, Ordering::Relaxed);
    volume.health.fine();

    let mut log = volume.log.lock();
    // What follows a footer is nothing; what lies before it has been written before it.
    frozen.life.has_written(frozen.at + len);
    while log.queue.front().is_some_and(Frozen::is_written) {
        log.queue.pop_front();
    }
    let sealed = frozen.is_last;
    drop(log);
    if sealed {
        volume.reclaim.notify_one();
    }
}

/// What was to be written there is lost, and with it all that the segment had.
fn failed(shared: &Shared, volume: &Volume, life: &Arc<Life>, error: &io::Error) {
    volume.health.fault(Fault::Write, error);
    let mut log = volume.log.lock();
    Volume::drop_life(&mut log, life);
    log.leaving.push(Arc::clone(life));
    drop(log);
    volume.lives.end(life.segment);
    shared.forget_segment(volume.id, life.segment);
    volume.reclaim.notify_one();
}

fn end(volume: &Volume) {
    let abandoned = volume.log.lock().phase == Phase::Abandoned;
    if !abandoned
        && !volume.health.is_offline()
        && let Err(error) = volume.medium.sync()
    {
        volume.health.fault(Fault::Write, &error);
    }
    volume.clean.notify_all();
}

/// Waits until everything that was appended is in the file.
#[cfg(test)]
pub(crate) fn settle(volume: &Volume) {
    let mut log = volume.log.lock();
    while log.bytes_unwritten() > 0 && !volume.health.is_offline() {
        volume.dirty.notify_one();
        volume.clean.wait_for(&mut log, LINGER);
    }
    drop(log);
    let is_settled = || {
        volume
            .bodies
            .as_ref()
            .is_none_or(|bodies| bodies.bytes_unwritten() == 0)
    };
    while !is_settled() {
        std::thread::sleep(LINGER / 10);
    }
}
