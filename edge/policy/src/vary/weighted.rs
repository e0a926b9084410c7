//! Lists whose members have weights (RFC 9110 §12.4.2).

use crate::fields;

/// Weights are thousandths: a qvalue has at most three digits.
pub(super) const FULL_WEIGHT: u16 = 1000;

/// The members of a field's value; `None` if one of them is something else.
pub(super) fn weighted(value: &[u8]) -> Option<Vec<Weighted>> {
    fields::members(value).map(Weighted::parse).collect()
}

/// A member of a list with a weight (RFC 9110 §12.4.2), in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Weighted {
    pub(crate) item: Vec<u8>,
    pub(crate) weight: u16,
}

impl Weighted {
    /// `None` if there is more to the member than an item and a weight.
    pub(crate) fn parse(member: &[u8]) -> Option<Self> {
        let mut parts =
            fields::split(member, b';').map(|part| fields::trim(part).to_ascii_lowercase());
        let item = parts.next().filter(|item| !item.is_empty())?;
        let weight = match parts.next() {
            None => FULL_WEIGHT,
            Some(parameter) => qvalue(parameter.strip_prefix(b"q=")?)?,
        };
        parts.next().is_none().then_some(Self { item, weight })
    }
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`, in thousandths.
fn qvalue(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole, b'.', fraction @ ..] => (*whole, fraction),
        [whole] => (*whole, &[][..]),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1')
        || fraction.len() > 3
        || !fraction.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let thousandths = [100, 10, 1]
        .iter()
        .zip(fraction)
        .map(|(place, digit)| place * u16::from(digit - b'0'))
        .sum::<u16>();
    let weight = u16::from(whole - b'0') * FULL_WEIGHT + thousandths;
    (weight <= FULL_WEIGHT).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_thousandths() {
        #[track_caller]
        fn check(value: &str, expected: Option<u16>) {
            assert_eq!(qvalue(value.as_bytes()), expected, "{value}");
        }
        check("1", Some(1000));
        check("1.", Some(1000));
        check("1.000", Some(1000));
        check("0", Some(0));
        check("0.5", Some(500));
        check("0.05", Some(50));
        check("0.999", Some(999));
        for garbage in ["", ".5", "2", "1.001", "0.1234", "0,5", "-0", "0.x", "01"] {
            check(garbage, None);
        }
    }
}
