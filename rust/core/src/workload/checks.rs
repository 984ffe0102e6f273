//! What settings of workloads may be; each complaint names the setting, its value and what is expected.

use std::fmt::Display;

use crate::error::Error;

/// Most references of one operation where a setting gives their number.
pub const MAX_OP_REFS: u32 = 1 << 16;

/// The complaint about one setting.
pub fn refuse(what: &'static str, value: impl Display, expected: impl Into<String>) -> Error {
    Error::Setting { what, value: value.to_string(), expected: expected.into() }
}

/// Refuses a number outside a range.
///
/// # Errors
///
/// [`Error::Setting`].
pub fn within(what: &'static str, value: u32, low: u32, high: u32) -> Result<(), Error> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false if high == u32::MAX => Err(refuse(what, value, format!("at least {low}"))),
        false => Err(refuse(what, value, format!("{low} to {high}"))),
    }
}

/// Refuses what is not a fraction.
///
/// # Errors
///
/// [`Error::Setting`].
pub fn fraction(what: &'static str, value: f64) -> Result<(), Error> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(refuse(what, value, "0 to 1")),
    }
}

/// Refuses pages or files that, counted from a base, go beyond `limit` in all.
///
/// # Errors
///
/// [`Error::Setting`].
pub fn span(base: u32, what: &'static str, count: u32, limit: u64) -> Result<(), Error> {
    let room = limit.saturating_sub(u64::from(base));
    match u64::from(count) <= room {
        true => Ok(()),
        false => {
            Err(refuse(what, count, format!("at most {room}, as base is {base} and {limit} can be named")))
        }
    }
}

/// Refuses memory that references cannot name.
///
/// # Errors
///
/// [`Error::Setting`].
pub fn memory(base: u32, pages: u32) -> Result<(), Error> {
    span(base, "pages", pages, 1 << 32)
}

/// Refuses a rate of 0, at which time would stand still.
///
/// # Errors
///
/// [`Error::Setting`].
pub fn rate(refs_per_s: Option<u32>) -> Result<(), Error> {
    refs_per_s.map_or(Ok(()), |rate| within("refs_per_s", rate, 1, u32::MAX))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The setting that is complained about.
    pub fn refused<T>(result: Result<T, Error>) -> &'static str {
        match result {
            Err(Error::Setting { what, .. }) => what,
            Err(other) => panic!("{other}"),
            Ok(_) => "nothing",
        }
    }

    #[test]
    fn complaints_say_what_is_expected() {
        let text = |result: Result<(), Error>| result.expect_err("it is wrong").to_string();
        assert_eq!(text(within("pages", 0, 1, u32::MAX)), "pages is 0; expected at least 1");
        assert_eq!(text(within("pages", 9, 1, 8)), "pages is 9; expected 1 to 8");
        assert_eq!(text(fraction("write_fraction", f64::NAN)), "write_fraction is NaN; expected 0 to 1");
        let far = memory(u32::MAX, 2);
        assert_eq!(
            text(far),
            "pages is 2; expected at most 1, as base is 4294967295 and 4294967296 can be named"
        );
        assert_eq!(memory(u32::MAX, 1), Ok(()));
        assert_eq!(refused(rate(Some(0))), "refs_per_s");
    }
}
