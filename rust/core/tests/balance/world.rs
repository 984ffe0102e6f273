//! Calls to a host as values, so that two hosts can get the same ones, and what its guests should find.

use std::collections::HashMap;

use esxcore_core::config::VmConfig;
use esxcore_core::error::Error;
use esxcore_core::host::{Host, VmChanges};
use esxcore_core::pmap::State;
use esxcore_core::share::ScanReport;
use esxcore_core::types::{Access, ContentKind, PAGE_SIZE, Page, PageBatch, PageView, Ppn, VmId};

use crate::common::keep;
use crate::policies;

/// One call. A virtual machine is named by its place among those that are powered on.
#[derive(Clone, Debug)]
pub enum Call {
    PowerOn(VmConfig),
    /// Taken back at once.
    Cancelled(VmConfig),
    PowerOff(usize),
    Load(usize, u32, Vec<u64>),
    Touch(usize, Vec<u32>, Access),
    Write(usize, Vec<u32>, Vec<u64>),
    Read(usize, Vec<u32>),
    Scan(u64),
    /// Nanoseconds.
    Advance(u64),
    Configure(usize, VmChanges),
    SetPolicy(u32),
}

/// What a call answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// References that were served, of a call of a guest.
    pub done: usize,
    /// Why the call was refused or stopped; all of them, of an advance.
    pub errors: Vec<Error>,
    /// Whether it was refused, so that nothing may have changed.
    pub refused: bool,
}

impl Answer {
    fn of(result: Result<(), Error>) -> Self {
        Self { refused: result.is_err(), errors: result.err().into_iter().collect(), done: 0 }
    }
}

/// A page with that number in it.
fn page(number: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    page[PAGE_SIZE - 8..].copy_from_slice(&number.to_le_bytes());
    page
}

fn with_contents<T>(kind: ContentKind, numbers: &[u64], call: impl FnOnce(PageBatch<'_>) -> T) -> T {
    match kind {
        ContentKind::Tokens => call(PageBatch::Tokens(numbers)),
        ContentKind::Bytes => {
            call(PageBatch::Bytes(&numbers.iter().map(|number| page(*number)).collect::<Vec<_>>()))
        }
    }
}

/// In which parts a host gets what can be cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub batch: usize,
    pub picks: u32,
    pub ns: u64,
}

pub const WHOLE: Cut = Cut { batch: usize::MAX, picks: u32::MAX, ns: u64::MAX };

/// Makes a call.
pub fn call(host: &mut Host, call: &Call, cut: Cut, each_tick: &mut dyn FnMut(&Host)) -> Answer {
    let kind = host.memory().content().kind();
    let id = |host: &Host, place: usize| host.vms()[place].id;
    match call {
        Call::PowerOn(config) => Answer::of(host.power_on(config.clone(), &mut || Ok(())).map(|_| ())),
        Call::Cancelled(config) => {
            let vm = host.power_on(config.clone(), &mut || Ok(()));
            Answer::of(vm.map(|vm| host.cancel_power_on(vm)))
        }
        Call::PowerOff(place) => {
            host.begin_power_off(id(host, *place));
            while !host.power_off_some(cut.picks) {}
            Answer::default()
        }
        Call::Load(place, first, numbers) => {
            let vm = id(host, *place);
            Answer::of(with_contents(kind, numbers, |contents| host.load(vm, Ppn(*first), contents)))
        }
        Call::Scan(pages) => {
            host.scan(*pages);
            Answer::default()
        }
        Call::Advance(ns) => advance(host, *ns, cut, each_tick),
        Call::Configure(place, changes) => Answer::of(host.configure(id(host, *place), *changes)),
        Call::SetPolicy(number) => Answer::of(host.set_policy(policies::numbered(*number))),
        Call::Touch(place, ppns, _) | Call::Read(place, ppns) | Call::Write(place, ppns, _) => {
            let vm = id(host, *place);
            in_parts(ppns.len(), cut.batch, |from, to| access(host, vm, call, (from, to)))
        }
    }
}

/// Makes a guest's call from one reference to another.
fn access(host: &mut Host, vm: VmId, call: &Call, (from, to): (usize, usize)) -> Answer {
    let kind = host.memory().content().kind();
    let report = match call {
        Call::Touch(_, ppns, access) => host.touch(vm, &ppns[from..to], *access),
        Call::Write(_, ppns, numbers) => {
            let numbers = &numbers[from.min(numbers.len())..to.min(numbers.len())];
            with_contents(kind, numbers, |contents| host.write(vm, &ppns[from..to], contents))
        }
        Call::Read(_, ppns) => {
            let expected: Vec<Vec<u8>> = ppns.iter().map(|ppn| readable(host, vm, *ppn)).collect();
            let mut at = from;
            host.read(vm, &ppns[from..to], |page| {
                // Only a page of a balloon that pops meanwhile may read otherwise, and that one is zero already.
                assert_eq!(keep(page), expected[at]);
                at += 1;
            })
        }
        _ => unreachable!("only guests' calls come here"),
    };
    match report {
        Ok(report) => {
            Answer { done: report.done, errors: report.stopped.into_iter().collect(), refused: false }
        }
        Err(error) => Answer::of(Err(error)),
    }
}

fn readable(host: &Host, vm: VmId, ppn: u32) -> Vec<u8> {
    if ppn < host.memory().vm(vm).pmap().pages() { keep(host.peek(vm, Ppn(ppn))) } else { vec![] }
}

/// Runs a batch in parts, until one stops.
fn in_parts(len: usize, part: usize, mut run: impl FnMut(usize, usize) -> Answer) -> Answer {
    let mut all = Answer::default();
    let mut from = 0usize;
    loop {
        let to = from.saturating_add(part).min(len);
        let answer = run(from, to);
        all.done += answer.done;
        if !answer.errors.is_empty() || to == len {
            return Answer { done: all.done, ..answer };
        }
        from = to;
    }
}

fn advance(host: &mut Host, ns: u64, cut: Cut, each_tick: &mut dyn FnMut(&Host)) -> Answer {
    let mut answer = Answer::default();
    let mut left = ns;
    let mut second = u64::MAX;
    loop {
        // Never over two ticks at once, so that nothing between them is missed.
        let to_tick = 1_000_000_000 - host.now_ns() % 1_000_000_000;
        let part = left.min(cut.ns).min(to_tick);
        host.begin_advance(part);
        loop {
            match host.advance_some(cut.picks, &mut ScanReport::default()) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => answer.errors.push(error),
            }
        }
        left -= part;
        if host.now_ns() / 1_000_000_000 != second {
            second = host.now_ns() / 1_000_000_000;
            each_tick(host);
        }
        if left == 0 {
            return answer;
        }
    }
}

/// What guests should find in their pages (I9, I10): what they last wrote, and zero where they gave pages up.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pages: HashMap<u64, Vec<Vec<u8>>>,
}

impl Model {
    /// Takes in what balloons hold now: it is lost.
    pub fn lose_ballooned(&mut self, host: &Host) {
        for vm in host.vms() {
            let zero = zero(host);
            let Some(pages) = self.pages.get_mut(&vm.serial) else { continue };
            for (page, entry) in pages.iter_mut().zip(host.memory().vm(vm.id).pmap().entries()) {
                if entry.state() == State::Ballooned {
                    page.clone_from(&zero);
                }
            }
        }
    }

    /// Takes in a call that was answered.
    pub fn follow(&mut self, host: &Host, call: &Call, answer: &Answer) {
        let kind = host.memory().content().kind();
        let content = |number: u64| with_contents(kind, &[number], |contents| keep(contents.page(0)));
        let serial = |place: usize| host.vms()[place].serial;
        match call {
            Call::PowerOn(config) if !answer.refused => {
                let serial = host.vms().last().unwrap().serial;
                self.pages.insert(serial, vec![zero(host); config.max_pages as usize]);
            }
            Call::Load(place, first, numbers) if !answer.refused => {
                let pages = self.pages.get_mut(&serial(*place)).unwrap();
                numbers.iter().zip(*first..).for_each(|(number, ppn)| pages[ppn as usize] = content(*number));
            }
            Call::Write(place, ppns, numbers) => {
                let pages = self.pages.get_mut(&serial(*place)).unwrap();
                let done = ppns.iter().zip(numbers).take(answer.done);
                done.for_each(|(ppn, number)| pages[*ppn as usize] = content(*number));
            }
            Call::Touch(place, ppns, Access::Write) => {
                let vm = &host.vms()[*place];
                let pages = self.pages.get_mut(&vm.serial).unwrap();
                for ppn in &ppns[..answer.done] {
                    // The host makes it up, different from what every other page holds.
                    pages[*ppn as usize] = keep(host.peek(vm.id, Ppn(*ppn)));
                    assert_ne!(pages[*ppn as usize], zero(host));
                }
            }
            _ => {}
        }
    }

    /// Compares all pages.
    pub fn check(&self, host: &Host) {
        for vm in host.vms() {
            for (page, ppn) in self.pages[&vm.serial].iter().zip(0..) {
                let found = match host.peek(vm.id, Ppn(ppn)) {
                    PageView::Bytes(bytes) => bytes[..] == page[..],
                    PageView::Token(token) => token.to_le_bytes()[..] == page[..],
                };
                let state = host.memory().entry(vm.id, Ppn(ppn)).state();
                let head = |bytes: &[u8]| bytes[bytes.len().min(PAGE_SIZE) - 8..].to_vec();
                let reads = keep(host.peek(vm.id, Ppn(ppn)));
                assert!(
                    found,
                    "I9: page {ppn} of {vm:?}, {state:?}: {:?} for {:?}",
                    head(&reads),
                    head(page)
                );
            }
        }
    }
}

fn zero(host: &Host) -> Vec<u8> {
    vec![
        0;
        match host.memory().content().kind() {
            ContentKind::Bytes => PAGE_SIZE,
            ContentKind::Tokens => 8,
        }
    ]
}
