//! A host's state as one number, to compare hosts with.
//!
//! Two hosts of one seed with the same history have the same digest: on any machine, however batches were cut, and as
//! long as no mask makes different pages collide, whichever function hashed the pages. So it leaves out hash values, and the order of chains that follows from them.

use xxhash_rust::xxh3::Xxh3;

use crate::error::Error;
use crate::frame_table::FrameView;
use crate::host::Host;
use crate::memory::VmMemory;
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
            let facts = (vm, self.scanner.walk(vm.id), samples, self.memory.vm(vm.id).counts);
            state.update(format!("{facts:?}").as_bytes());
            self.vm_digest(&mut state, self.memory.vm(vm.id), vm.id, pulse)?;
        }
        Ok(state.digest128())
    }

    fn machine_digest(&self, state: &mut Xxh3, pulse: Pulse<'_>) -> Result<(), Error> {
        let time = (self.time.now_ns, &self.time.due);
        let facts = (
            time,
            self.powered_on,
            self.departed,
            self.scanner.totals(),
            self.memory.content().stamps_made(),
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
            let marks = [place.code(), u8::from(entry.is_traced()), u8::from(entry.is_ineligible())];
            state.update(&marks);
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
