//! The race of those who may have a key: the next one is asked where the one before does not answer, and already when that
//! owes a sign of life. Whoever answers first is taken.
//!
//! A parent that is slow because its origin is gives signs of life: nobody else is asked for that.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use policy::time::Timestamp;
use tokio::sync::{Notify, mpsc};

use super::Tier;
use super::ask::Attempt;
use super::parent::{Answered, Parent};
use super::said::Whom;
use crate::cache::Interim;
use crate::error::UpstreamError;
use crate::pingora::fetch::Asking;

/// How a race ends.
pub(super) enum Raced {
    Won(Box<Winner>),
    /// Nobody answered, the last one for this reason, where anybody was asked.
    Lost(Option<UpstreamError>),
}

/// Who answered.
pub(super) struct Winner {
    pub parent: Arc<Parent>,
    pub answered: Answered,
    /// When it was asked.
    pub request_time: Timestamp,
}

impl Tier {
    /// Asks these, in this order.
    ///
    /// # Errors
    /// [`UpstreamError`] where nobody would do better.
    pub(super) async fn race(
        &self,
        found: Vec<Arc<Parent>>,
        asking: (&Asking<'_>, &mpsc::Sender<Interim>),
        whom: &Whom,
    ) -> Result<Raced, UpstreamError> {
        let doubt = Notify::new();
        let begin = |parent: Arc<Parent>| async {
            let request_time = self.shared.clock.now();
            let attempt = self.attempt(&parent, asking, whom, &doubt).await;
            (parent, request_time, attempt)
        };
        let mut left = found.into_iter().peekable();
        let mut under_way: FuturesUnordered<_> = left.next().map(begin).into_iter().collect();
        let mut last = None;
        loop {
            let next = tokio::select! {
                biased;
                ended = under_way.next() => match ended {
                    None => return Ok(Raced::Lost(last)),
                    Some((parent, request_time, Attempt::Answered(answered))) => {
                        return Ok(Raced::Won(Box::new(Winner {
                            parent,
                            answered: *answered,
                            request_time,
                        })));
                    }
                    Some((.., Attempt::Failed(error))) => return Err(error),
                    Some((.., Attempt::Elsewhere(error))) => {
                        last = Some(error);
                        // Who was fit before may have gone silent meanwhile.
                        let next = left.find(|next| next.is_fit());
                        next.inspect(|_| self.shared.metrics.failovers.inc())
                    }
                },
                // Where all are in doubt, it is this node that hears nobody.
                () = doubt.notified() => {
                    let next = left.next_if(|next| next.is_fit() && !next.is_in_doubt());
                    next.inspect(|_| self.shared.metrics.hedges.inc())
                }
            };
            under_way.extend(next.map(begin));
        }
    }
}
