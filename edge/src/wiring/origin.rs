//! From the origins of a site to how they are reached.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use config::model;
use http::HeaderValue;

use crate::origins::{self, Origin, Origins};
use crate::tls::{self, TlsError};

pub(super) fn site_origins(
    all: Vec<model::Origin>,
    upstream: model::Upstream,
) -> Result<Origins, TlsError> {
    let model::Upstream {
        connect_timeout,
        first_byte_timeout,
        between_bytes_timeout,
        idle_timeout,
        retries,
        unknown_transfer_coding,
    } = upstream;
    let all = all
        .into_iter()
        .map(|each| origin(each).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Ok(Origins {
        all,
        timeouts: origins::Timeouts {
            connect: connect_timeout,
            first_byte: first_byte_timeout,
            between_bytes: between_bytes_timeout,
            idle: idle_timeout,
        },
        retries,
        unknown_coding: match unknown_transfer_coding {
            model::UnknownTransferCoding::Refuse => wire::UnknownCoding::Refuse,
            model::UnknownTransferCoding::UntilClose => wire::UnknownCoding::UntilClose,
        },
        rotation: tiered::Rotation::default(),
    })
}

fn origin(origin: model::Origin) -> Result<Origin, TlsError> {
    let model::Origin {
        host,
        port,
        transport,
        http,
        host_override,
    } = origin;
    let mut identity = DefaultHasher::new();
    format!("{host:?} {port} {transport:?} {http:?}").hash(&mut identity);
    let transport = match transport {
        model::OriginTransport::Plain => origins::Transport::Plain,
        model::OriginTransport::Tls { verify, sni } => origins::Transport::Tls {
            trust: trust(verify)?,
            sni,
        },
    };
    Ok(Origin {
        host: match host {
            model::OriginHost::Name(name) => origins::Host::Name(name),
            model::OriginHost::Address(address) => origins::Host::Address(address),
        },
        port,
        transport,
        http: match http {
            model::OriginHttp::Auto => origins::HttpVersion::Negotiated,
            model::OriginHttp::One => origins::HttpVersion::One,
            model::OriginHttp::Two => origins::HttpVersion::Two,
        },
        host_override: host_override.and_then(|host| HeaderValue::try_from(host).ok()),
        identity: identity.finish(),
    })
}

fn trust(verify: model::Verify) -> Result<origins::Trust, TlsError> {
    Ok(match verify {
        model::Verify::System => origins::Trust::System,
        model::Verify::Never => origins::Trust::Anyone,
        model::Verify::Ca(path) => origins::Trust::Authorities(authorities(&path)?),
    })
}

fn authorities(path: &Path) -> Result<Arc<[Vec<u8>]>, TlsError> {
    let certificates = tls::read_certificates(path)?;
    Ok(certificates.iter().map(|der| der.to_vec()).collect())
}
