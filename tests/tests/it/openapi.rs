//! What the admin API answers has the form that its description gives.

use std::fs;
use std::path::Path;

use larder_tests::{Node, Origin, Reply, Settings};
use serde_json::Value;

/// The description's schemas.
struct Described(Value);

impl Described {
    fn read() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../purge-api/openapi.json");
        let text = fs::read_to_string(file).expect("the description");
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    /// The schema of the answer to a GET.
    fn of(&self, path: &str) -> &Value {
        let answer = &self.0["paths"][path]["get"]["responses"]["200"];
        let schema = &answer["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path} is not described");
        schema
    }

    /// What is wrong with a value, and where. What a schema does not name must not be there either.
    fn faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            return self.faults(&self.0["components"]["schemas"][name], value, at);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = |choice: &&Value| self.faults(choice, value, at).is_empty();
            return match choices.iter().filter(fits).count() {
                1 => Vec::new(),
                count => vec![format!("{at}: {count} of the choices fit {value}")],
            };
        }
        let mut faults = Vec::new();
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            faults.push(format!("{at}: {value} is none of {words:?}"));
        }
        if !is_of(&schema["type"], value) {
            faults.push(format!("{at}: {value} is no {}", schema["type"]));
        }
        for item in value.as_array().into_iter().flatten() {
            faults.extend(self.faults(&schema["items"], item, &format!("{at}[]")));
        }
        faults.extend(self.members(schema, value, at));
        faults
    }

    fn members(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let Some(members) = value.as_object() else {
            return faults;
        };
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                faults.push(format!("{at}.{name} is missing"));
            }
        }
        let Some(properties) = schema["properties"].as_object() else {
            return faults;
        };
        for (name, value) in members {
            match properties.get(name) {
                Some(schema) => faults.extend(self.faults(schema, value, &format!("{at}.{name}"))),
                None => faults.push(format!("{at}.{name} is not described")),
            }
        }
        faults
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    let one = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type {other}"),
    };
    match kind {
        Value::Null => true,
        Value::String(kind) => one(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(one),
        other => panic!("no type {other}"),
    }
}

#[tokio::test]
async fn answers_have_the_form_that_is_described() {
    let described = Described::read();
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let settings = Settings::origins(&[&origin.url()])
        .rule("match = { path = \"/a*\" }\nname = \"assets\"\nttl = \"1h\"")
        .disk("32MiB");
    let node = Node::start(settings).await;
    node.get("/a").await;
    node.purge(r#"{"all":true}"#).await;
    drop(
        node.api_as("another-token", ("GET", "/v1/status"), "")
            .await,
    );
    for path in [
        "/v1/config",
        "/v1/status",
        "/v1/origins",
        "/v1/egress",
        "/v1/purges",
        "/v1/refusals",
        "/v1/stats",
        "/v1/curve",
    ] {
        let answer = node.api("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        let value: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let faults = described.faults(described.of(path), &value, path);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[test]
fn what_is_not_described_is_noticed() {
    let described = Described::read();
    let schema = described.of("/v1/config");
    let with = |setting: &str| {
        let text = format!(r#"{{"tables":[{{"table":"[node]","settings":[{setting}]}}]}}"#);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        described.faults(schema, &value, "it")
    };
    assert_eq!(
        with(r#"{"key":"name","given":true,"value":"\"a\""}"#),
        [""; 0]
    );
    for wrong in [
        r#"{"key":"name"}"#,
        r#"{"key":"name","given":"yes"}"#,
        r#"{"key":"name","given":true,"secret":"s"}"#,
    ] {
        assert_eq!(with(wrong).len(), 1, "{wrong}");
    }
}
