//! Policies that are not to be believed, and some that are built in.

use std::sync::Arc;

use esxcore_core::error::Error;
use esxcore_core::policy::{AllocationPolicy, Equal, HostView, MinFunding, Overcommit, named};

/// What is wrong with a policy's answer.
#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    Short,
    BelowMin,
    AboveMax,
    AboveAvailable,
    Fails,
}

impl AllocationPolicy for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        let mins = || view.min_pages.iter().map(|pages| i64::from(*pages));
        let maxes = || view.max_pages.iter().map(|pages| i64::from(*pages));
        match self {
            Self::Short => Ok(vec![1; view.len() + 1]),
            Self::BelowMin => Ok(mins().map(|pages| pages - 1).collect()),
            Self::AboveMax => Ok(maxes().map(|pages| pages + 1).collect()),
            Self::AboveAvailable => Ok(maxes().collect()),
            Self::Fails => Err(Error::PolicyFailed { policy: "wrong".into(), reason: "no answer".into() }),
        }
    }
}

/// Gives everybody its min, or its max whatever there is.
#[derive(Clone, Copy, Debug)]
pub enum Extreme {
    Min,
    Max,
}

impl AllocationPolicy for Extreme {
    fn name(&self) -> &str {
        "extreme"
    }

    fn targets(&self, view: &HostView) -> Result<Vec<i64>, Error> {
        let column = match self {
            Self::Min => &view.min_pages,
            Self::Max => &view.max_pages,
        };
        Ok(column.iter().map(|pages| i64::from(*pages)).collect())
    }

    fn overcommit(&self) -> Overcommit {
        Overcommit::Allowed
    }
}

/// The policy of that number, of nine.
pub fn numbered(number: u32) -> Arc<dyn AllocationPolicy> {
    match number {
        0 => Arc::new(Wrong::Short),
        1 => Arc::new(Wrong::BelowMin),
        2 => Arc::new(Wrong::AboveMax),
        3 => Arc::new(Wrong::AboveAvailable),
        4 => Arc::new(Wrong::Fails),
        5 => Arc::new(Extreme::Min),
        6 => Arc::new(Extreme::Max),
        7 => Arc::new(Equal),
        8 => Arc::from(named("proxmox", &[]).unwrap()),
        _ => Arc::new(MinFunding::default()),
    }
}
