//! A token bucket: so many a second, and a few more at once.

use std::time::Duration;

use crate::Moment;

/// The unit that is counted in: parts of a token.
const TOKEN: u64 = 1_000;

/// What may be taken.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: u64,
    level: u64,
    filled: Moment,
}

impl Bucket {
    /// A full bucket that gets so many tokens a second, and holds as many.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        Self {
            per_second,
            level: per_second * TOKEN,
            filled: Moment::default(),
        }
    }

    /// Takes a token, where there is one.
    pub fn take(&mut self, now: Moment) -> bool {
        let passed = now.since(self.filled).min(Duration::from_secs(1));
        let passed = u64::try_from(passed.as_millis()).unwrap_or(TOKEN);
        if passed > 0 {
            let full = self.per_second * TOKEN;
            self.level = (self.level + passed * self.per_second).min(full);
            self.filled = now;
        }
        let enough = self.level >= TOKEN;
        if enough {
            self.level -= TOKEN;
        }
        enough
    }

    /// Tokens that are there, as of the last look.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.level / TOKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, millis: u64) -> usize {
        let now = Moment(Duration::from_millis(millis));
        (0..1_000).take_while(|_| bucket.take(now)).count()
    }

    #[test]
    fn a_bucket_gives_what_it_gets() {
        let mut bucket = Bucket::new(10);
        assert_eq!(taken(&mut bucket, 0), 10);
        assert_eq!(taken(&mut bucket, 50), 0);
        assert_eq!(taken(&mut bucket, 100), 1);
        assert_eq!(taken(&mut bucket, 600), 5);
        assert_eq!(bucket.left(), 0);
        assert_eq!(taken(&mut bucket, 3_600_000), 10, "it holds no more");
    }

    #[test]
    fn an_empty_one_gives_nothing() {
        let mut bucket = Bucket::new(0);
        assert_eq!(taken(&mut bucket, 10_000), 0);
    }
}
