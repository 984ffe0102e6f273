//! What virtual machines are entitled to and what there is for them: checked columns that every division starts from.

use crate::error::Error;

/// One virtual machine's row of [`Claims`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its part relative to others' (§5.1).
    pub shares: u64,
    /// What it gets in any case.
    pub min_pages: u32,
    /// What it gets while there is enough.
    pub max_pages: u32,
    /// Pages it uses, by estimate; above its allocation it counts as all active (§5.3).
    pub active_pages: u32,
}

/// Claims on memory, a row a virtual machine. Every min is at most its max, and all min together are available.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    columns: Columns<'a>,
    available_pages: u64,
    totals: Totals,
}

/// The columns of [`Claims`], not checked.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// See [`Claim::shares`].
    pub shares: &'a [u64],
    /// See [`Claim::min_pages`].
    pub min_pages: &'a [u32],
    /// See [`Claim::max_pages`].
    pub max_pages: &'a [u32],
    /// See [`Claim::active_pages`].
    pub active_pages: &'a [u32],
}

/// Sums over all virtual machines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub shares: f64,
    pub min_pages: u64,
    pub max_pages: u64,
    pub active_pages: u64,
    /// Max of those with shares, min of the others.
    pub funded_pages: u64,
}

impl<'a> Columns<'a> {
    /// The rows.
    pub(super) fn rows(self) -> impl Iterator<Item = Claim> + use<'a> {
        let bounds = self.min_pages.iter().zip(self.max_pages);
        let weights = self.shares.iter().zip(self.active_pages);
        bounds.zip(weights).map(|((&min_pages, &max_pages), (&shares, &active_pages))| Claim {
            shares,
            min_pages,
            max_pages,
            active_pages,
        })
    }

    fn check_lengths(&self) -> Result<(), Error> {
        let vms = self.shares.len();
        let lengths = [
            ("min_pages", self.min_pages.len()),
            ("max_pages", self.max_pages.len()),
            ("active_pages", self.active_pages.len()),
        ];
        match lengths.into_iter().find(|(_, rows)| *rows != vms) {
            Some((column, rows)) => Err(Error::ColumnLength { column, rows, vms }),
            None => Ok(()),
        }
    }

    fn check_bounds(self) -> Result<(), Error> {
        match self.rows().enumerate().find(|(_, claim)| claim.min_pages > claim.max_pages) {
            Some((vm, claim)) => Err(Error::Column {
                column: "min_pages",
                vm,
                value: claim.min_pages.to_string(),
                expected: format!("at most its max_pages, {}", claim.max_pages),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn totals(self) -> Totals {
        self.rows().fold(Totals::default(), |sum, claim| {
            let funded = if claim.shares > 0 { claim.max_pages } else { claim.min_pages };
            Totals {
                shares: sum.shares + claim.shares as f64,
                min_pages: sum.min_pages + u64::from(claim.min_pages),
                max_pages: sum.max_pages + u64::from(claim.max_pages),
                active_pages: sum.active_pages + u64::from(claim.active_pages),
                funded_pages: sum.funded_pages + u64::from(funded),
            }
        })
    }
}

impl<'a> Claims<'a> {
    /// Claims on `available_pages`.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnLength`] if columns differ in length, [`Error::Column`] if a min is above its max,
    /// [`Error::MinOvercommitted`] if all min together are more than available.
    pub fn new(columns: Columns<'a>, available_pages: u64) -> Result<Self, Error> {
        columns.check_lengths()?;
        columns.check_bounds()?;
        let totals = columns.totals();
        if totals.min_pages > available_pages {
            return Err(Error::MinOvercommitted { min_pages: totals.min_pages, available_pages });
        }
        Ok(Self { columns, available_pages, totals })
    }

    /// Virtual machines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.shares.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pages there are for all of them.
    #[must_use]
    pub fn available_pages(&self) -> u64 {
        self.available_pages
    }

    /// The rows.
    pub fn rows(&self) -> impl Iterator<Item = Claim> + use<'a> {
        self.columns.rows()
    }

    /// One row.
    pub(super) fn row(&self, vm: usize) -> Claim {
        let Columns { shares, min_pages, max_pages, active_pages } = self.columns;
        Claim {
            shares: shares[vm],
            min_pages: min_pages[vm],
            max_pages: max_pages[vm],
            active_pages: active_pages[vm],
        }
    }

    pub(super) fn columns(&self) -> Columns<'a> {
        self.columns
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }
}
