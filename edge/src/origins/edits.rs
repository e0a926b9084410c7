//! What a site changes of the fields of requests to its origins, and of their responses.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The changes of a site.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    pub request: FieldEdits,
    pub response: FieldEdits,
}

/// Changes of one head, in this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldEdits {
    pub remove: Vec<HeaderName>,
    /// In the place of those of their names.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Beside those of their names.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl FieldEdits {
    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_go_are_replaced_and_come() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "1"), ("b", "2"), ("c", "1")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let field = |name, value| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let edits = FieldEdits {
            remove: vec![HeaderName::from_static("a")],
            set: vec![field("b", "3")],
            add: vec![field("c", "2"), field("d", "1")],
        };
        edits.apply(&mut headers);
        let values = |name: &str| headers.get_all(name).into_iter().collect::<Vec<_>>();
        assert_eq!(values("a"), [""; 0]);
        assert_eq!(values("b"), ["3"]);
        assert_eq!(values("c"), ["1", "2"]);
        assert_eq!(values("d"), ["1"]);
    }
}
