//! A simulation as Python drives it, and workloads written in Python as the core asks them.

use std::any::Any;
use std::sync::Mutex;

use esxcore_core::config::{CostConfig, DiskCosts};
use esxcore_core::error::Error;
use esxcore_core::reference::{Ref, Writes};
use esxcore_core::share::ScanReport;
use esxcore_core::simulate::{Latencies, Simulation as CoreSimulation, SimulationConfig};
use esxcore_core::types::Access;
use esxcore_core::workload::{Batch, Ops, Program, Then, Workload as CoreWorkload};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arrays::{Ppns, Row};
use crate::calls::{VmRef, find};
use crate::errors::{busy, to_py};
use crate::host::{Host, scan_row};
use crate::policy::keep_raised;
use crate::signals::Pace;
use crate::workload::Workload;

/// A simulation; see `esxcore.Simulation`.
#[pyclass(frozen, module = "esxcore._core")]
pub struct Simulation {
    core: Mutex<CoreSimulation>,
}

/// What things cost, by name.
type Costs = std::collections::HashMap<String, u64>;

#[pymethods]
impl Simulation {
    #[new]
    fn new(py: Python<'_>, processors: u32, costs: Costs) -> PyResult<Self> {
        let config = SimulationConfig { processors, costs: cost_config(&costs) };
        let core = CoreSimulation::new(config).map_err(|error| to_py(py, &error, 0))?;
        Ok(Self { core: Mutex::new(core) })
    }

    /// Starts process number `number` of a workload.
    #[expect(clippy::too_many_arguments, reason = "arguments of one process, checked and worded in Python")]
    fn start(
        &self,
        py: Python<'_>,
        host: &Host,
        vm: VmRef,
        workload: AnyWorkload<'_>,
        number: u32,
        writes: (&str, u32),
        delay_ns: u64,
    ) -> PyResult<()> {
        let workload = workload.described();
        let writes = match writes {
            ("same", _) => Writes::Same,
            ("pool", contents) => Writes::Pool(contents),
            _ => Writes::Unique,
        };
        let mut guard = self.core.try_lock().map_err(|_| busy(py))?;
        let simulation: &mut CoreSimulation = &mut guard;
        host.call(py, |host, _| {
            let id = find(host, &vm)?;
            let workload: Box<dyn CoreWorkload> = match workload {
                Described::Core(program) => program.process(number, simulation.next_stream(host, id))?,
                Described::Foreign(foreign) => Box::new(foreign),
            };
            simulation.start(host, id, workload, writes, delay_ns);
            Ok(())
        })
    }

    /// Lets virtual time pass.
    fn advance<'py>(&self, py: Python<'py>, host: &Host, ns: u64) -> PyResult<Bound<'py, PyTuple>> {
        let mut report = ScanReport::default();
        let mut guard = self.core.try_lock().map_err(|_| busy(py))?;
        let simulation: &mut CoreSimulation = &mut guard;
        host.call(py, |host, signals| {
            let mut pace = Pace::new();
            simulation.begin_advance(host, ns);
            while !simulation.advance_some(host, pace.picks(), &mut report)? {
                if pace.is_due() {
                    signals.look().inspect_err(|_| simulation.interrupt(host))?;
                }
            }
            Ok(())
        })?;
        scan_row(py, &report)
    }

    /// An independent copy of it and of its host. `copy` makes another of (name of the virtual machine, what asks a workload
    /// that is written in Python).
    fn fork(&self, py: Python<'_>, host: &Host, copy: &Bound<'_, PyAny>) -> PyResult<(Self, Host)> {
        let guard = self.core.try_lock().map_err(|_| busy(py))?;
        let simulation: &CoreSimulation = &guard;
        let (mut forked, forked_host) = host.call(py, |host, signals| {
            let forked_host = host.fork(&mut || signals.look())?;
            Ok((simulation.clone(), forked_host))
        })?;
        for (vm, workload) in forked.workloads_mut(&forked_host) {
            let workload: &mut dyn Any = workload;
            if let Some(foreign) = workload.downcast_mut::<Foreign>() {
                let name = &forked_host.vm(vm).name;
                foreign.ask = copy.call1((&**name, &foreign.ask))?.unbind();
            }
        }
        Ok((Self { core: Mutex::new(forked) }, Host::of(forked_host)))
    }

    /// What became of the processes of a virtual machine.
    fn report<'py>(&self, py: Python<'py>, host: &Host, vm: VmRef) -> PyResult<Bound<'py, PyDict>> {
        let guard = self.core.try_lock().map_err(|_| busy(py))?;
        let simulation: &CoreSimulation = &guard;
        let (report, serial) = host.call(py, |host, _| {
            let id = find(host, &vm)?;
            Ok((simulation.report(host, id).unwrap_or_default(), host.vm(id).serial))
        })?;
        let facts = PyDict::new(py);
        facts.set_item("serial", serial)?;
        facts.set_item("operations", report.operations)?;
        facts.set_item("stall_some_ns", report.pressure.some_ns)?;
        facts.set_item("stall_full_ns", report.pressure.full_ns)?;
        facts.set_item("double_paged_pages", report.double_paged)?;
        facts.set_item("held_s", report.held_s)?;
        facts.set_item("blocked_s", report.blocked_s)?;
        facts.set_item("killed", report.killed)?;
        facts.set_item("living", report.living)?;
        facts.set_item("packets", report.packets)?;
        facts.set_item("dropped_packets", report.dropped)?;
        facts.set_item("device_ns", report.device_ns)?;
        facts.set_item("latencies", OpLatencies(report.latencies))?;
        Ok(facts)
    }
}

/// How long operations took.
#[pyclass(frozen, module = "esxcore._core")]
pub struct OpLatencies(Latencies);

#[pymethods]
impl OpLatencies {
    /// The time in nanoseconds that so many of a thousand operations do not exceed; none without operations. With an
    /// earlier state, of the operations since then.
    #[pyo3(signature = (permille, before = None))]
    fn permille(&self, permille: u64, before: Option<&Self>) -> Option<u64> {
        match before {
            Some(before) => self.0.since(&before.0).permille(permille),
            None => self.0.permille(permille),
        }
    }
}

/// A workload that a process is to run: one of the core, or (name, function from nanoseconds to a batch).
#[derive(FromPyObject)]
pub enum AnyWorkload<'py> {
    /// Of the core.
    Core(PyRef<'py, Workload>),
    /// Written in Python.
    Foreign(String, Py<PyAny>),
}

/// The same, without Python.
enum Described {
    Core(Program),
    Foreign(Foreign),
}

impl AnyWorkload<'_> {
    fn described(self) -> Described {
        match self {
            Self::Core(workload) => Described::Core(workload.program().clone()),
            Self::Foreign(name, ask) => Described::Foreign(Foreign { name, ask }),
        }
    }
}

/// A workload written in Python.
#[derive(Debug)]
struct Foreign {
    name: String,
    /// Takes nanoseconds and returns a batch, checked and packed.
    ask: Py<PyAny>,
}

/// (pages or blocks, which references are writes, files of blocks or -1, references of an operation, places where operations
/// end or none, processor time of one, wake time in ns or -1 for the next batch at once or -2 for the end)
type PackedBatch<'py> =
    (Ppns<'py>, Writing<'py>, Option<Row<'py, i64>>, u32, Option<Row<'py, u32>>, u64, i64);

/// Which references are writes.
#[derive(FromPyObject)]
enum Writing<'py> {
    /// All, or none.
    All(bool),
    /// Those whose number is not 0.
    Each(Row<'py, u8>),
}

/// Adds references whose numbers were found to be in range and as many of each kind.
fn add_refs(
    refs: &mut Vec<Ref>,
    pages: impl Iterator<Item = u32>,
    writing: &Writing<'_>,
    files: Option<&Row<'_, i64>>,
) -> PyResult<()> {
    let access = |writes| if writes { Access::Write } else { Access::Read };
    let (all, flags) = match writing {
        Writing::All(writes) => (access(*writes), None),
        Writing::Each(flags) => (Access::Read, Some(flags.as_slice()?)),
    };
    let files = files.map(Row::as_slice).transpose()?;
    if flags.is_none() && files.is_none() {
        refs.extend(pages.map(|page| Ref::memory(page, all)));
        return Ok(());
    }
    refs.extend(pages.enumerate().map(|(place, page)| {
        let access = flags.map_or(all, |flags| access(flags[place] != 0));
        match files.map_or(-1, |files| files[place]) {
            file @ 0.. => Ref::block(file as u32, page, access),
            _ => Ref::memory(page, access),
        }
    }));
    Ok(())
}

impl Foreign {
    fn fill(&self, now_ns: u64, batch: &mut Batch) -> PyResult<()> {
        Python::attach(|py| {
            let answer = self.ask.call1(py, (now_ns,))?;
            let (pages, writing, files, each, ends, op_ns, then): PackedBatch<'_> = answer.extract(py)?;
            match pages {
                Ppns::Narrow(pages) => {
                    add_refs(&mut batch.refs, pages.as_slice()?.iter().copied(), &writing, files.as_ref())?
                }
                Ppns::Wide(pages) => {
                    let pages = pages.as_slice()?.iter().map(|page| *page as u32);
                    add_refs(&mut batch.refs, pages, &writing, files.as_ref())?;
                }
            }
            batch.ops = match ends {
                Some(ends) => Ops::Ends(ends.as_slice()?.to_vec()),
                None => Ops::Each(each),
            };
            batch.op_ns = op_ns;
            batch.then = match u64::try_from(then) {
                Ok(ns) => Then::SleepUntil { ns },
                Err(_) if then == -1 => Then::Next,
                Err(_) => Then::Ends,
            };
            Ok(())
        })
    }
}

impl CoreWorkload for Foreign {
    fn name(&self) -> &str {
        &self.name
    }

    fn next(&mut self, now_ns: u64, batch: &mut Batch) -> Result<(), Error> {
        self.fill(now_ns, batch).map_err(|raised| Error::WorkloadFailed {
            workload: self.name.clone(),
            reason: keep_raised(raised),
        })
    }

    fn boxed_clone(&self) -> Box<dyn CoreWorkload> {
        let ask = Python::attach(|py| self.ask.clone_ref(py));
        Box::new(Self { name: self.name.clone(), ask })
    }
}

/// Costs by name, of each preset.
#[pyfunction]
pub fn cost_presets() -> Vec<(&'static str, Vec<(&'static str, u64)>)> {
    CostConfig::PRESETS.iter().map(|(name, costs)| (*name, cost_rows(costs))).collect()
}

/// Copies after which a page is to be moved, by what things cost.
#[pyfunction]
pub fn competitive_threshold(costs: Costs) -> u32 {
    cost_config(&costs).competitive_threshold()
}

fn cost_rows(costs: &CostConfig) -> Vec<(&'static str, u64)> {
    vec![
        ("access_ns", costs.access_ns),
        ("zero_fill_ns", costs.zero_fill_ns),
        ("cow_break_ns", costs.cow_break_ns),
        ("scan_page_ns", costs.scan_page_ns),
        ("compare_ns", costs.compare_ns),
        ("balloon_page_ns", costs.balloon_page_ns),
        ("sample_fault_ns", costs.sample_fault_ns),
        ("io_copy_ns", costs.io_copy_ns),
        ("io_remap_ns", costs.io_remap_ns),
        ("dma_setup_ns", costs.dma_setup_ns),
        ("interrupt_ns", costs.interrupt_ns),
        ("fault_ns", costs.fault_ns),
        ("disk_position_ns", costs.disk.position_ns),
        ("disk_page_ns", costs.disk.page_ns),
    ]
}

/// Costs by name; what is not named costs as in the default preset.
fn cost_config(costs: &Costs) -> CostConfig {
    let default = CostConfig::default();
    let of = |name: &str, otherwise: u64| costs.get(name).copied().unwrap_or(otherwise);
    CostConfig {
        access_ns: of("access_ns", default.access_ns),
        zero_fill_ns: of("zero_fill_ns", default.zero_fill_ns),
        cow_break_ns: of("cow_break_ns", default.cow_break_ns),
        scan_page_ns: of("scan_page_ns", default.scan_page_ns),
        compare_ns: of("compare_ns", default.compare_ns),
        balloon_page_ns: of("balloon_page_ns", default.balloon_page_ns),
        sample_fault_ns: of("sample_fault_ns", default.sample_fault_ns),
        io_copy_ns: of("io_copy_ns", default.io_copy_ns),
        io_remap_ns: of("io_remap_ns", default.io_remap_ns),
        dma_setup_ns: of("dma_setup_ns", default.dma_setup_ns),
        interrupt_ns: of("interrupt_ns", default.interrupt_ns),
        fault_ns: of("fault_ns", default.fault_ns),
        disk: DiskCosts {
            position_ns: of("disk_position_ns", default.disk.position_ns),
            page_ns: of("disk_page_ns", default.disk.page_ns),
        },
    }
}
