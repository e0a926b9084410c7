//! Weighted rendezvous hashing: every peer draws a number for the key, and the highest takes it. A peer that leaves
//! moves its own keys only.

/// The peer with the highest draw for `key`.
pub(super) fn highest(
    peers: &[usize],
    key: u64,
    identity: impl Fn(usize) -> u64,
    weigh: impl Fn(usize) -> u64,
) -> Option<usize> {
    let drawn = peers.iter().map(|&peer| {
        let uniform = uniform(mix(key ^ mix(identity(peer))));
        #[expect(clippy::cast_precision_loss, reason = "weights are small")]
        let weight = weigh(peer) as f64;
        (-weight / uniform.ln(), peer)
    });
    let highest = drawn.max_by(|(one, _), (other, _)| one.total_cmp(other));
    highest.map(|(_, peer)| peer)
}

/// Spreads every bit over all (the finaliser of `SplitMix64`).
pub(super) const fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A number between 0 and 1, never one of the two.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a float has")]
fn uniform(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}
