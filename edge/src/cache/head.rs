//! What is stored beside a body.

use policy::partial::Extent;
use policy::slices::Layout;
use policy::store::{Kept, Stored};
use serde::{Deserialize, Serialize};
use storage::Durable;
use storage::purge::{Label, Life, Membership, Sequence};
use tiered::landmark::Landmark;
use tiered::voucher::Born;

use crate::purges::Purges;

/// The formats that heads are written down in. What was written in another one is not there.
mod format {
    /// A response as a whole.
    pub(super) const WHOLE: u8 = 1;
    /// The head of a response in slices.
    pub(super) const SLICED: u8 = 2;
    /// A slice.
    pub(super) const SLICE: u8 = 3;
}

/// What is stored beside a body.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are stored responses, and each is behind one pointer already"
)]
pub(crate) enum Head {
    /// A response that may be reused.
    Stored(Cached),
    /// A slice of one, which has the head.
    Slice(Slice),
    /// A response that is only passed on, and was asked for then.
    PassedOn(Sequence),
}

impl storage::Head for Head {
    fn weight(&self) -> usize {
        match self {
            Self::Stored(cached) => cached.weight,
            Self::Slice(slice) => slice.membership.weight(),
            Self::PassedOn(_) => 0,
        }
    }

    fn bring_near(&self) -> u8 {
        match self {
            Self::Stored(cached) => cached.bring_near(),
            Self::Slice(_) | Self::PassedOn(_) => 0,
        }
    }

    fn is_part(&self) -> bool {
        matches!(self, Self::Slice(_))
    }
}

/// A slice of a response: what it may be purged by, and when it was received.
#[derive(Debug)]
pub(crate) struct Slice {
    pub membership: Membership,
    /// In seconds since 1970.
    pub received: u64,
}

/// A head as it is written down.
#[derive(Deserialize, Serialize)]
struct Written<S> {
    stored: S,
    uri: Box<str>,
    born: u64,
    labels: Vec<u64>,
}

/// The head of a response in slices as it is written down.
#[derive(Deserialize, Serialize)]
struct WrittenSliced<S> {
    /// The length of a slice, and of all of them together.
    layout: (u64, u64),
    head: Written<S>,
}

/// A slice's head as it is written down.
#[derive(Deserialize, Serialize)]
struct WrittenSlice {
    received: u64,
    born: u64,
    labels: Vec<u64>,
}

impl<'a> Written<&'a Kept> {
    fn of(cached: &'a Cached) -> Self {
        Self {
            stored: &cached.stored,
            uri: cached.uri().into(),
            // Purges may be forgotten while it is on a disk: what it has outlived so far is written down.
            born: cached.membership.reborn().0,
            labels: numbers(&cached.membership),
        }
    }
}

impl Written<Stored> {
    fn into_head(self, extent: Extent) -> Head {
        let membership = membership(self.born, self.labels);
        Head::kept(self.stored, membership, extent, &self.uri)
    }
}

fn numbers(membership: &Membership) -> Vec<u64> {
    membership.labels().iter().map(|label| label.0).collect()
}

fn membership(born: u64, labels: Vec<u64>) -> Membership {
    Membership::new(Sequence(born), labels.into_iter().map(Label).collect())
}

fn written(format: u8, what: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![format];
    match rmp_serde::encode::write(&mut bytes, what) {
        Ok(()) => bytes,
        // Memory takes everything. Nothing can be read of this.
        Err(_) => Vec::new(),
    }
}

impl Durable for Head {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stored(cached) => match cached.extent {
                Extent::Whole => written(format::WHOLE, &Written::of(cached)),
                Extent::Sliced(layout) => {
                    let layout = (layout.size(), layout.complete());
                    let head = Written::of(cached);
                    written(format::SLICED, &WrittenSliced { layout, head })
                }
                // It is in memory only.
                Extent::Part(_) => Vec::new(),
            },
            Self::Slice(slice) => {
                let slice = WrittenSlice {
                    received: slice.received,
                    born: slice.membership.reborn().0,
                    labels: numbers(&slice.membership),
                };
                written(format::SLICE, &slice)
            }
            Self::PassedOn(_) => Vec::new(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, bytes) = bytes.split_first()?;
        match *format {
            format::WHOLE => {
                let written: Written<Stored> = rmp_serde::from_slice(bytes).ok()?;
                Some(written.into_head(Extent::Whole))
            }
            format::SLICED => {
                let written: WrittenSliced<Stored> = rmp_serde::from_slice(bytes).ok()?;
                let (size, complete) = written.layout;
                let layout = Layout::new(size, complete)?;
                Some(written.head.into_head(Extent::Sliced(layout)))
            }
            format::SLICE => {
                let written: WrittenSlice = rmp_serde::from_slice(bytes).ok()?;
                Some(Self::Slice(Slice {
                    membership: membership(written.born, written.labels),
                    received: written.received,
                }))
            }
            _ => None,
        }
    }

    fn outlive(&self, upto: Sequence) {
        if let Some(membership) = self.membership() {
            membership.outlive(upto);
        }
    }

    fn stored_at(&self) -> u64 {
        match self {
            Self::Stored(cached) => cached.stored.reception.response_time.unix_secs(),
            Self::Slice(slice) => slice.received,
            Self::PassedOn(_) => 0,
        }
    }
}

/// A response that may be reused, and what it may be purged by.
#[derive(Debug)]
pub(crate) struct Cached {
    /// Behind its fields are host and target.
    pub stored: Kept,
    pub membership: Membership,
    /// Which bytes of the representation its body is.
    pub extent: Extent,
    /// What it owns, in bytes: every hit asks for it.
    weight: usize,
}

impl Cached {
    /// Host and target, for people.
    pub(crate) fn uri(&self) -> &str {
        self.stored.headers.text()
    }

    fn bring_near(&self) -> u8 {
        let Stored {
            headers,
            reception,
            terms,
            selecting,
            ..
        } = &self.stored;
        let own = self.weight as u64
            ^ self.membership.born().0
            ^ selecting.names().len() as u64
            ^ reception.response_time.unix_secs()
            ^ terms.freshness_lifetime.as_secs();
        own.to_le_bytes()[0] ^ storage::bring_near(headers.bytes())
    }
}

impl Head {
    /// A head that is kept: in as little memory as it needs.
    pub(crate) fn kept(stored: Stored, membership: Membership, extent: Extent, uri: &str) -> Self {
        let stored = stored.packed(uri);
        Self::Stored(Cached {
            weight: stored.weight() + membership.weight(),
            stored,
            membership,
            extent,
        })
    }

    /// Which bytes of its representation the body of a stored response is.
    pub(crate) const fn extent(&self) -> Extent {
        match self {
            Self::Stored(cached) => cached.extent,
            Self::Slice(_) | Self::PassedOn(_) => Extent::Whole,
        }
    }

    pub(crate) const fn stored(&self) -> Option<&Kept> {
        match self {
            Self::Stored(cached) => Some(&cached.stored),
            Self::Slice(_) | Self::PassedOn(_) => None,
        }
    }

    /// What it may be purged by, where it is kept.
    pub(crate) const fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Stored(cached) => Some(&cached.membership),
            Self::Slice(slice) => Some(&slice.membership),
            Self::PassedOn(_) => None,
        }
    }

    /// What another node, which follows the same log of purges and has read it up to `asker`, can hold it against them by.
    pub(crate) fn vouch(&self, purges: &Purges, asker: Option<Landmark>) -> Option<Born> {
        match self {
            Self::Stored(cached) => purges.vouch(&cached.membership, asker),
            Self::Slice(slice) => purges.vouch(&slice.membership, asker),
            Self::PassedOn(begun) => purges.vouch_passed(*begun, asker),
        }
    }

    /// What is kept, where something is.
    pub(crate) const fn cached(&self) -> Option<&Cached> {
        match self {
            Self::Stored(cached) => Some(cached),
            Self::Slice(_) | Self::PassedOn(_) => None,
        }
    }

    /// What the purges leave of it.
    pub(crate) fn life(&self, purges: &Purges) -> Life {
        match self {
            Self::Stored(cached) => purges.life(&cached.membership),
            Self::Slice(slice) => purges.life(&slice.membership),
            Self::PassedOn(_) => Life::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue};
    use policy::packed::Fields as _;

    use super::*;

    fn head() -> Head {
        head_of(Extent::Whole)
    }

    fn head_of(extent: Extent) -> Head {
        let mut request = HeaderMap::new();
        request.insert("accept-language", HeaderValue::from_static("de"));
        let mut response = HeaderMap::new();
        for (name, value) in [
            ("cache-control", "max-age=60, stale-while-revalidate=5"),
            ("date", "Thu, 01 Jan 1970 00:16:40 GMT"),
            ("vary", "Accept-Language, X-Absent"),
            ("x-own", "one"),
            ("x-own", "two"),
        ] {
            let name = HeaderName::from_static(name);
            response.append(name, HeaderValue::from_static(value));
        }
        let exchange = policy::store::Exchange {
            method: &http::Method::GET,
            request: &request,
            status: http::StatusCode::OK,
            response: &response,
            request_time: policy::time::Timestamp::from_unix_millis(1_000_100),
            response_time: policy::time::Timestamp::from_unix_millis(1_000_200),
            aging: policy::store::Aging::Conservative,
        };
        let stored = policy::store::decide(&exchange, &Default::default()).unwrap();
        let membership = Membership::new(Sequence(7), vec![Label(u64::MAX), Label(0)]);
        Head::kept(stored, membership, extent, "www.example.com/a")
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let head = head();
        let bytes = head.encode();
        let read = Head::decode(&bytes).unwrap();
        assert_eq!(read.stored(), head.stored());
        let (Head::Stored(read), Head::Stored(head)) = (&read, &head) else {
            panic!("both are stored");
        };
        assert_eq!(read.membership.born(), Sequence(7));
        assert_eq!(read.membership.labels(), head.membership.labels());
        assert_eq!(read.uri(), head.uri());
        assert_eq!(read.uri(), "www.example.com/a");
        let own = head.stored.headers.lines(HeaderName::from_static("x-own"));
        assert_eq!(own.count(), 2);
    }

    #[test]
    fn slices_and_their_head_are_read_again() {
        let layout = Layout::new(10, 25).unwrap();
        let sliced = head_of(Extent::Sliced(layout));
        let read = Head::decode(&sliced.encode()).unwrap();
        assert_eq!(read.stored(), sliced.stored());
        assert_eq!(read.extent(), Extent::Sliced(layout));

        let bytes = slice().encode();
        let read = Head::decode(&bytes).unwrap();
        let membership = read.membership().unwrap();
        assert_eq!(membership.born(), Sequence(8));
        assert_eq!(membership.labels(), [Label(3), Label(u64::MAX)]);
        assert!(matches!(read, Head::Slice(_)));
        assert_eq!(read.stored_at(), 1_700_000_000);
        for length in 0..bytes.len() {
            assert!(Head::decode(&bytes[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn a_layout_that_cuts_nothing_is_not_read() {
        let Head::Stored(cached) = head() else {
            panic!("it is stored");
        };
        for layout in [(0, 25), (10, 0)] {
            let head = Written::of(&cached);
            let bytes = written(format::SLICED, &WrittenSliced { layout, head });
            assert!(Head::decode(&bytes).is_none(), "{layout:?}");
        }
    }

    fn slice() -> Head {
        Head::Slice(Slice {
            membership: membership(8, vec![3, u64::MAX]),
            received: 1_700_000_000,
        })
    }

    /// If this fails, a format has changed, and its number must change as well: a volume may be older than the program.
    #[test]
    fn a_format_is_known_by_its_number() {
        assert_eq!(format::WHOLE, 1);
        assert_eq!(crc(&head().encode()), 2_172_458_533_389_001_018);
    }

    fn crc(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    #[test]
    fn what_was_not_written_by_this_format_is_not_there() {
        let bytes = head().encode();
        for length in 0..bytes.len() {
            assert!(Head::decode(&bytes[..length]).is_none(), "{length}");
        }
        let mut other = bytes;
        other[0] = 0;
        assert!(Head::decode(&other).is_none());
        assert!(Head::decode(&Head::PassedOn(Sequence(0)).encode()).is_none());
    }
}
