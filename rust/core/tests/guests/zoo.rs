//! Guests of all characters, for hosts to be tested with.
//!
//! | guest | does |
//! |---|---|
//! | [`Ideal`] | gives any page at once, touches none of them again |
//! | [`Kept`] | a kernel of Linux's or Windows' manner, at hand for processes while a balloon has it |
//! | [`Habit::Slow`] | a kernel that gives a few pages a poll |
//! | [`Habit::Stuck`] | a kernel that says from some poll on that it is still making room, and never has any |
//! | [`Habit::Lying`] | a kernel whose driver is given pages that its processes use, ballooned ones, and ones that it has not |
//! | [`Habit::Crashed`] | a kernel that is dead from some poll on: it gives and takes nothing |
//!
//! One that reboots is a [`Kept`] whose kernel is made anew: it touches its memory as after power-on, and knows of no
//! balloon.

use std::sync::{Arc, Mutex, MutexGuard};

use esxcore_core::balloon::{Given, GuestOs, GuestPage, GuestPages, Wait};
use esxcore_core::rng::Stream;
use esxcore_core::types::Ppn;

/// A guest that does without any page at once.
#[derive(Clone, Debug, Default)]
pub struct Ideal;

impl GuestOs for Ideal {
    fn name(&self) -> &str {
        "ideal"
    }

    fn allocate(&mut self, most: u32, _: Wait, own: GuestPages<'_>, _: &mut Stream) -> Given {
        let all = (0..own.pages()).map(Ppn);
        let pages = all.filter(|ppn| own.page(*ppn) != GuestPage::Ballooned).take(most as usize).collect();
        Given { pages, sleeps: false }
    }

    fn free(&mut self, _: &[Ppn]) {}

    fn reset(&mut self) {}

    fn boxed_clone(&self) -> Box<dyn GuestOs> {
        Box::new(self.clone())
    }
}

/// What a kernel's driver has to put up with.
#[derive(Clone, Copy, Debug)]
pub enum Habit {
    /// Nothing.
    None,
    /// No more than so many pages a call.
    Slow(u32),
    /// After so many calls it gives nothing and says that more will come.
    Stuck(u32),
    /// It names anything.
    Lying,
    /// After so many calls it does nothing any more.
    Crashed(u32),
}

/// A guest at hand: the balloon has one end of it and the test, which runs its processes, the other.
#[derive(Debug)]
pub struct Kept {
    os: Arc<Mutex<Box<dyn GuestOs>>>,
    name: String,
    habit: Habit,
    calls: u32,
}

impl Kept {
    pub fn new(os: Box<dyn GuestOs>, habit: Habit) -> Self {
        let name = os.name().into();
        Self { os: Arc::new(Mutex::new(os)), name, habit, calls: 0 }
    }

    /// The other end.
    pub fn handle(&self) -> Arc<Mutex<Box<dyn GuestOs>>> {
        Arc::clone(&self.os)
    }

    fn os(&self) -> MutexGuard<'_, Box<dyn GuestOs>> {
        self.os.lock().unwrap()
    }

    fn is_dead(&self) -> bool {
        matches!(self.habit, Habit::Crashed(calls) if self.calls > calls)
    }
}

/// Pages that are in use, ballooned, not there, and named twice.
fn lies(most: u32, own: GuestPages<'_>, random: &mut Stream) -> Given {
    let number = most.min(30);
    let mut pages: Vec<Ppn> = (0..number).map(|_| Ppn(random.below(own.pages() + 5))).collect();
    pages.extend(pages.clone());
    Given { pages, sleeps: random.below(2) == 0 }
}

impl GuestOs for Kept {
    fn name(&self) -> &str {
        &self.name
    }

    fn allocate(&mut self, most: u32, wait: Wait, own: GuestPages<'_>, random: &mut Stream) -> Given {
        self.calls += 1;
        match self.habit {
            Habit::Slow(pages) => self.os().allocate(most.min(pages), wait, own, random),
            Habit::Stuck(calls) if self.calls > calls => {
                Given { pages: vec![], sleeps: wait == Wait::MaySleep }
            }
            Habit::Lying => lies(most, own, random),
            Habit::Crashed(_) if self.is_dead() => Given::default(),
            _ => self.os().allocate(most, wait, own, random),
        }
    }

    fn free(&mut self, pages: &[Ppn]) {
        if !self.is_dead() {
            self.os().free(pages);
        }
    }

    fn reset(&mut self) {
        if !self.is_dead() {
            self.os().reset();
        }
    }

    fn boxed_clone(&self) -> Box<dyn GuestOs> {
        let os = Arc::new(Mutex::new(self.os().clone()));
        Box::new(Self { os, name: self.name.clone(), habit: self.habit, calls: self.calls })
    }
}
