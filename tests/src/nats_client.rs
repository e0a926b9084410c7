//! A client of a NATS server, as small as its protocol allows: what an operator, or another version of a node, sends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a server without accounts. It blocks.
#[derive(Debug)]
pub struct NatsClient {
    stream: BufReader<TcpStream>,
}

impl NatsClient {
    /// Connects.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut client = Self {
            stream: BufReader::new(stream),
        };
        assert!(client.line().starts_with("INFO "));
        client
            .send("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _INBOX.tests 1\r\nPING\r\n");
        while client.line() != "PONG" {}
        client
    }

    /// Publishes a message with an identifier to a stream; its place there.
    pub fn publish(&mut self, subject: &str, id: &str, payload: &str) -> u64 {
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
        let (head, all) = (headers.len(), headers.len() + payload.len());
        let line = format!("HPUB {subject} _INBOX.tests {head} {all}");
        self.send(&format!("{line}\r\n{headers}{payload}\r\n"));
        let answer = self.answer();
        answer["seq"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// Asks the API of `JetStream`, such as `STREAM.INFO.NAME`.
    ///
    /// # Panics
    ///
    /// When the server does not do it.
    pub fn ask(&mut self, what: &str, body: &Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let length = body.len();
        let line = format!("PUB $JS.API.{what} _INBOX.tests {length}");
        self.send(&format!("{line}\r\n{body}\r\n"));
        let answer = self.answer();
        assert!(answer["error"].is_null(), "{what} {body}: {answer}");
        answer
    }

    fn answer(&mut self) -> Value {
        loop {
            let line = self.line();
            if line == "PING" {
                self.send("PONG\r\n");
            } else if line.starts_with("MSG ") {
                let length: Option<usize> = line.rsplit(' ').next().and_then(|it| it.parse().ok());
                let mut payload = vec![0; length.expect("a length") + 2];
                self.stream.read_exact(&mut payload).expect("a payload");
                return serde_json::from_slice(&payload).expect("JSON");
            } else {
                assert!(line.starts_with("INFO "), "{line}");
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the server has closed the connection");
        line.trim_end().to_owned()
    }

    fn send(&mut self, text: &str) {
        let sent = self.stream.get_mut().write_all(text.as_bytes());
        sent.expect("a connection");
    }
}
