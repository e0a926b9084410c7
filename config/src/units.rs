//! Sizes and durations as people write them: a whole number and its unit.

use std::time::Duration;

use crate::problems::{Fault, quote};

const DAY: u64 = 24 * 60 * 60;

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Milliseconds; a year has 365 days.
const SPANS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60 * 1_000),
    ("h", 60 * 60 * 1_000),
    ("d", DAY * 1_000),
    ("w", 7 * DAY * 1_000),
    ("y", 365 * DAY * 1_000),
];

/// Reads a number of bytes: `512MiB`, `10MB`.
pub(crate) fn size(text: &str) -> Result<u64, Fault> {
    measure(text, SIZES, "512MiB")
}

/// Reads a duration: `500ms`, `4s`, `1d`.
pub(crate) fn span(text: &str) -> Result<Duration, Fault> {
    measure(text, SPANS, "30s").map(Duration::from_millis)
}

/// Writes a number of bytes in the largest binary unit that leaves no fraction.
pub(crate) fn print_size(bytes: u64) -> String {
    print(bytes, &SIZES[..5])
}

/// Writes a duration in the largest unit that leaves no fraction.
pub(crate) fn print_span(span: Duration) -> String {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    match millis {
        0 => "0s".to_owned(),
        millis => print(millis, SPANS),
    }
}

fn print(amount: u64, units: &[(&str, u64)]) -> String {
    let (unit, worth) = units
        .iter()
        .rev()
        .find(|(_, worth)| amount >= *worth && amount.is_multiple_of(*worth))
        .unwrap_or(&units[0]);
    format!("{}{unit}", amount / worth)
}

fn measure(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, Fault> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let unit = rest.strip_prefix(' ').unwrap_or(rest);
    if number.is_empty() {
        return Err(Fault::new(format!(
            "{} does not begin with a whole number",
            quote(text)
        ))
        .hint(format!("write, for example, \"{example}\"")));
    }

    let worth = worth(text, number, unit, units, example)?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(worth))
        .ok_or_else(|| Fault::new(format!("{} is too large", quote(text))))
}

fn worth(
    text: &str,
    number: &str,
    unit: &str,
    units: &[(&str, u64)],
    example: &str,
) -> Result<u64, Fault> {
    if let Some((_, worth)) = units.iter().find(|(name, _)| *name == unit) {
        return Ok(*worth);
    }

    let number = if number.len() <= 20 { number } else { "1" };
    Err(if unit.is_empty() {
        let unit = example.trim_start_matches(|c: char| c.is_ascii_digit());
        Fault::new(format!("{} has no unit", quote(text)))
            .hint(format!("write, for example, \"{number}{unit}\""))
    } else if let Some((name, _)) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
    {
        Fault::new(format!("{} has no unit of a known spelling", quote(text)))
            .hint(format!("did you mean \"{number}{name}\"?"))
    } else {
        let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        Fault::new(format!("{} has an unknown unit", quote(text))).hint(format!(
            "write a whole number and one of {}: \"{example}\"",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        #[track_caller]
        fn check(text: &str, expected: Result<u64, &str>) {
            let read = size(text).map_err(|fault| fault.to_string());
            assert_eq!(read, expected.map_err(str::to_owned), "{text}");
        }
        #[rustfmt::skip]
        let rows = [
            ("0B",                        Ok(0)),
            ("64KiB",                     Ok(65_536)),
            ("512MiB",                    Ok(536_870_912)),
            ("512 MiB",                   Ok(536_870_912)),
            ("1GiB",                      Ok(1_073_741_824)),
            ("2TiB",                      Ok(2_199_023_255_552)),
            ("10MB",                      Ok(10_000_000)),
            ("3kB",                       Ok(3_000)),
            ("512",                       Err("`512` has no unit; write, for example, \"512MiB\"")),
            ("",                          Err("`` does not begin with a whole number; write, for example, \"512MiB\"")),
            ("-1MiB",                     Err("`-1MiB` does not begin with a whole number; write, for example, \"512MiB\"")),
            ("512mib",                    Err("`512mib` has no unit of a known spelling; did you mean \"512MiB\"?")),
            ("1.5GiB",                    Err("`1.5GiB` has an unknown unit; write a whole number and one of B, KiB, MiB, GiB, TiB, kB, KB, MB, GB, TB: \"512MiB\"")),
            ("18446744073709551615B",     Ok(u64::MAX)),
            ("18446744073709551616B",     Err("`18446744073709551616B` is too large")),
            ("16777216TiB",               Err("`16777216TiB` is too large")),
        ];
        for (text, expected) in rows {
            check(text, expected);
        }
    }

    #[test]
    fn durations_have_units() {
        #[track_caller]
        fn check(text: &str, millis: Option<u64>) {
            assert_eq!(span(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
        #[rustfmt::skip]
        let rows = [
            ("500ms", Some(500)),
            ("4s",    Some(4_000)),
            ("0s",    Some(0)),
            ("2m",    Some(120_000)),
            ("1h",    Some(3_600_000)),
            ("1d",    Some(86_400_000)),
            ("1w",    Some(604_800_000)),
            ("1y",    Some(31_536_000_000)),
            ("30",    None),
            ("1h30m", None),
            ("1M",    None),
            ("٣s",    None),
            ("1.5s",  None),
            ("600000000000y", None),
        ];
        for (text, millis) in rows {
            check(text, millis);
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for bytes in [0, 1, 1_023, 1_024, 65_536, 10_000_000, 1 << 29, u64::MAX] {
            assert_eq!(size(&print_size(bytes)).ok(), Some(bytes));
        }
        for millis in [0, 1, 500, 1_000, 90_000, 86_400_000, 31_536_000_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(span(&print_span(duration)).ok(), Some(duration));
        }
    }
}
