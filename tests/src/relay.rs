//! A relay between two programs: what it passes on can be held back, and the connections through it can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A relay to one address. It stops when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    flow: Arc<watch::Sender<Flow>>,
    running: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Free,
    /// Nothing moves, and nothing is closed.
    Held,
    Cut,
}

impl Relay {
    /// A relay to `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let flow = Arc::new(watch::Sender::new(Flow::Free));
        let running = tokio::spawn(accept(listener, target, Arc::clone(&flow)));
        Self {
            address,
            flow,
            running,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through, as a network does that loses all packets.
    pub fn hold(&self) {
        self.flow.send_replace(Flow::Held);
    }

    /// Lets everything through, also what was held back.
    pub fn release(&self) {
        self.flow.send_replace(Flow::Free);
    }

    /// Lets new connections through.
    pub fn heal(&self) {
        self.release();
    }

    /// Closes all connections, and every new one.
    pub fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, flow: Arc<watch::Sender<Flow>>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut state = flow.subscribe();
        tokio::spawn(async move {
            if *state.borrow_and_update() == Flow::Cut {
                return;
            }
            let Ok(server) = TcpStream::connect(target).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let there = copy(from_client, to_server, state.clone());
            let back = copy(from_server, to_client, state);
            tokio::select! {
                () = there => {}
                () = back => {}
            }
        });
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flow: watch::Receiver<Flow>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = flow.wait_for(|flow| *flow == Flow::Cut) => return,
        };
        let Ok(length @ 1..) = read else {
            return;
        };
        let waited = flow.wait_for(|flow| *flow != Flow::Held).await;
        let open = waited.is_ok_and(|flow| *flow == Flow::Free);
        if !open || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
