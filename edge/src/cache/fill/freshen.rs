//! What a 304 makes of a stored response (RFC 9111 §4.3.4).

use std::sync::Arc;

use policy::freshen::Freshened;
use policy::store::Stored;
use storage::{Landing, Object};

use super::{Fill, ttl};
use crate::cache::Head;
use crate::outcome::{Answer, NotStored};
use crate::pingora::fetch::Fetched;

/// What a 304 made of the stored response.
pub(super) struct Renewal {
    pub(super) object: Arc<Object<Head>>,
    pub(super) answer: Answer,
    pub(super) landing: Landing<Head>,
}

impl Fill {
    /// Updates the stored response from a 304; none where that is about another one.
    pub(super) async fn freshen(&self, fetched: &Fetched) -> Option<Renewal> {
        let object = self.selected.as_ref()?;
        let stored = object.head().stored()?;
        let treatment = self.request.treatment_of(stored.status);
        let exchange = self.policy_exchange(fetched);
        match policy::freshen::freshen(&stored.unpacked(), &exchange, &treatment.settings) {
            Freshened::Updated(stored) => Some(self.renew(object, stored).await),
            Freshened::Unstorable { stored, why } => {
                let head = Arc::new(self.head(stored, object.head().extent()));
                Some(Renewal {
                    object: self.node.tiers.once(object, head),
                    answer: Answer::NotStored(NotStored::Policy(why)),
                    landing: Landing::NotShareable,
                })
            }
            Freshened::Mismatch => None,
        }
    }

    async fn renew(&self, object: &Arc<Object<Head>>, stored: Stored) -> Renewal {
        let shareable = self.is_shareable(&stored);
        let answer = Answer::Freshened(ttl(&stored, self.node.clock.now()));
        let head = Arc::new(self.head(stored, object.head().extent()));
        let tiers = &self.node.tiers;
        match tiers.update_head(object, Arc::clone(&head)).await {
            Some(object) => Renewal {
                object,
                answer,
                landing: if shareable {
                    Landing::Refreshed
                } else {
                    Landing::NotShareable
                },
            },
            // It was evicted, replaced or invalidated meanwhile: it still answers who has waited for it, and the others
            // look at what there is by now.
            None => Renewal {
                object: tiers.once(object, head),
                answer: Answer::NotStored(NotStored::Displaced),
                landing: Landing::Refreshed,
            },
        }
    }
}
