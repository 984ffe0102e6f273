//! Sampling of active memory as Python gets it.

use esxcore_core::sample::{self, SampleReport};
use pyo3::prelude::*;

/// (period_s, periods, elapsed_s, sampled, touched, last_touched, slow, fast, current, estimate, low, high)
pub type SampleRow = (u32, u64, u32, u32, u32, u32, f64, f64, f64, f64, f64, f64);

/// What sampling knows of a virtual machine.
pub fn row(report: &SampleReport) -> SampleRow {
    let interval = report.interval();
    (
        report.period_s,
        report.periods,
        report.elapsed_s,
        report.sampled,
        report.touched,
        report.last_touched,
        report.slow,
        report.fast,
        report.current,
        report.estimate,
        interval.low,
        interval.high,
    )
}

/// The score interval of a fraction of `sampled` draws, for the normal quantile `z`.
#[pyfunction]
pub fn wilson(fraction: f64, sampled: u32, z: f64) -> (f64, f64) {
    let interval = sample::wilson(fraction, sampled, z);
    (interval.low, interval.high)
}
