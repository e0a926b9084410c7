//! Fields that responses vary on although the operator has not cared for them. Each is told once: the variants they
//! make are rarely meant, and a field that is ignored lets one client choose what all are answered.

use http::HeaderName;
use parking_lot::Mutex;
use policy::vary::Care;

/// Fields of a site that are remembered; further ones are told of no more.
const FIELDS_MAX: usize = 64;

/// The fields of a site that were told of.
#[derive(Debug, Default)]
pub(crate) struct Varied(Mutex<Vec<HeaderName>>);

impl Varied {
    /// Warns of a field, unless that was done before.
    pub(crate) fn tell(&self, site: &str, field: &HeaderName, care: Care) {
        if !self.is_news(field) {
            return;
        }
        match care {
            Care::Ignored => tracing::warn!(
                site,
                %field,
                "responses vary on a field that `vary.ignore` leaves out: what one client is answered, all are"
            ),
            Care::None => tracing::warn!(
                site,
                %field,
                "responses vary on a field that neither `key` nor `vary` cares for: every value makes a variant"
            ),
            Care::Normalised => {}
        }
    }

    fn is_news(&self, field: &HeaderName) -> bool {
        let mut told = self.0.lock();
        if told.contains(field) || told.len() >= FIELDS_MAX {
            return false;
        }
        told.push(field.clone());
        true
    }
}

/// The label of metrics.
pub(crate) const fn word(care: Care) -> &'static str {
    match care {
        Care::None => "none",
        Care::Normalised => "normalised",
        Care::Ignored => "ignored",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_told_once_and_not_without_end() {
        let varied = Varied::default();
        let name = |number: usize| HeaderName::try_from(format!("x-{number}")).unwrap();
        for number in 0..FIELDS_MAX {
            assert!(varied.is_news(&name(number)));
            assert!(!varied.is_news(&name(number)));
        }
        assert!(!varied.is_news(&name(FIELDS_MAX)));
    }
}
