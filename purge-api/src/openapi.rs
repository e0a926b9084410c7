//! The description of the API, as it is checked in. The tests hold it and the code against each other.

/// The document (OpenAPI 3.1).
pub(crate) const TEXT: &str = include_str!("../openapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Serialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::access::Denied;
    use crate::filter::Filter;
    use crate::fleet::{Fleet, FleetNode, Propagation};
    use crate::node::Refusal;
    use crate::order::{Mode, Order, Scope, Sent, Stamp, Wait};
    use crate::problem::Problem;
    use crate::receipt::{
        Applied, Matched, Page, Preview, Receipt, Refusals, RefusedRequest, Sample, State,
    };
    use crate::reload::{Changed, Configuration, Reloaded};
    use crate::upstreams::{EgressList, EgressStatus, OriginList, OriginStatus};

    fn document() -> Value {
        serde_json::from_str(TEXT).unwrap()
    }

    fn schema(name: &str) -> Value {
        document()["components"]["schemas"][name].clone()
    }

    fn words(list: &Value) -> BTreeSet<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|it| it.as_str().unwrap().to_owned()).collect()
    }

    fn keys(object: &Value) -> BTreeSet<String> {
        object.as_object().unwrap().keys().cloned().collect()
    }

    /// What the code writes has exactly the members that the document promises.
    #[track_caller]
    fn check(name: &str, value: impl Serialize) {
        let written = keys(&serde_json::to_value(value).unwrap());
        let schema = schema(name);
        assert_eq!(written, keys(&schema["properties"]), "{name}");
        assert!(words(&schema["required"]).is_subset(&written), "{name}");
    }

    fn order() -> Order {
        let stamp = Stamp {
            id: "i".to_owned(),
            by: "b".to_owned(),
            accepted_at: "t".to_owned(),
        };
        Order {
            reason: Some("r".to_owned()),
            actor: Some("a".to_owned()),
            ..Order::new(vec![Scope::All], Mode::Hard, stamp).unwrap()
        }
    }

    #[test]
    fn what_is_answered_is_what_is_promised() {
        let applied = || Applied {
            node: "n".to_owned(),
            applied_at: None,
            latency_ms: None,
        };
        let receipt = || Receipt {
            order: order(),
            sequence: 1,
            state: State::Applied,
            matched: Some(Matched::default()),
            nodes: vec![applied()],
            missing: Vec::new(),
        };
        check("Receipt", receipt());
        check("Applied", applied());
        check("Matched", Matched::default());
        check(
            "OriginList",
            OriginList {
                origins: Vec::new(),
            },
        );
        check(
            "OriginStatus",
            OriginStatus {
                site: String::new(),
                origin: String::new(),
                server: None,
                role: "primary",
                weight: 1,
                state: "up",
                under_way: 0,
                waiting: 0,
                recent_requests: 0,
                recent_failures: 0,
            },
        );
        let propagation = Propagation::default();
        check("Propagation", propagation);
        let node = FleetNode {
            node: "n".to_owned(),
            applied: Some(1),
            heard_ms: None,
        };
        check("FleetNode", &node);
        check(
            "Fleet",
            Fleet {
                log: String::new(),
                state: "following",
                applied: 1,
                last: 1,
                lag_ms: None,
                queued: 0,
                propagation,
                nodes: vec![node],
            },
        );
        check("EgressList", EgressList { egress: Vec::new() });
        check(
            "EgressStatus",
            EgressStatus {
                pool: String::new(),
                country: None,
                purpose: None,
                address: String::new(),
                ports: None,
                in_use: 0,
                limit: None,
                exhausted: 0,
            },
        );
        let configuration = Configuration {
            generation: 1,
            hash: String::new(),
            since: "t".to_owned(),
        };
        check("Configuration", &configuration);
        let changed = Changed {
            setting: String::new(),
            before: None,
            after: None,
        };
        check("Changed", &changed);
        check(
            "Reloaded",
            Reloaded {
                configuration,
                sites_added: Vec::new(),
                sites_removed: Vec::new(),
                changes: vec![changed],
            },
        );
        let sample = || Sample {
            uri: "u".to_owned(),
            key: "k".to_owned(),
            status: 200,
            bytes: 1,
        };
        check("Sample", sample());
        check(
            "Preview",
            Preview {
                dry_run: true,
                matched: Matched::default(),
                samples: vec![sample()],
            },
        );
        check(
            "Page",
            Page {
                purges: vec![receipt()],
                next: None,
            },
        );
        let refusal = Refusal {
            by: None,
            client: [127, 0, 0, 1].into(),
            method: "POST",
            path: "/v1/purges",
            problem: &Problem::Busy,
        };
        let refused = RefusedRequest::new(&refusal, "t".to_owned(), 0);
        check("RefusedRequest", &refused);
        let refusals = vec![refused];
        check("Refusals", Refusals { refusals });
        let problem: Value = serde_json::from_slice(Problem::Busy.response().body()).unwrap();
        check("Problem", problem);
    }

    #[test]
    fn every_problem_is_listed() {
        let text = String::new;
        let rate = Denied::Rate {
            name: text(),
            after: std::time::Duration::ZERO,
        };
        let all = [
            Problem::Unauthorised,
            Problem::Forbidden(text()),
            Problem::TooOften(rate),
            Problem::NotFound,
            Problem::Method,
            Problem::TooLarge,
            Problem::Malformed(text()),
            Problem::Invalid(text()),
            Problem::Question(text()),
            Problem::Busy,
            Problem::Crowded(""),
            Problem::Unavailable(text()),
            Problem::Configuration(text()),
            Problem::Restart(text()),
            Problem::Stopping,
        ];
        let codes: BTreeSet<String> = all.iter().map(|it| it.code().to_owned()).collect();
        assert_eq!(
            words(&schema("Problem")["properties"]["code"]["enum"]),
            codes
        );
        let document = document();
        let post = keys(&document["paths"]["/v1/purges"]["post"]["responses"]);
        for problem in &all {
            let status = problem.status().as_str().to_owned();
            assert!(post.contains(&status) || status == "404", "{problem:?}");
        }
    }

    #[test]
    fn every_scope_and_word_is_listed() {
        let text = String::new;
        let tag = Scope::Tag {
            site: None,
            tag: text(),
        };
        let all = [
            Scope::All,
            Scope::Site(text()),
            Scope::Host(text()),
            Scope::Url(text()),
            Scope::Prefix(text()),
            Scope::Key(text()),
            tag,
        ];
        let forms = schema("Scope");
        let forms = forms["oneOf"].as_array().unwrap();
        for scope in &all {
            let written = serde_json::to_value(scope).unwrap();
            let found = forms.iter().any(|form| match &written {
                Value::String(word) => form["enum"] == json!([word]),
                other => form["properties"].is_object() && keys(other) == keys(&form["properties"]),
            });
            assert!(found, "{written}");
        }
        assert_eq!(forms.len(), all.len());
        let purge = schema("Purge");
        let wait: Vec<_> = [Wait::None, Wait::Local, Wait::All].into();
        assert_eq!(purge["properties"]["wait"]["enum"], json!(wait));
        assert_eq!(schema("Mode")["enum"], json!([Mode::Hard, Mode::Soft]));
        let states = &schema("Receipt")["properties"]["state"]["enum"];
        assert_eq!(
            *states,
            json!([State::Queued, State::Logged, State::Applied])
        );
    }

    #[test]
    fn what_may_be_sent_is_read() {
        let stamp = || Stamp {
            id: "i".to_owned(),
            by: "b".to_owned(),
            accepted_at: "t".to_owned(),
        };
        let read = |body: &Value| Sent::parse(body.to_string().as_bytes(), stamp());
        let document = document();
        let content = &document["paths"]["/v1/purges"]["post"]["requestBody"]["content"];
        let examples = content["application/json"]["examples"].as_object().unwrap();
        for example in examples.values() {
            assert!(read(&example["value"]).is_ok(), "{example}");
        }
        // Each member is known, and no other.
        for (name, schema) in schema("Purge")["properties"].as_object().unwrap() {
            let value = match schema["type"].as_str() {
                Some("array") => json!(["http://e/"]),
                Some("boolean") => json!(true),
                Some("string") => schema["default"].clone(),
                Some(_) => panic!("{schema}"),
                None if name == "mode" => json!("soft"),
                None => json!(null),
            };
            let mut body = json!({ "all": true });
            body[name] = value;
            assert!(read(&body).is_ok(), "{body}: {:?}", read(&body));
        }
        assert!(read(&json!({ "all": true, "unknown": 1 })).is_err());
    }

    #[test]
    fn the_parameters_of_the_trail_are_known() {
        let document = document();
        let parameters = document["paths"]["/v1/purges"]["get"]["parameters"].clone();
        for parameter in parameters.as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            let schema = &parameter["schema"];
            let values = match schema["enum"].as_array() {
                Some(words) => words
                    .iter()
                    .map(|it| it.as_str().unwrap().to_owned())
                    .collect(),
                None if name == "mode" => vec!["hard".to_owned(), "soft".to_owned()],
                None => vec!["1".to_owned()],
            };
            for value in values {
                let query = format!("{name}={value}");
                assert!(Filter::parse(Some(&query)).is_ok(), "{query}");
            }
        }
    }
}
