//! A hit in memory allocates nothing where a connection has asked for the same before, or for something else in the same
//! words.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use tokio::sync::oneshot;

/// Hits that are counted.
const HITS: u64 = 2000;
/// What the node does beside them, such as looking whether a second has passed, may allocate so much.
const BESIDE_MAX: u64 = HITS / 20;
/// What is asked for in turns.
const SAME: &[&str] = &["/a"];
const OTHERS: &[&str] = &["/a", "/b?c=d", "/cc/c"];
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_hit_allocates_nothing_whether_or_not_it_is_logged() {
    for log in ["off", "json"] {
        for paths in [SAME, OTHERS] {
            let allocations = allocations(log, paths);
            assert!(
                allocations < BESIDE_MAX,
                "log {log}, {paths:?}: {allocations} allocations for {HITS} hits"
            );
        }
    }
}

/// What the thread of a node allocates while it answers.
fn allocations(log: &str, paths: &'static [&str]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "a-token-that-nobody-needs-to-know").unwrap();
    let token = larder::token::find(Some(&token)).unwrap().token;
    let text = format!(
        "[node]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\naccess = \"{log}\"\nto = \"{}\"\n\
         [[site]]\nname = \"s\"\nhosts = [\"*\"]\norigins = [\"http://{}\"]\n",
        folder.path().join("access.log").display(),
        origin()
    );
    let config = config::parse("test.toml", &text).unwrap();
    larder::install_provider();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let running = runtime.block_on(async { larder::start(config, token, None).unwrap() });
    let address = running.listening[0];
    let (warm, warmed) = oneshot::channel();
    let (counting, counted) = std::sync::mpsc::channel();
    let (done, finished) = oneshot::channel();
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut requests = paths.iter().map(|path| request(path)).cycle();
        let mut ask = || ask(&mut stream, &requests.next().unwrap());
        (0..HITS).for_each(|_| ask());
        warm.send(()).unwrap();
        counted.recv().unwrap();
        (0..HITS).for_each(|_| ask());
        done.send(()).unwrap();
    });
    runtime.block_on(warmed).unwrap();
    let info = allocation_counter::measure(|| {
        counting.send(()).unwrap();
        runtime.block_on(finished).unwrap();
    });
    client.join().unwrap();
    info.count_total
}

fn request(path: &str) -> Vec<u8> {
    let fields = "Host: www.example.com\r\nUser-Agent: test";
    format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes()
}

fn ask(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).unwrap();
    let mut read = Vec::new();
    let mut some = [0; 1024];
    while !read.ends_with(b"\r\n\r\nhello") {
        let length = stream.read(&mut some).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&some[..length]);
    }
}

fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut some = [0; 4096];
            while stream.read(&mut some).is_ok_and(|length| length > 0) {
                stream.write_all(ANSWER).unwrap();
            }
        }
    });
    address
}
