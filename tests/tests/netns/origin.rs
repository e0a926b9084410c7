//! The origin of the lab: it says what it was asked for, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::lab::HERE;

pub(crate) struct Origin {
    url: String,
    state: Arc<State>,
    running: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    total: AtomicUsize,
    fails: AtomicBool,
    /// Of everything, where it is not zero.
    version: Arc<AtomicU64>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((HERE, 0)).await.expect("an address");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let running = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            url: format!("http://{address}"),
            state,
            running,
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Requests so far.
    pub(crate) fn total(&self) -> usize {
        self.state.total.load(Ordering::SeqCst)
    }

    /// From now on, it answers everything with a version, which is counted there.
    pub(crate) fn count_versions(&self) -> Arc<AtomicU64> {
        self.state.version.store(1, Ordering::SeqCst);
        Arc::clone(&self.state.version)
    }

    /// Whether it answers everything with 503 from now on.
    pub(crate) fn fail(&self, fails: bool) {
        self.state.fails.store(fails, Ordering::SeqCst);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        loop {
            match stream.read_line(&mut head).await {
                Ok(1..) if !head.ends_with("\r\n\r\n") => {}
                Ok(1..) => break,
                _ => return,
            }
        }
        state.total.fetch_add(1, Ordering::SeqCst);
        let body = match state.version.load(Ordering::SeqCst) {
            0 => head.split(' ').nth(1).unwrap_or_default().to_owned(),
            version => version.to_string(),
        };
        let answer = match state.fails.load(Ordering::SeqCst) {
            true => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned(),
            false => format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nSurrogate-Key: all\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
