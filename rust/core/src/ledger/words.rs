//! How the ledger's words read: the one place that says what a cause, a mechanism or a bound is called.

use std::fmt::{self, Display, Formatter};

use super::record::{Bound, Cause, Mechanism};

impl Display for Cause {
    /// As a sentence that goes on after "because".
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Period => "a balance period was over",
            Self::PowerOn => "a VM was powered on",
            Self::PowerOff => "a VM was powered off",
            Self::Reconfigured => "a VM was reconfigured",
            Self::StateChanged => "the free state had changed",
            Self::StillShort => "the targets before would not free enough",
            Self::PolicySet => "the policy was set",
        })
    }
}

impl Mechanism {
    /// What it is called, and what has become of pages that it moved.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Load => ("load", "loaded"),
            Self::ZeroFill => ("zero fill", "first touched"),
            Self::CowBreak => ("COW break", "unshared by writes"),
            Self::Merge => ("merge", "merged"),
            Self::BalloonInflate => ("balloon inflation", "given to the balloon"),
            Self::BalloonFreed => ("freed by the balloon", "freed by the balloon"),
            Self::BalloonDeflate => ("balloon deflation", "back from the balloon"),
            Self::Pop => ("balloon pop", "popped from the balloon"),
            Self::PageOut => ("page-out", "paged out"),
            Self::EmergencyPageOut => ("emergency page-out", "paged out in an emergency"),
            Self::SharedBeforeSwap => ("shared before swap", "shared instead of paged out"),
            Self::PageIn => ("page-in", "paged in"),
        }
    }

    /// What has become of pages that it moved.
    pub(super) const fn past(self) -> &'static str {
        self.words().1
    }
}

impl Display for Mechanism {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.words().0)
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Min => "min",
            Self::Max => "max",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_mechanisms_are_called_the_same() {
        let names: BTreeSet<String> = Mechanism::ALL.iter().map(ToString::to_string).collect();
        let pasts: BTreeSet<&str> = Mechanism::ALL.iter().map(|mechanism| mechanism.past()).collect();
        assert_eq!((names.len(), pasts.len()), (Mechanism::ALL.len(), Mechanism::ALL.len()));
    }

    #[test]
    fn words_are_those_of_people() {
        assert_eq!(Cause::PolicySet.to_string(), "the policy was set");
        assert_eq!(Mechanism::ZeroFill.to_string(), "zero fill");
        assert_eq!(
            [Bound::None, Bound::Min, Bound::Max].map(|bound| bound.to_string()),
            ["none", "min", "max"]
        );
    }
}
