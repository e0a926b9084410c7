//! Amounts as people read them: few digits, and a unit.

use std::time::Duration;

/// Nothing was counted.
pub(super) const NONE: &str = "–";

/// A whole number, or an average of them.
pub(super) fn count(number: f64) -> String {
    match number {
        n if n < 9.95 && n.fract() > 0.04 => format!("{n:.1}"),
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 9_999.5 => {
            let whole = format!("{n:.0}");
            let (thousands, rest) = whole.split_at(1);
            format!("{thousands},{rest}")
        }
        n => scaled(n, 1000.0, &["", "k", "M", "G", "T"], ""),
    }
}

/// Bytes, in binary units.
pub(super) fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"], " ")
}

/// Of a share.
pub(super) fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| NONE.to_owned(), |part| format!("{:.1} %", part * 100.0))
}

/// Of milliseconds.
pub(super) fn millis(time: Option<f64>) -> String {
    match time {
        None => NONE.to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) if ms < 999.5 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1000.0),
    }
}

/// How long, in its two largest units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    let units = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")];
    let first = units.iter().position(|(number, _)| *number > 0);
    let first = first.unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).enumerate();
    // Of nothing at all, there is no second.
    let shown = shown.filter(|(place, (number, _))| *place == 0 || *number > 0);
    let shown: Vec<String> = shown
        .map(|(_, (number, unit))| format!("{number}{unit}"))
        .collect();
    shown.join(" ")
}

/// With three digits, in the largest unit that leaves a whole part.
fn scaled(number: f64, step: f64, units: &[&str], space: &str) -> String {
    let mut rest = number.max(0.0);
    let mut unit = 0;
    while rest >= step * 0.9995 && unit + 1 < units.len() {
        rest /= step;
        unit += 1;
    }
    let digits = match rest {
        _ if unit == 0 => 0,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{rest:.digits$}{space}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn amounts_have_few_digits() {
        for (number, read) in [
            (0.0, "0"), (0.3, "0.3"), (9.99, "10"), (12.4, "12"), (999.4, "999"), (1234.0, "1,234"),
            (9999.4, "9,999"), (12_345.0, "12.3k"), (999_999.0, "1.00M"), (2.5e9, "2.50G"), (1e18, "1000000T"),
        ] {
            assert_eq!(count(number), read, "{number}");
        }
        for (number, read) in [
            (0.0, "0 B"), (1023.0, "1023 B"), (1024.0, "1.00 KiB"), (1_048_576.0, "1.00 MiB"),
            (536_870_912.0, "512 MiB"), (12_884_901.0, "12.3 MiB"),
        ] {
            assert_eq!(bytes(number), read, "{number}");
        }
        for (time, read) in [
            (None, NONE), (Some(0.41), "0.41 ms"), (Some(12.3), "12 ms"), (Some(1500.0), "1.5 s"),
        ] {
            assert_eq!(millis(time), read);
        }
        assert_eq!(percent(Some(0.871)), "87.1 %");
        for (seconds, read) in [(0, "0s"), (5, "5s"), (60, "1m"), (65, "1m 5s"), (3_600, "1h"), (3_605, "1h"), (266_400, "3d 2h")] {
            assert_eq!(span(Duration::from_secs(seconds)), read);
        }
    }
}
