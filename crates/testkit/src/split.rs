//! Cuts bytes into pieces, reproducibly.

/// Pieces of pseudo-random sizes from 1 to about `largest`, the same for the same seed.
pub fn pieces(bytes: &[u8], largest: usize, seed: u64) -> Vec<&[u8]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut rest = bytes;
    let mut found = Vec::new();
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let size = 1 + (state as usize % largest.max(1));
        let (piece, after) = rest.split_at(size.min(rest.len()));
        found.push(piece);
        rest = after;
    }
    found
}
