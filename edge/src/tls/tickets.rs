//! Session tickets that every node with the same secret opens (RFC 8446 §4.6.1, RFC 5077).
//!
//! Keys are made of a secret in a file and of the time, so that nodes agree on them without talking, and a restart forgets
//! none. A key seals for one period and opens for some more. The file is looked at again while the node runs: who changes
//! the secret puts the new one before the old one, and takes that away when its last ticket has expired.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use parking_lot::{Mutex, RwLock};
use rustls::server::ProducesTickets;

use super::TlsError;
use crate::clock::Clock;

/// Characters of the shortest secret.
const SECRET_MIN: usize = 32;
/// Secrets in one file.
const SECRETS_MAX: usize = 8;
/// How long a key seals.
const PERIOD: Duration = Duration::from_secs(6 * 3600);
/// Periods for which it opens beyond that. With the next period's, clocks of nodes may differ.
const BEHIND: u64 = 2;
/// How long a ticket is good for at least.
const LIFETIME: Duration = PERIOD.saturating_mul(2);
/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(10);
/// By which a ticket says what it was sealed with.
const NAME: usize = 16;
/// What is derived begins with what it is for.
const PURPOSE: &[u8] = b"larder tls ticket 1";

/// Seals and opens tickets.
#[derive(Debug)]
pub(super) struct Tickets(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// What resumed sessions have in common beside the secret: whose certificates their clients may have shown.
    authorities: Vec<u8>,
    clock: Clock,
    secrets: RwLock<Vec<hmac::Key>>,
    keys: RwLock<Arc<Keys>>,
    /// When the file was looked at last.
    looked: Mutex<Instant>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The keys of a moment.
#[derive(Default)]
struct Keys {
    period: u64,
    /// The first one seals.
    all: Vec<Key>,
}

struct Key {
    name: [u8; NAME],
    key: RandomizedNonceKey,
}

impl Tickets {
    /// Of the secrets in a file. Sessions whose clients may show certificates of other authorities are not resumed.
    ///
    /// # Errors
    /// Where the file cannot be read, or has no secret that is one.
    pub(super) fn new(path: &Path, authorities: &[u8], clock: Clock) -> Result<Self, TlsError> {
        let secrets = read(path).map_err(|reason| TlsError::new(path, reason))?;
        let shared = Shared {
            path: path.to_owned(),
            authorities: authorities.to_owned(),
            looked: Mutex::new(clock.instant()),
            clock,
            secrets: RwLock::new(secrets),
            keys: RwLock::default(),
        };
        shared.make_keys(shared.period());
        Ok(Self(Arc::new(shared)))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.look();
        self.0.keys().all.first()?.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let keys = self.0.keys();
        let (name, sealed) = cipher.split_at_checked(NAME)?;
        let key = keys.all.iter().find(|key| key.name == *name)?;
        key.open(sealed)
    }
}

impl Key {
    fn new(secret: &hmac::Key, authorities: &[u8], period: u64) -> Option<Self> {
        let derived = |what: &[u8]| {
            let mut context = hmac::Context::with_key(secret);
            for part in [PURPOSE, what, authorities] {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
            context.update(&period.to_be_bytes());
            context.sign()
        };
        Some(Self {
            name: *derived(b"name").as_ref().first_chunk()?,
            key: RandomizedNonceKey::new(&AES_256_GCM, derived(b"key").as_ref()).ok()?,
        })
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.name);
        let nonce = self.key.seal_in_place_append_tag(aad, &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(self.name), &mut sealed);
        Some(opened.ok()?.to_vec())
    }
}

impl Shared {
    fn period(&self) -> u64 {
        self.clock.now().unix_secs() / PERIOD.as_secs()
    }

    fn keys(&self) -> Arc<Keys> {
        let period = self.period();
        let keys = Arc::clone(&self.keys.read());
        match keys.period == period {
            true => keys,
            false => self.make_keys(period),
        }
    }

    fn make_keys(&self, period: u64) -> Arc<Keys> {
        let secrets = self.secrets.read();
        let from = period.saturating_sub(BEHIND);
        let periods =
            || std::iter::once(period).chain((from..=period + 1).filter(|it| *it != period));
        let all = secrets.iter().flat_map(|secret| {
            periods().filter_map(|period| Key::new(secret, &self.authorities, period))
        });
        let keys = Arc::new(Keys {
            period,
            all: all.collect(),
        });
        *self.keys.write() = Arc::clone(&keys);
        keys
    }

    /// Looks at the file now and then, on a thread that may wait for it.
    fn look(self: &Arc<Self>) {
        let now = self.clock.instant();
        let Some(mut looked) = self.looked.try_lock() else {
            return;
        };
        if now.duration_since(*looked) < LOOK {
            return;
        }
        *looked = now;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let shared = Arc::clone(self);
            runtime.spawn_blocking(move || shared.read_again());
        }
    }

    fn read_again(&self) {
        match read(&self.path) {
            Ok(secrets) => {
                *self.secrets.write() = secrets;
                self.make_keys(self.period());
            }
            Err(error) => {
                tracing::warn!(error, "the secrets of TLS tickets stay as they were");
            }
        }
    }
}

/// The secrets in a file: one in each line, the first one seals.
fn read(path: &Path) -> Result<Vec<hmac::Key>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = text.lines().map(str::trim);
    let secrets: Vec<_> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    match secrets.len() {
        0 => return Err("there is no secret in it".to_owned()),
        1..=SECRETS_MAX => {}
        _ => return Err(format!("there are more than {SECRETS_MAX} secrets in it")),
    }
    if secrets
        .iter()
        .any(|secret| secret.chars().count() < SECRET_MIN)
    {
        return Err(format!("a secret has at least {SECRET_MIN} characters"));
    }
    let keys = secrets.iter();
    Ok(keys
        .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn tickets(text: &str, authorities: &[u8]) -> Tickets {
        Tickets::new(file(text).path(), authorities, Clock::default()).unwrap()
    }

    #[test]
    fn whoever_has_the_secret_opens_a_ticket() {
        let sealed = tickets(OLD, b"").encrypt(b"session").unwrap();
        let opened = |text: &str, authorities: &[u8]| tickets(text, authorities).decrypt(&sealed);
        assert_eq!(opened(OLD, b"").unwrap(), b"session");
        // A new secret before the old one.
        assert_eq!(
            opened(&format!("# now\n{NEW}\n\n{OLD}\n"), b"").unwrap(),
            b"session"
        );
        assert_eq!(opened(NEW, b""), None);
        assert_eq!(opened(OLD, b"other authorities"), None);
        let again = tickets(OLD, b"").encrypt(b"session").unwrap();
        assert_ne!(sealed, again, "a nonce of its own");
    }

    #[test]
    fn what_was_no_ticket_or_was_changed_is_not_opened() {
        let tickets = tickets(OLD, b"");
        let sealed = tickets.encrypt(b"session").unwrap();
        for length in 0..sealed.len() {
            assert_eq!(tickets.decrypt(&sealed[..length]), None, "{length}");
        }
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "{place}");
        }
    }

    #[test]
    fn a_key_opens_for_as_long_as_its_tickets_live_and_no_longer() {
        let tickets = tickets(OLD, b"");
        let now = tickets.0.period();
        let sealed_in = |period| {
            tickets.0.make_keys(period);
            tickets.0.keys.read().all[0].seal(b"session").unwrap()
        };
        let opens_in = |sealed: &[u8], period| {
            let keys = tickets.0.make_keys(period);
            let name = &sealed[..NAME];
            keys.all.iter().any(|key| key.name == name)
        };
        let sealed = sealed_in(now);
        for (later, opens) in [(0, true), (1, true), (BEHIND, true), (BEHIND + 1, false)] {
            assert_eq!(opens_in(&sealed, now + later), opens, "{later}");
        }
        // A node whose clock is ahead.
        assert!(opens_in(&sealed_in(now + 1), now));
        assert!(!opens_in(&sealed_in(now + 2), now));
    }

    #[test]
    fn the_file_is_read_again_and_a_broken_one_changes_nothing() {
        let file = file(OLD);
        let tickets = Tickets::new(file.path(), b"", Clock::default()).unwrap();
        let sealed = tickets.encrypt(b"session").unwrap();
        std::fs::write(file.path(), "short").unwrap();
        tickets.0.read_again();
        assert!(tickets.decrypt(&sealed).is_some());
        std::fs::write(file.path(), NEW).unwrap();
        tickets.0.read_again();
        assert_eq!(tickets.decrypt(&sealed), None);
    }

    #[test]
    fn a_file_without_secrets_is_refused() {
        let many = format!("{OLD}\n").repeat(SECRETS_MAX + 1);
        for text in ["", "# nothing\n", "short", &many] {
            assert!(Tickets::new(file(text).path(), b"", Clock::default()).is_err());
        }
        let most = format!("{OLD}\n").repeat(SECRETS_MAX);
        assert!(Tickets::new(file(&most).path(), b"", Clock::default()).is_ok());
        assert!(Tickets::new(Path::new("/nowhere"), b"", Clock::default()).is_err());
    }
}
