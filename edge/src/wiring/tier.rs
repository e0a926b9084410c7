//! From `[tier]` to whom a node asks, and who may ask it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::model;
use tokio_rustls::TlsConnector;

use super::egress::{Pools, chosen};
use super::system;
use crate::origins::{Certificate, Host};
use crate::run::StartError;
use crate::tier::{Key, Listed, Parents, Pass, Place, Plain, Proof, Role, Settings, Template};
use crate::tls;

/// What `[tier]` says, made ready.
pub(super) struct Ready {
    pub settings: Settings,
    pub parents: Parents,
    pub siblings: Parents,
    pub proof: Proof,
    pub silence: Duration,
}

/// Reads what `[tier]` names. A parent is sent requests on one connection for each thread, at most.
pub(super) fn ready(tier: model::Tier, threads: usize, pools: &Pools) -> Result<Ready, StartError> {
    let model::Tier {
        role,
        parents,
        siblings,
        key,
        ca,
        certificate,
        pass,
        direct,
        connect_timeout,
        silence,
        egress,
    } = tier;
    let egress = chosen(&egress, pools);
    let proof = match &key {
        Some(key) => Proof::Key(Box::new(Key::read(key).map_err(system)?)),
        None => Proof::Certificates,
    };
    let authorities = ca.as_deref().map(tls::read_certificates).transpose()?;
    let connector = match &authorities {
        None => None,
        Some(authorities) => {
            let shown = certificate.as_ref().map(|it| tls::Files {
                cert: &it.cert,
                key: &it.key,
            });
            let config = tls::tier_config(authorities, shown)?;
            Some(TlsConnector::from(config))
        }
    };
    let identity = certificate.as_ref().map(|it| {
        let files = tls::Files {
            cert: &it.cert,
            key: &it.key,
        };
        tls::read_identity(files).map(|(chain, key)| Certificate { chain, key })
    });
    let identity = identity.transpose()?;
    let mut made = DefaultHasher::new();
    (connect_timeout, silence, threads).hash(&mut made);
    let secret = key.as_ref().map(std::fs::read).transpose();
    secret.map_err(system)?.hash(&mut made);
    for der in authorities.iter().flatten() {
        der.as_ref().hash(&mut made);
    }
    if let Some(Certificate { chain, key }) = &identity {
        (chain, key).hash(&mut made);
    }
    for pool in egress.iter() {
        pool.identity.hash(&mut made);
    }
    let template = Template {
        connect: connect_timeout,
        silence,
        tls: connector,
        plain: match proof {
            Proof::Key(_) => Plain::Asked,
            Proof::Certificates => Plain::LeftOut,
        },
        connections: threads,
        egress: Arc::clone(&egress),
    };
    let sources = |all: Vec<model::Parent>| all.into_iter().map(listed).collect();
    let parse = |line: &str| config::parent(line).map(place);
    Ok(Ready {
        parents: Parents::new(sources(parents), template.clone(), parse),
        siblings: Parents::new(sources(siblings), template, parse),
        settings: Settings {
            role: match role {
                model::Role::Edge => Role::Edge,
                model::Role::Parent => Role::Parent,
            },
            pass: match pass {
                model::Pass::Direct => Pass::Direct,
                model::Pass::Parent => Pass::Parent,
            },
            direct,
            authorities: authorities
                .map(|all| all.iter().map(|it| it.to_vec()).collect::<Arc<_>>()),
            certificate: identity.map(Arc::new),
            connect: connect_timeout,
            made: made.finish(),
            egress,
        },
        proof,
        silence,
    })
}

/// Who signs the certificates of nodes that ask this one, where certificates prove who they are.
pub(super) fn peers(config: &model::Config) -> Option<&Path> {
    let tier = config.tier.as_ref()?;
    let asked = tier.role == model::Role::Parent || !tier.siblings.is_empty();
    let ca = tier.ca.as_deref();
    ca.filter(|_| asked && tier.key.is_none())
}

fn listed(parent: model::Parent) -> Listed {
    match parent {
        model::Parent::One(url) => Listed::Fixed(place(url)),
        model::Parent::Srv { name, secure } => Listed::Srv { name, secure },
        model::Parent::File(path) => Listed::File(path),
    }
}

fn place(url: model::ParentUrl) -> Place {
    let model::ParentUrl {
        id,
        weight,
        secure,
        host,
        port,
    } = url;
    Place {
        id,
        weight,
        secure,
        host: match host {
            model::OriginHost::Name(name) | model::OriginHost::Service(name) => Host::Name(name),
            model::OriginHost::Address(address) => Host::Address(address),
            model::OriginHost::Socket(path) => Host::Socket(path),
        },
        port,
    }
}
