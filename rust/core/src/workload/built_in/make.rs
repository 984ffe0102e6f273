//! Processes made of checked values.

use std::sync::Arc;

use super::super::checks::refuse;
use super::super::{
    Activity, ActivityConfig, AfterBurst, AtEnd, Dbench, DbenchConfig, Files, FilesConfig, Idle, IdleConfig,
    Phases, PhasesConfig, Replay, ReplayConfig, Scan, ScanConfig, Toucher, ToucherConfig, Workload, Zipf,
    ZipfConfig,
};
use super::values::Value;
use crate::error::Error;
use crate::rng::Stream;
use crate::types::Access;

const NS_PER_S: f64 = 1e9;

/// Checked values by the names of settings, for one process.
pub(super) struct Given<'a> {
    pub values: &'a [(&'static str, Value)],
    /// Which process of its program it is for, from 0.
    pub number: u32,
}

impl Given<'_> {
    fn value(&self, setting: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| *name == setting).map(|(_, value)| value)
    }

    fn long(&self, setting: &str) -> u64 {
        if let Some(Value::Whole(whole)) = self.value(setting) { *whole } else { 0 }
    }

    fn whole(&self, setting: &str) -> u32 {
        self.long(setting) as u32
    }

    fn number(&self, setting: &str) -> f64 {
        if let Some(Value::Number(number)) = self.value(setting) { *number } else { 0.0 }
    }

    fn seconds(&self, setting: &str) -> f64 {
        self.long(setting) as f64 / NS_PER_S
    }

    fn rate(&self) -> Option<u32> {
        self.value("refs_per_s").map(|_| self.whole("refs_per_s"))
    }

    fn says(&self, setting: &str, word: &str) -> bool {
        matches!(self.value(setting), Some(Value::Word(said)) if said == word)
    }

    fn access(&self) -> Access {
        if self.says("access", "write") { Access::Write } else { Access::Read }
    }

    fn at_end(&self) -> AtEnd {
        if self.value("at_end") == Some(&Value::Flag(true)) { AtEnd::Repeats } else { AtEnd::Ends }
    }

    /// Where the memory of this process begins: after that of those before it.
    fn base(&self, pages: u32) -> Result<u32, Error> {
        let first = self.long("base") + u64::from(self.number) * u64::from(pages);
        let expected = || format!("fewer: {pages} pages each are more than can be named");
        u32::try_from(first).map_err(|_| refuse("processes", u64::from(self.number) + 1, expected()))
    }

    /// The process.
    pub fn make(&self, kind: &str, stream: Stream) -> Result<Box<dyn Workload>, Error> {
        Ok(match kind {
            "toucher" => Box::new(self.toucher(stream)?),
            "zipf" => Box::new(self.zipf(stream)?),
            "scan" => Box::new(self.scan()?),
            "phases" => Box::new(self.phases(stream)?),
            "files" => Box::new(self.files(stream)?),
            "replay" => Box::new(self.replay()?),
            "activity" => Box::new(self.activity()?),
            "dbench" => Box::new(self.dbench()?),
            _ => Box::new(self.idle(stream)?),
        })
    }

    fn zipf(&self, stream: Stream) -> Result<Zipf, Error> {
        let pages = self.whole("pages");
        let config = ZipfConfig {
            base: self.base(pages)?,
            pages,
            exponent: self.number("exponent"),
            write_fraction: self.number("write_fraction"),
            op_refs: self.whole("op_refs"),
            op_ns: self.long("op_ns"),
            refs_per_s: self.rate(),
        };
        Zipf::new(config, stream)
    }

    fn scan(&self) -> Result<Scan, Error> {
        let pages = self.whole("pages");
        Scan::new(ScanConfig {
            base: self.base(pages)?,
            pages,
            access: self.access(),
            op_refs: self.whole("op_refs"),
            op_ns: self.long("op_ns"),
            refs_per_s: self.rate(),
        })
    }

    fn idle(&self, stream: Stream) -> Result<Idle, Error> {
        let pages = self.whole("pages");
        let config = IdleConfig {
            base: self.base(pages)?,
            pages,
            access: self.access(),
            period_s: self.whole("period_s"),
            op_ns: self.long("op_ns"),
        };
        Idle::new(config, stream)
    }

    fn toucher(&self, stream: Stream) -> Result<Toucher, Error> {
        let sizes: Vec<(u32, u32)> = match self.value("sizes") {
            Some(Value::Sizes(sizes)) => {
                sizes.iter().map(|(from, pages)| (*from as u32, *pages as u32)).collect()
            }
            _ => vec![],
        };
        let most = sizes.iter().map(|(_, pages)| *pages).max().unwrap_or(0);
        let config = ToucherConfig {
            base: self.base(most)?,
            sizes,
            access: self.access(),
            refs_per_s: self.rate(),
            op_ns: self.long("op_ns"),
        };
        Toucher::new(config, stream)
    }

    fn phases(&self, stream: Stream) -> Result<Phases, Error> {
        let burst_pages = self.whole("burst_pages");
        let keeps = self.says("after", "keeps");
        let config = PhasesConfig {
            base: self.base(burst_pages)?,
            calm_pages: self.whole("calm_pages"),
            burst_pages,
            calm_mean_s: self.seconds("calm_mean_s"),
            short_s: self.seconds("short_s"),
            short_fraction: self.number("short_fraction"),
            after: if keeps { AfterBurst::Keeps } else { AfterBurst::GivesBack },
            write_fraction: self.number("write_fraction"),
            op_refs: self.whole("op_refs"),
            op_ns: self.long("op_ns"),
            refs_per_s: self.rate(),
        };
        Phases::new(config, stream)
    }

    fn files(&self, stream: Stream) -> Result<Files, Error> {
        let config = FilesConfig {
            base: self.whole("base"),
            files: self.whole("files"),
            min_blocks: self.whole("min_blocks"),
            max_blocks: self.whole("max_blocks"),
            exponent: self.number("exponent"),
            run_blocks: self.whole("run_blocks"),
            read_fraction: self.number("read_fraction"),
            flush_every: Some(self.whole("flush_every")).filter(|every| *every > 0),
            op_ns: self.long("op_ns"),
            refs_per_s: self.rate(),
        };
        Files::new(config, stream)
    }

    fn replay(&self) -> Result<Replay, Error> {
        let Some(Value::Trace(trace)) = self.value("trace") else {
            return Err(refuse("trace", "missing", "a trace"));
        };
        Replay::new(ReplayConfig {
            base: self.base(trace.distinct())?,
            at_end: self.at_end(),
            op_refs: self.whole("op_refs"),
            op_ns: self.long("op_ns"),
            refs_per_s: self.rate(),
            trace: Arc::clone(trace),
        })
    }

    fn activity(&self) -> Result<Activity, Error> {
        let Some(Value::Record(record)) = self.value("record") else {
            return Err(refuse("record", "missing", "a record"));
        };
        Activity::new(ActivityConfig {
            base: self.base(record.pages())?,
            start_s: self.whole("start_s"),
            offset_s: self.whole("offset_s"),
            at_end: self.at_end(),
            op_ns: self.long("op_ns"),
            record: Arc::clone(record),
        })
    }

    fn dbench(&self) -> Result<Dbench, Error> {
        let Some(Value::Load(load)) = self.value("load") else {
            return Err(refuse("load", "missing", "a load file"));
        };
        Dbench::new(DbenchConfig {
            load: Arc::clone(load),
            base: self.whole("base"),
            client: self.number,
            op_ns: self.long("op_ns"),
        })
    }
}
