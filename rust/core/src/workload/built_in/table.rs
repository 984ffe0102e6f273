//! The parameters of each kind of workload. What is not given is as the kind's `new` has it: that is where rows ask, so
//! that no default is said twice.

use super::super::{
    DbenchConfig, FilesConfig, IdleConfig, PhasesConfig, ReplayConfig, ScanConfig, ToucherConfig, ZipfConfig,
};
use super::values::{Form, Value};
use crate::types::Access;

const NS_PER_S: f64 = 1e9;
/// What a parameter says that is "read" or "write".
const ACCESSES: &[&str] = &["read", "write"];
const AFTER_BURST: &[&str] = &["gives back", "keeps"];

/// What a parameter is where it is not given.
#[derive(Clone, Debug, PartialEq)]
pub enum Otherwise {
    /// This.
    Is(Value),
    /// There is no such limit.
    Unlimited,
    /// It has to be given.
    Required,
}

/// A parameter of a kind of workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What the settings of the kind call it.
    pub(super) setting: &'static str,
    /// What it takes.
    pub form: Form,
    /// What it is if not given.
    pub default: Otherwise,
    /// What it means, in a line.
    pub meaning: &'static str,
}

fn row(
    names: (&'static str, &'static str),
    form: Form,
    default: Otherwise,
    meaning: &'static str,
) -> Parameter {
    let (name, setting) = names;
    Parameter { name, setting, form, default, meaning }
}

fn whole(value: impl Into<u64>) -> Otherwise {
    Otherwise::Is(Value::Whole(value.into()))
}

fn number(value: f64) -> Otherwise {
    Otherwise::Is(Value::Number(value))
}

fn memory(meaning: &'static str) -> Parameter {
    row(("memory", "pages"), Form::Pages, Otherwise::Required, meaning)
}

fn access(default: Access) -> Parameter {
    let word = if default == Access::Write { "write" } else { "read" };
    let default = Otherwise::Is(Value::Word(word.into()));
    row(("access", "access"), Form::Word(ACCESSES), default, "whether it reads or writes its pages")
}

fn write_fraction(default: f64) -> Parameter {
    let names = ("write_fraction", "write_fraction");
    row(names, Form::Number, number(default), "fraction of references that write, 0 to 1")
}

fn exponent(default: f64) -> Parameter {
    let meaning = "how uneven popularity is, 0 (even) to 10";
    row(("exponent", "exponent"), Form::Number, number(default), meaning)
}

fn repeat(default: bool) -> Parameter {
    let meaning = "whether it starts again when it is through";
    row(("repeat", "at_end"), Form::Flag, Otherwise::Is(Value::Flag(default)), meaning)
}

fn base() -> Parameter {
    row(
        ("base", "base"),
        Form::Pages,
        whole(0_u32),
        "first page of the guest's anonymous memory that it uses",
    )
}

fn op_refs(default: u32) -> Parameter {
    row(("op_refs", "op_refs"), Form::Count, whole(default), "references of an operation")
}

fn op_time(default_ns: u64) -> Parameter {
    let meaning = "processor time of an operation, besides what its references cost";
    row(("op_time", "op_ns"), Form::Time, whole(default_ns), meaning)
}

fn refs_per_s() -> Parameter {
    let meaning = "most references a second; without it as many as it can";
    row(("refs_per_s", "refs_per_s"), Form::Count, Otherwise::Unlimited, meaning)
}

/// The parameters of a kind, or none if there is no such kind.
#[must_use]
pub fn parameters(kind: &str) -> Option<Vec<Parameter>> {
    Some(match kind {
        "toucher" => toucher(&ToucherConfig::new(1)),
        "zipf" => zipf(&ZipfConfig::new(1)),
        "scan" => scan(&ScanConfig::new(1)),
        "phases" => phases(&PhasesConfig::new(1, 1)),
        "files" => files(&FilesConfig::new(1)),
        "replay" => replay(),
        "activity" => activity(),
        "dbench" => dbench(),
        "idle" => idle(&IdleConfig::default()),
        _ => return None,
    })
}

fn toucher(c: &ToucherConfig) -> Vec<Parameter> {
    let sizes = "its size, or from which time on it has which";
    vec![
        row(("sizes", "sizes"), Form::Sizes, Otherwise::Required, sizes),
        access(c.access),
        op_time(c.op_ns),
        refs_per_s(),
        base(),
    ]
}

fn zipf(c: &ZipfConfig) -> Vec<Parameter> {
    vec![
        memory("memory it refers to"),
        exponent(c.exponent),
        write_fraction(c.write_fraction),
        op_refs(c.op_refs),
        op_time(c.op_ns),
        refs_per_s(),
        base(),
    ]
}

fn scan(c: &ScanConfig) -> Vec<Parameter> {
    vec![
        memory("memory it goes through"),
        access(c.access),
        op_refs(c.op_refs),
        op_time(c.op_ns),
        refs_per_s(),
        base(),
    ]
}

fn idle(c: &IdleConfig) -> Vec<Parameter> {
    let touched = "memory touched each time, in one operation";
    vec![
        row(("memory", "pages"), Form::Pages, whole(c.pages), touched),
        access(c.access),
        row(("period", "period_s"), Form::Seconds, whole(c.period_s), "from one time to the next"),
        op_time(c.op_ns),
        base(),
    ]
}

fn replay() -> Vec<Parameter> {
    vec![
        row(("trace", "trace"), Form::Trace, Otherwise::Required, "the references that it makes"),
        repeat(false),
        op_refs(ReplayConfig::OP_REFS),
        op_time(ReplayConfig::OP_NS),
        refs_per_s(),
        base(),
    ]
}

fn activity() -> Vec<Parameter> {
    let (done, begins) =
        ("what a real guest did in each second", "second of its time at which the replay begins");
    let first = "second of the record that comes first";
    vec![
        row(("record", "record"), Form::Record, Otherwise::Required, done),
        row(("start", "start_s"), Form::Seconds, whole(0_u32), begins),
        row(("offset", "offset_s"), Form::Seconds, whole(0_u32), first),
        repeat(false),
        op_time(0),
        base(),
    ]
}

fn dbench() -> Vec<Parameter> {
    let first = "number of the first file of the first client";
    vec![
        row(("loadfile", "load"), Form::Load, Otherwise::Required, "what its clients do"),
        op_time(DbenchConfig::OP_NS),
        row(("base", "base"), Form::Count, whole(0_u32), first),
    ]
}

fn phases(c: &PhasesConfig) -> Vec<Parameter> {
    let nanoseconds = |seconds: f64| whole((seconds * NS_PER_S) as u64);
    let burst = "working set in a burst, which contains the other";
    let after = Otherwise::Is(Value::Word("gives back".into()));
    let becomes = "what becomes of the memory that only a burst needs";
    vec![
        row(("calm", "calm_pages"), Form::Pages, Otherwise::Required, "working set between bursts"),
        row(("burst", "burst_pages"), Form::Pages, Otherwise::Required, burst),
        row(
            ("calm_mean", "calm_mean_s"),
            Form::Time,
            nanoseconds(c.calm_mean_s),
            "mean time between two bursts",
        ),
        row(("short", "short_s"), Form::Time, nanoseconds(c.short_s), "what counts as a short burst"),
        row(
            ("short_fraction", "short_fraction"),
            Form::Number,
            number(c.short_fraction),
            "fraction of bursts that are short, 0.01 to 0.99",
        ),
        row(("after", "after"), Form::Word(AFTER_BURST), after, becomes),
        write_fraction(c.write_fraction),
        op_refs(c.op_refs),
        op_time(c.op_ns),
        refs_per_s(),
        base(),
    ]
}

fn files(c: &FilesConfig) -> Vec<Parameter> {
    let flush = "after how many writing operations it waits for the disk, 0 for never";
    let read = "fraction of operations that read, 0 to 1; the others write";
    vec![
        row(("files", "files"), Form::Count, Otherwise::Required, "how many files it has"),
        row(("smallest", "min_blocks"), Form::Pages, whole(c.min_blocks), "size of the smallest file"),
        row(("largest", "max_blocks"), Form::Pages, whole(c.max_blocks), "size of the largest file"),
        exponent(c.exponent),
        row(
            ("run", "run_blocks"),
            Form::Pages,
            whole(c.run_blocks),
            "mean length of what it reads or writes in sequence",
        ),
        row(("read_fraction", "read_fraction"), Form::Number, number(c.read_fraction), read),
        row(("flush_every", "flush_every"), Form::Count, whole(c.flush_every.unwrap_or(0)), flush),
        op_time(c.op_ns),
        refs_per_s(),
        row(
            ("base", "base"),
            Form::Count,
            whole(0_u32),
            "number of its first file; processes share their files",
        ),
    ]
}
