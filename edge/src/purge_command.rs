//! `larder purge`: a purge through the admin API of a node.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use purge_api::Token;
pub use purge_api::{Mode, Wait};
use serde_json::{Value, json};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// Bytes of an answer.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

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

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The answer's status.
    pub status: u16,
    /// Its document: a receipt, or a problem.
    pub document: Value,
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

    /// What to tell people: a line for each node, and one for all.
    #[must_use]
    pub fn lines(&self) -> String {
        let document = &self.document;
        if self.outcome() == Outcome::Refused {
            let (title, detail) = (text(&document["title"]), text(&document["detail"]));
            return format!("{title}: {detail}");
        }
        if document["dry_run"] == true {
            return dry_run(document);
        }
        let nodes = document["nodes"].as_array().into_iter().flatten();
        let missing = document["missing"].as_array().into_iter().flatten();
        let missing = missing.map(|name| format!("  {}: not applied yet", text(name)));
        let mut lines: Vec<String> = nodes.map(node).chain(missing).collect();
        let (sequence, id) = (text(&document["sequence"]), text(&document["id"]));
        if document["state"] == "queued" {
            return format!(
                "queued on this node until the log can be reached, and applied nowhere: id {id}"
            );
        }
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

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Request {
    /// Sends the purge to the admin listener at `admin`.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub fn send(&self, admin: &str, token: &Token) -> Result<Answer, String> {
        let body = self.body().to_string();
        let head = format!(
            "POST /v1/purges HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            token.secret(),
            body.len()
        );
        let answer = exchange(admin, &(head + &body));
        let answer = answer.map_err(|error| format!("no answer from {admin}: {error}"))?;
        parse(&answer).ok_or_else(|| format!("{admin} does not answer like a node"))
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
        body
    }
}

/// Asks the admin listener at `admin` for a document.
///
/// # Errors
/// A sentence that says why there is no answer.
pub(crate) fn ask(admin: &str, token: &Token, path: &str) -> Result<Answer, String> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.secret(),
    );
    let answer = exchange(admin, &head);
    let answer = answer.map_err(|error| format!("no answer from {admin}: {error}"))?;
    parse(&answer).ok_or_else(|| format!("{admin} does not answer like a node"))
}

fn exchange(admin: &str, request: &str) -> std::io::Result<Vec<u8>> {
    let unknown = || std::io::Error::other("there is no such address");
    let address = admin.to_socket_addrs()?.next().ok_or_else(unknown)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Status and document of an answer that ends with its connection.
fn parse(answer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer {
        status,
        document: serde_json::from_str(body).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood() {
        let bytes = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"sequence\":3,\"id\":\"x\",\
            \"matched\":{\"objects\":1,\"bytes\":2},\
            \"nodes\":[{\"node\":\"n\",\"applied_at\":\"t\",\"latency_ms\":1.25}]}";
        let answer = parse(bytes).unwrap();
        assert_eq!(answer.outcome(), Outcome::Done);
        let lines = "  n: applied at t, after 1.2 ms\npurged: sequence 3, id x, 1 objects, 2 bytes";
        assert_eq!(answer.lines(), lines);
        let bytes = b"HTTP/1.1 401 Unauthorized\r\n\r\n{\"title\":\"no\",\"detail\":\"token\"}";
        let answer = parse(bytes).unwrap();
        assert_eq!(answer.outcome(), Outcome::Refused);
        assert_eq!(answer.lines(), "no: token");
        let bytes = b"HTTP/1.1 202 Accepted\r\n\r\n{}";
        assert_eq!(parse(bytes).unwrap().outcome(), Outcome::Pending);
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n<html>").is_none());
        assert!(parse(b"").is_none());
    }
}
