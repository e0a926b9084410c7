//! What the file of purges holds: purges, and places where some may be missing.

use bytes::Bytes;
use purge_api::Order;
use serde::{Deserialize, Serialize};

/// A record of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// A purge.
    Purge(Order),
    /// Purges before it may be missing.
    Doubt(Doubt),
    /// Something that this version does not understand: it counts as a purge of everything.
    Unknown,
}

/// Why purges may be missing, and how the order goes on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Doubt {
    /// Why, in a word.
    pub doubt: Reason,
    /// What has to be taken from a sequence behind this record to have its place in the log.
    #[serde(default)]
    pub offset: i64,
}

/// Why purges may be missing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reason {
    /// The file was damaged, or lost its end.
    Damage,
    /// The oldest were dropped, so that the file does not grow for ever.
    Shortened,
    /// The node joined a log.
    Joined,
    /// The log was made anew.
    Replaced,
    /// The log has other messages, or none, where this node had read.
    Rewound,
    /// The log keeps no more what this node had read last.
    Expired,
    /// Messages were taken out of the log before this node had read them.
    Gap,
    /// It is not known by which names responses were stored.
    Names,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Shortened => "shortened",
            Self::Joined => "joined",
            Self::Replaced => "replaced",
            Self::Rewound => "rewound",
            Self::Expired => "expired",
            Self::Gap => "gap",
            Self::Names => "names",
        }
    }
}

/// A purge as it is kept of a log that others share.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    order: &'a Order,
    /// Older versions do not look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<u64>,
}

/// A record's stamp, whatever else is in it.
#[derive(Deserialize)]
struct Stamped {
    #[serde(default)]
    stamp: Option<u64>,
}

/// The payload of a purge that the log's server stamped so.
pub(crate) fn payload(order: &Order, stamp: Option<u64>) -> Bytes {
    serde_json::to_vec(&Kept { order, stamp })
        .unwrap_or_default()
        .into()
}

/// When the log's server took what a payload holds, where that was written with it.
pub(crate) fn stamp(payload: &[u8]) -> Option<u64> {
    let stamped: Stamped = serde_json::from_slice(payload).ok()?;
    stamped.stamp
}

impl Record {
    pub(crate) fn read(payload: &[u8]) -> Self {
        if let Some(order) = Order::from_log(payload) {
            return Self::Purge(order);
        }
        serde_json::from_slice(payload).map_or(Self::Unknown, Self::Doubt)
    }
}

impl Doubt {
    /// The record's payload.
    pub(crate) fn payload(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let order = Order::parse(br#"{"all":true}"#, "id".to_owned(), "now".to_owned()).unwrap();
        assert_eq!(Record::read(&order.to_log()), Record::Purge(order.clone()));
        assert_eq!(stamp(&order.to_log()), None);
        for at in [None, Some(0), Some(u64::MAX)] {
            let kept = payload(&order, at);
            assert_eq!(Record::read(&kept), Record::Purge(order.clone()));
            assert_eq!(stamp(&kept), at);
        }
        let doubt = Doubt {
            doubt: Reason::Damage,
            offset: -7,
        };
        assert_eq!(Record::read(&doubt.payload()), Record::Doubt(doubt));
        for odd in [&b""[..], b"{}", br#"{"doubt":"whim"}"#, b"[1,2"] {
            assert_eq!(Record::read(odd), Record::Unknown);
        }
    }
}
