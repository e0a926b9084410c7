//! The client of a node's admin API that the command line has: one request, one document.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use purge_api::Token;
use serde_json::Value;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// Bytes of an answer.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a line that is followed.
const LINE_MAX: u64 = 1024 * 1024;

/// A node's admin listener, and what opens it.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Where it listens: `HOST:PORT`.
    pub admin: &'a str,
    /// The token that is presented.
    pub token: &'a Token,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The answer's status.
    pub status: u16,
    /// Its document: what was asked for, or a problem (RFC 9457).
    pub document: Value,
}

impl Answer {
    /// The document that was asked for.
    ///
    /// # Errors
    /// The problem in one line, where there was one.
    pub fn document(self) -> Result<Value, String> {
        match self.status {
            200..=299 => Ok(self.document),
            _ => Err(self.problem()),
        }
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn problem(&self) -> String {
        if self.status == 401 {
            return "the node does not know this token: name the file with the right one with --admin-token-file"
                .to_owned();
        }
        let (title, detail) = (&self.document["title"], &self.document["detail"]);
        format!("{}: {}", text(title), text(detail))
    }
}

/// A value as people read it.
#[must_use]
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Client<'_> {
    /// Asks for a path and query.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub fn get(self, target: &str) -> Result<Answer, String> {
        self.get_within(target, PATIENCE)
    }

    /// Asks for a path and query of a node that may take so long to accept the connection, and again for each part of
    /// its answer.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub fn get_within(self, target: &str, patience: Duration) -> Result<Answer, String> {
        self.ask(&self.head("GET", target, "Connection: close\r\n"), patience)
    }

    /// Sends a document to a path.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub fn post(self, target: &str, document: &Value) -> Result<Answer, String> {
        self.post_with(target, "", document)
    }

    /// Sends a document under an identifier: the same one again is the same request.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub fn post_as(self, id: &str, target: &str, document: &Value) -> Result<Answer, String> {
        self.post_with(target, &format!("Idempotency-Key: {id}\r\n"), document)
    }

    fn post_with(self, target: &str, fields: &str, document: &Value) -> Result<Answer, String> {
        let body = document.to_string();
        let fields = format!(
            "{fields}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        self.ask(&(self.head("POST", target, &fields) + &body), PATIENCE)
    }

    /// Asks for lines, and hands over each as it comes, until `tell` wants no more or there are none.
    ///
    /// # Errors
    /// A sentence that says why there are no more.
    pub fn follow(
        self,
        target: &str,
        tell: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let admin = self.admin;
        let request = self.head("GET", target, "Connection: close\r\n");
        let stream = open(admin, &request, PATIENCE);
        let stream = stream.map_err(|error| format!("no answer from {admin}: {error}"))?;
        let mut reader = BufReader::new(stream);
        let lost = |error: std::io::Error| format!("{admin} is gone: {error}");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = reader.by_ref().take(LINE_MAX).read_line(&mut head);
            if read.map_err(lost)? == 0 {
                return Err(format!("{admin} does not answer like a node"));
            }
        }
        if !head.starts_with("HTTP/1.1 200 ") {
            let mut answer = head.into_bytes();
            reader
                .take(ANSWER_MAX)
                .read_to_end(&mut answer)
                .map_err(lost)?;
            let answer =
                parse(&answer).ok_or_else(|| format!("{admin} does not answer like a node"))?;
            return answer.document().map(drop);
        }
        // Between two lines there may be any time; the node gives signs of life.
        pieces(&mut reader, tell).map_err(|error| format!("{admin} is gone: {error}"))
    }

    fn head(self, method: &str, target: &str, fields: &str) -> String {
        let Self { admin, token } = self;
        let secret = token.secret();
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {secret}\r\n{fields}\r\n"
        )
    }

    fn ask(self, request: &str, patience: Duration) -> Result<Answer, String> {
        let admin = self.admin;
        let answer = exchange(admin, request, patience);
        let answer = answer.map_err(|error| format!("no answer from {admin}: {error}"))?;
        parse(&answer).ok_or_else(|| format!("{admin} does not answer like a node"))
    }
}

/// The lines of a chunked answer.
fn pieces(
    reader: &mut impl BufRead,
    mut tell: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let broken = || "what it sends cannot be read".to_owned();
    let mut lines = Vec::new();
    loop {
        let mut size = String::new();
        reader
            .by_ref()
            .take(64)
            .read_line(&mut size)
            .map_err(text)?;
        let size = u64::from_str_radix(size.trim(), 16)
            .ok()
            .ok_or_else(broken)?;
        if size == 0 {
            return Ok(());
        }
        if size + lines.len() as u64 > LINE_MAX {
            return Err("a line is too long".to_owned());
        }
        reader
            .by_ref()
            .take(size)
            .read_to_end(&mut lines)
            .map_err(text)?;
        let mut end = [0; 2];
        reader.read_exact(&mut end).map_err(text)?;
        let complete = lines
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in lines[..complete]
            .split(|byte| *byte == b'\n')
            .filter(|it| !it.is_empty())
        {
            tell(&String::from_utf8_lossy(line))?;
        }
        lines.drain(..complete);
    }
}

/// Asks, and reads until the connection ends.
fn exchange(admin: &str, request: &str, patience: Duration) -> std::io::Result<Vec<u8>> {
    let stream = open(admin, request, patience)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// A name may have several addresses: the first that accepts is asked.
fn open(admin: &str, request: &str, patience: Duration) -> std::io::Result<TcpStream> {
    let mut refused = std::io::Error::other("there is no such address");
    for address in admin.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return converse(stream, request, patience),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn converse(
    mut stream: TcpStream,
    request: &str,
    patience: Duration,
) -> std::io::Result<TcpStream> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    Ok(stream)
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

/// Where an admin listener is, from what a person wrote: `HOST:PORT`, or as a start prints it, `http://HOST:PORT`.
///
/// # Errors
/// A sentence that says what to write.
pub fn place(written: &str) -> Result<String, String> {
    let place = match written.split_once("://") {
        None => written,
        Some((scheme, place)) if scheme.eq_ignore_ascii_case("http") => place,
        Some((scheme, _)) => {
            return Err(format!(
                "an admin listener speaks http and no {scheme}: write HOST:PORT"
            ));
        }
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    if let Some((place, path)) = place.split_once('/') {
        return Err(format!(
            "write where the admin listener is, {place}, without the path /{path}"
        ));
    }
    match place.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(place.to_owned())
        }
        _ => Err("write HOST:PORT, such as 127.0.0.1:9180".to_owned()),
    }
}

/// Parameters as a query has them.
#[must_use]
pub fn query(parameters: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        query.append_pair(name, value);
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_listener_is_where_it_is_written() {
        for (written, expected) in [
            ("127.0.0.1:9180", "127.0.0.1:9180"),
            ("http://127.0.0.1:9180", "127.0.0.1:9180"),
            ("HTTP://node.example:80/", "node.example:80"),
            ("[::1]:9180", "[::1]:9180"),
        ] {
            assert_eq!(place(written).as_deref(), Ok(expected));
        }
        for (written, word) in [
            ("https://node.example:9180", "https"),
            ("http://127.0.0.1:9180/metrics", "without the path /metrics"),
            ("127.0.0.1:9180/", "127.0.0.1:9180"),
            ("node.example", "HOST:PORT"),
            ("http://node.example", "HOST:PORT"),
            (":9180", "HOST:PORT"),
            ("node.example:http", "HOST:PORT"),
            ("", "HOST:PORT"),
        ] {
            match place(written) {
                Ok(place) => assert_eq!(place, word),
                Err(told) => assert!(told.contains(word), "{written}: {told}"),
            }
        }
    }

    #[test]
    fn an_answer_is_understood() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!(answer.document().unwrap()["a"], 1);
        let problem = b"HTTP/1.1 404 Not Found\r\n\r\n{\"title\":\"no\",\"detail\":\"purge\"}";
        let problem = parse(problem).unwrap();
        assert_eq!(problem.document().unwrap_err(), "no: purge");
        let stranger = parse(b"HTTP/1.1 401 Unauthorized\r\n\r\n{}").unwrap();
        let told = stranger.document().unwrap_err();
        assert!(told.contains("--admin-token-file"), "{told}");
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n<html>").is_none());
        assert!(parse(b"").is_none());
    }
}
