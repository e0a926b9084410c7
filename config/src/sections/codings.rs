//! `codings`: which content codings are made, and of what.

use super::Tables;
use super::caching::unplaced;
use crate::kinds::{Bytes, Choice, List, Text, values};
use crate::model::{Coding, Codings};
use crate::names;
use crate::problems::Fault;
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

pub(crate) const CODINGS_KEY: Setting<Tables> = Setting {
    key: "codings",
    unset: Unset::Is("{ offer = [\"br\", \"zstd\", \"gzip\"], least = \"1KiB\" }"),
    about: "Content codings that are made of stored responses on demand, once for all clients.",
    read: Tables {
        accepts: "a table of `offer`, `types`, `least`",
    },
};

const OFFER: Setting<List<Choice<Coding>>> = Setting {
    key: "offer",
    unset: Unset::Is("[\"br\", \"zstd\", \"gzip\"]"),
    about: "The codings, the first where a client wants several as much. None of them: codings are the origin's business.",
    read: List {
        of: Choice(&[
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
            ("gzip", Coding::Gzip),
        ]),
        least: 0,
    },
};

const TYPES: Setting<List<Text<String>>> = Setting {
    key: "types",
    unset: Unset::Is(
        "[\"text/html\", \"text/css\", \"text/plain\", \"text/xml\", \"text/csv\", \"text/markdown\", \
         \"text/javascript\", \"text/vtt\", \"text/calendar\", \"application/javascript\", \
         \"application/x-javascript\", \"application/json\", \"application/manifest+json\", \"application/xml\", \
         \"application/wasm\", \"application/vnd.ms-fontobject\", \"application/x-ndjson\", \"font/ttf\", \
         \"font/otf\", \"image/svg+xml\", \"image/x-icon\", \"image/vnd.microsoft.icon\", \"image/bmp\", \"*+json\", \
         \"*+xml\"]",
    ),
    about: "Media types that are coded; `*` stands for anything at one end.",
    read: List {
        of: Text {
            accepts: "a media type such as \"text/html\"",
            parse: names::media_type,
        },
        least: 0,
    },
};

const LEAST: Setting<Bytes<u64>> = Setting {
    key: "least",
    unset: Unset::Is("\"1KiB\""),
    about: "The shortest content that is coded, where its length is announced.",
    read: Bytes::new(0, 1 << 30),
};

pub(crate) const CODINGS: Rows = Rows {
    path: "site.codings",
    about: CODINGS_KEY.about,
    rows: &[&OFFER as &dyn Row, &TYPES, &LEAST],
};

/// Reads `codings`; what it leaves out is as in `base`.
pub(crate) fn codings(
    section: &Section<'_>,
    base: Option<&Codings>,
    reading: &mut Reading,
) -> Option<Codings> {
    let offer = section.value_or(&OFFER, base.map(|base| unplaced(&base.offer)), reading);
    let types = section.value_or(&TYPES, base.map(|base| unplaced(&base.types)), reading);
    let least = section.value_or(&LEAST, base.map(|base| base.least), reading);

    if offer.as_ref().is_some_and(Vec::is_empty) {
        let inert = section.keys().filter(|key| key.value != OFFER.key);
        for key in inert {
            let fault = Fault::new(format!("`{}` has no effect beside offer = []", key.value));
            reading.refuse(key.span, fault.hint("remove it, or offer a coding"));
        }
    }
    Some(Codings {
        offer: values(offer?),
        types: values(types?),
        least: least?,
    })
}
