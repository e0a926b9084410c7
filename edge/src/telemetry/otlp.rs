//! Spans and metrics as OTLP's messages have them.

use std::borrow::Cow;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::trace::v1::span::{Link as ToldLink, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Told, Status};
use prometheus::proto::{LabelPair, Metric as Sample, MetricFamily, MetricType};

use super::{Kind, Link, Span, Value};

/// The flag of a span whose trace is recorded.
const SAMPLED: u32 = 1;

/// Who sends.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub service: String,
    pub instance: String,
    /// When it began to count, in nanoseconds since 1970.
    pub began: u64,
}

impl Resource {
    fn told(&self) -> opentelemetry_proto::tonic::resource::v1::Resource {
        let version = Cow::Borrowed(env!("CARGO_PKG_VERSION"));
        opentelemetry_proto::tonic::resource::v1::Resource {
            attributes: vec![
                attribute("service.name", Value::from(self.service.clone())),
                attribute("service.instance.id", Value::from(self.instance.clone())),
                attribute("service.version", Value::Text(version)),
            ],
            ..Default::default()
        }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "larder".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::StringValue(text.into_owned()),
        Value::Number(number) => Any::IntValue(number),
        Value::Fraction(fraction) => Any::DoubleValue(fraction),
        Value::Truth(truth) => Any::BoolValue(truth),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Spans, in one message.
pub(super) fn traces(resource: &Resource, spans: &[Span]) -> ExportTraceServiceRequest {
    let spans = ScopeSpans {
        scope: Some(scope()),
        spans: spans.iter().map(told).collect(),
        ..ScopeSpans::default()
    };
    let spans = ResourceSpans {
        resource: Some(resource.told()),
        scope_spans: vec![spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![spans],
    }
}

fn told(span: &Span) -> Told {
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Internal => SpanKind::Internal,
    };
    let state = span.trace.state.as_ref();
    let attributes = span.attributes.iter();
    Told {
        trace_id: span.trace.id.0.to_vec(),
        span_id: span.id.0.to_vec(),
        trace_state: state.map_or_else(String::new, |state| {
            String::from_utf8_lossy(state.as_bytes()).into_owned()
        }),
        parent_span_id: span
            .parent
            .map_or_else(Vec::new, |parent| parent.0.to_vec()),
        flags: SAMPLED,
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.began,
        end_time_unix_nano: span.ended,
        attributes: attributes
            .map(|(key, value)| attribute(key, value.clone()))
            .collect(),
        links: span.links.iter().map(link).collect(),
        status: span.failed.then(|| Status {
            code: StatusCode::Error.into(),
            ..Status::default()
        }),
        ..Told::default()
    }
}

fn link(link: &Link) -> ToldLink {
    ToldLink {
        trace_id: link.trace.0.to_vec(),
        span_id: link.span.0.to_vec(),
        // Nobody names a step that is not recorded.
        flags: SAMPLED,
        ..ToldLink::default()
    }
}

/// Metrics as Prometheus has them, in one message. They keep their names, so that what is pushed and what is scraped are
/// the same series.
pub(super) fn metrics(
    resource: &Resource,
    families: &[MetricFamily],
    now: u64,
) -> ExportMetricsServiceRequest {
    let times = Times {
        began: resource.began,
        now,
    };
    let metrics = ScopeMetrics {
        scope: Some(scope()),
        metrics: families
            .iter()
            .map(|family| metric(family, times))
            .collect(),
        ..ScopeMetrics::default()
    };
    let metrics = ResourceMetrics {
        resource: Some(resource.told()),
        scope_metrics: vec![metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![metrics],
    }
}

/// What a data point covers, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    began: u64,
    now: u64,
}

fn metric(family: &MetricFamily, times: Times) -> Metric {
    let name = family.name();
    let cumulative = AggregationTemporality::Cumulative.into();
    let samples = family.get_metric().iter();
    let data = match family.get_field_type() {
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: samples.map(|sample| histogram(sample, times)).collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: samples
                .map(|sample| number(sample, sample.get_counter().get_value(), times))
                .collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        // What is read rather than counted can be a total, too.
        _ if name.ends_with("_total") => Data::Sum(Sum {
            data_points: samples
                .map(|sample| number(sample, sample.get_gauge().get_value(), times))
                .collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        _ => Data::Gauge(Gauge {
            data_points: samples
                .map(|sample| number(sample, sample.get_gauge().get_value(), times))
                .collect(),
        }),
    };
    Metric {
        name: name.to_owned(),
        description: family.help().to_owned(),
        unit: unit(name).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The unit that a name ends with, as UCUM writes it.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some("ratio") => "1",
        _ => "",
    }
}

fn attributes(labels: &[LabelPair]) -> Vec<KeyValue> {
    let labels = labels.iter();
    labels
        .map(|label| attribute(label.name(), Value::from(label.value().to_owned())))
        .collect()
}

fn number(sample: &Sample, value: f64, times: Times) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(sample.get_label()),
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        value: Some(Number::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// A bucket of Prometheus has what is below it, too; one of OTLP has its own, and the last one has no bound.
fn histogram(sample: &Sample, times: Times) -> HistogramDataPoint {
    let histogram = sample.get_histogram();
    let buckets = histogram.get_bucket().iter();
    let buckets: Vec<_> = buckets
        .filter(|bucket| bucket.upper_bound().is_finite())
        .collect();
    let cumulative = buckets.iter().map(|bucket| bucket.cumulative_count());
    let mut below = 0;
    let counts = cumulative
        .chain([histogram.get_sample_count()])
        .map(|count| count.saturating_sub(std::mem::replace(&mut below, count)));
    HistogramDataPoint {
        attributes: attributes(sample.get_label()),
        start_time_unix_nano: times.began,
        time_unix_nano: times.now,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts.collect(),
        explicit_bounds: buckets.iter().map(|bucket| bucket.upper_bound()).collect(),
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

    use super::*;

    fn exported(registry: &Registry) -> Vec<Metric> {
        let resource = Resource {
            service: "larder".to_owned(),
            instance: "edge-1".to_owned(),
            began: 5,
        };
        let mut message = metrics(&resource, &registry.gather(), 9);
        let mut of_resource = message.resource_metrics.remove(0);
        of_resource.scope_metrics.remove(0).metrics
    }

    #[test]
    fn a_histogram_keeps_its_bounds_and_each_bucket_its_own() {
        let registry = Registry::new();
        let options = HistogramOpts::new("wait_seconds", "Waiting.").buckets(vec![0.1, 1.0]);
        let histogram = prometheus::Histogram::with_opts(options).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        for waited in [0.05, 0.5, 0.6, 7.0] {
            histogram.observe(waited);
        }
        let metrics = exported(&registry);
        let Some(Data::Histogram(told)) = &metrics[0].data else {
            panic!("{metrics:?}")
        };
        let point = &told.data_points[0];
        assert_eq!(point.explicit_bounds, [0.1, 1.0]);
        assert_eq!(point.bucket_counts, [1, 2, 1]);
        assert_eq!((point.count, metrics[0].unit.as_str()), (4, "s"));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
    }

    #[test]
    fn what_only_grows_is_a_sum_and_the_rest_is_a_gauge() {
        let registry = Registry::new();
        let sent = IntCounterVec::new(Opts::new("sent_bytes_total", "Sent."), &["site"]).unwrap();
        let evicted = IntGauge::new("evicted_total", "Read, not counted.").unwrap();
        let held = IntGauge::new("held", "Held.").unwrap();
        registry.register(Box::new(sent.clone())).unwrap();
        registry.register(Box::new(evicted)).unwrap();
        registry.register(Box::new(held)).unwrap();
        sent.with_label_values(&["shop"]).inc_by(7);
        let metrics = exported(&registry);
        let shape = |metric: &Metric| match &metric.data {
            Some(Data::Sum(sum)) => (metric.name.clone(), metric.unit.clone(), sum.is_monotonic),
            _ => (metric.name.clone(), metric.unit.clone(), false),
        };
        let shapes: Vec<_> = metrics.iter().map(shape).collect();
        let expected = [
            ("evicted_total", "", true),
            ("held", "", false),
            ("sent_bytes_total", "By", true),
        ];
        assert_eq!(
            shapes,
            expected.map(|(name, unit, sum)| (name.to_owned(), unit.to_owned(), sum))
        );
    }
}
