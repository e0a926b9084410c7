//! From a configuration to what is in force: all that a running node takes another one of.

use std::path::Path;
use std::sync::Arc;

use config::model;
use purge_api::{Api, Token};
use tiered::forwarded::{self, Trust};

use super::egress::Pools;
use super::site::sites_by_host;
use super::{admin, egress, settings, site, system, tier};
use crate::clock::Clock;
use crate::downstream::Limits;
use crate::egress::Pool;
use crate::in_force::{self, Common, InForce};
use crate::metrics::Metrics;
use crate::origins::names::Names;
use crate::purges::position::Position;
use crate::run::StartError;
use crate::tier::{Shared, Tier};
use crate::tls::{self, Files, Handshakes};

/// What a node keeps while configurations come and go.
pub(crate) struct Keeping<'a> {
    pub name: &'a str,
    pub threads: usize,
    pub clock: &'a Arc<Clock>,
    pub metrics: &'a Arc<Metrics>,
    pub names: &'a Arc<Names>,
    pub position: &'a Arc<Position>,
    /// The configuration in force so far.
    pub before: Option<&'a InForce>,
}

impl Keeping<'_> {
    /// Makes a configuration ready. Nothing of what is in force changes by it.
    ///
    /// # Errors
    /// [`StartError`] where a file, a certificate or the system does not allow it.
    pub(crate) fn make_ready(
        &self,
        config: model::Config,
        token: Token,
    ) -> Result<InForce, StartError> {
        let model::Config {
            node,
            admin: api,
            fleet: _, // at a start
            tier: _,  // see `tier`
            dialects,
            memory: _, // at a start
            disks: _,
            egress,
            log: _,
            telemetry: _,
            limits,
            tls,
            sites,
            effective,
        } = &config;
        let metrics = self.metrics;
        let pools = egress::pools(egress, &metrics.egress, self.before)?;
        let common = Arc::new(Common {
            generation: self.before.map_or(1, |before| before.common.generation + 1),
            trust: Trust::new(node.trusted_proxies.clone(), trusted(node.trusted_field)),
            tier: self.tier(&config, &pools)?,
            follower_wait: limits.follower_wait,
            ranges_max: limits.ranges,
        });
        let around = site::Around {
            metrics,
            pools: &pools,
            common: &common,
            before: self.before,
        };
        let access = admin::access(token, api.tokens.clone())?;
        Ok(InForce {
            sites: sites_by_host(sites.clone(), around)?,
            api: Api::new(access, admin::dialects(dialects.clone())),
            limits: Arc::new(downstream_limits(limits)),
            query_content: limits.query_content,
            tls: handshakes((node, tls), tier::peers(&config), self.before)?,
            settings: settings::document(effective),
            since: self.clock.now(),
            hash: in_force::hash(&config),
            egress: in_order(pools),
            common,
            config,
        })
    }

    /// Makes what is asked instead of the origin, and who may ask this node.
    fn tier(&self, config: &model::Config, pools: &Pools) -> Result<Option<Arc<Tier>>, StartError> {
        let Some(tier) = config.tier.clone() else {
            return Ok(None);
        };
        let ready = tier::ready(tier, self.threads, pools)?;
        let before = self.before.and_then(|before| {
            let tier = before.common.tier.as_ref()?;
            Some((tier, before.config.tier == config.tier))
        });
        if let Some((same, true)) = before
            && same.made() == ready.settings.made
        {
            return Ok(Some(Arc::clone(same)));
        }
        let before = before.map(|(before, _)| &**before);
        let shared = Shared {
            name: self.name.to_owned(),
            proof: ready.proof,
            silence: ready.silence,
            clock: Arc::clone(self.clock),
            names: Arc::clone(self.names),
            position: Arc::clone(self.position),
            metrics: self.metrics.tier().map_err(system)?,
        };
        let nodes = (ready.parents, ready.siblings);
        let tier = Tier::new(ready.settings, shared, nodes, before);
        Ok(Some(Arc::new(tier)))
    }
}

/// Makes what TLS listeners shake hands with, where there are some.
pub(super) fn handshakes(
    (node, tls): (&model::Node, &model::Tls),
    peers: Option<&Path>,
    before: Option<&InForce>,
) -> Result<Option<Handshakes>, StartError> {
    let model::Tls {
        certificates,
        ticket_key_file,
    } = tls;
    let is_tls = |it: &model::Listener| it.transport == model::ListenerTransport::Tls;
    if !node.listen.iter().any(is_tls) {
        return Ok(None);
    }
    let files = certificates.iter();
    let files: Vec<_> = files
        .map(|model::Certificate { cert, key }| Files { cert, key })
        .collect();
    let before = before.and_then(|before| before.tls.as_ref());
    let of = (peers, ticket_key_file.as_deref());
    Ok(Some(tls::handshakes(&files, of, before)?))
}

fn downstream_limits(limits: &model::Limits) -> Limits {
    let model::Limits {
        head_bytes,
        target_bytes,
        fields,
        head_timeout,
        idle_timeout,
        body_timeout,
        write_timeout,
        connections: _,   // the server's
        followers: _,     // the flights'
        follower_wait: _, // the node's
        ranges: _,        // the node's
        variants: _,      // the tiers'
        query_content: _, // the node's
        h2_streams,
    } = *limits;
    Limits {
        wire: wire::Limits {
            head_bytes,
            target_bytes,
            fields,
            ..wire::Limits::default()
        },
        head: head_timeout,
        idle: idle_timeout,
        body: body_timeout,
        write: write_timeout,
        h2_streams,
    }
}

fn in_order(pools: Pools) -> Vec<Arc<Pool>> {
    let mut pools: Vec<_> = pools.into_values().collect();
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    pools
}

const fn trusted(field: model::TrustedField) -> forwarded::Field {
    match field {
        model::TrustedField::XForwardedFor => forwarded::Field::XForwarded,
        model::TrustedField::Forwarded => forwarded::Field::Forwarded,
    }
}
