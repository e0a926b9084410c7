//! A relay between two who talk by TCP, which a test can cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Path {
    /// They go through.
    Open,
    /// Connections are closed, new ones too.
    Cut,
}

/// A relay on the loopback interface. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    path: Arc<watch::Sender<Path>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// A relay to an address.
    pub async fn to(there: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("the loopback interface");
        let address = listener.local_addr().expect("an address");
        let path = Arc::new(watch::Sender::new(Path::Open));
        let state = Arc::clone(&path);
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *state.borrow() == Path::Open {
                    tokio::spawn(carry(near, there, state.subscribe()));
                }
            }
        });
        Self {
            address,
            path,
            accepting,
        }
    }

    /// Where to connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and every new one at once.
    pub fn cut(&self) {
        self.path.send_replace(Path::Cut);
    }

    /// Lets new connections through.
    pub fn heal(&self) {
        self.path.send_replace(Path::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(mut near: TcpStream, there: SocketAddr, mut path: watch::Receiver<Path>) {
    let Ok(mut far) = TcpStream::connect(there).await else {
        return;
    };
    // Whichever ends it, both are closed.
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = path.wait_for(|path| *path == Path::Cut) => {}
    }
}
