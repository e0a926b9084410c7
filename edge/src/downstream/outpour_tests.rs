use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use storage::{Key, Memory, Settings, Variant};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;

struct NoHead;

impl storage::Head for NoHead {
    fn weight(&self) -> usize {
        0
    }
}

const MIB: usize = 1024 * 1024;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn text(len: usize, seed: usize) -> Bytes {
    let words = (0..=len / 8).flat_map(|at| (at + seed * 1_000_003).to_le_bytes());
    Bytes::from_iter(words).split_to(len)
}

/// The pages of a body of which nothing else is left.
async fn lasting(bytes: &Bytes) -> Lasting {
    let memory = Memory::new(Settings::new(256 * MIB));
    let (key, variant) = (Key([1; 16]), Variant([0; 16]));
    let object = memory
        .insert_ready(key, variant, NoHead, bytes.clone())
        .unwrap();
    loop {
        memory.sends(object.body());
        if let Some(lasting) = object.body().lasting(0..u64::MAX) {
            return lasting;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A socket that takes little at a time, and its client.
async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
    (accepted.unwrap().0, client.unwrap())
}

fn limits(write: Duration) -> Limits {
    Limits {
        wire: wire::Limits::default(),
        head: write,
        idle: write,
        body: write,
        write,
        h2_streams: 1,
    }
}

const PATIENT: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_client_gets_what_was_there_however_late_it_reads() {
    // The longest is more than any socket takes at once.
    for (skipped, len) in [(MIB, 1), (MIB + 1, 4096), (4095, 300_001), (77, 15 * MIB)] {
        let bytes = text(skipped + len, 1);
        let mut rest = lasting(&bytes).await;
        rest.advance(skipped);
        let expected = [HEAD, &bytes[skipped..]].concat();
        let (socket, mut client) = connected().await;
        let pouring = tokio::spawn(async move {
            let limits = limits(PATIENT);
            pour(&socket, &limits, HEAD, &mut rest).await.unwrap();
            assert!(rest.is_empty());
        });
        // The socket is full, or has it all. What is made anew meanwhile gets none of these pages.
        yield_now().await;
        drop(lasting(&text(MIB, 2)).await);
        let mut got = vec![0; expected.len().min(100_000)];
        client.read_exact(&mut got).await.unwrap();
        if len < MIB {
            // The socket has it all, and nobody else has a handle.
            pouring.await.unwrap();
            drop(lasting(&text(MIB, 3)).await);
            client.read_to_end(&mut got).await.unwrap();
        } else {
            client.read_to_end(&mut got).await.unwrap();
            pouring.await.unwrap();
        }
        assert!(got == expected, "{len} bytes behind {skipped}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_it() {
    let mut rest = lasting(&text(15 * MIB, 1)).await;
    let all = rest.len();
    let (socket, mut client) = connected().await;
    let limits = limits(PATIENT);
    let reading = async {
        client.read_exact(&mut [0; 1000]).await.unwrap();
        drop(client);
    };
    let (poured, ()) = tokio::join!(pour(&socket, &limits, HEAD, &mut rest), reading);
    assert!(
        matches!(poured, Err(Unpoured::Client(ClientError::Io(_)))),
        "{poured:?}"
    );
    assert!(!rest.is_empty() && rest.len() < all);
    // The thread's pipe is none the worse for it.
    let bytes = text(MIB, 2);
    let mut rest = lasting(&bytes).await;
    let (socket, mut client) = connected().await;
    let mut got = Vec::new();
    let pouring = async {
        pour(&socket, &limits, b"", &mut rest).await.unwrap();
        drop(socket);
    };
    tokio::join!(pouring, async {
        client.read_to_end(&mut got).await.unwrap()
    });
    assert!(got == bytes);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let mut rest = lasting(&text(15 * MIB, 1)).await;
    let (socket, _client) = connected().await;
    let poured = pour(&socket, &limits(Duration::from_millis(50)), HEAD, &mut rest).await;
    assert!(
        matches!(poured, Err(Unpoured::Client(ClientError::Silent))),
        "{poured:?}"
    );
    assert!(!rest.is_empty());
}

#[tokio::test]
async fn who_pours_much_gives_others_a_turn() {
    let mut rest = lasting(&text(15 * MIB, 1)).await;
    let (socket, _client) = connected().await;
    let limits = limits(PATIENT);
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        }
    });
    let mut seen = Vec::new();
    let give = |_: &TcpStream, rest: &mut Lasting| {
        seen.push(turns.load(Ordering::Relaxed));
        rest.advance(5 * MIB);
        Ok(())
    };
    pour_by(&socket, &limits, &mut rest, give).await.unwrap();
    assert!(rest.is_empty() && seen.len() == 3);
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    other.abort();
}

#[tokio::test]
async fn what_the_system_refuses_is_left_to_be_sent_as_bytes() {
    let bytes = text(MIB, 1);
    let mut rest = lasting(&bytes).await;
    let (socket, _client) = connected().await;
    let mut calls = 0;
    let give = |_: &TcpStream, rest: &mut Lasting| {
        calls += 1;
        rest.advance(1000);
        match calls {
            3 => Err(refused(Errno::NOMEM)),
            _ => Ok(()),
        }
    };
    let poured = pour_by(&socket, &limits(PATIENT), &mut rest, give).await;
    assert!(matches!(poured, Err(Unpoured::Refused)), "{poured:?}");
    assert_eq!(rest.bytes(), &bytes[3000..]);
    let left: Vec<u8> = rest.pieces().flatten().collect();
    assert!(left == bytes[3000..]);
    for error in [Errno::PIPE, Errno::CONNRESET, Errno::AGAIN] {
        assert_ne!(refused(error).kind(), io::ErrorKind::Unsupported);
    }
}
