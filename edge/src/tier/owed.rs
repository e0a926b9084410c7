//! What answers to other nodes cost origins after their heads had gone: slices behind the first. It is told with the answer
//! to the next probe.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Nodes that are told. What others cost shows at this node alone.
const NODES_MAX: usize = 4_096;

/// Requests to origins that other nodes do not know of yet, by their names.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<HashMap<String, u64>>);

impl Owed {
    /// So many more were sent for a node.
    pub(super) fn add(&self, node: &str, requests: u64) {
        if requests == 0 {
            return;
        }
        let mut owed = self.0.lock();
        if let Some(known) = owed.get_mut(node) {
            *known += requests;
        } else if owed.len() < NODES_MAX {
            owed.insert(node.to_owned(), requests);
        }
    }

    /// Those that a node is told of now.
    pub(super) fn take(&self, node: &str) -> u64 {
        self.0.lock().remove(node).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_is_told_of_it_is_told_of_once() {
        let owed = Owed::default();
        owed.add("a", 2);
        owed.add("b", 1);
        owed.add("a", 3);
        owed.add("c", 0);
        assert_eq!((owed.take("a"), owed.take("a")), (5, 0));
        assert_eq!((owed.take("b"), owed.take("c")), (1, 0));
    }

    #[test]
    fn nodes_that_are_told_have_a_limit() {
        let owed = Owed::default();
        for node in 0..=NODES_MAX {
            owed.add(&node.to_string(), 1);
        }
        owed.add("0", 1);
        assert_eq!(owed.take("0"), 2);
        assert_eq!(owed.take(&NODES_MAX.to_string()), 0, "one too many");
    }
}
