use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::*;
use crate::downstream::REST_AFTER;

const IDLE: Duration = Duration::from_secs(60);

type Client = h2::client::SendRequest<Bytes>;

/// A connection, its client, and who stops it.
async fn connected() -> (Connection, Client, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let (stream, accepted) = tokio::join!(TcpStream::connect(local), listener.accept());
    let limits = Limits::of_tests(IDLE);
    let (stop, stopping) = watch::channel(false);
    let io = (Io::Plain(accepted.unwrap().0), BytesMut::new());
    let begun = Connection::begin(io, Arc::new(limits), Stopping::new(stopping));
    let mut builder = h2::client::Builder::new();
    // With less, nothing is answered in front of the streams.
    builder.initial_connection_window_size(1 << 30);
    let client = builder.handshake(stream.unwrap());
    let (begun, client) = tokio::join!(begun, client);
    let (client, framing) = client.unwrap();
    tokio::spawn(framing);
    (begun.unwrap(), client, stop)
}

/// A request that the connection brings as a stream, its answer, and what the connection brings behind it.
async fn exchanged(
    connection: &mut Connection,
    client: &mut Client,
    busy: &Semaphore,
) -> Option<Brought> {
    let request = Request::get("http://a.example/x").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    // It is there before anybody waits for it.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let Some(Brought::Stream(accepted)) = connection.accept(busy).await else {
        panic!("no stream");
    };
    let stream = stream_of(&accepted);
    super::answer(
        accepted,
        StatusCode::NO_CONTENT,
        HeaderMap::new(),
        Bytes::new(),
    )
    .unwrap();
    connection.learn(stream, None);
    let next = connection.accept(busy).await;
    let answer = timeout(REST_AFTER, answer).await.unwrap();
    assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
    next
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_rests_and_goes_on() {
    let (mut connection, mut client, _never) = connected().await;
    let busy = Semaphore::new(1);
    // The first block is another one than those after it. What was known before a rest is not offered behind it.
    for _ in 0..3 {
        let began = timer();
        let next = exchanged(&mut connection, &mut client, &busy).await;
        assert!(matches!(next, Some(Brought::Rest)));
        assert!(began.elapsed() >= REST_AFTER && began.elapsed() < 2 * REST_AFTER);
    }
    let began = timer();
    assert!(connection.accept(&busy).await.is_none());
    let waited = IDLE - REST_AFTER;
    assert!(began.elapsed() >= waited && began.elapsed() < waited + 2 * GOODBYE);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_stream_under_way_does_not_rest() {
    let (mut connection, mut client, _never) = connected().await;
    let busy = Semaphore::new(1);
    let place = busy.acquire().await.unwrap();
    let exchanging = exchanged(&mut connection, &mut client, &busy);
    let waiting = timeout(2 * IDLE, exchanging).await;
    assert!(waiting.is_err(), "it did not wait for the answer");
    drop(place);
    let began = timer();
    let next = connection.accept(&busy).await;
    assert!(matches!(next, Some(Brought::Rest)));
    assert!(began.elapsed() < 2 * REST_AFTER);
}
