//! A collector of OpenTelemetry: it decodes what it is sent, and remembers it.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use prost::Message as _;

use crate::eventually::eventually;
use crate::origin::{Origin, Seen};
use crate::reply::Reply;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    server: Origin,
}

/// A span.
#[derive(Clone, Debug)]
pub struct Step {
    /// `service.instance.id`.
    pub node: String,
    /// In hexadecimal digits, like all of them.
    pub trace: String,
    /// Its own.
    pub id: String,
    /// Empty where it has none.
    pub parent: String,
    /// `tracestate`.
    pub state: String,
    /// Its name.
    pub name: String,
    /// 1 is internal, 2 a server's, 3 a client's.
    pub kind: i32,
    /// In nanoseconds since 1970.
    pub began: u64,
    /// In nanoseconds since 1970.
    pub ended: u64,
    /// Trace and span of the steps that it is linked to.
    pub links: Vec<(String, String)>,
    /// As text.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub failed: bool,
}

impl Step {
    /// An attribute; empty where there is none.
    #[must_use]
    pub fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    /// One that takes everything.
    pub async fn start() -> Self {
        Self::with(Origin::start(|_| Reply::ok("")).await)
    }

    /// One that answers on this server.
    #[must_use]
    pub const fn with(server: Origin) -> Self {
        Self { server }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What it was sent.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.server.requests()
    }

    fn messages(&self, path: &str) -> Vec<Seen> {
        let all = self.server.requests().into_iter();
        all.filter(|seen| seen.target == path && seen.end.is_some())
            .collect()
    }

    /// All spans so far, in the order in which they came.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for message in self.messages("/v1/traces") {
            assert_eq!(
                message.field("Content-Type"),
                Some("application/x-protobuf")
            );
            let message = ExportTraceServiceRequest::decode(message.body);
            for of_node in message.expect("a message").resource_spans {
                let resource = texts(&of_node.resource.expect("a resource").attributes);
                let spans = of_node.scope_spans.into_iter().flat_map(|it| it.spans);
                steps.extend(spans.map(|span| {
                    Step {
                        node: resource["service.instance.id"].clone(),
                        trace: hex(&span.trace_id),
                        id: hex(&span.span_id),
                        parent: hex(&span.parent_span_id),
                        state: span.trace_state,
                        name: span.name,
                        kind: span.kind,
                        began: span.start_time_unix_nano,
                        ended: span.end_time_unix_nano,
                        links: span
                            .links
                            .iter()
                            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
                            .collect(),
                        attributes: texts(&span.attributes),
                        failed: span.status.is_some_and(|status| status.code == 2),
                    }
                }));
            }
        }
        steps
    }

    /// The spans, as soon as there are so many.
    pub async fn steps_when(&self, count: usize) -> Vec<Step> {
        eventually(Duration::from_secs(20), || self.steps().len() >= count).await;
        self.steps()
    }

    /// The last value of a metric with these attributes among others, and the unit; of a histogram, its count.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<(f64, String)> {
        let last = self.messages("/v1/metrics").pop()?;
        let message = ExportMetricsServiceRequest::decode(last.body).expect("a message");
        let scopes = message.resource_metrics.into_iter();
        let scopes = scopes.flat_map(|it| it.scope_metrics);
        let mut metrics = scopes.flat_map(|it| it.metrics);
        let metric = metrics.find(|metric| metric.name == name)?;
        let points: Vec<(Vec<KeyValue>, f64)> = match metric.data? {
            Data::Sum(sum) => numbers(sum.data_points),
            Data::Gauge(gauge) => numbers(gauge.data_points),
            Data::Histogram(histogram) => {
                let points = histogram.data_points.into_iter();
                #[expect(clippy::cast_precision_loss, reason = "a test counts little")]
                let points = points.map(|point| {
                    let count = point.bucket_counts.iter().sum::<u64>();
                    assert_eq!(count, point.count, "{name}");
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    (point.attributes, count as f64)
                });
                points.collect()
            }
            other => panic!("{other:?}"),
        };
        let wanted = points.into_iter().filter(|(attributes, _)| {
            let attributes = texts(attributes);
            let mut labels = labels.iter();
            labels.all(|(name, value)| attributes.get(*name).is_some_and(|it| it == value))
        });
        Some((wanted.map(|(_, value)| value).sum(), metric.unit))
    }
}

fn numbers(
    points: Vec<opentelemetry_proto::tonic::metrics::v1::NumberDataPoint>,
) -> Vec<(Vec<KeyValue>, f64)> {
    let value = |value| match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        other => panic!("{other:?}"),
    };
    let points = points.into_iter();
    points
        .map(|point| (point.attributes, value(point.value)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(truth) => truth.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let attributes = attributes.iter().filter_map(|attribute| {
        let value = attribute.value.as_ref()?.value.as_ref()?;
        Some((attribute.key.clone(), text(value)))
    });
    attributes.collect()
}
