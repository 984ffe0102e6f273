//! A bit a frame, all clear at first.

use crate::error::Error;

/// Bits numbered from 0.
#[derive(Clone)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub fn clear(len: u32) -> Self {
        Self(vec![0; (len as usize).div_ceil(64)])
    }

    /// Makes room for `len` bits.
    pub fn grow(&mut self, len: u32) -> Result<(), Error> {
        grow(&mut self.0, (len as usize).div_ceil(64), 0)
    }

    #[inline]
    pub fn get(&self, bit: u32) -> bool {
        self.0[bit as usize / 64] >> (bit % 64) & 1 == 1
    }

    /// Writes only what changes: the line of a hot page's bit stays clean.
    #[inline]
    pub fn set(&mut self, bit: u32) {
        let word = &mut self.0[bit as usize / 64];
        if *word >> (bit % 64) & 1 == 0 {
            *word |= 1 << (bit % 64);
        }
    }

    #[inline]
    pub fn unset(&mut self, bit: u32) {
        self.0[bit as usize / 64] &= !(1 << (bit % 64));
    }

    /// Unsets the bit; returns whether it was set.
    #[inline]
    pub fn take(&mut self, bit: u32) -> bool {
        let was_set = self.get(bit);
        self.unset(bit);
        was_set
    }
}

/// Fills a column up to `len` elements; a longer one stays as it is.
pub(super) fn grow<T: Copy>(column: &mut Vec<T>, len: usize, element: T) -> Result<(), Error> {
    let more = len.saturating_sub(column.len());
    let room = column.try_reserve_exact(more);
    room.map_err(|error| Error::NoMemory { bytes: more * size_of::<T>(), reason: error.to_string() })?;
    column.resize(column.len() + more, element);
    Ok(())
}
