//! `[limits]`: what a client may ask of the node before it is refused.

use std::time::Duration;

use crate::kinds::{Bytes, Lasting, Whole};
use crate::model::Limits;
use crate::problems::{Fault, quote};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};
use crate::units::print_size;

const TIMEOUT: Lasting = Lasting {
    least: Duration::from_millis(1),
    most: Duration::from_secs(3_600),
};

const fn timeout(
    key: &'static str,
    default: &'static str,
    about: &'static str,
) -> Setting<Lasting> {
    Setting {
        key,
        unset: Unset::Is(default),
        about,
        read: TIMEOUT,
    }
}

const fn count<T>(
    key: &'static str,
    default: &'static str,
    most: i64,
    about: &'static str,
) -> Setting<Whole<T>> {
    Setting {
        key,
        unset: Unset::Is(default),
        about,
        read: Whole::new(1, most),
    }
}

const HEAD_BYTES: Setting<Bytes<usize>> = Setting {
    key: "head_bytes",
    unset: Unset::Is("\"64KiB\""),
    about: "A request's head; beyond it: 431.",
    read: Bytes::new(1 << 10, 1 << 20),
};

const TARGET_BYTES: Setting<Bytes<usize>> = Setting {
    key: "target_bytes",
    unset: Unset::Means {
        example: "\"16KiB\"",
        means: "\"16KiB\", or `head_bytes` if that is less",
    },
    about: "A request's target; beyond it: 414. At most `head_bytes`.",
    read: Bytes::new(256, 1 << 20),
};

const TARGET_BYTES_DEFAULT: usize = 16 << 10;

const FIELDS: Setting<Whole<usize>> = count(
    "fields",
    "100",
    10_000,
    "Header fields in a request; beyond them: 431.",
);
const HEAD_TIMEOUT: Setting<Lasting> = timeout(
    "head_timeout",
    "\"10s\"",
    "From the first byte of a request's head to its last.",
);
const IDLE_TIMEOUT: Setting<Lasting> = timeout(
    "idle_timeout",
    "\"60s\"",
    "Between two requests of a connection.",
);
const BODY_TIMEOUT: Setting<Lasting> = timeout(
    "body_timeout",
    "\"30s\"",
    "Between two reads of a request's body.",
);
const WRITE_TIMEOUT: Setting<Lasting> = timeout(
    "write_timeout",
    "\"30s\"",
    "How long a client may read nothing of its response.",
);
const CONNECTIONS: Setting<Whole<usize>> = count(
    "connections",
    "50000",
    10_000_000,
    "Client connections at one time.",
);
const FOLLOWERS: Setting<Whole<usize>> = count(
    "followers",
    "10000",
    10_000_000,
    "Requests that wait for one response that is being fetched.",
);
const FOLLOWER_WAIT: Setting<Lasting> = timeout(
    "follower_wait",
    "\"30s\"",
    "How long a request waits for another's before it goes to the origin itself.",
);
const RANGES: Setting<Whole<usize>> = count(
    "ranges",
    "16",
    1_000,
    "Ranges in one request; beyond them, all is sent.",
);
const VARIANTS: Setting<Whole<usize>> =
    count("variants", "64", 10_000, "Variants stored for one key.");
const QUERY_CONTENT: Setting<Bytes<usize>> = Setting {
    key: "query_content",
    unset: Unset::Is("\"64KiB\""),
    about: "A QUERY's content that is part of its cache key; a longer one passes the cache by.",
    read: Bytes::new(0, 16 << 20),
};

const H2_STREAMS: Setting<Whole<u32>> = count(
    "h2_streams",
    "100",
    10_000,
    "Concurrent streams of an HTTP/2 connection.",
);

pub(crate) const LIMITS: Rows = Rows {
    path: "limits",
    about: "What a client may ask of the node before it is refused.",
    rows: &[
        &HEAD_BYTES as &dyn Row,
        &TARGET_BYTES,
        &FIELDS,
        &HEAD_TIMEOUT,
        &IDLE_TIMEOUT,
        &BODY_TIMEOUT,
        &WRITE_TIMEOUT,
        &CONNECTIONS,
        &FOLLOWERS,
        &FOLLOWER_WAIT,
        &RANGES,
        &VARIANTS,
        &H2_STREAMS,
        &QUERY_CONTENT,
    ],
};

/// Reads `[limits]`.
pub(crate) fn limits(section: &Section<'_>, reading: &mut Reading) -> Option<Limits> {
    let head_bytes = section.value(&HEAD_BYTES, reading);
    let target_bytes = section.value(&TARGET_BYTES, reading);
    let fields = section.value(&FIELDS, reading);
    let head_timeout = section.value(&HEAD_TIMEOUT, reading);
    let idle_timeout = section.value(&IDLE_TIMEOUT, reading);
    let body_timeout = section.value(&BODY_TIMEOUT, reading);
    let write_timeout = section.value(&WRITE_TIMEOUT, reading);
    let connections = section.value(&CONNECTIONS, reading);
    let followers = section.value(&FOLLOWERS, reading);
    let follower_wait = section.value(&FOLLOWER_WAIT, reading);
    let ranges = section.value(&RANGES, reading);
    let variants = section.value(&VARIANTS, reading);
    let h2_streams = section.value(&H2_STREAMS, reading);
    let query_content = section.value(&QUERY_CONTENT, reading);

    target_fits_head(target_bytes, head_bytes, section, reading);
    let head_bytes = head_bytes?;
    Some(Limits {
        head_bytes,
        target_bytes: target_bytes.unwrap_or_else(|| TARGET_BYTES_DEFAULT.min(head_bytes)),
        fields: fields?,
        head_timeout: head_timeout?,
        idle_timeout: idle_timeout?,
        body_timeout: body_timeout?,
        write_timeout: write_timeout?,
        connections: connections?,
        followers: followers?,
        follower_wait: follower_wait?,
        ranges: ranges?,
        variants: variants?,
        h2_streams: h2_streams?,
        query_content: query_content?,
    })
}

fn target_fits_head(
    target: Option<usize>,
    head: Option<usize>,
    section: &Section<'_>,
    reading: &mut Reading,
) {
    if let (Some(target), Some(head)) = (target, head)
        && target > head
    {
        let [target, head] =
            [target, head].map(|bytes| print_size(u64::try_from(bytes).unwrap_or(u64::MAX)));
        let message = format!(
            "{} is more than `head_bytes`, {}",
            quote(&target),
            quote(&head)
        );
        reading.refuse(
            section.span_of(&TARGET_BYTES),
            Fault::new(message).hint("the target is a part of the head"),
        );
    }
}
