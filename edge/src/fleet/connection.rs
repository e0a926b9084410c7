//! The connection to the servers of a log: how it is made, and what is said of one that is refused or lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{Context, context::ContextBuilder};
use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError,
};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{ANSWER, Access, Shared};

/// The connection is asked for a sign of life so often; two missing ones end it.
const PING: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long the server may take for a command of an operator: a stream on several servers is not made at once.
const COMMAND: Duration = Duration::from_secs(20);
/// Complaints of servers that are told one by one, for each connection.
const COMPLAINTS_MAX: usize = 16;

/// What the client tells of a connection.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Counts connections, and their ends: what a server knew of a reader may have gone with the last one.
    connections: watch::Sender<u64>,
    /// What the servers refused last, in their words.
    denied: watch::Sender<String>,
    complaints: Mutex<BTreeSet<String>>,
}

impl Line {
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// To be asked before something is sent that may be refused.
    pub(super) fn denials(&self) -> Denials {
        Denials(self.denied.subscribe())
    }

    fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.complaints.lock().clear();
                self.connections.send_modify(|count| *count += 1);
                tracing::info!("connected to the purge log");
            }
            Event::Disconnected => {
                self.connections.send_modify(|count| *count += 1);
                tracing::warn!("the connection to the purge log is lost");
            }
            Event::ServerError(ServerError::Other(why)) => {
                self.denied.send_replace(why.clone());
                self.complain(why);
            }
            Event::ServerError(error) => self.complain(&error.to_string()),
            Event::ClientError(error) => self.complain(&error.to_string()),
            event => tracing::debug!(%event, "the connection to the purge log"),
        }
    }

    /// The same again and again is told once.
    fn complain(&self, why: &str) {
        let mut complaints = self.complaints.lock();
        if complaints.len() < COMPLAINTS_MAX && complaints.insert(why.to_owned()) {
            tracing::warn!(
                reason = why,
                "the servers of the purge log refuse something"
            );
        }
    }
}

/// Hears of what the servers refuse.
#[derive(Debug)]
pub(super) struct Denials(watch::Receiver<String>);

impl Denials {
    /// Returns, in the server's words, when something is refused under a subject that begins so.
    pub(super) async fn of(&mut self, subject: &str) -> String {
        let quoted = format!("\"{subject}");
        loop {
            if self.0.changed().await.is_err() {
                // Whoever could tell has gone.
                std::future::pending::<()>().await;
            }
            let why = self.0.borrow_and_update();
            if why.contains(&quoted) {
                return why.clone();
            }
        }
    }
}

impl Shared {
    /// Makes the client, which connects again by itself from then on.
    pub(super) async fn connect(&self) {
        let mut told = String::new();
        loop {
            match self.client().await {
                Ok(client) => {
                    self.client.send_replace(Some(context(client, ANSWER)));
                    return;
                }
                Err(why) if why != told => {
                    tracing::error!(reason = why, "no connection to the purge log; trying again");
                    told = why;
                }
                Err(_) => {}
            }
            sleep(RECONNECT_MAX).await;
        }
    }

    async fn client(&self) -> Result<Client, String> {
        let options = options(&self.settings.access, &self.settings.servers, ANSWER).await?;
        let options = options.name(format!("larder {}", self.settings.node));
        let (line, reconnects) = (Arc::clone(&self.line), self.metrics.reconnects.clone());
        let options = options.event_callback(move |event| {
            if matches!(event, Event::Connected) {
                reconnects.inc();
            }
            line.hear(&event);
            async {}
        });
        let connecting = options.connect(self.settings.servers.as_slice());
        connecting.await.map_err(|error| sentence(&error))
    }

    /// The client, once it was made.
    pub(super) async fn context(&self) -> Context {
        let mut made = self.client.subscribe();
        loop {
            if let Some(context) = made.borrow_and_update().clone() {
                return context;
            }
            // The sender is a part of this.
            drop(made.changed().await);
        }
    }

    /// The client, once it is connected.
    pub(super) async fn connected(&self) -> Context {
        let context = self.context().await;
        let mut connections = self.line.connections();
        while context.client().connection_state() != State::Connected {
            // Nobody tells of a connection that was made before this began to listen.
            drop(timeout(ANSWER, connections.changed()).await);
        }
        context
    }
}

/// Connects once, for a command.
pub(super) async fn once(
    access: &Access,
    servers: &[String],
) -> Result<(Context, Arc<Line>), String> {
    let line = Arc::new(Line::default());
    let heard = Arc::clone(&line);
    let options = options(access, servers, COMMAND)
        .await?
        .event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(why)) = event {
                heard.denied.send_replace(why);
            }
            async {}
        });
    let client = options.connect(servers).await;
    let client = client.map_err(|error| sentence(&error))?;
    Ok((context(client, COMMAND), line))
}

fn context(client: Client, answer: Duration) -> Context {
    ContextBuilder::new()
        .timeout(answer)
        .ack_timeout(answer)
        .build(client)
}

/// How connections are made; the server has so long for each of its answers.
async fn options(
    access: &Access,
    servers: &[String],
    answer: Duration,
) -> Result<ConnectOptions, String> {
    let Access {
        credentials,
        ca,
        certificate,
    } = access;
    let mut options = ConnectOptions::new()
        .ping_interval(PING)
        .connection_timeout(answer)
        .request_timeout(Some(answer))
        .reconnect_delay_callback(|attempts| {
            let shift = u32::try_from(attempts.min(10)).unwrap_or(10);
            RECONNECT_MAX.min(Duration::from_millis(1 << shift))
        });
    // The client leaves it to us what stands in URLs before the host.
    match servers.iter().find_map(|server| user(server)) {
        Some((user, Some(password))) => options = options.user_and_password(user, password),
        Some((token, None)) => options = options.token(token),
        None => {}
    }
    if let Some(path) = credentials {
        let read = options.credentials_file(path).await;
        options = read.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = ca {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

/// The user name and password in a server's URL, or the token that stands there alone.
fn user(server: &str) -> Option<(String, Option<String>)> {
    let server: ServerAddr = server.parse().ok()?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decoded(server.username()?), server.password().map(decoded)))
}

/// Why there is no connection, and what to do about it. The servers' URLs, with their passwords, are not in it.
fn sentence(error: &ConnectError) -> String {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            "the servers refuse this user name and password, or these credentials: see `servers` and \
             `credentials_file` in [fleet], and the servers' accounts"
                .to_owned()
        }
        ConnectErrorKind::Authentication => {
            format!("the credentials cannot be used: {error}")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_denial_is_heard_by_those_whom_it_concerns() {
        let line = Line::default();
        let mut denials = line.denials();
        let deny = |subject: &str| {
            let why = format!("Permissions Violation for Publish to \"{subject}\"");
            line.hear(&Event::ServerError(ServerError::Other(why)));
        };
        deny("S.log.tick");
        let short = Duration::from_millis(1);
        assert!(timeout(short, denials.of("S.log.all")).await.is_err());
        deny("S.log.all");
        let heard = timeout(ANSWER, denials.of("S.log.all")).await.unwrap();
        assert!(heard.contains("Publish"), "{heard}");
    }

    #[test]
    fn who_we_are_may_stand_in_a_url() {
        let text = str::to_owned;
        for (url, found) in [
            ("nats://h:4222", None),
            (
                "tls://me:se%40cret@h:4222",
                Some((text("me"), Some(text("se@cret")))),
            ),
            ("nats://token@h", Some((text("token"), None))),
        ] {
            assert_eq!(user(url), found, "{url}");
        }
    }

    #[test]
    fn what_servers_complain_of_is_told_once_and_in_bounds() {
        let line = Line::default();
        for number in 0..2 * COMPLAINTS_MAX {
            line.complain(&number.to_string());
            line.complain(&number.to_string());
        }
        assert_eq!(line.complaints.lock().len(), COMPLAINTS_MAX);
        line.hear(&Event::Connected);
        assert!(line.complaints.lock().is_empty());
    }
}
