//! The access log.

use std::sync::Arc;

use config::model;
use http::HeaderName;

use super::StartError;
use crate::access_log::{
    AccessLog, Format, Manner, Output, Redacted, Redaction, Rotated, Server, Syslog,
};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Opens it where it is to go.
pub(super) fn open(
    log: model::Log,
    node: &str,
    clock: &Arc<Clock>,
    metrics: &Metrics,
) -> Result<AccessLog, StartError> {
    let model::Log {
        access,
        to,
        rotate_size,
        rotate_keep,
        sample_hits,
        redact,
        request_fields,
        response_fields,
        level: _, // the process's: see `main`
    } = log;
    let manner = Manner {
        format: format(access),
        sample_hits,
        redaction: Redaction::of(redact.into_iter().map(redacted)),
        request_fields: names(&request_fields),
        response_fields: names(&response_fields),
    };
    let syslog = |server| Output::Syslog(Syslog::new(server, node, Arc::clone(clock)));
    let out = match to {
        model::LogTo::Stdout => Output::Stream(Box::new(std::io::stdout())),
        model::LogTo::File(path) => {
            let file = Rotated::open(&path, rotate_size, rotate_keep);
            let file = file.map_err(|error| {
                StartError::System(format!("the access log {}: {error}", path.display()))
            })?;
            Output::File(file)
        }
        model::LogTo::SyslogUdp(address) => syslog(Server::Udp(address)),
        model::LogTo::SyslogTcp(address) => syslog(Server::Tcp(address)),
        model::LogTo::SyslogUnix(path) => syslog(Server::Unix(path)),
    };
    Ok(AccessLog::new(manner, out, metrics.log_dropped.clone()))
}

/// The configuration has checked that they are names.
fn names(fields: &[String]) -> Box<[HeaderName]> {
    let names = fields.iter();
    names
        .filter_map(|name| HeaderName::try_from(name).ok())
        .collect()
}

const fn format(access: model::AccessLog) -> Format {
    match access {
        model::AccessLog::Json => Format::Json,
        model::AccessLog::Combined => Format::Combined,
        model::AccessLog::CombinedWithHost => Format::CombinedWithHost,
        model::AccessLog::CloudFront => Format::CloudFront,
        model::AccessLog::Off => Format::Off,
    }
}

const fn redacted(redacted: model::Redacted) -> Redacted {
    match redacted {
        model::Redacted::Client => Redacted::Client,
        model::Redacted::Query => Redacted::Query,
        model::Redacted::Referer => Redacted::Referer,
        model::Redacted::UserAgent => Redacted::UserAgent,
    }
}
