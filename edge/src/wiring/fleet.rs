//! From `[fleet]` to the log that the nodes of a fleet follow.

use std::path::Path;

use config::model;

use super::system;
use crate::fleet::{self, FleetMetrics, Outbox};
use crate::run::StartError;

/// What a node needs to follow the log of its fleet.
pub(super) struct Following {
    pub settings: fleet::Settings,
    pub outbox: Option<Outbox>,
    pub counters: FleetMetrics,
}

/// Makes what a node needs to follow the log of its fleet.
pub(super) fn following(
    fleet: model::Fleet,
    node: &str,
    state: Option<&Path>,
) -> Result<Following, StartError> {
    let outbox = match (fleet.unreachable, state) {
        (model::Unreachable::Refuse, _) => None,
        (model::Unreachable::Queue, Some(state)) => {
            let opened = Outbox::open(state);
            Some(opened.map_err(|error| system(format_args!("the outbox of purges: {error}")))?)
        }
        (model::Unreachable::Queue, None) => {
            return Err(system(
                "there is no folder to keep purges in: set HOME or XDG_STATE_HOME",
            ));
        }
    };
    let counters = FleetMetrics::new().map_err(system)?;
    Ok(Following {
        settings: settings(fleet, node),
        outbox,
        counters,
    })
}

/// What `larder fleet init` does for a fleet.
#[must_use]
pub fn plan_fleet(fleet: model::Fleet, replicas: usize) -> fleet::setup::Plan {
    let fleet::Settings {
        servers,
        access,
        stream,
        ..
    } = settings(fleet, "");
    fleet::setup::Plan {
        servers,
        access,
        stream,
        replicas,
    }
}

/// The settings of a fleet, for the node of that name.
fn settings(fleet: model::Fleet, node: &str) -> fleet::Settings {
    let model::Fleet {
        servers,
        credentials,
        ca,
        certificate,
        stream,
        max_lag,
        on_lag,
        unreachable: _, // whether there is an outbox
        publish_timeout,
        forget_after,
    } = fleet;
    fleet::Settings {
        servers,
        access: fleet::Access {
            credentials,
            ca,
            certificate: certificate.map(|model::Certificate { cert, key }| (cert, key)),
        },
        stream,
        node: node.to_owned(),
        max_lag,
        on_lag: match on_lag {
            model::OnLag::Serve => fleet::OnLag::Serve,
            model::OnLag::Revalidate => fleet::OnLag::Revalidate,
            model::OnLag::Pass => fleet::OnLag::Pass,
            model::OnLag::Unready => fleet::OnLag::Unready,
        },
        publish_timeout,
        forget_after,
    }
}
