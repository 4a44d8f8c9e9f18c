//! What is in a file.

use super::DiskError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// What somebody has written.
    Held(Vec<u8>),
    /// What the studio has recorded: bytes that follow from the seed and their place, and are held nowhere.
    Recorded { seed: u64, bytes: u64 },
}

impl Content {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::Recorded { bytes, .. } => *bytes,
        }
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Held(bytes) => bytes.len(),
            Self::Recorded { .. } => 0,
        }
    }

    pub(super) fn read(&self, offset: u64, bytes_max: usize) -> Vec<u8> {
        let count = self.bytes().saturating_sub(offset).min(bytes_max as u64);
        match self {
            Self::Held(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let count = usize::try_from(count).unwrap_or(bytes_max);
                bytes[from..from + count].to_vec()
            }
            Self::Recorded { seed, .. } => (offset..offset + count).map(|at| recorded(*seed, at)).collect(),
        }
    }

    /// `held_max` is the most that it may hold afterwards.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], held_max: usize) -> Result<(), DiskError> {
        let end = usize::try_from(offset)
            .ok()
            .and_then(|offset| offset.checked_add(bytes.len()))
            .filter(|end| *end <= held_max)
            .ok_or(DiskError::Full)?;
        // Nobody writes into a recording but the studio.
        let Self::Held(present) = self else {
            return Err(DiskError::Denied);
        };
        if present.len() < end {
            present.resize(end, 0);
        }
        present[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn resize(&mut self, bytes: u64, held_max: usize) -> Result<(), DiskError> {
        match self {
            Self::Held(present) => {
                let wanted = usize::try_from(bytes).ok().filter(|wanted| *wanted <= held_max);
                present.resize(wanted.ok_or(DiskError::Full)?, 0);
            }
            Self::Recorded { bytes: present, .. } => *present = bytes.min(*present),
        }
        Ok(())
    }
}

/// One byte of a recording (SplitMix64, eight bytes a step).
fn recorded(seed: u64, at: u64) -> u8 {
    let mut z = seed.wrapping_add((at / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    z.to_le_bytes()[usize::try_from(at % 8).unwrap_or(0)]
}
