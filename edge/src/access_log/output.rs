//! Where lines go: a stream, a file that is rotated, or a syslog server (RFC 5424). Only the log's own thread is here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::rfc3339;
use crate::clock::Clock;

/// How long a syslog server may take to be reached, or to take something.
const SYSLOG_TIME: Duration = Duration::from_secs(2);
/// The longest message that is sent to a syslog server; the rest of a line is cut off.
const MESSAGE_MAX: usize = 32 * 1024;
/// Facility `local0`, severity informational (RFC 5424 §6.2.1).
const PRIORITY: u8 = 16 * 8 + 6;

/// Where lines go.
pub(crate) enum Output {
    Stream(Box<dyn Write + Send>),
    File(Rotated),
    Syslog(Syslog),
}

impl Output {
    /// Writes whole lines; returns how many of them are lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        match self {
            Self::Stream(out) => {
                let written = out.write_all(lines).and_then(|()| out.flush());
                lost(lines, &written)
            }
            Self::File(file) => lost(lines, &file.write(lines)),
            Self::Syslog(syslog) => syslog.write(lines),
        }
    }
}

fn lost(lines: &[u8], written: &io::Result<()>) -> u64 {
    match written {
        Ok(()) => 0,
        Err(_) => each(lines).count() as u64,
    }
}

fn each(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = lines.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty())
}

/// A file that is set aside when it is long, and begun anew.
pub(crate) struct Rotated {
    path: PathBuf,
    file: File,
    length: u64,
    length_max: u64,
    /// Files that are kept beside the one that is written.
    keep: u32,
}

impl Rotated {
    /// Goes on at the end of a file.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(path: &Path, length_max: u64, keep: u32) -> io::Result<Self> {
        let file = append(path)?;
        Ok(Self {
            length: file.metadata()?.len(),
            path: path.to_owned(),
            file,
            length_max,
            keep,
        })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + lines.len() as u64 > self.length_max {
            self.rotate()?;
        } else if !self.path.exists() {
            // Somebody has moved it away.
            self.file = append(&self.path)?;
            self.length = 0;
        }
        self.file.write_all(lines)?;
        self.length += lines.len() as u64;
        Ok(())
    }

    /// `access.log` becomes `access.log.1`, that one `access.log.2`, and the last one goes.
    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keep).rev() {
            let older = fs::rename(numbered(number), numbered(number + 1));
            match older {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match self.keep {
            0 => fs::remove_file(&self.path)?,
            _ => fs::rename(&self.path, numbered(1))?,
        }
        self.file = append(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Where a syslog server is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Server {
    /// One datagram for each line (RFC 5426).
    Udp(String),
    /// Each line with its length before it (RFC 6587 §3.4.1).
    Tcp(String),
    /// The system's socket.
    Unix(PathBuf),
}

/// A syslog server.
pub(crate) struct Syslog {
    server: Server,
    /// Host and program, as each message names them.
    from: String,
    clock: Arc<Clock>,
    connection: Option<Connection>,
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

impl Syslog {
    pub(crate) fn new(server: Server, node: &str, clock: Arc<Clock>) -> Self {
        let process = std::process::id();
        Self {
            server,
            // HOSTNAME, APP-NAME, PROCID, MSGID and no structured data (RFC 5424 §6.2, §6.3).
            from: format!("{node} larder {process} access -"),
            clock,
            connection: None,
        }
    }

    fn write(&mut self, lines: &[u8]) -> u64 {
        let now = rfc3339(self.clock.now());
        let head = format!("<{PRIORITY}>1 {now} {} ", self.from);
        let mut lost = 0;
        for line in each(lines) {
            let line = &line[..line.len().min(MESSAGE_MAX)];
            let message = [head.as_bytes(), line].concat();
            if self.send(&message).is_err() {
                // The next message finds a new connection.
                self.connection = None;
                lost += 1;
                if matches!(self.server, Server::Tcp(_)) {
                    // One wait for a server that is gone is enough.
                    return lines_after(lines, line, lost);
                }
            }
        }
        lost
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.server)?);
        }
        match &mut self.connection {
            Some(Connection::Udp(socket)) => socket.send(message).map(drop),
            Some(Connection::Unix(socket)) => socket.send(message).map(drop),
            Some(Connection::Tcp(stream)) => {
                let framed = [format!("{} ", message.len()).as_bytes(), message].concat();
                stream.write_all(&framed)
            }
            None => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }
}

/// How many are lost if nothing behind `line` was sent either.
fn lines_after(lines: &[u8], line: &[u8], lost: u64) -> u64 {
    let behind = each(lines).skip_while(|it| it.as_ptr() != line.as_ptr());
    lost + (behind.count() as u64).saturating_sub(1)
}

fn connect(server: &Server) -> io::Result<Connection> {
    let resolve = |address: &str| {
        let unknown = || io::Error::other("there is no such address");
        address.to_socket_addrs()?.next().ok_or_else(unknown)
    };
    Ok(match server {
        Server::Udp(address) => {
            let address = resolve(address)?;
            let local = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let socket = UdpSocket::bind(local)?;
            socket.connect(address)?;
            socket.set_write_timeout(Some(SYSLOG_TIME))?;
            Connection::Udp(socket)
        }
        Server::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&resolve(address)?, SYSLOG_TIME)?;
            stream.set_write_timeout(Some(SYSLOG_TIME))?;
            Connection::Tcp(stream)
        }
        Server::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.set_write_timeout(Some(SYSLOG_TIME))?;
            Connection::Unix(socket)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_set_aside_when_it_is_long_and_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "before\n").unwrap();
        let mut file = Rotated::open(&path, 20, 2).unwrap();
        for number in 0..6 {
            file.write(format!("line {number}...\n").as_bytes())
                .unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("access.log").unwrap(), "line 5...\n");
        assert_eq!(read("access.log.1").unwrap(), "line 3...\nline 4...\n");
        assert_eq!(read("access.log.2").unwrap(), "line 1...\nline 2...\n");
        assert_eq!(read("access.log.3"), None);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = Rotated::open(&path, 1000, 1).unwrap();
        file.write(b"one\n").unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        file.write(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(Output::Stream(Box::new(Broken)).write(b"a\nb\n"), 2);
        let nobody = Server::Tcp("127.0.0.1:1".to_owned());
        let mut syslog = Syslog::new(nobody, "n", Arc::new(Clock::default()));
        assert_eq!(syslog.write(b"a\nb\nc\n"), 3);
    }

    #[test]
    fn a_datagram_is_a_message_of_rfc_5424() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut syslog = Syslog::new(Server::Udp(address), "fra1", Arc::new(Clock::default()));
        assert_eq!(syslog.write(b"{\"a\":1}\n"), 0);
        let mut message = [0; 1000];
        let length = server.recv(&mut message).unwrap();
        let message = String::from_utf8_lossy(&message[..length]);
        let parts: Vec<&str> = message.splitn(8, ' ').collect();
        assert_eq!(parts[0], "<134>1");
        assert!(
            parts[1].ends_with('Z') && parts[1].contains('T'),
            "{message}"
        );
        assert_eq!(parts[2..4], ["fra1", "larder"]);
        assert_eq!(parts[5..], ["access", "-", "{\"a\":1}"]);
    }
}
