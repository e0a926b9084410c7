//! One fill per key and variant: the first request leads, the others follow.
//!
//! ```text
//!   board ─▶ Lead ── land(Streaming) ──▶ Airborne ── drop ──▶ gone
//!     │        │                            ▲
//!     │        └─ land(anything else), drop ─────────────────▶ gone
//!     └───▶ Follower ◀── the landing ───────┘ (also to those who board late)
//! ```
//!
//! Boarding happens before anything is known about the response. When the head is there the leader
//! lands, and every follower learns at once what to do; if the leader disappears, that is
//! [`Landing::Failed`].

mod joined;
mod table;

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::{Head, Key, Reader, Variant};
use joined::{Flight, Seat};
use table::{Entry, Listing, Table};

/// The limits of [`Flights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightSettings {
    /// The most requests that follow one flight at a time.
    pub followers_max: usize,
    /// The most flights at a time.
    pub flights_max: usize,
}

impl Default for FlightSettings {
    fn default() -> Self {
        Self {
            followers_max: 10_000,
            flights_max: 100_000,
        }
    }
}

/// The fills under way that others may join.
pub struct Flights<H: Head> {
    table: Arc<Table<H>>,
    followers_max: usize,
}

/// What a request does about a response that is not there.
pub enum Boarding<H: Head> {
    /// Nobody fetches it. The leader should look it up once more, because an earlier flight may have
    /// ended between its lookup and now, and then fetch.
    Lead(Lead<H>),
    /// Somebody fetches it.
    Follow(Follower<H>),
    /// A limit is reached, or the beginning of the body is gone: fetch it alone.
    Crowded,
}

/// What followers are told.
pub enum Landing<H: Head> {
    /// The response is being received. Whether it fits its request is for each follower to check.
    Streaming(Reader<H>),
    /// The stored response was validated, or otherwise renewed: look it up again.
    Refreshed,
    /// The response is for the leader alone: everyone fetches it alone.
    NotShareable,
    /// There is no response.
    Failed,
}

impl<H: Head> Flights<H> {
    /// No flights yet.
    pub fn new(settings: FlightSettings) -> Self {
        Self {
            table: Table::new(settings.flights_max),
            followers_max: settings.followers_max,
        }
    }

    /// Joins the flight for `key` and `variant`, or begins it. No variant means that it is not known
    /// yet which one it will be; such requests share a flight among themselves only.
    pub fn board(&self, key: Key, variant: Option<Variant>) -> Boarding<H> {
        match Table::enter(&self.table, (key, variant)) {
            Entry::Listed(flight) => flight.follow(self.followers_max),
            Entry::New(flight, listing) => Boarding::Lead(Lead {
                flight,
                listing: Some(listing),
            }),
            Entry::Full => Boarding::Crowded,
        }
    }

    /// Joins the flight for `key` and `variant` if there is one, and begins none.
    pub fn join(&self, key: Key, variant: Option<Variant>) -> Option<Follower<H>> {
        let flight = self.table.find(&(key, variant))?;
        match flight.follow(self.followers_max) {
            Boarding::Follow(follower) => Some(follower),
            Boarding::Lead(_) | Boarding::Crowded => None,
        }
    }

    /// Sees to it that nobody who comes from now on follows a flight for `key` that has begun before.
    /// Those who follow already go on.
    pub fn dissolve(&self, key: Key) {
        self.table.clear(key);
    }

    /// How many flights there are.
    pub fn count(&self) -> usize {
        self.table.count()
    }
}

/// The one who fetches. Dropped before it lands, it tells its followers [`Landing::Failed`].
pub struct Lead<H: Head> {
    flight: Arc<Flight<H>>,
    /// None once it has landed.
    listing: Option<Listing<H>>,
}

impl<H: Head> Lead<H> {
    /// Tells the followers how it went.
    ///
    /// With [`Landing::Streaming`] the flight can be joined until what is returned is dropped: keep it
    /// until [`Fill::finish`](crate::Fill::finish) has returned, so that whoever comes too late for
    /// the flight finds the object. With anything else the flight is over; what the next request
    /// needs to know (a renewed object, [`Uncacheable`](crate::Uncacheable)) has to be written
    /// before.
    pub fn land(mut self, landing: Landing<H>) -> Airborne<H> {
        let mut listing = self.listing.take();
        if !matches!(landing, Landing::Streaming(_)) {
            // First off the table, so that nobody follows a flight that is over.
            listing = None;
        }
        self.flight.land(landing);
        Airborne { _listing: listing }
    }

    /// Says to those who follow what the fetch is called. Once.
    pub fn sign(&self, sign: Sign) {
        self.flight.sign(sign);
    }

    /// How many follow now.
    pub fn followers(&self) -> usize {
        self.flight.followers()
    }
}

impl<H: Head> Drop for Lead<H> {
    fn drop(&mut self) {
        if let Some(listing) = self.listing.take() {
            drop(listing);
            self.flight.land(Landing::Failed);
        }
    }
}

/// Keeps a flight joinable while its body is being received.
#[must_use = "the flight ends when this is dropped"]
pub struct Airborne<H: Head> {
    _listing: Option<Listing<H>>,
}

/// What a fetch is called by whoever leads it. It means nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign(pub [u8; 24]);

/// One who waits for somebody else's fetch.
pub struct Follower<H: Head> {
    following: Following<H>,
    sign: Arc<OnceLock<Sign>>,
}

enum Following<H: Head> {
    /// Boarded before the landing.
    Waiting {
        landing: watch::Receiver<Option<Landing<H>>>,
        /// Given up after the reader was cloned, not before.
        _seat: Seat<H>,
    },
    /// Boarded after it.
    Late(Landing<H>),
    /// Has been told.
    Told,
}

impl<H: Head> Follower<H> {
    /// What the leader calls its fetch, if it has said so by now.
    pub fn sign(&self) -> Option<Sign> {
        self.sign.get().copied()
    }

    /// Waits for the landing; the caller limits for how long. Cancel-safe.
    ///
    /// It is told once; asked again, the answer is [`Landing::Failed`].
    pub async fn landing(&mut self) -> Landing<H> {
        if let Following::Waiting { landing, .. } = &mut self.following {
            let landing = match landing.wait_for(Option::is_some).await {
                Ok(landing) => landing.as_ref().map_or(Landing::Failed, Landing::told),
                Err(_) => Landing::Failed,
            };
            self.following = Following::Late(landing);
        }
        match std::mem::replace(&mut self.following, Following::Told) {
            Following::Late(landing) => landing,
            Following::Waiting { .. } | Following::Told => Landing::Failed,
        }
    }
}

impl<H: Head> Landing<H> {
    /// What a follower is told: one who comes too late for the first byte fetches alone.
    fn told(&self) -> Self {
        match self.clone() {
            Self::Streaming(reader) if !reader.is_seated() => Self::NotShareable,
            landing => landing,
        }
    }
}

impl<H: Head> Clone for Landing<H> {
    fn clone(&self) -> Self {
        match self {
            Self::Streaming(reader) => Self::Streaming(reader.clone()),
            Self::Refreshed => Self::Refreshed,
            Self::NotShareable => Self::NotShareable,
            Self::Failed => Self::Failed,
        }
    }
}

impl<H: Head> fmt::Debug for Landing<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Streaming(_) => "Streaming",
            Self::Refreshed => "Refreshed",
            Self::NotShareable => "NotShareable",
            Self::Failed => "Failed",
        })
    }
}

impl<H: Head> fmt::Debug for Boarding<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lead(_) => "Lead",
            Self::Follow(_) => "Follow",
            Self::Crowded => "Crowded",
        })
    }
}

impl<H: Head> fmt::Debug for Flights<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("count", &self.count())
            .field("followers_max", &self.followers_max)
            .finish_non_exhaustive()
    }
}

impl<H: Head> fmt::Debug for Lead<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead")
            .field("followers", &self.followers())
            .finish_non_exhaustive()
    }
}

impl<H: Head> fmt::Debug for Airborne<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Airborne").finish_non_exhaustive()
    }
}

impl<H: Head> fmt::Debug for Follower<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
