//! A host's state as one number, to compare hosts with.
//!
//! Two hosts of one seed with the same history have the same digest: on any machine, however batches were cut, and as
//! long as no mask makes different pages collide, whichever function hashed the pages. So it leaves out hash values, and the order of chains that follows from them.

use xxhash_rust::xxh3::Xxh3;

use crate::error::Error;
use crate::frame_table::FrameView;
use crate::host::Host;
use crate::memory::VmMemory;
use crate::pmap::State;
use crate::types::{Mpn, PULSE_PAGES, PageView, Ppn, Pulse};

impl Host {
    /// The digest. Cost: one read of every resident page.
    ///
    /// # Errors
    ///
    /// What `pulse` returns.
    pub fn digest(&self, pulse: Pulse<'_>) -> Result<u128, Error> {
        let mut state = Xxh3::new();
        self.machine_digest(&mut state, pulse)?;
        for vm in &self.vms {
            let samples = self.sampler.progress(vm.id);
            let paging = (self.balloon.progress(vm.id), self.swapper.progress(vm.id));
            let io = self.remapper.progress(vm.id);
            let facts = (vm, self.scanner.walk(vm.id), samples, paging, io, self.memory.vm(vm.id).counts);
            state.update(format!("{facts:?}").as_bytes());
            self.vm_digest(&mut state, self.memory.vm(vm.id), vm.id, pulse)?;
        }
        Ok(state.digest128())
    }

    fn machine_digest(&self, state: &mut Xxh3, pulse: Pulse<'_>) -> Result<(), Error> {
        let time = (self.time.now_ns, &self.time.due);
        let balance = self.balance.as_ref().map(|balance| (balance.state, balance.cause, balance.asked_ns));
        let facts = (
            time,
            balance,
            self.powered_on,
            self.departed,
            self.scanner.totals(),
            self.memory.content().stamps_made(),
            self.memory.swapfile().cursor(),
            self.remapper.host_progress(),
        );
        state.update(format!("{facts:?}").as_bytes());
        for words in self.memory.machine().free_words().chunks(PULSE_PAGES) {
            pulse()?;
            words.iter().for_each(|word| state.update(&word.to_le_bytes()));
        }
        Ok(())
    }

    fn vm_digest(
        &self,
        state: &mut Xxh3,
        vm: &VmMemory,
        id: crate::types::VmId,
        pulse: Pulse<'_>,
    ) -> Result<(), Error> {
        for (ppn, entry) in (0..).map(Ppn).zip(vm.pmap().entries()) {
            if ppn.index() % PULSE_PAGES == 0 {
                pulse()?;
            }
            let place = entry.state();
            let marks = [entry.is_traced(), entry.is_ineligible(), entry.is_leaving()].map(u8::from);
            state.update(&[place.code()]);
            state.update(&marks);
            if let State::Swapped(slot) = place {
                state.update(&slot.0.to_le_bytes());
            }
            let Some(mpn) = place.mpn() else {
                update_page(state, self.memory.peek(id, ppn));
                continue;
            };
            state.update(&mpn.0.to_le_bytes());
            self.frame_digest(state, mpn);
            update_page(state, self.memory.content().page(mpn.index()));
        }
        Ok(())
    }

    fn frame_digest(&self, state: &mut Xxh3, mpn: Mpn) {
        let count = self.memory.frames().count(mpn);
        let is_hint = matches!(self.memory.frames().get(mpn), FrameView::Hint { .. });
        state.update(&(u64::from(count) << 1 | u64::from(is_hint)).to_le_bytes());
    }
}

fn update_page(state: &mut Xxh3, page: PageView<'_>) {
    match page {
        PageView::Bytes(bytes) => state.update(bytes),
        PageView::Token(token) => state.update(&token.to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostConfig, VmConfig};
    use crate::rng::Seed;
    use crate::types::{ContentKind, PageBatch, VmId};

    /// A virtual machine of three equal pages.
    fn host() -> (Host, VmId) {
        let mut host = Host::new(HostConfig::bare(8, ContentKind::Tokens, Seed([1; 32]))).expect("small");
        let config = VmConfig::new("one", 3);
        let vm = host.power_on(config, &mut || Ok(())).expect("small");
        host.load(vm, Ppn(0), PageBatch::Tokens(&[1; 3])).expect("three pages");
        (host, vm)
    }

    fn digest(host: &Host) -> u128 {
        host.digest(&mut || Ok(())).expect("nothing interrupts it")
    }

    #[test]
    fn which_page_is_leaving() {
        let ((mut one, vm), (mut other, _)) = (host(), host());
        one.memory.set_leaving(vm, Ppn(0), true).expect("private");
        assert_ne!(digest(&one), digest(&other));
        other.memory.set_leaving(vm, Ppn(1), true).expect("private");
        assert_ne!(digest(&one), digest(&other));
        one.memory.set_leaving(vm, Ppn(0), false).expect("leaving");
        one.memory.set_leaving(vm, Ppn(1), true).expect("private");
        assert_eq!(digest(&one), digest(&other));
    }

    /// A host whose pages went to the swap file and came back, in that order, with counts levelled out.
    fn paged(moves: &[(u32, bool)]) -> Host {
        let (mut host, vm) = host();
        for (ppn, out) in moves {
            if *out {
                assert_eq!(host.memory.page_out(vm, Ppn(*ppn)).expect("resident").freed, 1);
            } else {
                host.memory.page_in(vm, Ppn(*ppn)).expect("a machine page is free");
            }
        }
        host.memory.vm_mut(vm).counts = crate::memory::Counts::default();
        host
    }

    #[test]
    fn which_page_is_in_which_slot() {
        let (one, other) = (paged(&[(0, true), (1, true)]), paged(&[(1, true), (0, true)]));
        assert_eq!(one.memory.swapfile(), other.memory.swapfile());
        assert_eq!(one.memory.machine(), other.memory.machine());
        assert_ne!(digest(&one), digest(&other));
    }

    #[test]
    fn which_slot_comes_next() {
        let (one, other) = (paged(&[(0, true), (0, false)]), paged(&[]));
        assert_eq!(one.memory.swapfile().used_slots(), 0);
        assert_eq!(one.memory.machine(), other.memory.machine());
        assert_ne!(digest(&one), digest(&other));
    }
}
