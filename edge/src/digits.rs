//! Numbers in decimal, without an allocation.

/// A number in decimal.
#[derive(Debug)]
pub(crate) struct Digits {
    text: [u8; 20],
    start: usize,
}

impl Digits {
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = Self {
            text: [b'0'; 20],
            start: 20,
        };
        loop {
            digits.start -= 1;
            let digit = u8::try_from(number % 10).unwrap_or_default();
            digits.text[digits.start] = b'0' + digit;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    /// Its digits in ASCII.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(Digits::of(number).text(), number.to_string().as_bytes());
        }
    }
}
