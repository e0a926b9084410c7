//! `larder cache`: what is on a volume, told without touching it, also while a node runs on it.

use std::fmt::Write as _;
use std::path::Path;

use policy::time::Timestamp;
use storage::disk::{self, Engine, InspectError, Report, VolumeReport};

use crate::access_log::rfc3339;

/// How a volume was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// Everything that was read is as it was written.
    Sound,
    /// Something is not, or the volume was taken out of service.
    Damaged,
}

/// What there is to say of the volumes, for people.
#[derive(Debug)]
pub struct Told {
    /// One paragraph for each.
    pub text: String,
    /// Of all of them.
    pub health: Health,
}

/// Tells what is on a volume, from its tables: a file, or a directory that one is in.
///
/// # Errors
/// A sentence that says why it cannot be told.
pub fn inspect(path: &Path) -> Result<Told, String> {
    tell(disk::inspect(path))
}

/// Reads all of a volume and checks it.
///
/// # Errors
/// A sentence that says why it cannot be read.
pub fn verify(path: &Path) -> Result<Told, String> {
    tell(disk::verify(path))
}

fn tell(report: Result<Report, InspectError>) -> Result<Told, String> {
    let report = report.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    let is_sound = |volume: &VolumeReport| volume.damaged == 0 && !volume.failed;
    let all_sound = report.volumes.iter().all(is_sound);
    Ok(Told {
        text: report.volumes.iter().map(paragraph).collect(),
        health: if all_sound {
            Health::Sound
        } else {
            Health::Damaged
        },
    })
}

fn paragraph(volume: &VolumeReport) -> String {
    let mut text = format!("{}\n", volume.path.display());
    let mut line = |what: &str, value: String| {
        // A string takes everything.
        writeln!(text, "  {what:<9} {value}").unwrap_or_default();
    };
    let used = volume.segments.saturating_sub(volume.segments_free);
    line("size", format!("{} MiB", volume.size >> 20));
    if volume.engine == Engine::Foyer {
        let told = "foyer keeps the bodies; each is checked when it is read, and not here";
        line("engine", told.to_owned());
    }
    line("objects", volume.objects.to_string());
    line("bytes", volume.bytes.to_string());
    line(
        "segments",
        format!(
            "{used} of {} in use, {} open",
            volume.segments, volume.segments_open
        ),
    );
    for (what, time) in [("oldest", volume.oldest), ("newest", volume.newest)] {
        let time = time.map(|secs| rfc3339(Timestamp::from_unix_secs(secs)));
        line(what, time.unwrap_or_else(|| "-".to_owned()));
    }
    line("removals", volume.removals.to_string());
    if volume.verified > 0 {
        line("verified", format!("{} records", volume.verified));
    }
    let health = match (volume.failed, volume.damaged) {
        (true, _) => "failed in an earlier run: a start would begin empty".to_owned(),
        (false, 0) => "sound".to_owned(),
        (false, damaged) => format!("{damaged} damaged records: they count as not stored"),
    };
    line("health", health);
    text
}
