//! The request itself as a step of its trace, in the names of OpenTelemetry's conventions for HTTP. What they have no
//! name for is told in the words of the access log.

use std::sync::Arc;
use std::time::Instant;

use super::{Kind, Open, Span, Trace, Value};
use crate::access_log::Line;
use crate::exchange::split_target;
use crate::origins::{Origin, Transport};

impl Trace {
    /// Tells of the request, which is over: what the access log tells of it.
    pub(crate) fn served(self: &Arc<Self>, line: &Line<'_>, began: Instant, ended: Instant) {
        let mut attributes = Vec::with_capacity(32);
        let mut set = |name, value: Option<Value>| {
            attributes.extend(value.map(|value| (name, value)));
        };
        let (path, query) = split_target(line.path);
        let text = |text: &str| Some(Value::from(text.to_owned()));
        set("http.request.method", Some(told_method(line.method).into()));
        set("url.scheme", Some(line.scheme.into()));
        set("url.path", text(path));
        set("url.query", query.and_then(text));
        set(
            "server.address",
            line.host.and_then(|host| text(&host.host)),
        );
        let port = line.host.and_then(|host| host.port);
        set("server.port", port.map(Value::from));
        set("client.address", text(&line.client.to_string()));
        set(
            "user_agent.original",
            line.user_agent.as_deref().and_then(text),
        );
        set("network.protocol.name", Some("http".into()));
        set(
            "network.protocol.version",
            Some(version(line.protocol).into()),
        );
        let version = line.tls.map(|tls| tls.trim_start_matches("TLSv"));
        set("tls.protocol.version", version.map(Value::from));
        set("tls.cipher", line.cipher.map(Value::from));
        set("http.response.status_code", Some(line.status.into()));
        set("http.response.body.size", Some(line.bytes.into()));
        let failed = line.status >= 500;
        set("error.type", failed.then(|| line.status.to_string().into()));
        set("larder.id", text(&line.id.to_string()));
        set("larder.site", text(line.site));
        set("larder.rule", line.rule.and_then(text));
        set("larder.outcome", Some(line.outcome.into()));
        set("larder.reason", line.reason.map(Value::from));
        set("larder.forward", line.fwd.map(Value::from));
        set("larder.detail", line.detail.map(Value::from));
        set("larder.tier", line.tier.map(Value::from));
        set("larder.ttl", line.ttl.map(Value::from));
        set("larder.age", line.age.map(Value::from));
        set("larder.collapsed", line.collapsed.then(|| true.into()));
        set("larder.key", line.key.map(|key| format!("{key:?}").into()));
        set("larder.coding", line.coding.map(Value::from));
        set("larder.upstream", line.upstream.as_deref().and_then(text));
        set("larder.cached_bytes", Some(line.cached_bytes.into()));
        set(
            "larder.origin_requests",
            line.origin_requests.map(Value::from),
        );
        set("larder.origin_bytes", line.origin_bytes.map(Value::from));
        set("larder.ttfb_ms", line.ttfb_ms.map(Value::from));
        self.tell(Span {
            trace: Arc::clone(self),
            id: self.span,
            parent: self.parent,
            name: name_of(line.method),
            kind: Kind::Server,
            began: self.at(began),
            ended: self.at(ended),
            attributes,
            links: self.links(),
            failed,
        });
    }
}

/// Says of a step which origin it asks, and for what.
pub(crate) fn asks_origin(step: &mut Open, trace: &Trace, target: &str, origin: &Origin) {
    let authority = origin.authority();
    let path = trace.redaction().path(target);
    let scheme = match &origin.transport {
        Transport::Plain => "http",
        Transport::Tls { .. } => "https",
    };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => &authority,
    };
    step.set("url.full", format!("{scheme}://{authority}{path}"));
    step.set("server.address", host.to_owned());
    step.set("server.port", origin.port);
    step.set("larder.origin", origin.label.clone());
}

/// What requests with a method are called: it, or one word for all that are not known. Clients can send any.
pub(crate) fn name_of(method: &str) -> &'static str {
    let mut known = METHODS.into_iter();
    known.find(|known| *known == method).unwrap_or("HTTP")
}

/// Methods that traces tell apart.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY", "TRACE", "CONNECT",
];

/// The method as the conventions have it.
pub(crate) fn told_method(method: &str) -> &'static str {
    match name_of(method) {
        "HTTP" => "_OTHER",
        known => known,
    }
}

fn version(protocol: &str) -> &'static str {
    match protocol {
        "HTTP/2.0" => "2",
        "HTTP/1.0" => "1.0",
        _ => "1.1",
    }
}
