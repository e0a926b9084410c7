//! Times as lines have them. Most follow one another within a second, which is then written once.

use std::cell::Cell;

use policy::time::Timestamp;

use super::rfc3339 as formatted;

/// The length of a time until the year 9999.
const LENGTH: usize = "2023-11-14T22:13:20.123Z".len();
/// Where its milliseconds are.
const MILLIS: usize = LENGTH - "123Z".len();

/// RFC 3339 with milliseconds.
pub(super) fn rfc3339(time: Timestamp) -> [u8; LENGTH] {
    thread_local! {
        static LAST: Cell<(u64, [u8; LENGTH])> = const { Cell::new((u64::MAX, [b'0'; LENGTH])) };
    }
    let (second, millis) = (time.unix_secs(), time.unix_millis() % 1000);
    let (last, mut text) = LAST.get();
    if last != second {
        let written = formatted(time);
        let length = written.len().min(LENGTH);
        text[..length].copy_from_slice(&written.as_bytes()[..length]);
        LAST.set((second, text));
    }
    for (place, value) in [millis / 100, millis / 10 % 10, millis % 10]
        .into_iter()
        .enumerate()
    {
        text[MILLIS + place] = b'0' + u8::try_from(value).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_that_is_known_is_written_like_another() {
        for millis in [0, 1, 999, 1000, 1_700_000_000_123, 1_700_000_000_999, 7] {
            let time = Timestamp::from_unix_millis(millis);
            let text = rfc3339(time);
            assert_eq!(str::from_utf8(&text).unwrap(), formatted(time));
            assert_eq!(rfc3339(time), text);
        }
    }
}
