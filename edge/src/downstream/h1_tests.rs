use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::downstream::{REST_AFTER, Scheme, Shown};

const IDLE: Duration = Duration::from_secs(60);

async fn connected() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let (stream, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
    let (stream, (accepted, client)) = (stream.unwrap(), accepted.unwrap());
    let facts = Facts {
        client,
        local,
        scheme: Scheme::Http,
        shown: Shown::Nothing,
        tls: None,
    };
    let limits = Limits::of_tests(IDLE);
    let (facts, limits) = (Arc::new(facts), Arc::new(limits));
    let io = Io::Plain(accepted);
    (Connection::new(io, BytesMut::new(), facts, limits), stream)
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_gives_its_room_back_and_goes_on() {
    let (mut connection, mut client) = connected().await;
    let (_never, stopping) = watch::channel(false);
    let mut stopping = Stopping::new(stopping);
    for _ in 0..2 {
        connection.out.reserve(OUT_MAX);
        connection.buffer.reserve(READ_SIZE);
        connection.out.extend_from_slice(b"an answer");
        let began = timer();
        let waiting = timeout(IDLE / 2, connection.next_request(&mut stopping));
        assert!(waiting.await.is_err(), "nothing came");
        assert!(began.elapsed() >= IDLE / 2);
        assert_eq!(connection.out.capacity(), 0);
        assert!(connection.buffer.capacity() <= IDLE_SIZE);
        assert!(connection.last.is_none());
        let mut answer = [0; 9];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"an answer");

        let request = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
        client.write_all(request).await.unwrap();
        let next = connection.next_request(&mut stopping).await;
        let Next::Request(head) = next else {
            panic!("{next:?}");
        };
        assert_eq!(head.target, "/x");
    }
    // Its patience is what was said, in two parts: who serves it hears of the first one's end.
    let began = timer();
    let next = connection.next(&mut stopping).await;
    assert!(matches!(next, Brought::Rest), "{next:?}");
    assert!(began.elapsed() >= REST_AFTER && began.elapsed() < 2 * REST_AFTER);
    let next = connection.next(&mut stopping).await;
    assert!(matches!(next, Brought::Next(Next::Closed)), "{next:?}");
    assert!(began.elapsed() >= IDLE && began.elapsed() < IDLE + REST_AFTER);
}
