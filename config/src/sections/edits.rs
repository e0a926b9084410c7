//! `request_fields` and `response_fields`: what is changed of a head on its way.

use super::Tables;
use crate::kinds::{List, Text, values};
use crate::model::FieldEdits;
use crate::names;
use crate::problems::{Fault, quote};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

/// Fields that frame a message, or that the node writes itself.
const NOT_EDITED: &[&str] = &[
    "age",
    "cache-status",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

const fn edits(key: &'static str, about: &'static str) -> Setting<Tables> {
    Setting {
        key,
        unset: Unset::Is("{}"),
        about,
        read: Tables {
            accepts: "a table of `remove`, `set`, `add`",
        },
    }
}

pub(crate) const REQUEST_FIELDS: Setting<Tables> = edits(
    "request_fields",
    "What is changed of the fields that an origin is sent.",
);
pub(crate) const RESPONSE_FIELDS: Setting<Tables> = edits(
    "response_fields",
    "What is changed of the fields that an origin answers, before anything is made of them: also whether the response is \
     stored, and for how long.",
);

const REMOVE: Setting<List<Text<String>>> = Setting {
    key: "remove",
    unset: Unset::Is("[]"),
    about: "Fields that are taken off, first of all.",
    read: List {
        of: Text {
            accepts: "a field's name",
            parse: name,
        },
        least: 0,
    },
};

const SET: Setting<List<Text<(String, String)>>> = lines(
    "set",
    "Fields that take the place of those of their names: \"Name: value\".",
);
const ADD: Setting<List<Text<(String, String)>>> = lines(
    "add",
    "Fields that are added to those of their names: \"Name: value\".",
);

const fn lines(key: &'static str, about: &'static str) -> Setting<List<Text<(String, String)>>> {
    Setting {
        key,
        unset: Unset::Is("[]"),
        about,
        read: List {
            of: Text {
                accepts: "a field such as \"X-Env: prod\"",
                parse: line,
            },
            least: 0,
        },
    }
}

pub(crate) const REQUEST: Rows = Rows {
    path: "site.request_fields",
    about: REQUEST_FIELDS.about,
    rows: &[&REMOVE as &dyn Row, &SET, &ADD],
};

pub(crate) const RESPONSE: Rows = Rows {
    path: "site.response_fields",
    about: RESPONSE_FIELDS.about,
    rows: &[&REMOVE as &dyn Row, &SET, &ADD],
};

pub(crate) fn field_edits(section: &Section<'_>, reading: &mut Reading) -> Option<FieldEdits> {
    let remove = section.value(&REMOVE, reading).map(values);
    let set = section.value(&SET, reading).map(values);
    let add = section.value(&ADD, reading).map(values);
    Some(FieldEdits {
        remove: remove?,
        set: set?,
        add: add?,
    })
}

fn name(text: &str) -> Result<String, Fault> {
    let name = names::field(text)?;
    if !NOT_EDITED.contains(&name.as_str()) {
        return Ok(name);
    }
    let fault = Fault::new(format!("{} is the node's own", quote(text)));
    Err(match name.as_str() {
        "host" => fault.hint("see `host` of an origin"),
        _ => fault.hint("choose another field"),
    })
}

fn line(text: &str) -> Result<(String, String), Fault> {
    let Some((name, value)) = text.split_once(':') else {
        let fault = Fault::new(format!("{} has no colon", quote(text)));
        return Err(fault.hint("write \"Name: value\""));
    };
    let value = value.trim();
    let is_text = |c: char| c == '\t' || c == ' ' || c.is_ascii_graphic();
    if !value.chars().all(is_text) {
        return Err(Fault::new(format!("{} is no field's value", quote(value))));
    }
    Ok((self::name(name.trim())?, value.to_owned()))
}
