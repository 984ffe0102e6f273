//! Policies: who should have how much memory (§5, §6).
//!
//! A policy is a pure step: in goes a value that describes the host ([`HostView`], a row a virtual machine), out come
//! targets in whole pages, one for each row. It never holds the host, draws no random numbers and sees no clock, so the
//! same view gives the same targets wherever and whenever it is asked, be it for a simulated host or a real one. It is
//! called once in a while for all virtual machines together, never for a page.
//!
//! Whoever asks a policy, built in or foreign, asks through [`Targets::ask`], so all answers pass the same check and a
//! bad one changes nothing. A target says how much memory a virtual machine should have. How it loses or gains the
//! difference is decided elsewhere, and which of its pages it gives up is its own affair.
//!
//! [`MinFunding`] is the paper's policy. [`Equal`] and [`Static`] are baselines to compare with, and [`MinFunding`]
//! without a tax is another, memory in proportion to shares. [`Proxmox`] is what another product does. All of them are
//! in a table, [`BUILT_IN`], and [`named`] makes them. Whoever thinks in weights rather than in pages finds in
//! [`apportion`] what turns any weights into targets that pass.

mod apportion;
mod baselines;
mod built_in;
mod claims;
mod level;
mod min_funding;
mod page;
mod price;
mod proxmox;
mod reasons;
mod targets;
mod view;

pub use apportion::apportion;
pub use baselines::{Equal, Static};
pub use built_in::{BUILT_IN, BuiltIn, Setting, Value, named};
pub use claims::{Claim, Claims, Columns};
pub use min_funding::{MinFunding, level, min_funding};
pub use price::TaxRate;
pub use proxmox::Proxmox;
pub use reasons::Reasons;
pub use targets::{Overcommit, Targets};
pub use view::HostView;

use std::fmt::Debug;

use crate::error::Error;

/// Decides how much memory each virtual machine should have.
pub trait AllocationPolicy: Send + Sync + Debug {
    /// What it is called in records and reports; of a built-in policy its name in [`BUILT_IN`].
    fn name(&self) -> &str;

    /// The target of each virtual machine in pages, a row each as in the view. [`Targets::ask`] checks them.
    ///
    /// # Errors
    ///
    /// Whatever keeps the policy from an answer.
    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error>;

    /// Whether the targets together may be more than is available; what is missing is then paged.
    fn overcommit(&self) -> Overcommit {
        Overcommit::Refused
    }

    /// Why the targets, a row each as in the view, are what they are; none from policies that know no prices.
    fn reasons(&self, _view: &HostView, _targets: &[u32]) -> Option<Reasons> {
        None
    }
}
