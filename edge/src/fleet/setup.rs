//! `larder fleet init`: the stream that is the log of a fleet.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;

use super::message::Subjects;
use super::{Access, connection};

/// How long the log keeps a purge: a node that was away for longer validates everything.
const KEPT: Duration = Duration::from_secs(72 * 3600);
/// Bytes of the log; beyond it the oldest purges go first.
const BYTES_MAX: i64 = 1 << 30;
/// How long an identifier is known again.
const KNOWN: Duration = Duration::from_secs(120);
/// Before the log's id, in the stream's description.
const DESCRIPTION: &str = "larder purge log ";
/// How long the servers may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to find enough servers for all copies of the log.
const PAUSE: Duration = Duration::from_millis(250);
/// The accounts of a fleet, with `STREAM` for the stream's name.
const ACCOUNTS: &str = include_str!("../../../deploy/nats/accounts.conf");
/// The name that stands in [`ACCOUNTS`].
const ACCOUNTS_STREAM: &str = "LARDER";

/// A stream to make, or to look at.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The servers.
    pub servers: Vec<String>,
    /// Who we are.
    pub access: Access,
    /// The stream's name.
    pub stream: String,
    /// On how many servers it is kept.
    pub replicas: usize,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Done {
    /// It was made.
    Made {
        /// The log's id.
        log: String,
    },
    /// It was there, and is as it should be.
    Sound {
        /// The log's id.
        log: String,
    },
}

impl Plan {
    /// Makes the stream, or checks the one that is there.
    ///
    /// # Errors
    /// Sentences that say why there is no log, or what is wrong with the stream.
    pub async fn carry_out(&self) -> Result<Done, String> {
        let connecting = connection::once(&self.access, &self.servers);
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let (context, line) =
            connected.map_err(|_elapsed| format!("no server answered within {PATIENCE:?}"))??;
        let mut denials = line.denials();
        tokio::select! {
            done = self.make_or_check(&context) => done,
            why = denials.of("") => Err(format!(
                "this account may not do that: {why}; `larder fleet accounts` has an operator who may"
            )),
        }
    }

    async fn make_or_check(&self, context: &Context) -> Result<Done, String> {
        match context.get_stream(&self.stream).await {
            Ok(stream) => {
                let log = self.check(&stream.cached_info().config)?;
                if stream.cached_info().state.last_sequence == 0 {
                    self.begin(context, &log).await?;
                }
                Ok(Done::Sound { log })
            }
            Err(error) if is_missing(error.kind()) => self.make(context).await,
            Err(error) => Err(error.to_string()),
        }
    }

    async fn make(&self, context: &Context) -> Result<Done, String> {
        let log = [(); 2].map(|()| crate::token::instance());
        let log = log.into_iter().collect::<Result<String, _>>();
        let log = log.map_err(|error| error.to_string())?;
        let mut left = PATIENCE;
        loop {
            let made: Result<Stream, _> = context.create_stream(self.config(&log)).await;
            match made {
                Ok(_) => break,
                // Servers that were started together need a moment to know of each other.
                Err(error) if lacks_servers(error.kind()) && !left.is_zero() => {
                    left = left.saturating_sub(PAUSE);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        self.begin(context, &log).await?;
        Ok(Done::Made { log })
    }

    /// The first message: nobody is ever at the beginning of nothing.
    async fn begin(&self, context: &Context, log: &str) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("genesis-{log}"));
        let subject = Subjects::new(&self.stream).genesis();
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let publishing = context.publish_with_headers(subject, headers, Bytes::new());
        let acknowledging = publishing.await.map_err(|error| text(&error))?;
        acknowledging.await.map_err(|error| text(&error))?;
        Ok(())
    }

    fn config(&self, log: &str) -> Config {
        Config {
            name: self.stream.clone(),
            description: Some(format!("{DESCRIPTION}{log}")),
            subjects: vec![Subjects::new(&self.stream).log()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_age: KEPT,
            max_bytes: BYTES_MAX,
            max_messages: -1,
            max_messages_per_subject: -1,
            duplicate_window: KNOWN,
            num_replicas: self.replicas,
            deny_delete: true,
            deny_purge: true,
            ..Config::default()
        }
    }

    /// The id of the log that a stream is.
    fn check(&self, found: &Config) -> Result<String, String> {
        let Some(log) = log_id(found) else {
            let stream = &self.stream;
            return Err(format!(
                "stream {stream} is there, and is no log of purges: choose another name for `fleet.stream`"
            ));
        };
        let wanted = self.config(&log);
        let subjects = wanted.subjects == found.subjects;
        let faults: Vec<_> = [
            (
                !subjects,
                "subjects",
                "other messages stand in it, or purges do not",
            ),
            (
                found.storage != StorageType::File,
                "storage",
                "it does not outlive its servers",
            ),
            (
                found.allow_rollup,
                "allow_rollup_hdrs",
                "messages can be replaced",
            ),
            (!found.deny_delete, "deny_delete", "messages can be deleted"),
            (!found.deny_purge, "deny_purge", "messages can be deleted"),
            (
                found.max_messages_per_subject > 0,
                "max_msgs_per_subject",
                "purges replace each other",
            ),
            (
                found.max_messages > 0,
                "max_msgs",
                "many purges drive out others",
            ),
            (
                found.discard != DiscardPolicy::Old,
                "discard",
                "a full log takes no purge",
            ),
            (
                found.no_ack,
                "no_ack",
                "nobody knows whether a purge is in it",
            ),
            (
                found.mirror.is_some() || found.sources.is_some(),
                "mirror",
                "purges cannot be published to it",
            ),
            (
                found.duplicate_window < KNOWN,
                "duplicate_window",
                "a repeated purge is not recognised",
            ),
            (
                !found.max_age.is_zero() && found.max_age < Duration::from_secs(3600),
                "max_age",
                "a node that is away for an hour validates everything",
            ),
        ]
        .into_iter()
        .filter(|(is_wrong, ..)| *is_wrong)
        .map(|(_, setting, effect)| format!("{setting}: {effect}"))
        .collect();
        if faults.is_empty() {
            return Ok(log);
        }
        Err(format!(
            "stream {} is not as it should be; {}",
            self.stream,
            faults.join("; ")
        ))
    }
}

/// The accounts that a fleet needs, as a part of the servers' configuration.
#[must_use]
pub fn accounts(stream: &str) -> String {
    ACCOUNTS.replace(ACCOUNTS_STREAM, stream)
}

/// The id of the log that a stream is, if it is one.
pub(super) fn log_id(config: &Config) -> Option<String> {
    let id = config.description.as_deref()?.strip_prefix(DESCRIPTION)?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// Whether there are fewer servers than copies, for all that the one that was asked knows.
fn lacks_servers(kind: CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::CLUSTER_NO_PEERS)
}

fn is_missing(kind: GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.code() == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            servers: Vec::new(),
            access: Access::default(),
            stream: "S".to_owned(),
            replicas: 1,
        }
    }

    #[test]
    fn a_stream_that_would_lose_purges_is_refused_with_every_reason() {
        let sound = plan().config("id");
        assert_eq!(plan().check(&sound), Ok("id".to_owned()));
        let rollup = Config {
            allow_rollup: true,
            max_messages_per_subject: 1,
            ..sound.clone()
        };
        let error = plan().check(&rollup).unwrap_err();
        assert!(
            error.contains("allow_rollup_hdrs") && error.contains("max_msgs_per_subject"),
            "{error}"
        );
        for foreign in [None, Some("mine".to_owned()), Some(DESCRIPTION.to_owned())] {
            let config = Config {
                description: foreign,
                ..sound.clone()
            };
            assert!(
                plan()
                    .check(&config)
                    .unwrap_err()
                    .contains("no log of purges")
            );
        }
    }

    #[test]
    fn the_accounts_are_those_of_the_stream() {
        let text = accounts("MINE");
        assert!(
            text.contains("MINE.log.") && !text.contains(ACCOUNTS_STREAM),
            "{text}"
        );
    }
}
