//! The host as a Python class: one call at a time, the interpreter free while the core works.

use std::sync::{Mutex, MutexGuard, TryLockError};

use esxcore_core::audit::audit;
use esxcore_core::config::{HashPath, HostConfig, Salt, SamplingConfig, ScanOrder, SharingConfig, VmConfig};
use esxcore_core::error::Error;
use esxcore_core::host::Host as CoreHost;
use esxcore_core::rng::Seed;
use esxcore_core::share::ScanReport;
use esxcore_core::touch::TouchReport;
use esxcore_core::types::{Access, ContentKind, PageBatch, Ppn, VmId};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{Contents, Ppns, Sink};
use crate::errors::{broken, busy, to_py};
use crate::sampling::{self, SampleRow};
use crate::signals::{Pace, Signals};
use crate::tables::{self, FrameRows, PmapRows};

/// References or loaded pages between two looks for signals.
const CHUNK: usize = 1 << 14;

/// A virtual machine as Python names it.
#[derive(FromPyObject)]
enum VmRef {
    /// By its name.
    Name(String),
    /// By its number among all ever powered on, and its name for the error message.
    Handle(u64, String),
}

/// A host; see `esxcore.Host`.
#[pyclass(frozen, module = "esxcore._core")]
pub struct Host {
    core: Mutex<CoreHost>,
}

/// (done, stopped, zero_fills, cow_breaks, page_ins)
type TouchRow = (usize, bool, u64, u64, u64);

#[pymethods]
impl Host {
    #[new]
    #[pyo3(signature = (memory_pages, *, tokens, seed, draws, vm_rate, host_rate, portable_hash, hash_mask, salt, sampling))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one settings object")]
    fn new(
        py: Python<'_>,
        memory_pages: u32,
        tokens: bool,
        seed: [u8; 32],
        draws: bool,
        vm_rate: u32,
        host_rate: u32,
        portable_hash: bool,
        hash_mask: u64,
        salt: Option<&str>,
        sampling: (u32, u32, f64, f64),
    ) -> PyResult<Self> {
        let content = if tokens { ContentKind::Tokens } else { ContentKind::Bytes };
        let order = if draws { ScanOrder::Draws } else { ScanOrder::Permutation };
        let salt = salt.map_or(Salt::None, salt_of);
        let hash_path = if portable_hash { HashPath::Portable } else { HashPath::Fastest };
        let sharing = SharingConfig { order, vm_rate, host_rate, hash_path, hash_mask, salt };
        let (pages, period_s, slow_keep, fast_keep) = sampling;
        let sampling = SamplingConfig { pages, period_s, slow_keep, fast_keep };
        let config = HostConfig { sharing, sampling, ..HostConfig::new(memory_pages, content, Seed(seed)) };
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
        salt: Option<&str>,
    ) -> PyResult<(u64, String)> {
        let config = VmConfig { name: name.clone(), max_pages, salt: salt.map(salt_of) };
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

    /// The handle (number, name) and max pages of a virtual machine.
    fn find(&self, py: Python<'_>, vm: VmRef) -> PyResult<(u64, String, u32)> {
        self.call(py, |host, _| {
            let id = find(host, &vm)?;
            let vm = host.vm(id);
            Ok((vm.serial, vm.name.clone(), vm.max_pages))
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
            while !host.advance_some(pace.picks(), &mut report) {
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
        let copy = self.call(py, |host, signals| host.fork(&mut || signals.look()))?;
        Ok(Self { core: Mutex::new(copy) })
    }

    /// Checks all invariants.
    fn audit(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |host, signals| audit(host.memory(), &mut || signals.look()))
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
        for (name, number) in self.call(py, |host, _| Ok(host.stats()))? {
            facts.set_item(name, number)?;
        }
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

impl Host {
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, CoreHost>> {
        self.core.try_lock().map_err(|refused| match refused {
            TryLockError::WouldBlock => busy(py),
            TryLockError::Poisoned(_) => broken(py),
        })
    }

    /// Runs `work` on the host with the interpreter let go; never waits for another call to end.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut CoreHost, &mut Signals) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let mut guard = self.lock(py)?;
        let mut signals = Signals::default();
        let host: &mut CoreHost = &mut guard;
        // What an interrupted power-off left to be freed comes first.
        let result =
            py.detach(|| finish_power_off(host, &mut signals).and_then(|()| work(host, &mut signals)));
        drop(guard);
        signals.finish(py, result)
    }

    /// Runs `serve` over all references, part by part, until it stops.
    fn in_chunks(
        &self,
        py: Python<'_>,
        vm: &VmRef,
        ppns: &[u32],
        mut serve: impl FnMut(&mut CoreHost, VmId, usize, usize) -> Result<TouchReport, Error> + Send,
    ) -> PyResult<TouchReport> {
        self.call(py, |host, signals| {
            let id = find(host, vm)?;
            if ppns.len() > CHUNK {
                host.check_ppns(id, ppns)?; // all of them before the first is served
            }
            let mut report = TouchReport::default();
            while report.done < ppns.len() && report.stopped.is_none() {
                if report.done > 0 {
                    signals.look()?;
                }
                let part = serve(host, id, report.done, ppns.len().min(report.done + CHUNK))?;
                report.done += part.done;
                report.counts.add(&part.counts);
                report.stopped = part.stopped;
            }
            Ok(report)
        })
    }

    /// Page numbers of 32 bits.
    fn ppns(&self, py: Python<'_>, vm: &VmRef, ppns: &Ppns<'_>) -> PyResult<Vec<u32>> {
        ppns.to_vec()?.or_else(|ppn| {
            self.call(py, |host, _| {
                let vm = host.vm(find(host, vm)?);
                Err(Error::PageOutOfRange { vm: vm.name.clone(), ppn, pages: vm.max_pages })
            })
        })
    }

    fn sink(&self, py: Python<'_>, pages: usize) -> PyResult<Sink> {
        let kind = self.lock(py)?.memory().content().kind();
        Sink::new(kind, pages).map_err(|error| to_py(py, &error, 0))
    }
}

fn finish_power_off(host: &mut CoreHost, signals: &mut Signals) -> Result<(), Error> {
    while !host.power_off_some(CHUNK as u32) {
        signals.look()?;
    }
    Ok(())
}

fn find(host: &CoreHost, vm: &VmRef) -> Result<VmId, Error> {
    match vm {
        VmRef::Name(name) => Ok(host.find(name)?.id),
        VmRef::Handle(serial, name) => {
            let place = host.vms().binary_search_by_key(serial, |vm| vm.serial);
            place.map(|place| host.vms()[place].id).map_err(|_| Error::HandleOfNone { name: name.clone() })
        }
    }
}

fn load(host: &mut CoreHost, vm: VmId, contents: PageBatch<'_>, signals: &mut Signals) -> Result<(), Error> {
    for from in (0..contents.len()).step_by(CHUNK) {
        host.load(vm, Ppn(from as u32), contents.range(from, contents.len().min(from + CHUNK)))?;
        signals.look()?;
    }
    Ok(())
}

/// Raises what stopped a batch that must be served whole.
fn served(py: Python<'_>, report: &TouchReport) -> PyResult<()> {
    report.stopped.as_ref().map_or(Ok(()), |error| Err(to_py(py, error, report.done)))
}

fn row(report: &TouchReport) -> TouchRow {
    let counts = &report.counts;
    (report.done, report.stopped.is_some(), counts.zero_fills, counts.cow_breaks, counts.page_ins)
}

fn scan_row<'py>(py: Python<'py>, report: &ScanReport) -> PyResult<Bound<'py, PyTuple>> {
    let r = report;
    let row = [r.picked, r.skipped, r.hashed, r.hints, r.published, r.merged, r.false_matches, r.stale_hints];
    PyTuple::new(py, row)
}

fn salt_of(name: &str) -> Salt {
    match name {
        "none" => Salt::None,
        "per-vm" => Salt::PerVm,
        name => Salt::Named(name.into()),
    }
}
