//! How a call reaches a host: one at a time, part by part, with the interpreter let go and signals heard in between.

use std::sync::{Mutex, MutexGuard, TryLockError};

use esxcore_core::error::Error;
use esxcore_core::host::Host as CoreHost;
use esxcore_core::touch::TouchReport;
use esxcore_core::types::{PageBatch, Ppn, VmId};
use pyo3::prelude::*;

use crate::arrays::{Ppns, Sink};
use crate::errors::{broken, busy, to_py};
use crate::host::Host;
use crate::signals::Signals;

/// References or loaded pages between two looks for signals.
const CHUNK: usize = 1 << 14;

/// A virtual machine as Python names it.
#[derive(FromPyObject)]
pub enum VmRef {
    /// By its name.
    Name(String),
    /// By its number among all ever powered on, and its name for the error message.
    Handle(u64, String),
}

impl Host {
    pub(crate) fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, CoreHost>> {
        self.core.try_lock().map_err(|refused| match refused {
            TryLockError::WouldBlock => busy(py),
            TryLockError::Poisoned(_) => broken(py),
        })
    }

    /// The host of a core.
    pub(crate) fn of(core: CoreHost) -> Self {
        Self { core: Mutex::new(core) }
    }

    /// Runs `work` on the host with the interpreter let go; never waits for another call to end.
    pub(crate) fn call<T: Send>(
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
    pub(crate) fn in_chunks(
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
    pub(crate) fn ppns(&self, py: Python<'_>, vm: &VmRef, ppns: &Ppns<'_>) -> PyResult<Vec<u32>> {
        ppns.to_vec()?.or_else(|ppn| {
            self.call(py, |host, _| {
                let vm = host.vm(find(host, vm)?);
                Err(Error::PageOutOfRange { vm: vm.name.clone(), ppn, pages: vm.pages })
            })
        })
    }

    pub(crate) fn sink(&self, py: Python<'_>, pages: usize) -> PyResult<Sink> {
        let kind = self.lock(py)?.memory().content().kind();
        Sink::new(kind, pages).map_err(|error| to_py(py, &error, 0))
    }
}

pub(crate) fn finish_power_off(host: &mut CoreHost, signals: &mut Signals) -> Result<(), Error> {
    while !host.power_off_some(CHUNK as u32) {
        signals.look()?;
    }
    Ok(())
}

pub(crate) fn find(host: &CoreHost, vm: &VmRef) -> Result<VmId, Error> {
    match vm {
        VmRef::Name(name) => Ok(host.find(name)?.id),
        VmRef::Handle(serial, name) => {
            let place = host.vms().binary_search_by_key(serial, |vm| vm.serial);
            place.map(|place| host.vms()[place].id).map_err(|_| Error::HandleOfNone { name: name.clone() })
        }
    }
}

pub(crate) fn load(
    host: &mut CoreHost,
    vm: VmId,
    contents: PageBatch<'_>,
    signals: &mut Signals,
) -> Result<(), Error> {
    for from in (0..contents.len()).step_by(CHUNK) {
        host.load(vm, Ppn(from as u32), contents.range(from, contents.len().min(from + CHUNK)))?;
        signals.look()?;
    }
    Ok(())
}
