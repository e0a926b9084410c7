//! `slices`: how long representations are stored, and asked for, in parts.

use super::Tables;
use crate::kinds::{Bytes, Truth, Whole};
use crate::model::Slices;
use crate::problems::Fault;
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

pub(crate) const SLICES_KEY: Setting<Tables> = Setting {
    key: "slices",
    unset: Unset::Is("{ use = true, size = \"1MiB\", above = \"8MiB\", ahead = 2 }"),
    about: "Large responses are stored in slices, each asked for by `Range` when it is needed \
            (RFC 9111 §3.3, §3.4); the origin has to take ranges, and to name a strong validator.",
    read: Tables {
        accepts: "a table of `use`, `size`, `above`, `ahead`",
    },
};

const USE: Setting<Truth> = Setting {
    key: "use",
    unset: Unset::Is("true"),
    about: "Whether there are slices; without, a range of what is not stored fetches everything.",
    read: Truth,
};

const SIZE: Setting<Bytes<u64>> = Setting {
    key: "size",
    unset: Unset::Is("\"1MiB\""),
    about: "The length of a slice; another one begins anew. Slices longer than `object_max` are none.",
    read: Bytes::new(KIB, GIB),
};

const ABOVE: Setting<Bytes<u64>> = Setting {
    key: "above",
    unset: Unset::Is("\"8MiB\""),
    about: "What the origin sends as a whole is stored in slices if it is longer. What was first \
            asked for by `Range` is, if it is longer than a slice.",
    read: Bytes::new(KIB, TIB),
};

const AHEAD: Setting<Whole<usize>> = Setting {
    key: "ahead",
    unset: Unset::Is("2"),
    about: "Slices that are fetched ahead of the one that a client is sent.",
    read: Whole::new(0, 16),
};

pub(crate) const SLICES: Rows = Rows {
    path: "site.slices",
    about: SLICES_KEY.about,
    rows: &[&USE as &dyn Row, &SIZE, &ABOVE, &AHEAD],
};

/// Reads `slices`; what it leaves out is as in `base`.
pub(crate) fn slices(
    section: &Section<'_>,
    base: Option<Slices>,
    reading: &mut Reading,
) -> Option<Slices> {
    let (base_use, base_cut) = match base {
        None => (None, None),
        Some(Slices::Off) => (Some(false), None),
        Some(Slices::Cut { size, above, ahead }) => (Some(true), Some((size, above, ahead))),
    };
    let used = section.value_or(&USE, base_use, reading);
    let size = section.value_or(&SIZE, base_cut.map(|it| it.0), reading);
    let above = section.value_or(&ABOVE, base_cut.map(|it| it.1), reading);
    let ahead = section.value_or(&AHEAD, base_cut.map(|it| it.2), reading);

    let mut others = section.keys().filter(|key| key.value != USE.key);
    if used == Some(false)
        && let Some(other) = others.next()
    {
        let fault = Fault::new(format!(
            "`{}` has no effect beside use = false",
            other.value
        ));
        reading.refuse(other.span, fault.hint("remove one of the two"));
    }
    Some(if used? {
        Slices::Cut {
            size: size?,
            above: above?,
            ahead: ahead?,
        }
    } else {
        Slices::Off
    })
}
