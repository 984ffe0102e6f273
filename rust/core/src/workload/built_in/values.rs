//! What parameters of workloads are given, and the forms they may have.

use std::sync::Arc;

use super::super::checks::refuse;
use super::super::{ActivityRecord, Load};
use crate::error::Error;
use crate::page_trace::PageTrace;

/// What a parameter is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number: of pages, nanoseconds, or what else the parameter counts.
    Whole(u64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// One of some words.
    Word(String),
    /// From which second on how many pages.
    Sizes(Vec<(u64, u64)>),
    /// References to pages.
    Trace(Arc<PageTrace>),
    /// A guest's activity.
    Record(Arc<ActivityRecord>),
    /// Operations on files.
    Load(Arc<Load>),
}

/// What kind of value a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A number of pages.
    Pages,
    /// A whole number.
    Count,
    /// A number.
    Number,
    /// Nanoseconds.
    Time,
    /// Whole seconds.
    Seconds,
    /// Yes or no.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Seconds and pages.
    Sizes,
    /// A trace of references.
    Trace,
    /// A record of activity.
    Record,
    /// A load file.
    Load,
}

impl Form {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Count => "count",
            Self::Number => "number",
            Self::Time => "time",
            Self::Seconds => "seconds",
            Self::Flag => "flag",
            Self::Word(_) => "word",
            Self::Sizes => "sizes",
            Self::Trace => "trace",
            Self::Record => "record",
            Self::Load => "load",
        }
    }
}

/// The value, if it is one that the parameter takes.
pub(super) fn checked(name: &'static str, form: Form, value: &Value) -> Result<Value, Error> {
    let most = u64::from(u32::MAX);
    let found = match (form, value) {
        (Form::Number, Value::Whole(whole)) => return Ok(Value::Number(*whole as f64)),
        (Form::Pages | Form::Count | Form::Seconds, Value::Whole(whole)) if *whole <= most => {
            return Ok(value.clone());
        }
        (Form::Sizes, Value::Sizes(sizes)) if sizes.iter().all(|(from, pages)| *from.max(pages) <= most) => {
            return Ok(value.clone());
        }
        (Form::Word(words), Value::Word(word)) if words.contains(&word.as_str()) => return Ok(value.clone()),
        (Form::Time, Value::Whole(_))
        | (Form::Number, Value::Number(_))
        | (Form::Flag, Value::Flag(_))
        | (Form::Trace, Value::Trace(_))
        | (Form::Record, Value::Record(_))
        | (Form::Load, Value::Load(_)) => return Ok(value.clone()),
        (_, Value::Whole(whole)) => whole.to_string(),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::Flag(flag)) => flag.to_string(),
        (_, Value::Word(word)) => format!("{word:?}"),
        (_, Value::Sizes(_)) => "a list of times and sizes".into(),
        (_, Value::Trace(_) | Value::Record(_) | Value::Load(_)) => "data of another kind".into(),
    };
    let expected = match form {
        Form::Pages => format!("pages, 0 to {most}"),
        Form::Count => format!("a whole number from 0 to {most}"),
        Form::Seconds => format!("whole seconds from 0 to {most}"),
        Form::Number => "a number".into(),
        Form::Time => "nanoseconds".into(),
        Form::Flag => "true or false".into(),
        Form::Word(words) => words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "),
        Form::Sizes => "times and sizes".into(),
        Form::Trace => "a trace of page references".into(),
        Form::Record => "a record of activity".into(),
        Form::Load => "a load file".into(),
    };
    Err(refuse(name, found, expected))
}
