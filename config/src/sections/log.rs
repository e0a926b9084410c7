//! `[log]`.

use crate::kinds::{Bytes, Choice, List, Text, Whole, values};
use crate::model::{AccessLog, Level, Log, LogTo, Redacted};
use crate::names;
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

const ACCESS: Setting<Choice<AccessLog>> = Setting {
    key: "access",
    unset: Unset::Is("\"json\""),
    about: "The format of the access log, one line per request. GoAccess reads all but `json`; `vcombined` and `cloudfront` tell it how the cache fared.",
    read: Choice(&[
        ("json", AccessLog::Json),
        ("combined", AccessLog::Combined),
        ("vcombined", AccessLog::CombinedWithHost),
        ("cloudfront", AccessLog::CloudFront),
        ("off", AccessLog::Off),
    ]),
};

const LEVEL: Setting<Choice<Level>> = Setting {
    key: "level",
    unset: Unset::Is("\"info\""),
    about: "The least severe message of the program's own log, on standard error.",
    read: Choice(&[
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ]),
};

const LOG_TO: Setting<Text<LogTo>> = Setting {
    key: "to",
    unset: Unset::Is("\"stdout\""),
    about: "Where the access log goes. Lines that cannot be written are dropped and counted; no request waits.",
    read: Text {
        accepts: "\"stdout\", a path with a `/`, \"udp://HOST:PORT\", \"tcp://HOST:PORT\" or \"unix:/PATH\" (syslog, RFC 5424)",
        parse: names::log_to,
    },
};

const ROTATE_SIZE: Setting<Bytes<u64>> = Setting {
    key: "rotate_size",
    unset: Unset::Is("\"100MiB\""),
    about: "The length at which the file of the access log is set aside as `.1`, and begun anew.",
    read: Bytes::new(1 << 20, 1 << 40),
};

const ROTATE_KEEP: Setting<Whole<u32>> = Setting {
    key: "rotate_keep",
    unset: Unset::Is("7"),
    about: "How many files of the access log are kept beside the one that is written.",
    read: Whole::new(0, 1_000),
};

const SAMPLE_HITS: Setting<Whole<u32>> = Setting {
    key: "sample_hits",
    unset: Unset::Is("1"),
    about: "One of so many hits is told in the access log, and says for how many it stands (`sample`). What is no hit always is told.",
    read: Whole::new(1, 1_000_000),
};

const REDACT: Setting<List<Choice<Redacted>>> = Setting {
    key: "redact",
    unset: Unset::Is("[]"),
    about: "What of requests no log tells: of `client`, all but the network (24 bits of IPv4, 48 of IPv6).",
    read: List {
        of: Choice(&[
            ("client", Redacted::Client),
            ("query", Redacted::Query),
            ("referer", Redacted::Referer),
            ("user_agent", Redacted::UserAgent),
        ]),
        least: 0,
    },
};

const FIELD: Text<String> = Text {
    accepts: "a field's name",
    parse: names::field,
};

const REQUEST_FIELDS: Setting<List<Text<String>>> = Setting {
    key: "request_fields",
    unset: Unset::Is("[]"),
    about: "Fields of requests that lines in JSON tell, such as the country that a proxy before the node has found out.",
    read: List {
        of: FIELD,
        least: 0,
    },
};

const RESPONSE_FIELDS: Setting<List<Text<String>>> = Setting {
    key: "response_fields",
    unset: Unset::Is("[]"),
    about: "Fields of responses that lines in JSON tell, also those that clients are not sent, such as tags.",
    read: List {
        of: FIELD,
        least: 0,
    },
};

pub(crate) const LOG: Rows = Rows {
    path: "log",
    about: "What is logged.",
    rows: &[
        &ACCESS as &dyn Row,
        &LOG_TO,
        &ROTATE_SIZE,
        &ROTATE_KEEP,
        &SAMPLE_HITS,
        &REDACT,
        &REQUEST_FIELDS,
        &RESPONSE_FIELDS,
        &LEVEL,
    ],
};

/// Reads `[log]`.
pub(crate) fn log(section: &Section<'_>, reading: &mut Reading) -> Option<Log> {
    let access = section.value(&ACCESS, reading);
    let to = section.value(&LOG_TO, reading);
    let rotate_size = section.value(&ROTATE_SIZE, reading);
    let rotate_keep = section.value(&ROTATE_KEEP, reading);
    let sample_hits = section.value(&SAMPLE_HITS, reading);
    let redact = section.value(&REDACT, reading);
    let request_fields = section.value(&REQUEST_FIELDS, reading);
    let response_fields = section.value(&RESPONSE_FIELDS, reading);
    let level = section.value(&LEVEL, reading);
    Some(Log {
        access: access?,
        to: to?,
        rotate_size: rotate_size?,
        rotate_keep: rotate_keep?,
        sample_hits: sample_hits?,
        redact: values(redact?),
        request_fields: values(request_fields?),
        response_fields: values(response_fields?),
        level: level?,
    })
}
