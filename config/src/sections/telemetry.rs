//! `[telemetry]`.

use std::time::Duration;

use crate::kinds::{Choice, Lasting, List, ReadableFile, Text, values};
use crate::model::{CollectorUrl, Continues, Telemetry, Traces};
use crate::names;
use crate::problems::{Fault, quote};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};

/// Parts of which a share is so many.
const MILLION: u32 = 1_000_000;

const ENDPOINT: Setting<Text<CollectorUrl>> = Setting {
    key: "endpoint",
    unset: Unset::Means {
        example: "\"http://127.0.0.1:4318\"",
        means: "nothing is sent",
    },
    about: "A collector that speaks OTLP over HTTP; traces go to `/v1/traces` below it, metrics to `/v1/metrics`.",
    read: Text {
        accepts: "a URL such as \"http://127.0.0.1:4318\"",
        parse: names::collector,
    },
};

const HEADERS_FILE: Setting<ReadableFile> = Setting {
    key: "headers_file",
    unset: Unset::Means {
        example: "\"collector-headers\"",
        means: "none",
    },
    about: "A file of fields for requests to the collector, such as `Authorization: Bearer …`, one on each line.",
    read: ReadableFile,
};

const CA_FILE: Setting<ReadableFile> = Setting {
    key: "ca_file",
    unset: Unset::Means {
        example: "\"collector-ca.pem\"",
        means: "the system's authorities",
    },
    about: "Authorities in PEM that sign the certificate of an `https://` collector.",
    read: ReadableFile,
};

const SERVICE: Setting<Text<String>> = Setting {
    key: "service",
    unset: Unset::Is("\"larder\""),
    about: "What nodes like this one are called there (`service.name`); `node.name` is the instance.",
    read: Text {
        accepts: "printable ASCII",
        parse: names::word,
    },
};

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Signal {
    Traces,
    Metrics,
}

const SIGNALS: Setting<List<Choice<Signal>>> = Setting {
    key: "signals",
    unset: Unset::Is("[\"traces\", \"metrics\"]"),
    about: "What is sent.",
    read: List {
        of: Choice(&[("traces", Signal::Traces), ("metrics", Signal::Metrics)]),
        least: 1,
    },
};

const SAMPLE: Setting<Text<u32>> = Setting {
    key: "sample",
    unset: Unset::Is("\"1%\""),
    about: "The share of traces beginning at this node that are recorded. Of a trace that others began, its `sampled` flag decides.",
    read: Text {
        accepts: "a share from \"0%\" to \"100%\"",
        parse: share,
    },
};

const CONTINUE: Setting<Choice<Continues>> = Setting {
    key: "continue",
    unset: Unset::Is("\"anyone\""),
    about: "Whose `traceparent` is believed, beside that of other nodes of the tiers: \"anyone\" lets clients have their \
            requests recorded, \"trusted\" only `trusted_proxies`.",
    read: Choice(&[
        ("anyone", Continues::Anyone),
        ("trusted", Continues::Trusted),
        ("nobody", Continues::Nobody),
    ]),
};

const METRICS_EVERY: Setting<Lasting> = Setting {
    key: "metrics_every",
    unset: Unset::Is("\"60s\""),
    about: "How often metrics are sent.",
    read: Lasting {
        least: Duration::from_secs(1),
        most: Duration::from_secs(3_600),
    },
};

pub(crate) const TELEMETRY: Rows = Rows {
    path: "telemetry",
    about: "Traces and metrics for an OpenTelemetry collector. Without `endpoint` there are none.",
    rows: &[
        &ENDPOINT as &dyn Row,
        &HEADERS_FILE,
        &CA_FILE,
        &SERVICE,
        &SIGNALS,
        &SAMPLE,
        &CONTINUE,
        &METRICS_EVERY,
    ],
};

/// Reads `[telemetry]`. `Some(None)` sends nothing.
#[expect(
    clippy::option_option,
    reason = "none is wrong, and none inside sends nothing"
)]
pub(crate) fn telemetry(section: &Section<'_>, reading: &mut Reading) -> Option<Option<Telemetry>> {
    let endpoint = section.value(&ENDPOINT, reading);
    let headers = section.value(&HEADERS_FILE, reading);
    let ca = section.value(&CA_FILE, reading);
    let service = section.value(&SERVICE, reading);
    let signals = section.value(&SIGNALS, reading).map(values);
    let per_million = section.value(&SAMPLE, reading);
    let continues = section.value(&CONTINUE, reading);
    let every = section.value(&METRICS_EVERY, reading);
    if !section.has(&ENDPOINT) {
        if let Some(key) = section.keys().next() {
            let fault = Fault::new(format!("`{}` has no effect without `endpoint`", key.value));
            let hint = "write, for example, endpoint = \"http://127.0.0.1:4318\"";
            reading.refuse(key.span, fault.hint(hint));
            return None;
        }
        return Some(None);
    }
    let (endpoint, signals) = (endpoint?, signals?);
    if section.has(&CA_FILE) && !endpoint.secure {
        let fault = Fault::new("`ca_file` has no effect beside an `http://` collector");
        reading.refuse(section.key_span_of(&CA_FILE), fault);
        return None;
    }
    let traces = Traces {
        per_million: per_million?,
        continues: continues?,
    };
    Some(Some(Telemetry {
        endpoint,
        headers,
        ca,
        service: service?,
        traces: signals.contains(&Signal::Traces).then_some(traces),
        metrics: every.filter(|_| signals.contains(&Signal::Metrics)),
    }))
}

/// A percentage, as parts of a million.
fn share(text: &str) -> Result<u32, Fault> {
    let fault = || {
        let fault = Fault::new(format!("{} is no share", quote(text)));
        fault.hint("write, for example, \"5%\" or \"0.01%\"")
    };
    let number = text.strip_suffix('%').ok_or_else(fault)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 4 {
        return Err(fault());
    }
    let whole: u32 = whole.parse().map_err(|_too_long| fault())?;
    let part: u32 = format!("{part:0<4}").parse().map_err(|_invalid| fault())?;
    let parts = whole
        .checked_mul(MILLION / 100)
        .and_then(|it| it.checked_add(part));
    parts.filter(|parts| *parts <= MILLION).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_to_a_millionth() {
        let rows = [
            ("0%", 0),
            ("1%", 10_000),
            ("0.05%", 500),
            ("0.0001%", 1),
            ("100%", MILLION),
        ];
        for (text, parts) in rows {
            assert_eq!(share(text).ok(), Some(parts), "{text}");
        }
        for text in [
            "",
            "%",
            "1",
            "100.1%",
            "-1%",
            "1e2%",
            ".5%",
            "1.%",
            "0.00001%",
            "99999999999%",
        ] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
