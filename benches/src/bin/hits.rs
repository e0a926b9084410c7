//! What hits cost a whole node in instructions, by how each differs from the one before it on its connection; and what
//! a request costs that passes the cache by, and one whose response is stored.
//!
//! `hits LARDER KIND COUNT` runs a node under valgrind, asks it for so many hits of a kind, and prints how many
//! instructions it took from its start to its end. `.ci/instructions` runs it with two counts: the difference is what hits
//! cost. Kinds are `h1-same`, `h1-target`, `h1-host`, `h1-pass`, `h1-miss`, and the same of `h2`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// As many sites as there are paths.
const SITES: usize = 8;
/// What may not be stored.
const PASSED: &str = "/passed.png";
/// Every answer's content.
const CONTENT: [u8; 1024] = [b'x'; 1024];
/// A node takes a while to start under valgrind: how often it is tried, and how long after the last time.
const TRIES: usize = 2_400;
const PAUSE: Duration = Duration::from_millis(50);
/// What the client lets the node send: with less, HTTP/2 is answered within its streams only.
const WINDOW: u32 = 1 << 30;

/// How a request differs from the one before it.
#[derive(Clone, Copy, Debug)]
enum Differs {
    Nowhere,
    InItsTarget,
    InItsHost,
    /// Nor does it, and it is known that the answer may not be stored.
    NowhereAndPasses,
    /// Nobody asked for it before.
    InATargetOfItsOwn,
}

/// What is spoken.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    H1,
    H2,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(larder), Some(kind), Some(count)) = (words.next(), words.next(), words.next()) else {
        return Err("hits LARDER KIND COUNT".into());
    };
    let (protocol, differs) = kind.split_once('-').ok_or("a kind")?;
    let protocol = match protocol {
        "h1" => Protocol::H1,
        "h2" => Protocol::H2,
        _ => return Err("h1 or h2".into()),
    };
    let differs = match differs {
        "same" => Differs::Nowhere,
        "target" => Differs::InItsTarget,
        "host" => Differs::InItsHost,
        "pass" => Differs::NowhereAndPasses,
        "miss" => Differs::InATargetOfItsOwn,
        _ => return Err("same, target, host, pass or miss".into()),
    };
    let mut node = Node::start(&larder, origin()?)?;
    ask(node.address, (protocol, differs), count.parse()?)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", node.end()?)?;
    Ok(())
}

/// Serves everything as something that may be kept, but one path.
fn origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || drop(serve(&stream)));
        }
    });
    Ok(address)
}

fn serve(mut stream: &TcpStream) -> Result<()> {
    let (kept, passed) = (answer("max-age=3600"), answer("no-store"));
    let mut asked = &kept;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.starts_with("GET ") {
            asked = match line.contains(PASSED) {
                true => &passed,
                false => &kept,
            };
        }
        if line.is_empty() {
            stream.write_all(asked)?;
        }
    }
    Ok(())
}

fn answer(control: &str) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1024\r\n\
         Cache-Control: {control}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(&CONTENT);
    answer
}

/// A node under valgrind.
struct Node {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Node {
    fn start(larder: &str, origin: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let (address, admin) = (free()?, free()?);
        let mut text = format!(
            "[node]\nlisten = [\"{address}\"]\nthreads = 1\n\n[admin]\nlisten = \"{admin}\"\n\n\
             [memory]\nsize = \"64MiB\"\n\n[log]\naccess = \"off\"\nlevel = \"error\"\n"
        );
        for site in 0..SITES {
            write!(
                text,
                "\n[[site]]\nname = \"site-{site}\"\nhosts = [\"{site}.example\"]\norigins = [\"http://{origin}\"]\n"
            )?;
        }
        let file = folder.path().join("larder.toml");
        std::fs::write(&file, text)?;
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .args([larder, "run", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut node = Self {
            child,
            address,
            _folder: folder,
        };
        for _ in 0..TRIES {
            if TcpStream::connect(address).is_ok() {
                return Ok(node);
            }
            if node.child.try_wait()?.is_some() {
                break;
            }
            thread::sleep(PAUSE);
        }
        Err("the node does not listen".into())
    }

    /// Stops it, and says how many instructions it took.
    fn end(&mut self) -> Result<u64> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-s", "TERM", &id]).status()?;
        let mut told = String::new();
        if let Some(errors) = &mut self.child.stderr {
            errors.read_to_string(&mut told)?;
        }
        self.child.wait()?;
        let line = told.lines().find(|line| line.contains("Collected"));
        let count = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
        count.ok_or_else(|| told.into())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks for everything by both protocols, and then for so many hits of one kind.
fn ask(node: SocketAddr, (protocol, differs): (Protocol, Differs), count: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut h1 = BufReader::new(TcpStream::connect(node)?);
        h1.get_ref().set_nodelay(true)?;
        let mut h2 = h2_client(node).await?;
        // The first are no hits, and the next ones not yet like those before them.
        for _ in 0..3 {
            for differs in [
                Differs::InItsTarget,
                Differs::InItsHost,
                Differs::NowhereAndPasses,
                Differs::Nowhere,
            ] {
                for number in 0..SITES {
                    let (host, path) = differs.nth(number);
                    ask_h1(&mut h1, &host, &path)?;
                    ask_h2(&mut h2, &host, &path).await?;
                }
            }
        }
        for number in 0..count {
            let (host, path) = differs.nth(number);
            let status = match protocol {
                Protocol::H1 => ask_h1(&mut h1, &host, &path)?,
                Protocol::H2 => ask_h2(&mut h2, &host, &path).await?,
            };
            if !status.contains(differs.told()) {
                return Err(status.into());
            }
        }
        Ok(())
    })
}

impl Differs {
    /// Host and path.
    fn nth(self, nth: usize) -> (String, String) {
        let number = nth % SITES;
        let (host, path) = match self {
            Self::Nowhere => (0, 0),
            Self::InItsTarget => (0, number),
            Self::InItsHost => (number, number),
            Self::NowhereAndPasses => return ("0.example".to_owned(), PASSED.to_owned()),
            Self::InATargetOfItsOwn => return ("0.example".to_owned(), format!("/new-{nth}.png")),
        };
        (format!("{host}.example"), format!("/{path}.png"))
    }

    /// What `Cache-Status` says of it.
    const fn told(self) -> &'static str {
        match self {
            Self::NowhereAndPasses => "; fwd=bypass; ",
            Self::InATargetOfItsOwn => "; fwd=uri-miss; ",
            Self::Nowhere | Self::InItsTarget | Self::InItsHost => "; hit; ttl=",
        }
    }
}

/// What the node says of its cache.
fn ask_h1(node: &mut BufReader<TcpStream>, host: &str, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
    node.get_mut().write_all(request.as_bytes())?;
    let mut status = String::new();
    loop {
        let mut line = String::new();
        node.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
        if line.to_ascii_lowercase().starts_with("cache-status:") {
            status = line;
        }
    }
    node.read_exact(&mut [0; CONTENT.len()])?;
    Ok(status)
}

async fn h2_client(node: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = tokio::net::TcpStream::connect(node).await?;
    stream.set_nodelay(true)?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_connection_window_size(WINDOW)
        .handshake(stream)
        .await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(requests)
}

async fn ask_h2(node: &mut SendRequest<Bytes>, host: &str, path: &str) -> Result<String> {
    let request = http::Request::get(format!("http://{host}{path}")).header("accept", "*/*");
    let (answer, _) = node.send_request(request.body(())?, true)?;
    let (head, mut body) = answer.await?.into_parts();
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    let status = head.headers.get("cache-status");
    Ok(status
        .map_or("", |status| status.to_str().unwrap_or_default())
        .to_owned())
}
