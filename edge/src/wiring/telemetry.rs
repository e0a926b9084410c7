//! From `[telemetry]` to what is sent to a collector.

use std::path::Path;
use std::sync::Arc;

use config::model;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{StartError, system};
use crate::access_log::Redaction;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::origins::Host;
use crate::origins::names::Names;
use crate::telemetry::{
    Collector, Continues, Endpoint, Resource, Sampling, Telemetry, TelemetryMetrics, Tracer,
};
use crate::tls;

/// Bytes of the file of fields for the collector.
const HEADERS_MAX: usize = 64 * 1024;

/// What all of it needs of the node.
pub(super) struct Around<'a> {
    pub name: &'a str,
    pub clock: &'a Arc<Clock>,
    pub names: &'a Arc<Names>,
    pub metrics: &'a Metrics,
    pub redaction: Redaction,
}

/// Prepares what is sent. Nothing is, before the node runs.
pub(super) fn prepare(
    telemetry: model::Telemetry,
    around: &Around<'_>,
) -> Result<Telemetry, StartError> {
    let model::Telemetry {
        endpoint,
        headers,
        ca,
        service,
        traces,
        metrics,
    } = telemetry;
    let counters = TelemetryMetrics::new().map_err(system)?;
    around.metrics.add(counters.collectors());
    let (endpoint, tls) = way_to(endpoint, headers.as_deref(), ca.as_deref())?;
    let collector = Collector::new(endpoint, tls, around.names, around.clock);
    let resource = Resource {
        service,
        instance: around.name.to_owned(),
        began: around.clock.wall_nanos(),
    };
    let tracer = traces.map(|traces| {
        let dropped = counters.spans("dropped");
        Tracer::new(sampling(traces), around.clock, around.redaction, dropped)
    });
    Ok(Telemetry::new(
        (collector, resource),
        tracer,
        metrics,
        counters,
    ))
}

/// How the collector is reached.
type Way = (Endpoint, Option<(TlsConnector, ServerName<'static>)>);

/// How the collector is reached, by the files that are named.
pub(super) fn way(telemetry: &model::Telemetry) -> Result<Way, StartError> {
    let (headers, ca) = (telemetry.headers.as_deref(), telemetry.ca.as_deref());
    way_to(telemetry.endpoint.clone(), headers, ca)
}

fn way_to(
    url: model::CollectorUrl,
    headers: Option<&Path>,
    ca: Option<&Path>,
) -> Result<Way, StartError> {
    let tls = match url.secure {
        true => Some(secure(&url.host, ca)?),
        false => None,
    };
    let fields = headers.map(fields).transpose()?;
    Ok((place(url, fields.unwrap_or_default())?, tls))
}

fn place(url: model::CollectorUrl, headers: HeaderMap) -> Result<Endpoint, StartError> {
    let model::CollectorUrl {
        secure: _, // see `secure`
        host,
        port,
        path,
    } = url;
    let host = match host {
        model::OriginHost::Name(name) | model::OriginHost::Service(name) => Host::Name(name),
        model::OriginHost::Address(address) => Host::Address(address),
        model::OriginHost::Socket(path) => Host::Socket(path),
    };
    let authority = match &host {
        Host::Name(name) => format!("{name}:{port}"),
        Host::Address(address) => std::net::SocketAddr::new(*address, port).to_string(),
        Host::Socket(_) | Host::Service(_) => "localhost".to_owned(),
    };
    Ok(Endpoint {
        host,
        port,
        path,
        authority: HeaderValue::try_from(authority).map_err(system)?,
        headers,
    })
}

fn secure(
    host: &model::OriginHost,
    ca: Option<&Path>,
) -> Result<(TlsConnector, ServerName<'static>), StartError> {
    let authorities = ca.map(tls::read_certificates).transpose()?;
    let connector = TlsConnector::from(tls::collector_config(authorities)?);
    let name = match host {
        model::OriginHost::Name(name) => ServerName::try_from(name.clone()).map_err(system)?,
        model::OriginHost::Address(address) => ServerName::from(*address),
        model::OriginHost::Socket(_) | model::OriginHost::Service(_) => {
            return Err(system("a collector has a name or an address"));
        }
    };
    Ok((connector, name))
}

/// The fields in a file: one on each line.
fn fields(path: &Path) -> Result<HeaderMap, StartError> {
    let wrong = |why: String| StartError::System(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    if text.len() > HEADERS_MAX {
        return Err(wrong(format!("it is longer than {HEADERS_MAX} bytes")));
    }
    let mut fields = HeaderMap::new();
    for (number, line) in (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let field = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            let mut value = HeaderValue::try_from(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        // The line itself may be a secret.
        let (name, value) = field.ok_or_else(|| wrong(format!("line {number} is no field")))?;
        fields.append(name, value);
    }
    Ok(fields)
}

const fn sampling(traces: model::Traces) -> Sampling {
    let model::Traces {
        per_million,
        continues,
    } = traces;
    Sampling {
        per_million,
        continues: match continues {
            model::Continues::Anyone => Continues::Anyone,
            model::Continues::Trusted => Continues::Trusted,
            model::Continues::Nobody => Continues::Nobody,
        },
    }
}
