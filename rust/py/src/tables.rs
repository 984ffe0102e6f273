//! Tables that Python gets whole: columns made from a walk over the host.

use esxcore_core::config::Salt;
use esxcore_core::error::Error;
use esxcore_core::frame_table::FrameView;
use esxcore_core::host::{Host, Vm};
use esxcore_core::pmap::State;
use esxcore_core::reference::{GuestCounts, GuestMemory};
use esxcore_core::stats::VmStats;
use esxcore_core::types::{Mpn, PULSE_PAGES, VmId};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::Columns;
use crate::signals::Signals;

/// Columns of numbers, a row a virtual machine.
pub fn vms<'py>(py: Python<'py>, vms: &[Vm], rows: &[VmStats]) -> PyResult<Bound<'py, PyDict>> {
    let columns = Columns::new(py);
    let pages = |number: fn(&VmStats) -> u32| rows.iter().map(|row| i64::from(number(row))).collect();
    let events = |number: fn(&VmStats) -> u64| rows.iter().map(|row| number(row) as i64).collect();
    let parts = |number: fn(&VmStats) -> f64| rows.iter().map(number).collect();
    columns.add_text("name", vms.iter().map(|vm| vm.name.clone()).collect())?;
    columns.add::<i64>("max_pages", pages(|row| row.max_pages))?;
    columns.add::<i64>("min_pages", pages(|row| row.min_pages))?;
    columns.add::<i64>("shares", pages(|row| row.shares))?;
    columns.add::<i64>("target_pages", pages(|row| row.target_pages))?;
    columns.add::<i64>("overhead_pages", pages(|row| row.overhead_pages))?;
    columns.add::<i64>("allocated_pages", pages(|row| row.allocated_pages))?;
    columns.add::<i64>("shared_pages", pages(|row| row.shared_pages))?;
    columns.add::<i64>("zero_pages", pages(|row| row.zero_pages))?;
    columns.add::<f64>("consumed", parts(|row| row.consumed))?;
    columns.add::<f64>("reclaimed", parts(|row| row.reclaimed))?;
    columns.add::<i64>(
        "active_pages",
        rows.iter().map(|row| row.active_pages.map_or(-1, i64::from)).collect(),
    )?;
    columns.add::<f64>("active_fraction", parts(|row| row.active_fraction.unwrap_or(f64::NAN)))?;
    columns.add::<i64>("balloon_pages", pages(|row| row.balloon_pages))?;
    columns.add::<i64>("balloon_freed_pages", pages(|row| row.balloon_freed_pages))?;
    columns.add::<i64>("balloon_target_pages", pages(|row| row.balloon_target_pages))?;
    columns.add::<i64>("swapped_pages", pages(|row| row.swapped_pages))?;
    columns.add::<i64>("leaving_pages", pages(|row| row.leaving_pages))?;
    columns.add::<bool>("blocked", rows.iter().map(|row| row.blocked).collect())?;
    columns.add::<i64>("stalled_s", events(|row| row.stalled_s))?;
    columns.add::<i64>("references", events(|row| row.counts.references))?;
    columns.add::<i64>("zero_fills", events(|row| row.counts.zero_fills))?;
    columns.add::<i64>("cow_breaks", events(|row| row.counts.cow_breaks))?;
    columns.add::<i64>("page_outs", events(|row| row.counts.page_outs))?;
    columns.add::<i64>("emergency_page_outs", events(|row| row.counts.emergency_page_outs))?;
    columns.add::<i64>("merges", events(|row| row.counts.merges))?;
    columns.add::<i64>("shared_before_swap_pages", events(|row| row.counts.shared_before_swap))?;
    columns.add::<i64>("page_ins", events(|row| row.counts.page_ins))?;
    columns.add::<i64>("scanned_pages", events(|row| row.scanned_pages))?;
    columns.add::<i64>("scan_passes", events(|row| row.scan_passes))?;
    columns.add::<i64>("io_pages", events(|row| row.io.pages))?;
    columns.add::<i64>("io_copies", events(|row| row.io.copies))?;
    columns.add::<i64>("io_remaps", events(|row| row.io.remaps))?;
    columns.add::<i64>("io_private_copies", events(|row| row.io.private_copies))?;
    columns.add::<i64>("hot_pages", pages(|row| row.hot_pages))?;
    add_guests(&columns, rows)?;
    columns.add_text("salt", vms.iter().map(|vm| salt_name(&vm.salt)).collect())?;
    Ok(columns.into_dict())
}

/// A column's name, and its number in a row.
type Named<'a, Row, Number> = (&'a str, fn(&Row) -> Number);

/// What guests say of their memory, -1 for those that say nothing, and what they did for want of it.
fn add_guests(columns: &Columns<'_>, rows: &[VmStats]) -> PyResult<()> {
    let pages: [Named<'_, GuestMemory, u32>; 7] = [
        ("guest_free_pages", |memory| memory.free),
        ("guest_available_pages", |memory| memory.available),
        ("guest_kernel_pages", |memory| memory.kernel),
        ("guest_anonymous_pages", |memory| memory.anonymous),
        ("guest_cache_pages", |memory| memory.cache),
        ("guest_dirty_pages", |memory| memory.dirty),
        ("guest_swapped_pages", |memory| memory.swapped),
    ];
    for (name, number) in pages {
        let said = rows.iter().map(|row| row.guest.as_ref().map_or(-1, |memory| i64::from(number(memory))));
        columns.add::<i64>(name, said.collect())?;
    }
    let events: [Named<'_, GuestCounts, u64>; 8] = [
        ("guest_swap_ins", |counts| counts.swap_ins),
        ("guest_swap_outs", |counts| counts.swap_outs),
        ("guest_file_reads", |counts| counts.file_reads),
        ("guest_refaults", |counts| counts.refaults),
        ("guest_write_backs", |counts| counts.write_backs),
        ("guest_drops", |counts| counts.drops),
        ("guest_zeroed", |counts| counts.zeroed),
        ("guest_kills", |counts| counts.kills),
    ];
    for (name, number) in events {
        columns.add::<i64>(name, rows.iter().map(|row| number(&row.guest_counts) as i64).collect())?;
    }
    Ok(())
}

/// A pmap, a row a page.
pub struct PmapRows {
    state: Vec<u8>,
    mpn: Vec<i64>,
    shared: Vec<bool>,
    hint: Vec<bool>,
    traced: Vec<bool>,
    leaving: Vec<bool>,
}

impl PmapRows {
    /// The rows now.
    pub fn of(host: &Host, vm: VmId, signals: &mut Signals) -> Result<Self, Error> {
        let entries = host.memory().vm(vm).pmap().entries();
        let pages = entries.len();
        let mut rows = Self {
            state: Vec::with_capacity(pages),
            mpn: Vec::with_capacity(pages),
            shared: Vec::with_capacity(pages),
            hint: Vec::with_capacity(pages),
            traced: Vec::with_capacity(pages),
            leaving: Vec::with_capacity(pages),
        };
        let frames = host.memory().frames();
        for entries in entries.chunks(PULSE_PAGES) {
            signals.look()?;
            for entry in entries {
                let state = entry.state();
                rows.state.push(state.code());
                rows.mpn.push(state.mpn().map_or(-1, |mpn| i64::from(mpn.0)));
                rows.shared.push(matches!(state, State::Shared(mpn) if frames.count(mpn) > 1));
                let has_hint = |mpn: Mpn| matches!(frames.get(mpn), FrameView::Hint { .. });
                rows.hint.push(state.mpn().is_some_and(has_hint));
                rows.traced.push(entry.is_traced());
                rows.leaving.push(entry.is_leaving());
            }
        }
        Ok(rows)
    }

    /// The columns.
    pub fn into_dict(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let columns = Columns::new(py);
        columns.add("state", self.state)?;
        columns.add("mpn", self.mpn)?;
        columns.add("shared", self.shared)?;
        columns.add("hint", self.hint)?;
        columns.add("traced", self.traced)?;
        columns.add("leaving", self.leaving)?;
        Ok(columns.into_dict())
    }
}

/// The frames in use, a row a frame, by machine page.
#[derive(Default)]
pub struct FrameRows {
    kind: Vec<u8>,
    hash: Vec<u64>,
    mpn: Vec<i64>,
    vm: Vec<i64>,
    ppn: Vec<i64>,
    count: Vec<i64>,
}

impl FrameRows {
    /// The rows now.
    pub fn of(host: &mut Host, signals: &mut Signals) -> Result<Self, Error> {
        let frames = host.memory().frames();
        let mut rows = Self::default();
        for mpn in (0..host.memory().machine().pages()).map(Mpn) {
            if mpn.index() % PULSE_PAGES == 0 {
                signals.look()?;
            }
            match frames.get(mpn) {
                FrameView::None => {}
                FrameView::Hint { hash, vm, ppn } => {
                    let place = host.vms().iter().position(|other| other.id == vm);
                    rows.push(1, hash, mpn, place.map_or(-1, |place| place as i64));
                    rows.ppn.push(i64::from(ppn.0));
                    rows.count.push(0);
                }
                FrameView::Shared { hash, .. } => {
                    rows.push(2, hash, mpn, -1);
                    rows.ppn.push(-1);
                    rows.count.push(i64::from(frames.count(mpn)));
                }
            }
        }
        Ok(rows)
    }

    /// The columns.
    pub fn into_dict(self, py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let columns = Columns::new(py);
        columns.add("kind", self.kind)?;
        columns.add("hash", self.hash)?;
        columns.add("mpn", self.mpn)?;
        columns.add("vm", self.vm)?;
        columns.add("ppn", self.ppn)?;
        columns.add("count", self.count)?;
        Ok(columns.into_dict())
    }

    fn push(&mut self, kind: u8, hash: u64, mpn: Mpn, vm: i64) {
        self.kind.push(kind);
        self.hash.push(hash);
        self.mpn.push(i64::from(mpn.0));
        self.vm.push(vm);
    }
}

fn salt_name(salt: &Salt) -> String {
    match salt {
        Salt::None => "none".into(),
        Salt::PerVm => "per-vm".into(),
        Salt::Named(name) => name.clone(),
    }
}
