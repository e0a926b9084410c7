//! The memory of connections that wait: they have asked once, and say nothing more.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::answer::Answer;
use crate::driver::Protocol;
use crate::server::{CACHES, Kind, Server, Setting};
use crate::table::{Table, lacking};
use crate::{Bench, told};

const PATH: &str = "/stored/1024/a";
/// How many wait.
const MANY: usize = 10_000;
/// How many more wait where a process may have so many files.
const MOST: usize = 50_000;
/// Files beside connections, of a server as of this process.
const OTHERS: usize = 600;
/// Files that a server may have closed since they were counted.
const SLACK: usize = 20;
/// How long a server rests before its memory is counted: allocators keep for a while what was given back.
const REST: Duration = Duration::from_secs(15);
/// How long connections may take until all are there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections from one address.
const OF_ADDRESS: usize = 2_000;
/// Connections of one process of wrk.
const TOGETHER: usize = 1_000;

/// The rows of every protocol.
pub(crate) fn measure(bench: &Bench<'_>, table: &mut Table) -> io::Result<()> {
    let files = files_max()?;
    let most = MOST.min(files.saturating_sub(OTHERS));
    let mut lines = Vec::new();
    let head = [
        "server",
        "clients",
        "connections",
        "MiB before",
        "MiB with them",
        "MiB more",
        "bytes for each",
    ];
    for (about, protocol) in [
        ("HTTP/1.1", Protocol::H1),
        ("HTTP/1.1 over TLS 1.3", Protocol::H1Tls),
        ("HTTP/2 in clear text", Protocol::H2),
    ] {
        let all = bench.options.kinds(CACHES).flat_map(|kind| {
            let more = matches!(kind, Kind::Larder { .. }).then_some((kind, most));
            [Some((kind, MANY)), more].into_iter().flatten()
        });
        for (number, (kind, count)) in all.enumerate() {
            let line = match kind.lacks(protocol, bench.setting.room) {
                Some(why) => Err(io::Error::other(why)),
                None => row(bench, kind, (protocol, count.min(most)), number),
            };
            let line = match line {
                Ok(line) => [vec![kind.label(), about.to_owned()], line].concat(),
                Err(error) => lacking(&kind.label(), head.len(), &format!("{about}: {error}")),
            };
            told(&line.join(" | "));
            lines.push(line);
        }
    }
    table.section(
        "Connections that wait (`held`)",
        &format!("Each has asked for 1 KiB once; over TLS, some have only shaken hands. A process may have {files} files here."),
        &head,
        lines,
    );
    Ok(())
}

/// How many files this process may have, and the servers that it starts.
fn files_max() -> io::Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    soft.ok_or_else(|| io::Error::other("no limit of files"))
}

fn row(
    bench: &Bench<'_>,
    kind: &Kind,
    (protocol, count): (Protocol, usize),
    number: usize,
) -> io::Result<Vec<String>> {
    let setting = Setting {
        // nginx closes connections that wait when the last of its places are taken.
        connections: count + count / 4,
        ..bench.setting
    };
    let folder = bench.folder.join(format!("held-{protocol:?}-{number}"));
    let server = Server::start(kind.clone(), &folder, &setting)?;
    // What all connections share is there by then.
    drop(open_h1(&server, 10)?);
    thread::sleep(REST);
    let (before, files) = (server.memory(), server.descriptors());
    let held = match protocol {
        Protocol::H1 => Held::H1(open_h1(&server, count)?),
        Protocol::H1Tls => open_tls(bench, &server, count)?,
        Protocol::H2 | Protocol::H2Tls => open_h2(&server, count)?,
    };
    let begun = Instant::now();
    while server.descriptors() + SLACK < files + count {
        if begun.elapsed() > PATIENCE {
            let there = server.descriptors().saturating_sub(files);
            return Err(io::Error::other(format!("{there} of {count} are there")));
        }
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(REST);
    let after = server.memory();
    let there = server.descriptors().saturating_sub(files);
    drop(held);
    if there + SLACK < count {
        return Err(io::Error::other(format!("{there} of {count} stayed")));
    }
    let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let more = after.saturating_sub(before);
    Ok(vec![
        count.to_string(),
        mebibytes(before),
        mebibytes(after),
        mebibytes(more),
        (more / count as u64).to_string(),
    ])
}

/// Connections, until it is dropped.
#[expect(dead_code, reason = "they are held, not used")]
enum Held {
    H1(Vec<TcpStream>),
    Wrk(Vec<Killed>),
    H2(
        tokio::runtime::Runtime,
        Vec<h2::client::SendRequest<bytes::Bytes>>,
    ),
}

/// A process that ends when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn open_h1(server: &Server, count: usize) -> io::Result<Vec<TcpStream>> {
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: bench.example\r\n\r\n");
    let mut buffer = vec![0; 16 << 10];
    let open = |number| {
        let mut stream = connect(server.plain, number)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Answer::default();
        loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if answer.take(&buffer[..length])? {
                return Ok(stream);
            }
        }
    };
    (0..count).map(open).collect()
}

/// From addresses of the machine in turns: a port is found at once while few of an address are taken.
fn connect(port: u16, number: usize) -> io::Result<TcpStream> {
    let address = |last| SocketAddr::from(([127, 0, 0, last], 0));
    let last = u8::try_from(number / OF_ADDRESS).map_err(io::Error::other)?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&address(last.saturating_add(2)).into())?;
    let server = SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(&server.into())?;
    Ok(socket.into())
}

/// By wrk, which waits for an hour after the first request of a connection. All of a process shake hands at once.
fn open_tls(bench: &Bench<'_>, server: &Server, count: usize) -> io::Result<Held> {
    let script = bench.folder.join("hold.lua");
    let begin = server.descriptors();
    let mut all = Vec::new();
    for first in (0..count).step_by(TOGETHER) {
        let part = TOGETHER.min(count - first);
        let text = format!(
            "local asked = 0\nfunction delay()\n  asked = asked + 1\n  return asked <= {part} and 1 or 3600000\nend\n"
        );
        fs::write(&script, text)?;
        let url = format!("https://127.0.0.1:{}{PATH}", server.tls);
        let child = Command::new("taskset")
            .args(["-c", crate::DRIVERS, "wrk", "-t1", "-d", "600s"])
            .args(["--timeout", "600s", "-c", &part.to_string(), "-s"])
            .arg(&script)
            .arg(&url)
            .stdout(Stdio::null())
            .spawn()?;
        all.push(Killed(child));
        let begun = Instant::now();
        while server.descriptors() < begin + first + part && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(50));
        }
        // The last of them shake hands and ask.
        thread::sleep(Duration::from_millis(800));
    }
    Ok(Held::Wrk(all))
}

fn open_h2(server: &Server, count: usize) -> io::Result<Held> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let all = runtime.block_on(async {
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            let stream = connect(server.h2, number)?;
            let opened = open_one_h2(stream).await.map_err(io::Error::other)?;
            all.push(opened);
        }
        io::Result::Ok(all)
    })?;
    Ok(Held::H2(runtime, all))
}

async fn open_one_h2(
    stream: TcpStream,
) -> Result<h2::client::SendRequest<bytes::Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let (mut requests, connection) = h2::client::handshake(stream).await?;
    // It ends with the runtime.
    tokio::spawn(async move { drop(connection.await) });
    let request = http::Request::get(format!("http://bench.example{PATH}")).body(())?;
    let (response, _) = requests.send_request(request, true)?;
    let mut body = response.await?.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    Ok(requests)
}
