//! What files are filled with.

use sha2::{Digest, Sha256};

/// Bytes that do not repeat, the same for the same seed.
pub fn noise(seed: &str, bytes: usize) -> Vec<u8> {
    let mut noise = Vec::with_capacity(bytes + 32);
    let mut block = Sha256::digest(seed);
    while noise.len() < bytes {
        noise.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    noise.truncate(bytes);
    noise
}
