//! What a policy sees of a host.

use super::apportion::apportion;
use super::claims::{Claims, Columns};
use crate::error::Error;
use crate::types::FreeState;

/// A host as a value: columns with a row a virtual machine in power-on order, and a few numbers of the host itself.
///
/// Quantities are whole pages unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostView {
    /// Names.
    pub names: Vec<String>,
    /// Entitlement relative to others (§5.1).
    pub shares: Vec<u64>,
    /// What each gets in any case (§6.1).
    pub min_pages: Vec<u32>,
    /// "Physical" sizes, what each gets while there is enough (§6.1).
    pub max_pages: Vec<u32>,
    /// Resident pages, shared ones in full.
    pub allocated_pages: Vec<u32>,
    /// Pages in use, by sampling (§5.3).
    pub active_pages: Vec<u32>,
    /// Pages given up to the balloon (§3.2).
    pub balloon_pages: Vec<u32>,
    /// Pages in the server's swap file (§3.3).
    pub swapped_pages: Vec<u32>,
    /// Resident pages that share their machine page with others (§4).
    pub shared_pages: Vec<u32>,
    /// What the guest says is free, if it says so.
    pub guest_free_pages: Vec<Option<u32>>,
    /// What the guest says it could free without harm, if it says so.
    pub guest_available_pages: Vec<Option<u32>>,
    /// Pages brought back from the server's swap file since the last view.
    pub swap_in_pages: Vec<u64>,
    /// Part of the time since the last view that the guest stood still for want of memory.
    pub stall_fraction: Vec<f64>,
    /// Whether the balloon driver answers.
    pub driver_ok: Vec<bool>,
    /// Pages there are for all virtual machines together.
    pub available_pages: u64,
    /// Machine memory, all of it, the server's own included.
    pub machine_pages: u32,
    /// Free machine pages.
    pub free_pages: u32,
    /// How short of memory the host is.
    pub free_state: FreeState,
    /// Virtual time.
    pub now_s: f64,
}

impl HostView {
    /// Virtual machines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What virtual machines are entitled to, checked.
    ///
    /// # Errors
    ///
    /// As [`Claims::new`].
    pub fn claims(&self) -> Result<Claims<'_>, Error> {
        let columns = Columns {
            shares: &self.shares,
            min_pages: &self.min_pages,
            max_pages: &self.max_pages,
            active_pages: &self.active_pages,
        };
        Claims::new(columns, self.available_pages)
    }

    /// Targets in proportion to any weights, as [`apportion`] makes them within these virtual machines' bounds.
    ///
    /// # Errors
    ///
    /// As [`apportion`].
    pub fn apportion(&self, weights: &[f64]) -> Result<Vec<i64>, Error> {
        apportion(weights, &self.min_pages, &self.max_pages, self.available_pages)
    }
}
