//! The host as a Python class: one call at a time, the interpreter free while the core works.

use std::sync::Mutex;

use esxcore_core::config::{HashPath, HostConfig, Salt, SamplingConfig, ScanOrder, SharingConfig};
use esxcore_core::error::Error;
use esxcore_core::host::Host as CoreHost;
use esxcore_core::policy::{Overcommit, Targets};
use esxcore_core::remap::IoCounts;
use esxcore_core::rng::Seed;
use esxcore_core::share::ScanReport;
use esxcore_core::touch::TouchReport;
use esxcore_core::types::{Access, ContentKind, Direction, Ppn};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::arrays::{Contents, Ppns};
use crate::calls::{VmRef, find, finish_power_off, load};
use crate::errors::to_py;
use crate::ledger;
use crate::policy::AnyPolicy;
use crate::sampling::{self, SampleRow};
use crate::settings::{Changes, Division, IoSettings, VmSettings};
use crate::signals::Pace;
use crate::tables::{self, FrameRows, PmapRows};
use crate::view;

/// A host; see `esxcore.Host`.
#[pyclass(frozen, module = "esxcore._core")]
pub struct Host {
    pub(crate) core: Mutex<CoreHost>,
}

/// (done, stopped, zero_fills, cow_breaks, page_ins)
type TouchRow = (usize, Option<&'static str>, u64, u64, u64);

#[pymethods]
impl Host {
    #[new]
    #[pyo3(signature = (
        memory_pages, *, swap_pages, tokens, seed, draws, vm_rate, host_rate, portable_hash, hash_mask, salt, sampling,
        io, division, divides
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one settings object")]
    fn new(
        py: Python<'_>,
        memory_pages: u32,
        swap_pages: u32,
        tokens: bool,
        seed: [u8; 32],
        draws: bool,
        vm_rate: u32,
        host_rate: u32,
        portable_hash: bool,
        hash_mask: u64,
        salt: Option<&str>,
        sampling: (u32, u32, f64, f64),
        io: IoSettings,
        division: Division,
        divides: bool,
    ) -> PyResult<Self> {
        let content = if tokens { ContentKind::Tokens } else { ContentKind::Bytes };
        let order = if draws { ScanOrder::Draws } else { ScanOrder::Permutation };
        let salt = salt.map_or(Salt::None, salt_of);
        let hash_path = if portable_hash { HashPath::Portable } else { HashPath::Fastest };
        let sharing = SharingConfig { order, vm_rate, host_rate, hash_path, hash_mask, salt };
        let (pages, period_s, slow_keep, fast_keep) = sampling;
        let sampling = SamplingConfig { pages, period_s, slow_keep, fast_keep };
        let balance = division.into_config();
        balance.check().map_err(|error| to_py(py, &error, 0))?; // where memory is not divided, too
        let balance = divides.then_some(balance);
        let bare = HostConfig::bare(memory_pages, content, Seed(seed));
        let config = HostConfig { swap_pages, sharing, sampling, balance, remap: io.into_config(), ..bare };
        let core = CoreHost::new(config).map_err(|error| to_py(py, &error, 0))?;
        Ok(Self { core: Mutex::new(core) })
    }

    /// Powers on; returns the handle (number, name).
    fn power_on(
        &self,
        py: Python<'_>,
        name: String,
        max_pages: u32,
        contents: Option<Contents<'_>>,
        settings: VmSettings,
    ) -> PyResult<(u64, String)> {
        let config = settings.into_config(name.clone(), max_pages);
        let contents = contents.as_ref().map(Contents::as_batch).transpose()?;
        let serial = self.call(py, |host, signals| {
            let pages = contents.map_or(0, |contents| contents.len());
            host.check_power_on(&config, pages)?;
            contents.map_or(Ok(()), |contents| host.check_contents(contents))?;
            let id = host.power_on(config, &mut || signals.look())?;
            if let Some(contents) = contents {
                load(host, id, contents, signals).inspect_err(|_| host.cancel_power_on(id))?;
            }
            Ok(host.vm(id).serial)
        })?;
        Ok((serial, name))
    }

    /// Powers off.
    fn power_off(&self, py: Python<'_>, vm: VmRef) -> PyResult<()> {
        self.call(py, |host, signals| {
            let id = find(host, &vm)?;
            host.begin_power_off(id);
            finish_power_off(host, signals)
        })
    }

    /// Changes what a virtual machine is entitled to.
    fn configure(&self, py: Python<'_>, vm: VmRef, changes: Changes) -> PyResult<()> {
        self.call(py, |host, _| host.configure(find(host, &vm)?, changes.into_changes()))
    }

    /// Lets another policy decide.
    fn set_policy(&self, py: Python<'_>, policy: AnyPolicy<'_>) -> PyResult<()> {
        let policy = policy.into_core();
        self.call(py, |host, _| host.set_policy(policy))
    }

    /// Puts a copy of the policy in its place.
    fn exchange_policy(&self, py: Python<'_>, policy: AnyPolicy<'_>) -> PyResult<()> {
        let policy = policy.into_core();
        self.call(py, |host, _| host.exchange_policy(policy))
    }

    /// Refuses targets that would not pass now.
    fn check_targets(&self, py: Python<'_>, targets: Vec<i64>) -> PyResult<()> {
        self.call(py, |host, _| Targets::check(&targets, &host.view()?, Overcommit::Refused).map(drop))
    }

    /// What a policy would see now.
    fn view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let view = self.call(py, |host, _| host.view())?;
        view::to_dict(py, &view)
    }

    /// The name of the free state; none where memory is not divided.
    fn free_state(&self, py: Python<'_>) -> PyResult<Option<&'static str>> {
        self.call(py, |host, _| Ok(host.free_state().map(view::state_name)))
    }

    /// Why a virtual machine has the target it had at a time, now if none is given: facts and a text.
    fn explain<'py>(&self, py: Python<'py>, vm: VmRef, at_ns: Option<u64>) -> PyResult<Bound<'py, PyDict>> {
        let explanation = self.call(py, |host, _| {
            let now_ns = host.now_ns();
            let Some(at_ns) = at_ns else { return host.explain(find(host, &vm)?, now_ns) };
            if at_ns > now_ns {
                let (value, expected) = (
                    format!("{} s", at_ns as f64 / 1e9),
                    format!("at most {} s, which is now", now_ns as f64 / 1e9),
                );
                return Err(Error::Setting { what: "at", value, expected });
            }
            ledger::why(host, &vm, at_ns)
        })?;
        ledger::facts(py, &explanation)
    }

    /// Situations from the oldest that is kept on: rows of facts.
    fn replay<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let situations = self.call(py, |host, signals| ledger::situations(host, signals))?;
        ledger::rows(py, &situations)
    }

    /// What was decided after a time, or since the oldest that is kept: dictionaries of facts.
    fn decisions<'py>(&self, py: Python<'py>, after_ns: Option<u64>) -> PyResult<Bound<'py, PyList>> {
        let answers = self.call(py, |host, _| ledger::answers(host, after_ns))?;
        ledger::told(py, &answers)
    }

    /// The handle (number, name) and max pages of a virtual machine.
    fn find(&self, py: Python<'_>, vm: VmRef) -> PyResult<(u64, String, u32)> {
        self.call(py, |host, _| {
            let id = find(host, &vm)?;
            let vm = host.vm(id);
            Ok((vm.serial, vm.name.clone(), vm.pages))
        })
    }

    /// Accesses pages in turn.
    fn touch(&self, py: Python<'_>, vm: VmRef, ppns: Ppns<'_>, write: bool) -> PyResult<TouchRow> {
        let ppns = self.ppns(py, &vm, &ppns)?;
        let access = if write { Access::Write } else { Access::Read };
        let report =
            self.in_chunks(py, &vm, &ppns, |host, id, from, to| host.touch(id, &ppns[from..to], access))?;
        Ok(row(&report))
    }

    /// A device transfers pages in turn; returns what their accesses met and what it took to let the device at them.
    fn io(&self, py: Python<'_>, vm: VmRef, ppns: Ppns<'_>, receive: bool) -> PyResult<(TouchRow, [u64; 7])> {
        let ppns = self.ppns(py, &vm, &ppns)?;
        let direction = if receive { Direction::Receive } else { Direction::Transmit };
        let mut io = IoCounts::default();
        let report = self.in_chunks(py, &vm, &ppns, |host, id, from, to| {
            let part = host.io(id, &ppns[from..to], direction)?;
            io.add(&part.io);
            Ok(TouchReport { done: part.done, stopped: part.stopped, counts: part.counts })
        })?;
        let IoCounts { copies, remaps, private_copies, evictions, refused, hits, misses, .. } = io;
        Ok((row(&report), [copies, remaps, private_copies, evictions, refused, hits, misses]))
    }

    /// Writes pages in turn.
    fn write(&self, py: Python<'_>, vm: VmRef, ppns: Ppns<'_>, contents: Contents<'_>) -> PyResult<TouchRow> {
        let (ppns, contents) = (self.ppns(py, &vm, &ppns)?, contents.as_batch()?);
        if contents.len() != ppns.len() {
            let error = Error::BatchMismatch { contents: contents.len(), pages: ppns.len() };
            return Err(to_py(py, &error, 0));
        }
        self.call(py, |host, _| host.check_contents(contents))?;
        let report = self.in_chunks(py, &vm, &ppns, |host, id, from, to| {
            host.write(id, &ppns[from..to], contents.range(from, to))
        })?;
        served(py, &report)?;
        Ok(row(&report))
    }

    /// Reads pages in turn.
    fn read<'py>(&self, py: Python<'py>, vm: VmRef, ppns: Ppns<'_>) -> PyResult<Bound<'py, PyAny>> {
        let ppns = self.ppns(py, &vm, &ppns)?;
        let mut sink = self.sink(py, ppns.len())?;
        let report = self.in_chunks(py, &vm, &ppns, |host, id, from, to| {
            host.read(id, &ppns[from..to], |page| sink.take(page))
        })?;
        served(py, &report)?;
        sink.into_array(py)
    }

    /// What pages hold, without accessing them.
    fn peek<'py>(&self, py: Python<'py>, vm: VmRef, ppns: Ppns<'_>) -> PyResult<Bound<'py, PyAny>> {
        let ppns = self.ppns(py, &vm, &ppns)?;
        let mut sink = self.sink(py, ppns.len())?;
        self.in_chunks(py, &vm, &ppns, |host, id, from, to| {
            host.check_ppns(id, &ppns[from..to])?;
            ppns[from..to].iter().for_each(|ppn| sink.take(host.peek(id, Ppn(*ppn))));
            Ok(TouchReport { done: to - from, ..TouchReport::default() })
        })?;
        sink.into_array(py)
    }

    /// Scans pages now.
    fn scan<'py>(&self, py: Python<'py>, pages: u64) -> PyResult<Bound<'py, PyTuple>> {
        let mut report = ScanReport::default();
        self.call(py, |host, signals| {
            let mut pace = Pace::new();
            while report.picked < pages && !host.vms().is_empty() {
                let picks = (pages - report.picked).min(u64::from(pace.picks()));
                report.add(&host.scan(picks));
                signals.look()?;
            }
            Ok(())
        })?;
        scan_row(py, &report)
    }

    /// Lets virtual time pass.
    fn advance<'py>(&self, py: Python<'py>, ns: u64) -> PyResult<Bound<'py, PyTuple>> {
        let mut report = ScanReport::default();
        self.call(py, |host, signals| {
            let mut pace = Pace::new();
            host.begin_advance(ns);
            while !host.advance_some(pace.picks(), &mut report)? {
                signals.look()?;
            }
            Ok(())
        })?;
        scan_row(py, &report)
    }

    /// Bytes of real memory that powering on a virtual machine of that size would take.
    fn real_bytes_wanted(&self, py: Python<'_>, max_pages: u32) -> PyResult<u64> {
        self.call(py, |host, _| Ok(host.real_bytes_wanted(max_pages)))
    }

    /// Virtual time in nanoseconds.
    fn now_ns(&self, py: Python<'_>) -> PyResult<u64> {
        self.call(py, |host, _| Ok(host.now_ns()))
    }

    /// An independent copy.
    fn fork(&self, py: Python<'_>) -> PyResult<Self> {
        Ok(Self::of(self.call(py, |host, signals| host.fork(&mut || signals.look()))?))
    }

    /// Checks all invariants.
    fn audit(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |host, signals| host.audit(&mut || signals.look()))
    }

    /// The state as one number, in hexadecimal.
    fn digest(&self, py: Python<'_>) -> PyResult<String> {
        let digest = self.call(py, |host, signals| host.digest(&mut || signals.look()))?;
        Ok(format!("{digest:032x}"))
    }

    /// What sharing could save.
    fn census<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let census = self.call(py, |host, signals| host.census(&mut || signals.look()))?;
        let facts = PyDict::new(py);
        facts.set_item("pages", census.pages)?;
        facts.set_item("zero_pages", census.zero_pages)?;
        facts.set_item("distinct_pages", census.distinct_pages)?;
        facts.set_item("shared_pages", census.shared_pages)?;
        facts.set_item("reclaimed_pages", census.reclaimed_pages)?;
        Ok(facts)
    }

    /// Whole-host numbers.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let facts = PyDict::new(py);
        let (numbers, state) = self.call(py, |host, _| Ok((host.stats(), host.free_state())))?;
        for (name, number) in numbers {
            facts.set_item(name, number)?;
        }
        facts.set_item("free_state", state.map_or(-1, |state| state as i64))?;
        Ok(facts)
    }

    /// Columns of numbers, a row a virtual machine in power-on order.
    fn vms<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (vms, rows) = self.call(py, |host, signals| {
            let mut rows = vec![];
            for vm in host.vms() {
                rows.push(host.vm_stats(vm, &mut || signals.look())?);
            }
            Ok((host.vms().to_vec(), rows))
        })?;
        tables::vms(py, &vms, &rows)
    }

    /// What sampling knows of a virtual machine; none if it is off.
    fn sampling(&self, py: Python<'_>, vm: VmRef) -> PyResult<Option<SampleRow>> {
        let report = self.call(py, |host, _| Ok(host.samples(find(host, &vm)?)))?;
        Ok(report.as_ref().map(sampling::row))
    }

    /// Columns of a pmap, a row a page.
    fn pmap<'py>(&self, py: Python<'py>, vm: VmRef) -> PyResult<Bound<'py, PyDict>> {
        self.call(py, |host, signals| PmapRows::of(host, find(host, &vm)?, signals))?.into_dict(py)
    }

    /// Columns of the frames in use, a row a frame, by machine page.
    fn frames<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.call(py, FrameRows::of)?.into_dict(py)
    }
}

/// Raises what stopped a batch that must be served whole.
fn served(py: Python<'_>, report: &TouchReport) -> PyResult<()> {
    report.stopped.as_ref().map_or(Ok(()), |error| Err(to_py(py, error, report.done)))
}

fn row(report: &TouchReport) -> TouchRow {
    let counts = &report.counts;
    let stopped = report.stopped.as_ref().map(|error| match error {
        Error::Blocked { .. } => "blocked",
        _ => "out-of-memory",
    });
    (report.done, stopped, counts.zero_fills, counts.cow_breaks, counts.page_ins)
}

pub(crate) fn scan_row<'py>(py: Python<'py>, report: &ScanReport) -> PyResult<Bound<'py, PyTuple>> {
    let r = report;
    let row = [r.picked, r.skipped, r.hashed, r.hints, r.published, r.merged, r.false_matches, r.stale_hints];
    PyTuple::new(py, row)
}

pub(crate) fn salt_of(name: &str) -> Salt {
    match name {
        "none" => Salt::None,
        "per-vm" => Salt::PerVm,
        name => Salt::Named(name.into()),
    }
}
