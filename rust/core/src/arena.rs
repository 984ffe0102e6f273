//! Large zeroed arrays in memory of their own, on huge pages where the system gives them.
//!
//! An arena is address space first: `commit` makes its head real, ahead of use, so that no page of it is touched for the
//! first time on a hot path (a first touch costs more than scanning a page sixty times over).

use std::marker::PhantomData;

use memmap2::{MmapMut, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::Error;

/// Bytes made real between two pulses.
const COMMIT_BYTES: usize = 16 << 20;
/// Stride of a first touch: the smallest page a system has.
const TOUCH_BYTES: usize = 4096;

/// An array of `len` elements that are zero until written.
#[derive(Debug)]
pub struct Arena<T> {
    map: MmapMut,
    len: usize,
    committed: usize,
    element: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Arena<T> {
    /// Reserves `len` zeroed elements without making them real.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if the system has no such address space.
    pub fn zeroed(len: usize) -> Result<Self, Error> {
        let bytes = len.max(1) * size_of::<T>();
        let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon();
        let map = map.map_err(|error| Error::NoMemory { bytes, reason: error.to_string() })?;
        #[cfg(target_os = "linux")]
        // Advice only: without huge pages everything still works, a little slower.
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, len, committed: 0, element: PhantomData })
    }

    /// All elements.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        let elements = <[T]>::ref_from_bytes(&self.map[..self.len * size_of::<T>()]);
        elements.unwrap_or_else(|_| unreachable!("a map is page aligned and its length a multiple"))
    }

    /// All elements, to change.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let elements = <[T]>::mut_from_bytes(&mut self.map[..self.len * size_of::<T>()]);
        elements.unwrap_or_else(|_| unreachable!("a map is page aligned and its length a multiple"))
    }

    /// Makes the next part of the first `len` elements real; returns whether all of them are.
    ///
    /// Elements that were committed before keep their values; those after must not have been written yet.
    pub fn commit_some(&mut self, len: usize) -> bool {
        let wanted = len.min(self.len) * size_of::<T>();
        let from = self.committed;
        let to = wanted.min(from + COMMIT_BYTES);
        for byte in self.map[from..to.max(from)].iter_mut().step_by(TOUCH_BYTES) {
            *byte = 0;
        }
        self.committed = to.max(from);
        self.committed >= wanted
    }

    /// Bytes that committing the first `len` elements would make real.
    #[must_use]
    pub fn bytes_to_commit(&self, len: usize) -> usize {
        (len.min(self.len) * size_of::<T>()).saturating_sub(self.committed)
    }

    /// Bytes that are real.
    #[must_use]
    pub fn committed_bytes(&self) -> usize {
        self.committed
    }

    /// A copy of the committed part, the rest zeroed as before.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`], or what `pulse` returns.
    pub fn fork(&self, pulse: &mut dyn FnMut() -> Result<(), Error>) -> Result<Self, Error> {
        let mut copy = Self::zeroed(self.len)?;
        for (to, from) in copy.map[..self.committed]
            .chunks_mut(COMMIT_BYTES)
            .zip(self.map[..self.committed].chunks(COMMIT_BYTES))
        {
            to.copy_from_slice(from);
            pulse()?;
        }
        copy.committed = self.committed;
        Ok(copy)
    }
}

/// Asks for the memory where `value` stands and does not wait for it.
///
/// A load would do the same but holds up the processor once many of them wait. Nothing changes but the caches.
#[allow(unsafe_code)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads and writes nothing, whatever the address; this one is even valid. The bench `census` of
    // the image crate measures what it gains.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(std::ptr::from_ref(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committing_in_steps_keeps_what_is_there() {
        let mut arena = Arena::<u64>::zeroed(5 << 20).expect("40 MiB");
        assert!(arena.commit_some(10));
        arena.as_mut_slice()[9] = 7;
        let mut steps = 1;
        while !arena.commit_some(5 << 20) {
            steps += 1;
        }
        assert_eq!(steps, 3, "40 MiB in steps of 16 MiB");
        assert_eq!(arena.as_slice()[9], 7);
        assert_eq!(arena.as_slice().iter().sum::<u64>(), 7);
        let mut pulses = 0;
        let copy = arena.fork(&mut || {
            pulses += 1;
            Ok(())
        });
        assert_eq!(copy.expect("40 MiB").as_slice(), arena.as_slice());
        assert_eq!(pulses, 3);
    }

    #[test]
    fn prefetching_changes_nothing() {
        let mut arena = Arena::<u64>::zeroed(1 << 20).expect("8 MiB");
        while !arena.commit_some(1 << 20) {}
        arena.as_mut_slice()[(1 << 20) - 1] = 7;
        arena.as_slice().iter().step_by(512).chain(arena.as_slice().last()).for_each(prefetch);
        assert_eq!(arena.as_slice().iter().sum::<u64>(), 7);
    }

    #[test]
    fn an_empty_arena_is_fine() {
        let arena = Arena::<u32>::zeroed(0).expect("nothing");
        assert!(arena.as_slice().is_empty());
    }
}
