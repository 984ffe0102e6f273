//! Workloads by name: the table in which scenarios and callers from other languages find them.
//!
//! A [`Program`] is a kind and its parameters, checked; each of its processes is a workload of its own. Processes of one
//! program lie side by side in anonymous memory, the first one at `base`; those over files share their files, and each client
//! of dbench has its own.
//!
//! `values` has what parameters are given, `table` the parameters of each kind, `make` makes processes of them.

mod make;
mod table;
mod values;

use make::Given;
pub use table::{Otherwise, Parameter, parameters};
use values::checked;
pub use values::{Form, Value};

use super::checks::refuse;
use super::{BUILTIN, Workload};
use crate::error::Error;
use crate::rng::{Seed, Stream};

/// A kind of workload and its parameters, checked.
#[derive(Clone, Debug)]
pub struct Program {
    kind: &'static str,
    /// Every parameter that is not unlimited.
    values: Vec<(&'static str, Value)>,
}

impl Program {
    /// A program of that kind, with the kind's defaults for what is not given.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if there is no such kind or it has no such parameter, if one is given twice, missing, of the wrong
    /// form or out of range.
    pub fn new(kind: &str, given: &[(&str, Value)]) -> Result<Self, Error> {
        let known = parameters(kind).zip(BUILTIN.iter().find(|(name, _)| *name == kind));
        let Some((rows, (kind, _))) = known else {
            let names: Vec<&str> = BUILTIN.iter().map(|(name, _)| *name).collect();
            return Err(refuse("workload", format!("{kind:?}"), format!("one of {}", names.join(", "))));
        };
        for (place, (name, _)) in given.iter().enumerate() {
            if !rows.iter().any(|row| row.name == *name) {
                let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
                return Err(refuse("parameter", format!("{name:?}"), format!("one of {}", names.join(", "))));
            }
            if given[..place].iter().any(|(other, _)| other == name) {
                return Err(refuse("parameter", format!("{name:?} twice"), "each parameter once"));
            }
        }
        let mut values = vec![];
        for row in &rows {
            let value = given.iter().find(|(name, _)| *name == row.name).map(|(_, value)| value);
            match (value, &row.default) {
                (Some(value), _) => values.push((row.setting, checked(row.name, row.form, value)?)),
                (None, Otherwise::Is(value)) => values.push((row.setting, value.clone())),
                (None, Otherwise::Unlimited) => {}
                (None, Otherwise::Required) => return Err(refuse(row.name, "missing", row.meaning)),
            }
        }
        let program = Self { kind, values };
        program.process(0, Seed([0; 32]).stream("workload", 0))?;
        Ok(program)
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Process number `number` of it, from 0, with a random stream of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if memory or files of that many processes cannot be named.
    pub fn process(&self, number: u32, stream: Stream) -> Result<Box<dyn Workload>, Error> {
        Given { values: &self.values, number }.make(self.kind, stream).map_err(|error| self.worded(error))
    }

    /// A refusal in the names of the table.
    fn worded(&self, error: Error) -> Error {
        let Error::Setting { what, value, expected } = error else { return error };
        let rows = parameters(self.kind).unwrap_or_default();
        let what = rows.iter().find(|row| row.setting == what).map_or(what, |row| row.name);
        Error::Setting { what, value, expected }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::page_trace::{PageTrace, Records};
    use crate::workload::{ActivityRecord, Batch, Load};

    fn stream() -> Stream {
        Seed([1; 32]).stream("workload", 0)
    }

    fn trace() -> Arc<PageTrace> {
        let mut trace = PageTrace::new();
        trace.append(Records { pages: &[0, 1, 0], runs: None, writes: None }).expect("it is all right");
        Arc::new(trace)
    }

    fn needed(form: Form) -> Value {
        match form {
            Form::Sizes => Value::Sizes(vec![(0, 4), (1, 8)]),
            Form::Trace => Value::Trace(trace()),
            Form::Record => {
                Value::Record(Arc::new(ActivityRecord::new(8, &[1], &[2]).expect("it is all right")))
            }
            Form::Load => Value::Load(Arc::new(
                Load::parse("test", &b"Mkdir \"/clients\" NT_STATUS_OK\n"[..]).expect("it is all right"),
            )),
            _ => Value::Whole(16),
        }
    }

    fn given(kind: &str) -> Vec<(&'static str, Value)> {
        let rows = parameters(kind).expect("it is all right");
        let required = rows.iter().filter(|row| row.default == Otherwise::Required);
        required.map(|row| (row.name, needed(row.form))).collect()
    }

    fn refusal(kind: &str, values: &[(&str, Value)]) -> String {
        Program::new(kind, values).expect_err("it is refused").to_string()
    }

    fn references(program: &Program, number: u32) -> Vec<u32> {
        let mut batch = Batch::default();
        program
            .process(number, stream())
            .expect("it is all right")
            .next(0, &mut batch)
            .expect("it is all right");
        batch.refs.iter().map(|one| one.memory_page().expect("it is all right")).collect()
    }

    #[test]
    fn every_kind_has_parameters_and_runs_with_what_it_needs() {
        for (kind, _) in BUILTIN {
            let program = Program::new(kind, &given(kind)).expect("it is all right");
            assert_eq!(program.process(3, stream()).expect("it is all right").name(), kind);
            assert_eq!(program.kind(), kind);
        }
    }

    #[test]
    fn defaults_given_change_nothing() {
        for (kind, _) in BUILTIN {
            let mut values = given(kind);
            for row in parameters(kind).expect("it is all right") {
                if let Otherwise::Is(value) = row.default {
                    values.push((row.name, value));
                }
            }
            let (bare, full) = (
                Program::new(kind, &given(kind)).expect("it is all right"),
                Program::new(kind, &values).expect("it is all right"),
            );
            assert_eq!(bare.values, full.values);
        }
    }

    #[test]
    fn processes_lie_side_by_side() {
        let values = [("memory", Value::Whole(16)), ("base", Value::Whole(100))];
        let program = Program::new("scan", &values).expect("it is all right");
        assert_eq!(references(&program, 0)[..3], [100, 101, 102]);
        assert_eq!(references(&program, 2)[..3], [132, 133, 134]);
        let error = program.process(u32::MAX, stream()).expect_err("it is refused").to_string();
        assert_eq!(
            error,
            "processes is 4294967296; expected fewer: 16 pages each are more than can be named"
        );
    }

    #[test]
    fn what_is_wrong_is_named_as_the_table_names_it() {
        let pages = |pages| ("memory", Value::Whole(pages));
        assert!(refusal("zpf", &[]).starts_with("workload is \"zpf\"; expected one of toucher, zipf"));
        assert!(
            refusal("scan", &[("memroy", Value::Whole(1))])
                .starts_with("parameter is \"memroy\"; expected one of memory")
        );
        assert_eq!(
            refusal("scan", &[pages(1), pages(1)]),
            "parameter is \"memory\" twice; expected each parameter once"
        );
        assert_eq!(refusal("scan", &[]), "memory is missing; expected memory it goes through");
        assert_eq!(refusal("scan", &[pages(0)]), "memory is 0; expected at least 1");
        assert_eq!(
            refusal("scan", &[pages(1 << 40)]),
            "memory is 1099511627776; expected pages, 0 to 4294967295"
        );
        let odd = ("access", Value::Word("sniff".into()));
        assert_eq!(refusal("scan", &[pages(1), odd]), "access is \"sniff\"; expected \"read\" or \"write\"");
        let rate = ("refs_per_s", Value::Whole(0));
        assert_eq!(refusal("scan", &[pages(1), rate]), "refs_per_s is 0; expected at least 1");
        let exponent = ("exponent", Value::Number(-1.0));
        assert_eq!(refusal("zipf", &[pages(1), exponent]), "exponent is -1; expected 0 to 10");
        let flag = ("exponent", Value::Flag(true));
        assert_eq!(refusal("zipf", &[pages(1), flag]), "exponent is true; expected a number");
    }
}
