//! A file on an origin that takes ranges: its content is generated, so it may be as long as it likes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::origin::{Origin, Seen};
use crate::reply::Reply;

/// By what the file's versions are told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// A strong entity tag.
    Tag,
    /// A weak one.
    WeakTag,
    /// A modification date, long ago.
    Date,
    /// Nothing.
    Nothing,
}

/// A file that may be replaced at any time.
#[derive(Debug)]
pub struct File {
    length: u64,
    told: Told,
    version: AtomicU64,
    sent: AtomicU64,
}

impl File {
    /// A file of `length` bytes, its first version.
    #[must_use]
    pub fn new(length: u64, told: Told) -> Arc<Self> {
        Arc::new(Self {
            length,
            told,
            version: AtomicU64::new(1),
            sent: AtomicU64::new(0),
        })
    }

    /// An origin that sends it whole, whatever part is asked for.
    pub async fn origin_without_ranges(self: &Arc<Self>) -> Origin {
        let file = Arc::clone(self);
        Origin::start(move |seen| {
            let mut seen = seen.clone();
            seen.fields
                .retain(|(name, _)| !name.eq_ignore_ascii_case("range"));
            file.answer(&seen)
        })
        .await
    }

    /// Puts the next version in its place.
    pub fn replace(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Content bytes that were answered so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// The version that an answer says it is of.
    #[must_use]
    pub fn version_of(etag: &str) -> u64 {
        let digits = etag.trim_start_matches("W/").trim_matches(['"', 'v']);
        digits.parse().expect("the number of a version")
    }

    /// Bytes of a version. No two versions have eight bytes in common.
    #[must_use]
    pub fn bytes(version: u64, range: Range<u64>) -> Vec<u8> {
        let words = range.start / 8..range.end.div_ceil(8);
        let mut bytes = Vec::new();
        for word in words.clone() {
            bytes.extend_from_slice(&mixed(word, version).to_le_bytes());
        }
        let skip = usize::try_from(range.start - words.start * 8).expect("less than 8");
        let length = usize::try_from(range.end - range.start).expect("a length in memory");
        bytes.drain(..skip);
        bytes.truncate(length);
        bytes
    }

    /// Answers a request as RFC 9110 §13.2.2 says.
    #[must_use]
    pub fn answer(&self, seen: &Seen) -> Reply {
        let version = self.version.load(Ordering::SeqCst);
        let (tag, date) = (format!("\"v{version}\""), date(version));
        let matches = |field: &str| seen.field(field).is_none_or(|it| it == tag || it == date);
        if !matches("If-Match") || !matches("If-Unmodified-Since") {
            return Reply::status(412);
        }
        let reply = |status| self.headed(status, version);
        let unchanged = seen
            .field("If-None-Match")
            .is_some_and(|it| it.contains(&tag))
            || seen.field("If-Modified-Since").is_some_and(|it| it == date);
        if unchanged {
            return reply(304);
        }
        let range = seen.field("Range").filter(|_| matches("If-Range"));
        let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
            return self.part(seen, reply(200), version, 0..self.length);
        };
        let Some(range) = self.range(range) else {
            let unsatisfied = format!("bytes */{}", self.length);
            return Reply::status(416).with("Content-Range", &unsatisfied);
        };
        let (first, last) = (range.start, range.end - 1);
        let content_range = format!("bytes {first}-{last}/{}", self.length);
        let reply = reply(206).with("Content-Range", &content_range);
        self.part(seen, reply, version, range)
    }

    fn headed(&self, status: u16, version: u64) -> Reply {
        let reply = Reply::status(status)
            .with("Cache-Control", "max-age=60")
            .with("Content-Type", "video/mp4")
            .with("Accept-Ranges", "bytes")
            .with("X-Version", &version.to_string());
        match self.told {
            Told::Tag => reply.with("ETag", &format!("\"v{version}\"")),
            Told::WeakTag => reply.with("ETag", &format!("W/\"v{version}\"")),
            Told::Date => reply.with("Last-Modified", &date(version)),
            Told::Nothing => reply,
        }
    }

    fn part(&self, seen: &Seen, reply: Reply, version: u64, range: Range<u64>) -> Reply {
        if seen.method != "HEAD" {
            self.sent
                .fetch_add(range.end - range.start, Ordering::SeqCst);
        }
        reply.then(Self::bytes(version, range))
    }

    fn range(&self, spec: &str) -> Option<Range<u64>> {
        let (first, last) = spec.split_once('-')?;
        let number = |text: &str| text.parse::<u64>().ok();
        let range = match number(first) {
            Some(first) => {
                let end = number(last).map_or(self.length, |last| last.saturating_add(1));
                first..end.min(self.length)
            }
            None => self.length.saturating_sub(number(last)?)..self.length,
        };
        (range.start < range.end).then_some(range)
    }
}

/// A day of 2020 for each version.
fn date(version: u64) -> String {
    let day = version % 9 + 1;
    format!(
        "{} Jan 2020 00:00:00 GMT",
        [
            "", "Wed, 01", "Thu, 02", "Fri, 03", "Sat, 04", "Sun, 05", "Mon, 06", "Tue, 07",
            "Wed, 08", "Thu, 09"
        ][usize::try_from(day).expect("a small number")]
    )
}

/// A step of splitmix64.
const fn mixed(word: u64, version: u64) -> u64 {
    let mut mixed = word
        .wrapping_add(version << 40)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_their_place() {
        let all = File::bytes(1, 0..100);
        for (start, end) in [(0, 1), (3, 9), (8, 16), (7, 100)] {
            let part = File::bytes(1, start as u64..end as u64);
            assert_eq!(part, all[start..end]);
        }
        assert_ne!(File::bytes(2, 0..100), all);
    }
}
