//! `larder purge`: a purge through the admin API of a node.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use purge_api::Token;
pub use purge_api::{Mode, Wait};
use serde_json::{Value, json};

pub use crate::admin_client::Answer;
use crate::admin_client::{Client, text};
use crate::clock::Clock;

/// Between two questions how far a purge is; twice as long after each that had no answer.
const INTERVAL: Duration = Duration::from_millis(200);
const INTERVAL_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether the node has answered.
const LOOK: Duration = Duration::from_millis(5);

/// What to purge.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Absolute URLs.
    pub urls: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Absolute URLs that stand for everything below them.
    pub prefixes: Vec<String>,
    /// Hosts.
    pub hosts: Vec<String>,
    /// Exact cache keys, by their hashes.
    pub keys: Vec<String>,
    /// The site that tags, or everything, are meant of.
    pub site: Option<String>,
    /// What the keys mean.
    pub reach: Reach,
    /// How.
    pub mode: Mode,
    /// Whether it is meant, or only asked about.
    pub intent: Intent,
    /// Whom the answer waits for.
    pub wait: Wait,
    /// Why, for the audit trail.
    pub reason: Option<String>,
    /// Who, for the audit trail.
    pub actor: Option<String>,
    /// The purge's identifier: the same one again purges nothing again. None takes a fresh one.
    pub id: Option<String>,
    /// How long the answer may wait; none leaves it to the node.
    pub timeout: Option<Duration>,
}

/// Whether a purge is meant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Intent {
    /// It is.
    #[default]
    Purge,
    /// Only what it would name is asked for.
    DryRun,
}

/// How it went, as scripts want to know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is applied everywhere that was waited for; or it was a dry run.
    Done,
    /// It is durable, and not all nodes that were waited for have applied it yet.
    Pending,
    /// The node refused it: nothing was purged.
    Refused,
}

/// Whether only what is named is meant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reach {
    /// Only that.
    #[default]
    Named,
    /// Everything.
    All,
}

impl Answer {
    /// How it went.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self.status {
            200 => Outcome::Done,
            202 => Outcome::Pending,
            _ => Outcome::Refused,
        }
    }

    /// What to tell people: a line for each node that was not told of yet, and one for all.
    #[must_use]
    pub fn lines(&self, progress: &mut Progress) -> String {
        let document = &self.document;
        if self.outcome() == Outcome::Refused {
            return self.problem();
        }
        if document["dry_run"] == true {
            return dry_run(document);
        }
        let (sequence, id) = (text(&document["sequence"]), text(&document["id"]));
        if document["state"] == "queued" {
            return format!(
                "queued on this node until the log can be reached, and applied nowhere: id {id}"
            );
        }
        let missing = document["missing"].as_array().into_iter().flatten();
        let missing = missing.map(|name| format!("  {}: not applied yet", text(name)));
        let mut lines = progress.lines(document);
        lines.extend(missing);
        let what = match self.outcome() {
            Outcome::Done => "purged",
            Outcome::Pending | Outcome::Refused => "logged, and not applied everywhere yet",
        };
        let counted = match &document["matched"] {
            Value::Null => String::new(),
            matched => format!(", {}", size(matched)),
        };
        lines.push(format!("{what}: sequence {sequence}, id {id}{counted}"));
        lines.join("\n")
    }
}

/// The nodes that people were told of.
#[derive(Clone, Debug, Default)]
pub struct Progress(BTreeSet<String>);

impl Progress {
    /// A line for each node of a receipt that is new.
    fn lines(&mut self, receipt: &Value) -> Vec<String> {
        let nodes = receipt["nodes"].as_array().into_iter().flatten();
        let fresh = nodes.filter(|applied| self.0.insert(text(&applied["node"])));
        fresh.map(node).collect()
    }
}

fn dry_run(document: &Value) -> String {
    let samples = document["samples"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = samples
        .map(|sample| {
            let (uri, status) = (text(&sample["uri"]), text(&sample["status"]));
            format!("  {uri}  {status}, {} bytes", text(&sample["bytes"]))
        })
        .collect();
    lines.insert(0, format!("would purge {}", size(document)));
    lines.join("\n")
}

fn size(matched: &Value) -> String {
    let (objects, bytes) = (text(&matched["objects"]), text(&matched["bytes"]));
    format!("{objects} objects, {bytes} bytes")
}

fn node(applied: &Value) -> String {
    let name = text(&applied["node"]);
    match (&applied["applied_at"], applied["latency_ms"].as_f64()) {
        (Value::String(at), Some(latency)) => {
            format!("  {name}: applied at {at}, after {latency:.1} ms")
        }
        (Value::String(at), None) => format!("  {name}: applied at {at}"),
        _ => format!("  {name}: applied"),
    }
}

impl Request {
    /// Sends the purge to the admin listener at `admin`. While all nodes are waited for, `tell` gets a line as soon as one
    /// of them is known to have applied it; `progress` remembers which those were.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub fn send(
        &self,
        admin: &str,
        token: &Token,
        progress: &mut Progress,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Answer, String> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let made = crate::token::identifier(Clock::default().now());
                made.map_err(|error| error.to_string())?
            }
        };
        if !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "`{id}` is no identifier: it has to be visible ASCII"
            ));
        }
        let client = Client { admin, token };
        let post = || client.post_as(&id, "/v1/purges", &self.body());
        if self.wait != Wait::All || self.intent == Intent::DryRun {
            return post();
        }
        thread::scope(|scope| {
            let posting = scope.spawn(post);
            let finished = || posting.is_finished();
            let target = format!("/v1/purges/{id}");
            watch(&finished, &|| client.get(&target), &mut |receipt| {
                progress.lines(receipt).iter().for_each(|line| tell(line));
            });
            let posted = posting.join();
            posted.unwrap_or_else(|_panic| Err("the request was not sent".to_owned()))
        })
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "urls": self.urls,
            "tags": self.tags,
            "prefixes": self.prefixes,
            "hosts": self.hosts,
            "keys": self.keys,
            "all": self.reach == Reach::All,
            "mode": self.mode,
            "dry_run": self.intent == Intent::DryRun,
            "wait": self.wait,
            "count": self.wait != Wait::None,
        });
        let texts = [
            ("site", &self.site),
            ("reason", &self.reason),
            ("actor", &self.actor),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                body[name] = json!(text);
            }
        }
        if let Some(timeout) = self.timeout {
            body["timeout_ms"] = json!(timeout.as_millis());
        }
        body
    }
}

/// Asks how far a purge is, until it is `finished`, or the node does not say.
fn watch(
    finished: &dyn Fn() -> bool,
    ask: &dyn Fn() -> Result<Answer, String>,
    tell: &mut dyn FnMut(&Value),
) {
    let mut interval = INTERVAL;
    loop {
        let mut waited = Duration::ZERO;
        while waited < interval {
            if finished() {
                return;
            }
            thread::sleep(LOOK);
            waited += LOOK;
        }
        match ask() {
            Ok(answer) if answer.status == 200 => {
                tell(&answer.document);
                interval = INTERVAL;
            }
            // It is not even applied where it was sent to.
            Ok(answer) if answer.status == 404 => interval = (2 * interval).min(INTERVAL_MAX),
            // A token that may not read. The answer to the purge tells all the same.
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, document: Value) -> Answer {
        Answer { status, document }
    }

    #[test]
    fn an_answer_is_told_in_lines() {
        let receipt = json!({
            "sequence": 3, "id": "x", "matched": { "objects": 1, "bytes": 2 },
            "nodes": [{ "node": "n", "applied_at": "t", "latency_ms": 1.25 }],
        });
        let done = answer(200, receipt);
        assert_eq!(done.outcome(), Outcome::Done);
        let lines = "  n: applied at t, after 1.2 ms\npurged: sequence 3, id x, 1 objects, 2 bytes";
        assert_eq!(done.lines(&mut Progress::default()), lines);
        let mut told = Progress::default();
        assert_eq!(told.lines(&done.document).len(), 1);
        let all = "purged: sequence 3, id x, 1 objects, 2 bytes";
        assert_eq!(done.lines(&mut told), all, "no node twice");
        let refused = answer(403, json!({ "title": "no", "detail": "scope" }));
        assert_eq!(refused.outcome(), Outcome::Refused);
        assert_eq!(refused.lines(&mut told), "no: scope");
        assert_eq!(answer(202, json!({})).outcome(), Outcome::Pending);
    }
}
