//! The one check that all targets pass, whoever has made them.

use super::AllocationPolicy;
use super::view::HostView;
use crate::error::Error;

/// Whether targets together may be more than is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overcommit {
    /// They may not.
    Refused,
    /// They may; what is missing is paged.
    Allowed,
}

/// Checked targets in pages, a row a virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets(Vec<u32>);

impl Targets {
    /// Asks a policy and checks what it answers.
    ///
    /// # Errors
    ///
    /// What the policy returns, or as [`Targets::check`].
    pub fn ask(policy: &dyn AllocationPolicy, view: &HostView) -> Result<Self, Error> {
        Self::check(&policy.targets(view)?, view, policy.overcommit())
    }

    /// Takes an answer if it has a target for each virtual machine, each from min to max, and together no more than
    /// available.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnLength`], [`Error::TargetOutOfRange`] or [`Error::TargetsOvercommitted`], for the first reason of
    /// the first virtual machine.
    pub fn check(answer: &[i64], view: &HostView, overcommit: Overcommit) -> Result<Self, Error> {
        if answer.len() != view.len() {
            return Err(Error::ColumnLength { column: "targets", rows: answer.len(), vms: view.len() });
        }
        let target = |(vm, target): (usize, &i64)| within_bounds(*target, vm, view);
        let targets = answer.iter().enumerate().map(target).collect::<Result<Vec<u32>, Error>>()?;
        let target_pages = targets.iter().map(|target| u64::from(*target)).sum();
        if overcommit == Overcommit::Refused && target_pages > view.available_pages {
            return Err(Error::TargetsOvercommitted { target_pages, available_pages: view.available_pages });
        }
        Ok(Self(targets))
    }

    /// The targets.
    #[must_use]
    pub fn pages(&self) -> &[u32] {
        &self.0
    }
}

fn within_bounds(target: i64, vm: usize, view: &HostView) -> Result<u32, Error> {
    let (min_pages, max_pages) = (view.min_pages[vm], view.max_pages[vm]);
    match u32::try_from(target) {
        Ok(pages) if (min_pages..=max_pages).contains(&pages) => Ok(pages),
        _ => Err(Error::TargetOutOfRange { vm: view.names[vm].clone(), target, min_pages, max_pages }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> HostView {
        HostView {
            names: vec!["web".into(), "db".into()],
            min_pages: vec![10, 20],
            max_pages: vec![40, 80],
            available_pages: 100,
            ..HostView::default()
        }
    }

    /// Answers what it is told to.
    #[derive(Debug)]
    struct Parrot(Result<Vec<i64>, Error>, Overcommit);

    impl AllocationPolicy for Parrot {
        fn name(&self) -> &str {
            "parrot"
        }

        fn targets(&self, _: &HostView) -> Result<Vec<i64>, Error> {
            self.0.clone()
        }

        fn overcommit(&self) -> Overcommit {
            self.1
        }
    }

    #[test]
    fn targets_within_all_bounds_are_taken() {
        for answer in [[10, 20], [40, 60], [20, 80], [10, 80]] {
            let targets = Targets::check(&answer, &view(), Overcommit::Refused).expect("within bounds");
            assert_eq!(targets.pages(), answer.map(|target| target as u32));
        }
        assert_eq!(Targets::check(&[], &HostView::default(), Overcommit::Refused), Ok(Targets::default()));
    }

    #[test]
    fn one_target_for_each() {
        for rows in [0, 1, 3] {
            let refused = Targets::check(&vec![20; rows], &view(), Overcommit::Allowed);
            assert_eq!(refused, Err(Error::ColumnLength { column: "targets", rows, vms: 2 }));
        }
    }

    #[test]
    fn a_target_out_of_range_is_refused_with_its_bounds() {
        for target in [19, 81, -1, 0, i64::MIN, i64::MAX, 1 << 32 | 30] {
            let error = Error::TargetOutOfRange { vm: "db".into(), target, min_pages: 20, max_pages: 80 };
            assert_eq!(Targets::check(&[40, target], &view(), Overcommit::Allowed), Err(error.clone()));
            assert_eq!(
                error.to_string(),
                format!("the target of VM \"db\" is {target} pages; expected 20 to 80")
            );
        }
    }

    #[test]
    fn the_sum_is_held_to_what_is_available_unless_the_policy_says_otherwise() {
        let error = Error::TargetsOvercommitted { target_pages: 101, available_pages: 100 };
        assert_eq!(Targets::check(&[40, 61], &view(), Overcommit::Refused), Err(error.clone()));
        let ask = |overcommit| Targets::ask(&Parrot(Ok(vec![40, 61]), overcommit), &view());
        assert_eq!(ask(Overcommit::Refused), Err(error));
        assert_eq!(ask(Overcommit::Allowed), Ok(Targets(vec![40, 61])));
    }

    #[test]
    fn what_keeps_a_policy_from_an_answer_comes_out_whole() {
        let parrot = Parrot(Err(Error::Interrupted), Overcommit::Allowed);
        assert_eq!(Targets::ask(&parrot, &view()), Err(Error::Interrupted));
    }
}
