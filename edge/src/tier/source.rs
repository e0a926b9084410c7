//! Where a response came from, and what that says of it.

use policy::store::Aging;
use tiered::landmark::Landmark;
use tiered::voucher::Born;

use super::siblings::Heat;

/// Where a response came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Origin,
    /// Another node, and what it vouches for.
    Tier(Option<Box<Born>>),
    /// A node beside this one, which has the key, and what that vouches for.
    Sibling(Option<Box<Born>>, Heat),
}

impl Source {
    /// How often it is asked for, where a sibling has it.
    pub(crate) const fn heat(&self) -> Option<Heat> {
        match self {
            Self::Sibling(_, heat) => Some(*heat),
            Self::Origin | Self::Tier(_) => None,
        }
    }

    /// By what the age of what comes from there is known. Nodes reckon it truly, whatever their clocks show.
    pub(crate) const fn aging(&self) -> Aging {
        match self {
            Self::Origin => Aging::Conservative,
            Self::Tier(_) | Self::Sibling(..) => Aging::Told,
        }
    }

    /// How far the node had read the log of purges, as it says.
    pub(crate) fn here(&self) -> Option<Landmark> {
        match self {
            Self::Origin => None,
            Self::Tier(born) | Self::Sibling(born, _) => born.as_ref().and_then(|born| born.here),
        }
    }
}
