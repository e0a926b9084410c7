//! Who is writing to a disk at the moment.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Key;

/// The keys that somebody is about to store something under on a disk.
#[derive(Debug, Default)]
pub(crate) struct Writing(Mutex<HashMap<Key, usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    among: Arc<Writing>,
    key: Key,
}

impl Writing {
    /// To be entered before the claim to the key is looked at: who voids the claims finds it then.
    pub(crate) fn enter(among: &Arc<Self>, key: Key) -> Place {
        *among.0.lock().entry(key).or_default() += 1;
        let among = Arc::clone(among);
        Place { among, key }
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.0.lock().contains_key(&key)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.among.0.lock();
        if let Some(count) = places.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.key);
            }
        }
    }
}
