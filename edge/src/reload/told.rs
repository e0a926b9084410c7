//! What is told of changes.

use config::{Change, Changes};
use purge_api::{Changed, Reloaded};

use super::{NotTaken, Taken};

/// Changes that a line of the log names.
const NAMED_MAX: usize = 20;

/// The settings that need a restart, where there are some, in a sentence.
pub(super) fn restart(changes: &Changes) -> Option<String> {
    let all: Vec<String> = changes.at_start().map(line).collect();
    if all.is_empty() {
        return None;
    }
    Some(format!(
        "the node takes these when it starts:\n{}\nrestart it, or take them back",
        all.join("\n")
    ))
}

fn line(change: &Change) -> String {
    let nothing = || "-".to_owned();
    let before = change.before.clone().unwrap_or_else(nothing);
    let after = change.after.clone().unwrap_or_else(nothing);
    format!("  {}: {before} -> {after}", change.setting)
}

/// Why nothing was taken, in a line.
pub(super) fn in_a_line(why: &NotTaken) -> String {
    let text = why.to_string();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.join("; ")
}

/// The changes in a line.
pub(super) fn in_short(changes: &Changes) -> String {
    let added = changes.sites_added.iter().map(|site| format!("+{site}"));
    let removed = changes.sites_removed.iter().map(|site| format!("-{site}"));
    let settings = changes.settings.iter().map(|it| it.setting.clone());
    let all: Vec<_> = added.chain(removed).chain(settings).collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    let named = all[..all.len() - more].join(" ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

impl From<Taken> for Reloaded {
    fn from(taken: Taken) -> Self {
        let Taken {
            configuration,
            changes,
        } = taken;
        let Changes {
            sites_added,
            sites_removed,
            settings,
        } = changes;
        let changed = |change: Change| Changed {
            setting: change.setting,
            before: change.before,
            after: change.after,
        };
        Self {
            configuration,
            sites_added,
            sites_removed,
            changes: settings.into_iter().map(changed).collect(),
        }
    }
}
