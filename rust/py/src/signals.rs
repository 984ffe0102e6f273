//! Ctrl-C in long calls: they are parts, and between two of them Python's signal handlers run.

use std::time::{Duration, Instant};

use esxcore_core::error::Error;
use esxcore_image::error::Error as ImageError;
use esxcore_trace::error::Error as TraceError;
use pyo3::prelude::*;

use crate::errors::{from_image, from_trace, to_py};
use crate::policy::take_raised;

/// Looks for Python signals from within a call that has let the interpreter go.
#[derive(Default)]
pub struct Signals {
    raised: Option<PyErr>,
}

impl Signals {
    /// Runs the handlers of signals that came; what one raises ends the call.
    pub fn look(&mut self) -> Result<(), Error> {
        Python::attach(|py| py.check_signals()).map_err(|raised| {
            self.raised = Some(raised);
            Error::Interrupted
        })
    }

    /// As [`Signals::look`], for the image crate.
    pub fn pulse(&mut self) -> Result<(), ImageError> {
        self.report(None, 0)
    }

    /// As [`Signals::pulse`], and calls `progress` with what is done; what it raises ends the call too.
    pub fn report(&mut self, progress: Option<&Py<PyAny>>, done: u64) -> Result<(), ImageError> {
        let heard = Python::attach(|py| {
            py.check_signals()?;
            progress.map_or(Ok(()), |progress| progress.call1(py, (done,)).map(drop))
        });
        heard.map_err(|raised| {
            self.raised = Some(raised);
            ImageError::Interrupted
        })
    }

    /// As [`Signals::finish`], for the image crate.
    pub fn finish_image<T>(self, py: Python<'_>, result: Result<T, ImageError>) -> PyResult<T> {
        match self.raised {
            Some(raised) => Err(raised),
            None => result.map_err(|error| from_image(py, &error)),
        }
    }

    /// As [`Signals::look`], for the trace crate.
    pub fn beat(&mut self) -> Result<(), TraceError> {
        Ok(self.look()?)
    }

    /// As [`Signals::finish`], for the trace crate.
    pub fn finish_trace<T>(self, py: Python<'_>, result: Result<T, TraceError>) -> PyResult<T> {
        match self.raised {
            Some(raised) => Err(raised),
            None => result.map_err(|error| from_trace(py, &error)),
        }
    }

    /// The call's result, or what a signal handler raised.
    pub fn finish<T>(self, py: Python<'_>, result: Result<T, Error>) -> PyResult<T> {
        // What a policy raised comes out whole.
        match self.raised.or_else(take_raised) {
            Some(raised) => Err(raised),
            None => result.map_err(|error| to_py(py, &error, 0)),
        }
    }
}

/// How much scanning to do between two looks for signals. Chains are short, unless an experiment makes the hash weak;
/// so the pace is found by the time that parts take. Where a scan is cut does not change its result.
pub struct Pace {
    picks: u32,
    asked: Option<Instant>,
    looked: Option<Instant>,
}

impl Pace {
    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_millis(20);
    const MOST_PICKS: u32 = 1 << 14;

    /// Whether it is time to look for signals again: parts may be so short that looking costs more than they do. Time is
    /// that of the last [`Pace::picks`].
    pub fn is_due(&mut self) -> bool {
        let Some(now) = self.asked else { return true };
        let is_due = self.looked.is_none_or(|looked| now - looked > Self::SHORT);
        if is_due {
            self.looked = Some(now);
        }
        is_due
    }

    /// Begins with few picks.
    pub fn new() -> Self {
        Self { picks: 16, asked: None, looked: None }
    }

    /// Picks for the next part.
    pub fn picks(&mut self) -> u32 {
        let now = Instant::now();
        match self.asked.replace(now).map(|asked| now - asked) {
            Some(taken) if taken < Self::SHORT => self.picks = (self.picks * 2).min(Self::MOST_PICKS),
            Some(taken) if taken > Self::LONG => self.picks = (self.picks / 4).max(1),
            _ => {}
        }
        self.picks
    }
}
