//! What stands before a head on a disk.

use crate::Head;
use crate::purge::Sequence;

/// A head that can be written down and read again.
pub trait Durable: Head + Sized {
    /// It as bytes.
    fn encode(&self) -> Vec<u8>;

    /// What [`Durable::encode`] made these bytes of; none if it cannot be understood. They are as they were written, but
    /// another version may have written them.
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// No purge up to this sequence names it: [`Tiers::swept`](crate::Tiers::swept) said so of what is on the disks.
    fn outlive(&self, upto: Sequence);

    /// When its response was received, in seconds since 1970. It is told, not used.
    fn stored_at(&self) -> u64;
}

/// Epoch and number.
const PREFIX: usize = 16;

/// The bytes that are stored for a head.
pub(super) fn encode(epoch: u64, id: u64, head: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX + head.len());
    bytes.extend_from_slice(&epoch.to_le_bytes());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(head);
    bytes
}

/// The object's number and its head; none if they are of another epoch, or not to be understood.
pub(super) fn decode<H: Durable>(epoch: u64, bytes: &[u8]) -> Option<(u64, H)> {
    let id = id(epoch, bytes)?;
    Some((id, H::decode(bytes.get(PREFIX..)?)?))
}

/// The object's number, if it is of this epoch.
pub(super) fn id(epoch: u64, bytes: &[u8]) -> Option<u64> {
    let (stored, rest) = bytes.split_first_chunk::<8>()?;
    let id = rest.first_chunk::<8>()?;
    (u64::from_le_bytes(*stored) == epoch).then(|| u64::from_le_bytes(*id))
}
