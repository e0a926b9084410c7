//! `larder purge`: a purge through the admin API of a node.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

pub use purge_api::Mode;
use purge_api::Token;
use serde_json::{Value, json};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
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
    /// The site that tags, or everything, are meant of.
    pub site: Option<String>,
    /// What the keys mean.
    pub reach: Reach,
    /// How.
    pub mode: Mode,
    /// Why, for the audit trail.
    pub reason: Option<String>,
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
    /// Whether the purge was applied.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        self.status == 200
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let text = |name: &str| match &self.document[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if self.is_applied() {
            let (sequence, node, id) = (text("sequence"), text("node"), text("id"));
            return format!("purged: sequence {sequence} on {node}, id {id}");
        }
        format!("{}: {}", text("title"), text("detail"))
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
            "all": self.reach == Reach::All,
            "mode": self.mode,
        });
        for (name, text) in [("site", &self.site), ("reason", &self.reason)] {
            if let Some(text) = text {
                body[name] = json!(text);
            }
        }
        body
    }
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
        let bytes = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"sequence\":3,\"node\":\"n\",\"id\":\"x\"}";
        let answer = parse(bytes).unwrap();
        assert!(answer.is_applied());
        assert_eq!(answer.line(), "purged: sequence 3 on n, id x");
        let bytes = b"HTTP/1.1 401 Unauthorized\r\n\r\n{\"title\":\"no\",\"detail\":\"token\"}";
        let answer = parse(bytes).unwrap();
        assert!(!answer.is_applied());
        assert_eq!(answer.line(), "no: token");
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n<html>").is_none());
        assert!(parse(b"").is_none());
    }
}
