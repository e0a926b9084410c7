//! Where stored responses live: the memory tier, the disk tier below it, the fills that feed them, and
//! the flights that make many requests share one fill.
//!
//! * [`Tiers`] are memory and disks as one: what is stored, wherever it is.
//! * [`Memory`] holds [`Object`]s by [`Key`] and [`Variant`] under one byte budget.
//! * [`Fill`] is a body being received; any number of [`Reader`]s follow it while it is written.
//! * [`Derived`] keeps what was made of a body with it: a stored response and its codings are one.
//! * [`Flights`] lets one request lead the fill and the others follow it.
//! * [`Epochs`] are numbers in keys: with another one, what was stored under the first is not found.
//! * [`Uncacheable`] and [`VaryMemory`] remember, in bounded space, what the last answer taught; [`Traces`] what became
//!   of what was stored.
//!
//! The crate never interprets what it stores: a head is an opaque value that knows its weight, a
//! key is sixteen bytes. It reads no clock; `now` is always an argument.
//!
//! ## The budget
//!
//! Bodies, heads, index entries and fills in flight are charged to one number that never exceeds
//! [`Settings::capacity`]. A charge lives in the memory it pays for, so the bytes of an evicted
//! body count until the last reader has let go of them. Whoever needs room evicts first and waits
//! for nothing: if no room can be made, a fill passes its body on without storing it.
//!
//! ## Order of events
//!
//! Whoever asks for a response takes a [`Claim`] to its key before. [`Memory::remove`] voids the claims, and
//! [`Flights::dissolve`] sees to it that nobody who comes later follows a fetch from before.
//!
//! [`Fill::finish`] returns when the object is in the index. End the flight ([`Airborne`]) only
//! then: whoever no longer finds the flight finds the object.

#![forbid(unsafe_code)]

pub mod curve;
mod derived;
pub mod disk;
mod epochs;
mod fill;
mod flight;
mod key;
mod memory;
mod moment;
pub mod purge;
mod recent;
mod settings;
mod tiers;
mod traces;
mod uncacheable;
mod vary_memory;

pub use derived::{DERIVED_MAX, Derived, Making, Turn};
pub use epochs::{Epochs, Unwritten};
pub use fill::{Cut, Fill, Keep, Reader, WriteError};
pub use flight::{Airborne, Boarding, FlightSettings, Flights, Follower, Landing, Lead, Sign};
pub use key::{Key, Variant};
pub use memory::{
    Body, BodyReader, Claim, Lasting, Memory, Object, Refused, Removed, Stats, Variants, Walk,
    bring_near,
};
pub use moment::Moment;
pub use settings::{Eviction, Settings};
pub use tiers::{Admission, Destination, DiskWalk, Durable, OnDisk, Removal, Tier, Tiers, Why};
pub use traces::{Fate, TRACES_MAX, Traces};
pub use uncacheable::Uncacheable;
pub use vary_memory::VaryMemory;

/// The head of a stored response, kept parsed and never looked into.
pub trait Head: Send + Sync + 'static {
    /// The bytes it owns on the heap, beyond its own size.
    fn weight(&self) -> usize;

    /// Reads a byte of each line that an answer is made of, as [`bring_near`] does. What it returns means nothing.
    fn bring_near(&self) -> u8 {
        0
    }

    /// Whether it is a part of what another object stands for. Parts are evicted by themselves, and not counted as
    /// objects.
    fn is_part(&self) -> bool {
        false
    }
}
