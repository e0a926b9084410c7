//! What origins have said about the queries of their paths (`No-Vary-Search`), as far as it is remembered.
//!
//! A response is found by what its path's last response said. What is found is used only if it says the same itself:
//! so forgetting, and an origin that changes its mind, cost a request and no more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use policy::search::SearchVariance;
use storage::{Key, VaryMemory};

/// Paths that are remembered.
const PATHS_MAX: usize = 64 * 1024;

/// What the queries of paths mean.
pub(crate) struct Searches {
    known: VaryMemory<Arc<SearchVariance>>,
    /// Whether any origin has ever said something: most never do, and then nothing is looked up.
    any: AtomicBool,
}

impl Searches {
    pub(crate) fn new() -> Self {
        Self {
            known: VaryMemory::new(PATHS_MAX),
            any: AtomicBool::new(false),
        }
    }

    /// Whether no origin has ever said anything.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// What is known of a path. Its key is made only where anything is.
    pub(crate) fn recall(&self, path: impl FnOnce() -> Key) -> Option<Arc<SearchVariance>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        self.known.recall(path())
    }

    /// What the path's last response said.
    fn learn(&self, path: Key, variance: Option<SearchVariance>) {
        match variance {
            Some(variance) => {
                self.known.learn(path, Arc::new(variance));
                self.any.store(true, Ordering::Relaxed);
            }
            None => self.known.forget(path),
        }
    }

    /// Compares what a response says with what its request was looked up by, and remembers what is new. True where
    /// the response may be stored under the request's key.
    pub(crate) fn agree(
        &self,
        path: impl FnOnce() -> Key,
        assumed: Option<&SearchVariance>,
        response: &HeaderMap,
    ) -> bool {
        let said = SearchVariance::read(response);
        if said.as_ref() == assumed {
            return true;
        }
        self.learn(path(), said);
        // Under the key of one query, what it says about others changes nothing.
        assumed.is_none()
    }
}

impl fmt::Debug for Searches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Searches").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use policy::search::NO_VARY_SEARCH;

    use super::*;

    const PATH: Key = Key([1; 16]);

    fn response(field: Option<&'static str>) -> HeaderMap {
        let field = field.map(|value| (NO_VARY_SEARCH, HeaderValue::from_static(value)));
        field.into_iter().collect()
    }

    #[test]
    fn a_response_is_stored_under_a_shared_key_only_if_it_says_the_same() {
        let searches = Searches::new();
        assert!(searches.recall(|| panic!("nothing is known")).is_none());
        let said = response(Some("params=(\"a\")"));
        assert!(searches.agree(|| PATH, None, &said));
        let known = searches.recall(|| PATH).unwrap();
        assert!(searches.agree(|| PATH, Some(&known), &said));
        let other = response(Some("key-order"));
        assert!(!searches.agree(|| PATH, Some(&known), &other));
        let known = searches.recall(|| PATH).unwrap();
        assert!(!searches.agree(|| PATH, Some(&known), &response(None)));
        assert!(searches.recall(|| PATH).is_none());
    }
}
