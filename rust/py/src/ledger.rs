//! What a host remembers of its decisions, as Python gets it.

use std::sync::Arc;

use esxcore_core::error::Error;
use esxcore_core::host::Host;
use esxcore_core::ledger::{Decision, Event, Explanation, Ledger, Moves, Row, Situation};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::calls::{VmRef, find};
use crate::signals::Signals;
use crate::view::state_name;

/// Moments between two looks for signals.
const STRETCH: usize = 256;

/// A policy's answer, and the rows of it that said something new.
pub struct Answer {
    decision: Decision,
    /// Who would have lost the next page.
    cheapest: Option<Arc<str>>,
    rows: Vec<AnswerRow>,
}

/// What an answer said of one virtual machine.
struct AnswerRow {
    name: Arc<str>,
    before_pages: Option<u32>,
    row: Row,
}

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
    facts.set_item("cause", target.map(|target| target.set_by.cause.to_string()))?;
    let reconfigured = target.and_then(|target| target.reconfigured);
    facts.set_item("reconfigured_at_s", reconfigured.map(|since| seconds(since.time_ns)))?;
    facts.set_item("decided_pages", reconfigured.map(|since| since.decided_pages))?;
    facts.set_item("available_pages", target.map(|target| target.set_by.available_pages))?;
    facts.set_item("allocated_pages", target.map(|target| target.row.allocated_pages))?;
    facts.set_item("active_pages", target.and_then(|target| target.row.active_pages))?;
    facts.set_item("price", target.and_then(|target| target.row.price))?;
    facts.set_item("taxed_pages", target.map(|target| target.row.taxed_pages))?;
    facts.set_item("bound", target.map(|target| target.row.bound.to_string()))?;
    facts.set_item("cheapest", why.cheapest.as_ref().and_then(|next| next.name.as_deref()))?;
    facts.set_item("balloon_target_pages", why.action.balloon_pages)?;
    facts.set_item("page_out_pages", why.action.page_out_pages)?;
    facts.set_item("blocked", why.action.blocked)?;
    facts.set_item("moved", moved(py, &why.moved)?)?;
    facts.set_item("failure", why.failure.as_ref().map(|failure| &*failure.reason))?;
    Ok(facts)
}

/// Why a virtual machine, which may be gone by now, had its target at a time.
pub fn why(host: &Host, vm: &VmRef, at_ns: u64) -> Result<Explanation, Error> {
    match vm {
        VmRef::Name(name) => host.explain_named(name, at_ns),
        VmRef::Handle(serial, name) => {
            let why = host.ledger().ok_or(Error::NothingDivided)?.why(*serial, at_ns);
            why.map_err(|error| match error {
                Error::NotThen { asked_ns, .. } if find(host, vm).is_ok() => {
                    Error::NotYet { vm: name.clone(), asked_ns }
                }
                Error::NotThen { asked_ns, .. } => Error::NobodyThen { vm: name.clone(), asked_ns },
                error => error,
            })
        }
    }
}

/// The situations that the ledger tells of, oldest first.
pub fn situations(host: &Host, signals: &mut Signals) -> Result<Vec<(u64, Situation)>, Error> {
    let mut situations = vec![];
    for moment in kept_by(host)?.replay() {
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

/// The answers after a time that the ledger still has, oldest first. Cost: the records after that time.
pub fn answers(host: &Host, after_ns: Option<u64>) -> Result<Vec<Answer>, Error> {
    let ledger = kept_by(host)?;
    let is_new = |time_ns: u64| after_ns.is_none_or(|after_ns| time_ns > after_ns);
    let new = ledger.records().rev().take_while(|record| is_new(record.time_ns)).count();
    let mut answers: Vec<Answer> = vec![];
    for record in ledger.records().skip(ledger.records().len() - new) {
        match &record.event {
            Event::Decided(decision) => answers.push(Answer {
                decision: decision.clone(),
                cheapest: decision.cheapest.and_then(|cheapest| name_of(ledger, cheapest.serial)),
                rows: vec![],
            }),
            Event::Target { before_pages, row } => {
                let told = answers.last_mut().zip(name_of(ledger, row.serial));
                let (answer, name) =
                    told.expect("rows follow their decision, and whom they are about came before");
                answer.rows.push(AnswerRow { name, before_pages: *before_pages, row: *row });
            }
            _ => {}
        }
    }
    Ok(answers)
}

/// Answers as dictionaries of facts.
pub fn told<'py>(py: Python<'py>, answers: &[Answer]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for Answer { decision, cheapest, rows } in answers {
        let facts = PyDict::new(py);
        facts.set_item("time_s", seconds(decision.time_ns))?;
        facts.set_item("policy", &*decision.policy)?;
        facts.set_item("cause", format!("{:?}", decision.cause))?;
        facts.set_item("free_state", state_name(decision.state))?;
        facts.set_item("available_pages", decision.available_pages)?;
        facts.set_item("free_pages", decision.free_pages)?;
        facts.set_item("cheapest", cheapest.as_deref())?;
        let vms = PyDict::new(py);
        for AnswerRow { name, before_pages, row } in rows {
            let vm = PyDict::new(py);
            vm.set_item("before_pages", before_pages)?;
            vm.set_item("target_pages", row.target_pages)?;
            vm.set_item("allocated_pages", row.allocated_pages)?;
            vm.set_item("active_pages", row.active_pages)?;
            vm.set_item("price", row.price)?;
            vm.set_item("taxed_pages", row.taxed_pages)?;
            vm.set_item("bound", format!("{:?}", row.bound).to_lowercase())?;
            vms.set_item(&**name, vm)?;
        }
        facts.set_item("vms", vms)?;
        list.append(facts)?;
    }
    Ok(list)
}

/// The ledger of a host that keeps one.
fn kept_by(host: &Host) -> Result<&Ledger, Error> {
    let ledger = host.ledger().ok_or(Error::NothingDivided)?;
    if ledger.is_off() { Err(Error::LedgerOff) } else { Ok(ledger) }
}

/// The name of a virtual machine, gone or not, as far back as the ledger reaches.
fn name_of(ledger: &Ledger, serial: u64) -> Option<Arc<str>> {
    let here = ledger.now().vm(serial).map(|vm| &vm.name);
    let came = || {
        ledger.records().find_map(|record| match &record.event {
            Event::Came(newcomer) if newcomer.serial == serial => Some(newcomer.name.clone()),
            _ => None,
        })
    };
    let before = || ledger.replay().until(ledger.oldest_ns()).vm(serial).map(|vm| vm.name.clone());
    here.cloned().or_else(came).or_else(before)
}

fn moved<'py>(py: Python<'py>, moves: &Moves) -> PyResult<Bound<'py, PyDict>> {
    let pages = PyDict::new(py);
    for (mechanism, count) in moves.iter() {
        pages.set_item(mechanism.to_string(), count)?;
    }
    Ok(pages)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
