//! What the program's own commands ask a node's admin API.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use purge_api::Token;
use serde_json::Value;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long it may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a line that is followed; longer ones end it.
const LINE_MAX: u64 = 1024 * 1024;

/// An admin listener, and what opens it.
#[derive(Clone, Copy, Debug)]
pub struct Admin<'a> {
    /// Its address: `HOST:PORT`.
    pub address: &'a str,
    /// The token.
    pub token: &'a Token,
}

impl Admin<'_> {
    /// Asks for a document.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    pub fn get(&self, target: &str) -> Result<Value, String> {
        let stream = self.ask(target)?;
        let mut answer = Vec::new();
        let read = stream.take(ANSWER_MAX).read_to_end(&mut answer);
        read.map_err(|error| self.unanswered(&error))?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        self.check(head, body)?;
        serde_json::from_str(body).map_err(|_| self.strange())
    }

    /// Asks for lines, and hands over each as it comes, until there are no more or `tell` wants none.
    ///
    /// # Errors
    /// A sentence that says why there are none.
    pub fn follow(
        &self,
        target: &str,
        mut tell: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let stream = self.ask(target)?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = reader.by_ref().take(LINE_MAX).read_line(&mut head);
            if read.map_err(|error| self.unanswered(&error))? == 0 {
                return Err(self.strange());
            }
        }
        if status(&head) != Some(200) {
            let mut body = String::new();
            let read = reader.take(ANSWER_MAX).read_to_string(&mut body);
            read.map_err(|error| self.unanswered(&error))?;
            return self.check(&head, &body);
        }
        // Between two lines there may be any time.
        let forever = reader.get_ref().set_read_timeout(None);
        forever.map_err(|error| self.unanswered(&error))?;
        loop {
            let mut line = Vec::new();
            let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
            match read {
                Ok(0) => return Err(format!("{} has ended the connection", self.address)),
                Ok(_) => tell(String::from_utf8_lossy(&line).trim_end())?,
                Err(error) => return Err(self.unanswered(&error)),
            }
        }
    }

    fn ask(&self, target: &str) -> Result<TcpStream, String> {
        self.open(target).map_err(|error| self.unanswered(&error))
    }

    fn open(&self, target: &str) -> std::io::Result<TcpStream> {
        let unknown = || std::io::Error::other("there is no such address");
        let address = self.address.to_socket_addrs()?.next();
        let mut stream = TcpStream::connect_timeout(&address.ok_or_else(unknown)?, CONNECT)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.address,
            self.token.secret()
        )?;
        Ok(stream)
    }

    /// What a problem document says, where it is not an answer.
    fn check(&self, head: &str, body: &str) -> Result<(), String> {
        let status = status(head).ok_or_else(|| self.strange())?;
        if status == 200 {
            return Ok(());
        }
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        match (text("title"), text("detail")) {
            (title, _) if title.is_empty() => Err(format!("{} answers {status}", self.address)),
            (title, detail) if detail.is_empty() => Err(title),
            (title, detail) => Err(format!("{title}: {detail}")),
        }
    }

    fn unanswered(&self, error: &std::io::Error) -> String {
        format!("no answer from {}: {error}", self.address)
    }

    fn strange(&self) -> String {
        format!("{} does not answer like a node", self.address)
    }
}

fn status(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
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
