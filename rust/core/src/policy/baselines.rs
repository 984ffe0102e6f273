//! Policies to compare with.

use super::AllocationPolicy;
use super::view::HostView;
use crate::error::Error;

/// The same for everyone, as far as min and max allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Equal;

impl AllocationPolicy for Equal {
    fn name(&self) -> &str {
        "equal"
    }

    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        view.apportion(&vec![1.0; view.len()])
    }
}

/// Targets that stay as they are, whatever happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Static {
    /// The target of each virtual machine in pages, in power-on order.
    pub targets: Vec<i64>,
}

impl AllocationPolicy for Static {
    fn name(&self) -> &str {
        "static"
    }

    fn targets(&self, _: &HostView) -> Result<Vec<i64>, Error> {
        Ok(self.targets.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{MinFunding, Targets, TaxRate};

    /// Two idle guests and a busy one, overcommitted.
    fn view() -> HostView {
        HostView {
            names: vec!["idle".into(), "busy".into(), "small".into()],
            shares: vec![1000, 1000, 500],
            min_pages: vec![100, 100, 20],
            max_pages: vec![1000, 1000, 150],
            active_pages: vec![0, 1000, 0],
            available_pages: 1000,
            ..HostView::default()
        }
    }

    #[test]
    fn equal_parts_within_bounds() {
        let targets = Targets::ask(&Equal, &view()).expect("valid");
        assert_eq!(targets.pages(), [425, 425, 150]);
    }

    #[test]
    fn static_targets_stay_and_are_checked() {
        let targets = |targets| Targets::ask(&Static { targets }, &view());
        assert_eq!(targets(vec![500, 480, 20]).expect("valid").pages(), [500, 480, 20]);
        assert!(matches!(targets(vec![500, 500]), Err(Error::ColumnLength { rows: 2, vms: 3, .. })));
        assert!(matches!(targets(vec![99, 500, 20]), Err(Error::TargetOutOfRange { min_pages: 100, .. })));
    }

    #[test]
    fn without_a_tax_shares_alone_count_and_with_one_idle_pages_cost_more() {
        let targets = |tax| Targets::ask(&MinFunding { tax }, &view()).expect("valid").pages().to_vec();
        assert_eq!(targets(TaxRate::NONE), [425, 425, 150]);
        // 4 : 1 among the first two, as an idle page costs four active ones: 180 · 4 + 180 + 100; max does not decide.
        let taxed = targets(TaxRate::default());
        assert_eq!(taxed.iter().sum::<u32>(), 1000);
        assert!(taxed[1] > 3 * taxed[0], "{taxed:?}");
    }
}
