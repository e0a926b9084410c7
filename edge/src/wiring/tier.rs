//! From `[tier]` to whom a node asks, and who may ask it.

use std::sync::Arc;
use std::time::Duration;

use config::model;
use tokio_rustls::TlsConnector;

use super::system;
use crate::origins::Host;
use crate::run::StartError;
use crate::tier::{Key, Listed, Parents, Pass, Place, Role, Settings, Template};
use crate::tls;

/// What `[tier]` says, made ready.
pub(super) struct Ready {
    pub settings: Settings,
    pub parents: Parents,
    pub key: Key,
    pub silence: Duration,
}

/// Reads what `[tier]` names. A parent is sent requests on one connection for each thread, at most.
pub(super) fn ready(tier: model::Tier, threads: usize) -> Result<Ready, StartError> {
    let model::Tier {
        role,
        parents,
        key,
        ca,
        certificate,
        pass,
        direct,
        connect_timeout,
        silence,
    } = tier;
    let key = Key::read(&key).map_err(system)?;
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
    let template = Template {
        connect: connect_timeout,
        tls: connector,
        connections: threads,
    };
    let sources = parents.into_iter().map(|parent| match parent {
        model::Parent::One(url) => Listed::Fixed(place(url)),
        model::Parent::Srv { name, secure } => Listed::Srv { name, secure },
        model::Parent::File(path) => Listed::File(path),
    });
    let parse = |line: &str| config::parent(line).map(place);
    Ok(Ready {
        parents: Parents::new(sources.collect(), template, parse),
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
            connect: connect_timeout,
        },
        key,
        silence,
    })
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
            model::OriginHost::Name(name) => Host::Name(name),
            model::OriginHost::Address(address) => Host::Address(address),
            model::OriginHost::Socket(path) => Host::Socket(path),
        },
        port,
    }
}
