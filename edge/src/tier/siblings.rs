//! The nodes beside this one, which share the keys with it: whoever has a key is asked for it, and what many ask for has
//! short copies on all of them.
//!
//! What comes from another node is never sent to a sibling: no two lists, however they differ, make a circle.

use std::sync::Arc;
use std::time::Duration;

use tiered::{Moment, Rates};
use tokio::sync::{Notify, mpsc};

use super::ask::{Answer, Attempt, key_of, supplier};
use super::parent::{Answered, Parent};
use super::parents::{self, Parents};
use super::said::Whom;
use super::{Shared, Source, Tier};
use crate::cache::Interim;
use crate::clock::monotonic;
use crate::error::UpstreamError;
use crate::exchange;
use crate::pingora::fetch::{Asking, Through};
use crate::proxy_status::Supplier;

/// Requests of late from which on a key has a copy beside its owner: about twice as many as in a second.
const HOT: u32 = 20;
/// How long such a copy is fresh, at the most.
pub(crate) const COPY_FRESH: Duration = Duration::from_secs(10);

/// How often a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heat {
    /// Often enough for a copy.
    Hot,
    Cold,
}

/// The nodes of one site, this one among them.
#[derive(Debug)]
pub(super) struct Siblings {
    nodes: Arc<Parents>,
    rates: Rates,
}

/// Who has a key.
pub(super) enum Owner {
    /// This node, or nobody else now.
    Here,
    Other(Arc<Parent>),
}

impl Siblings {
    pub(super) fn new(nodes: Parents) -> Self {
        Self {
            nodes: Arc::new(nodes),
            rates: Rates::default(),
        }
    }

    /// All of them, this one among them.
    pub(super) fn nodes(&self) -> &Parents {
        &self.nodes
    }

    pub(super) fn start(&self, shared: &Arc<Shared>) {
        parents::start(&self.nodes, shared);
    }

    pub(super) fn is_none(&self) -> bool {
        self.nodes.is_none()
    }

    /// The others. Who has not been heard may be this node itself.
    pub(super) fn others(&self, shared: &Shared) -> Vec<Arc<Parent>> {
        let mut all = self.nodes.all();
        all.retain(|node| !is_own(node, shared));
        all
    }

    /// This node, where it is named among them. It may have been taken for another one before it was heard.
    pub(super) fn own(&self, shared: &Shared) -> Vec<Arc<Parent>> {
        let mut all = self.nodes.all();
        all.retain(|node| is_own(node, shared));
        all
    }

    /// Who has a key: of the two it may belong to, the first that can be asked.
    fn owner(&self, key: u64, shared: &Shared, without: Option<&str>) -> Owner {
        for node in self.nodes.candidates(key) {
            if is_own(&node, shared) {
                return Owner::Here;
            }
            let fit = node.is_heard() && node.is_fit() && !node.is_in_doubt();
            if fit && without != Some(&node.place.id) {
                return Owner::Other(node);
            }
        }
        Owner::Here
    }
}

fn is_own(node: &Parent, shared: &Shared) -> bool {
    node.place.id == shared.name || node.is_called(&shared.name)
}

impl Tier {
    /// Who has the key of a request, where that is to be asked.
    pub(super) fn owner(&self, request: &exchange::Request, without: Option<&str>) -> Owner {
        if self.siblings.is_none() || request.peer.is_some() {
            return Owner::Here;
        }
        self.siblings.owner(key_of(request), &self.shared, without)
    }

    /// Asks the sibling that has the key, where that is another node. None where this one asks for itself.
    ///
    /// # Errors
    /// [`UpstreamError`] where nobody would do better.
    pub(super) async fn ask_sibling(
        &self,
        asking: (&Asking<'_>, &mpsc::Sender<Interim>),
        through: Through<'_>,
        whom: &Whom,
    ) -> Result<Option<Answer>, UpstreamError> {
        let whom = &whom.clone().beside();
        let mut without = through.without.map(str::to_owned);
        // Who does not answer is not asked again: then the next one has the key, or this node.
        while let Owner::Other(owner) = self.owner(through.request, without.as_deref()) {
            let request_time = self.shared.clock.now();
            let doubt = Notify::new();
            let attempt = tokio::select! {
                biased;
                attempt = self.attempt(&owner, asking, whom, &doubt) => attempt,
                // The next one asks who is beyond this tier, as the owner would.
                () = doubt.notified() => Attempt::Elsewhere(UpstreamError::ResponseTimeout),
            };
            match attempt {
                Attempt::Answered(answered) => {
                    let heat = self.siblings.heat(through.request);
                    let Answered { incoming, voucher } = *answered;
                    return Ok(Some(Answer {
                        incoming,
                        supplier: supplier(&voucher, Supplier::Sibling),
                        parent: owner.place.id.clone(),
                        source: Source::Sibling(voucher.born.map(Box::new), heat),
                        request_time,
                    }));
                }
                Attempt::Failed(error) => return Err(error),
                Attempt::Elsewhere(_) => self.shared.metrics.failovers.inc(),
            }
            if without.is_some() {
                break;
            }
            without = Some(owner.place.id.clone());
        }
        Ok(None)
    }
}

impl Siblings {
    fn heat(&self, request: &exchange::Request) -> Heat {
        match self.rates.count(key_of(request), Moment(monotonic())) {
            HOT.. => Heat::Hot,
            _ => Heat::Cold,
        }
    }
}
