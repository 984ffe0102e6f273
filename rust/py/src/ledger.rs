//! What a host remembers of its decisions, as Python gets it.

use esxcore_core::error::Error;
use esxcore_core::host::Host;
use esxcore_core::ledger::{Explanation, Moves, Situation};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::signals::Signals;
use crate::view::state_name;

/// Moments between two looks for signals.
const STRETCH: usize = 256;

/// An explanation as facts, `text` among them.
pub fn facts<'py>(py: Python<'py>, why: &Explanation) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item("text", why.to_string())?;
    facts.set_item("vm", &*why.name)?;
    facts.set_item("at_s", seconds(why.at_ns))?;
    facts.set_item("free_state", state_name(why.state))?;
    facts.set_item("state_since_s", seconds(why.state_since_ns))?;
    facts.set_item("min_pages", why.entitlement.min_pages)?;
    facts.set_item("max_pages", why.entitlement.max_pages)?;
    facts.set_item("shares", why.entitlement.shares)?;
    let target = why.target.as_ref();
    facts.set_item("target_pages", target.map(|target| target.row.target_pages))?;
    facts.set_item("before_pages", target.and_then(|target| target.before_pages))?;
    facts.set_item("set_at_s", target.map(|target| seconds(target.set_by.time_ns)))?;
    facts.set_item("policy", target.map(|target| &*target.set_by.policy))?;
    facts.set_item("cause", target.map(|target| format!("{:?}", target.set_by.cause)))?;
    facts.set_item("available_pages", target.map(|target| target.set_by.available_pages))?;
    facts.set_item("allocated_pages", target.map(|target| target.row.allocated_pages))?;
    facts.set_item("active_pages", target.and_then(|target| target.row.active_pages))?;
    facts.set_item("price", target.and_then(|target| target.row.price))?;
    facts.set_item("taxed_pages", target.map(|target| target.row.taxed_pages))?;
    facts.set_item("bound", target.map(|target| format!("{:?}", target.row.bound).to_lowercase()))?;
    facts.set_item("cheapest", why.cheapest.as_ref().and_then(|next| next.name.as_deref()))?;
    facts.set_item("balloon_target_pages", why.action.balloon_pages)?;
    facts.set_item("page_out_pages", why.action.page_out_pages)?;
    facts.set_item("blocked", why.action.blocked)?;
    facts.set_item("moved", moved(py, &why.moved)?)?;
    facts.set_item("failure", why.failure.as_ref().map(|failure| &*failure.reason))?;
    Ok(facts)
}

/// The situations that the ledger tells of, oldest first.
pub fn situations(host: &Host, signals: &mut Signals) -> Result<Vec<(u64, Situation)>, Error> {
    let ledger = host.ledger().ok_or(Error::NothingDivided)?;
    if ledger.is_off() {
        return Err(Error::LedgerOff);
    }
    let mut situations = vec![];
    for moment in ledger.replay() {
        if situations.len() % STRETCH == 0 {
            signals.look()?;
        }
        situations.push(moment);
    }
    Ok(situations)
}

/// Situations as rows of facts.
pub fn rows<'py>(py: Python<'py>, situations: &[(u64, Situation)]) -> PyResult<Bound<'py, PyList>> {
    let rows = PyList::empty(py);
    for (time_ns, situation) in situations {
        let row = PyDict::new(py);
        row.set_item("time_s", seconds(*time_ns))?;
        row.set_item("free_state", state_name(situation.state))?;
        let vms = PyDict::new(py);
        for vm in &situation.vms {
            let facts = PyDict::new(py);
            facts.set_item("target_pages", vm.target_pages())?;
            facts.set_item("balloon_target_pages", vm.action.balloon_pages)?;
            facts.set_item("blocked", vm.action.blocked)?;
            facts.set_item("moved", moved(py, &vm.moves)?)?;
            vms.set_item(&*vm.name, facts)?;
        }
        row.set_item("vms", vms)?;
        rows.append(row)?;
    }
    Ok(rows)
}

fn moved<'py>(py: Python<'py>, moves: &Moves) -> PyResult<Bound<'py, PyDict>> {
    let pages = PyDict::new(py);
    for (mechanism, count) in moves.iter() {
        pages.set_item(format!("{mechanism:?}"), count)?;
    }
    Ok(pages)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
