//! HTTP-date (RFC 9110 §5.6.7): strict in form, tolerant in case.

use crate::time::Timestamp;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// The mean length of a Gregorian year: good to a day, where half a century is asked for.
const SECS_PER_YEAR: u64 = 31_556_952;

/// Parses an HTTP-date in one of its three forms; `now` decides the century of the obsolete one.
///
/// The name of the day has to be one, but not the right one: nothing depends on it, and old servers
/// get it wrong. Dates before 1970 become the epoch, which is as expired as anything can be.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.2
//# Although all date formats are specified to be case-sensitive, a cache recipient SHOULD match the
//# field value case-insensitively.
pub fn http_date(value: &[u8], now: Timestamp) -> Option<Timestamp> {
    imf_fixdate(value)
        .or_else(|| rfc850_date(value, now))
        .or_else(|| asctime_date(value))?
        .timestamp()
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(value: &[u8]) -> Option<Date> {
    let mut input = Input(value);
    input.one_of(&DAYS)?;
    input.literal(", ")?;
    let day = input.digits(2)?;
    input.literal(" ")?;
    let month = input.one_of(&MONTHS)?;
    input.literal(" ")?;
    let year = input.digits(4)?;
    input.literal(" ")?;
    let time = input.time()?;
    input.gmt()?;
    Some(Date {
        year,
        month,
        day,
        time,
    })
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850_date(value: &[u8], now: Timestamp) -> Option<Date> {
    let mut input = Input(value);
    input.one_of(&LONG_DAYS)?;
    input.literal(", ")?;
    let day = input.digits(2)?;
    input.literal("-")?;
    let month = input.one_of(&MONTHS)?;
    input.literal("-")?;
    let year = century(input.digits(2)?, now);
    input.literal(" ")?;
    let time = input.time()?;
    input.gmt()?;
    Some(Date {
        year,
        month,
        day,
        time,
    })
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime_date(value: &[u8]) -> Option<Date> {
    let mut input = Input(value);
    input.one_of(&DAYS)?;
    input.literal(" ")?;
    let month = input.one_of(&MONTHS)?;
    input.literal(" ")?;
    let day = match input.literal(" ") {
        Some(()) => input.digits(1)?,
        None => input.digits(2)?,
    };
    input.literal(" ")?;
    let time = input.time()?;
    input.literal(" ")?;
    let year = input.digits(4)?;
    input.end()?;
    Some(Date {
        year,
        month,
        day,
        time,
    })
}

/// The full year that a two-digit one means.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7
//# Recipients of a timestamp value in rfc850-date format, which uses a two-digit year, MUST interpret
//# a timestamp that appears to be more than 50 years in the future as representing the most recent
//# year in the past that had the same last two digits.
fn century(two_digits: u64, now: Timestamp) -> u64 {
    let this_year = 1970 + now.unix_secs() / SECS_PER_YEAR;
    let latest = this_year + 50;
    latest - (latest + 100 - two_digits) % 100
}

struct Date {
    year: u64,
    /// From 0 to 11.
    month: usize,
    day: u64,
    /// Seconds since midnight.
    time: u64,
}

impl Date {
    fn timestamp(&self) -> Option<Timestamp> {
        if self.day == 0 || self.day > self.days_in_month() {
            return None;
        }
        let secs = self.days_since_epoch().saturating_mul(86_400) + self.time;
        Some(Timestamp::from_unix_secs(secs))
    }

    const fn is_leap_year(&self) -> bool {
        self.year.is_multiple_of(4)
            && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400))
    }

    const fn days_in_month(&self) -> u64 {
        match self.month {
            1 if self.is_leap_year() => 29,
            1 => 28,
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        }
    }

    /// Days between 1970-01-01 and this day; zero for any day before.
    fn days_since_epoch(&self) -> u64 {
        const DAYS_BEFORE_MONTH: [u64; 12] =
            [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        const DAYS_BEFORE_1970: u64 = 719_162;

        let Some(years) = self.year.checked_sub(1) else {
            return 0;
        };
        let leap_day = u64::from(self.month > 1 && self.is_leap_year());
        let days = years * 365 + years / 4 - years / 100
            + years / 400
            + DAYS_BEFORE_MONTH[self.month]
            + leap_day
            + self.day
            - 1;
        days.saturating_sub(DAYS_BEFORE_1970)
    }
}

/// What is left to read of a date.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn literal(&mut self, expected: &str) -> Option<()> {
        let (start, rest) = self.0.split_at_checked(expected.len())?;
        start
            .eq_ignore_ascii_case(expected.as_bytes())
            .then_some(())?;
        self.0 = rest;
        Some(())
    }

    fn one_of(&mut self, names: &[&str]) -> Option<usize> {
        names.iter().position(|name| self.literal(name).is_some())
    }

    fn digits(&mut self, count: usize) -> Option<u64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        super::decimal(digits)
    }

    /// `HH:MM:SS`, in seconds since midnight; the sixtieth second is a leap second.
    fn time(&mut self) -> Option<u64> {
        let hours = self.digits(2)?;
        self.literal(":")?;
        let minutes = self.digits(2)?;
        self.literal(":")?;
        let seconds = self.digits(2)?;
        let exists = hours < 24 && minutes < 60 && seconds <= 60;
        exists.then_some(hours * 3600 + minutes * 60 + seconds)
    }

    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.2
    //# A cache recipient SHOULD consider a date with a zone abbreviation other than "GMT" to be
    //# invalid for calculating expiration.
    fn gmt(&mut self) -> Option<()> {
        self.literal(" GMT")?;
        self.end()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21
    const NOW: Timestamp = Timestamp::from_unix_secs(1_795_219_200);

    #[track_caller]
    fn check(value: &str, secs: Option<u64>) {
        let found = http_date(value.as_bytes(), NOW).map(Timestamp::unix_secs);
        assert_eq!(found, secs, "{value}");
    }

    #[test]
    #[rustfmt::skip]
    fn three_forms_in_any_case() {
        check("Sun, 06 Nov 1994 08:49:37 GMT",  Some(784_111_777));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777));
        check("Sun Nov  6 08:49:37 1994",       Some(784_111_777));
        check("Sun Nov 06 08:49:37 1994",       Some(784_111_777));
        check("THU, 18 Aug 2050 02:01:18 GMT",  Some(2_544_400_878));
        check("Thu, 18 AUG 2050 02:01:18 GMT",  Some(2_544_400_878));
        check("Thu, 18 Aug 2050 02:01:18 gMT",  Some(2_544_400_878));
        check("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878));
        check("Thu Aug  8 02:01:18 2050",       Some(2_543_536_878));
        check("Tue, 19 Jan 2038 14:14:08 GMT",  Some(2_147_523_248));
        check("Sun, 21 Nov 2286 04:46:39 GMT",  Some(10_000_039_599));
        check("Thu, 29 Feb 2024 00:00:00 GMT",  Some(1_709_164_800));
        check("Thu, 01 Jan 1970 00:00:00 GMT",  Some(0));
        check("Mon, 01 Jan 1900 00:00:00 GMT",  Some(0));
        check("Sat, 01 Jan 0000 00:00:00 GMT",  Some(0));
        check("Fri, 31 Dec 9999 23:59:59 GMT",  Some(253_402_300_799));
        check("Fri, 31 Dec 9999 23:59:60 GMT",  Some(253_402_300_800));
    }

    #[test]
    fn anything_else_is_no_date() {
        for garbage in [
            "",
            "0",
            "-1",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 2050 02:01:18 +0000",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT ",
            "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
            "Xxx, 18 Aug 2050 02:01:18 GMT",
            "Thu, 32 Aug 2050 02:01:18 GMT",
            "Thu, 00 Aug 2050 02:01:18 GMT",
            "Thu, 29 Feb 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 18 Aug 2050 02:60:18 GMT",
            "Thu, 18 Aug 2050 02:01:61 GMT",
            "Thu, 18 Aug 2050 02:01:1٨ GMT",
        ] {
            check(garbage, None);
        }
    }

    #[test]
    fn two_digits_lie_within_fifty_years() {
        #[track_caller]
        fn check(two_digits: u64, now_year: u64, year: u64) {
            let now =
                Timestamp::from_unix_secs((now_year - 1970) * SECS_PER_YEAR + SECS_PER_YEAR / 2);
            assert_eq!(century(two_digits, now), year);
        }
        check(26, 2026, 2026);
        check(76, 2026, 2076);
        check(77, 2026, 1977);
        check(99, 2026, 1999);
        check(0, 2026, 2000);
        check(1, 2099, 2101);
        check(50, 1999, 1950);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(secs in 0..253_402_300_800_u64) {
            let moment = Timestamp::from_unix_secs(secs);
            prop_assert_eq!(http_date(moment.http_date().as_bytes(), NOW), Some(moment));
        }

        #[test]
        fn no_input_panics(value in proptest::collection::vec(any::<u8>(), 0..40), now: u64) {
            http_date(&value, Timestamp::from_unix_millis(now));
        }
    }
}
