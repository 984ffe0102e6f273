//! Systems without the interfaces: no process can be opened.

use esxcore_core::types::Page;

use crate::error::Error;
use crate::map::Run;
use crate::pages::Pages;
use crate::process::{Kind, Region};
use crate::source::Pulse;

/// A running process. There are none here.
#[derive(Debug)]
pub enum Process {}

impl Process {
    /// Opens no process.
    ///
    /// # Errors
    ///
    /// [`Error::InProcess`] with [`Error::LinuxOnly`].
    pub fn open(pid: u32) -> Result<Self, Error> {
        Err(Error::LinuxOnly.in_process(pid))
    }

    /// Opens no process.
    ///
    /// # Errors
    ///
    /// [`Error::InProcess`] with [`Error::LinuxOnly`].
    pub fn open_with(pid: u32, _: Pulse<'_>) -> Result<Self, Error> {
        Self::open(pid)
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match *self {}
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match *self {}
    }

    /// The mappings taken.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        match *self {}
    }

    /// Absent pages.
    #[must_use]
    pub fn absent_pages(&self) -> u64 {
        match *self {}
    }

    /// Swapped pages.
    #[must_use]
    pub fn swapped_pages(&self) -> u64 {
        match *self {}
    }

    /// Pages gone while they were read.
    #[must_use]
    pub fn lost_pages(&self) -> u64 {
        match *self {}
    }

    /// The address of a page.
    ///
    /// # Errors
    ///
    /// None: there is no process.
    pub fn address(&self, _: u32) -> Result<u64, Error> {
        match *self {}
    }
}

impl Pages for Process {
    fn pages(&self) -> u32 {
        match *self {}
    }

    fn run(&self, _: u32, _: u32) -> Result<Run, Error> {
        match *self {}
    }

    fn read_pages(&self, _: u32, _: &mut [Page]) -> Result<(), Error> {
        match *self {}
    }
}
