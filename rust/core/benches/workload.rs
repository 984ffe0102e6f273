//! How fast workloads make references; a guest's work on them is not in it.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use esxcore_core::page_trace::{PageTrace, Records};
use esxcore_core::rng::Seed;
use esxcore_core::workload::dbench::find;
use esxcore_core::workload::{
    AtEnd, Batch, Dbench, DbenchConfig, Files, FilesConfig, Load, Phases, PhasesConfig, Replay, ReplayConfig,
    Scan, ScanConfig, Toucher, ToucherConfig, Workload, Zipf, ZipfConfig,
};

const REFS: usize = 1 << 20;

/// Makes that many references, or a few more.
fn make(workload: &mut dyn Workload, batch: &mut Batch) -> usize {
    let mut made = 0;
    while made < REFS {
        batch.clear();
        workload.next(0, batch).expect("it goes on for ever");
        made += batch.refs.len();
    }
    made
}

fn workloads(c: &mut Criterion) {
    let mut group = c.benchmark_group("references");
    group.throughput(Throughput::Elements(REFS as u64)).sample_size(20);
    let stream = || Seed([7; 32]).stream("workload", 0);
    for pages in [1 << 18, 3_000_000, 1 << 22] {
        let reads = ZipfConfig { write_fraction: 0.0, ..ZipfConfig::new(pages) };
        let made: [(&str, Box<dyn Workload>); 3] = [
            ("zipf", Box::new(Zipf::new(ZipfConfig::new(pages), stream()).expect("its settings are right"))),
            ("zipf reads", Box::new(Zipf::new(reads, stream()).expect("its settings are right"))),
            ("toucher", Box::new(Toucher::new(ToucherConfig::new(pages), stream()).expect("it too"))),
        ];
        for (name, mut workload) in made {
            let mut batch = Batch::default();
            group.bench_function(BenchmarkId::new(name, pages), |b| {
                b.iter(|| make(&mut *workload, &mut batch));
            });
        }
    }
    for mut workload in others() {
        let mut batch = Batch::default();
        let name = workload.name().to_string();
        group.bench_function(name, |b| b.iter(|| make(&mut *workload, &mut batch)));
    }
    group.finish();
}

fn others() -> Vec<Box<dyn Workload>> {
    let stream = || Seed([7; 32]).stream("workload", 0);
    let mut others: Vec<Box<dyn Workload>> = vec![
        Box::new(Scan::new(ScanConfig::new(1 << 22)).expect("its settings are right")),
        Box::new(Phases::new(PhasesConfig::new(1 << 16, 1 << 20), stream()).expect("its settings are right")),
        Box::new(Files::new(FilesConfig::new(100_000), stream()).expect("its settings are right")),
        Box::new(Replay::new(replay()).expect("its settings are right")),
    ];
    if let Some(path) = find() {
        let file = BufReader::new(File::open(path).expect("it can be read"));
        let load = Load::parse("client.txt", file).expect("it is a load file");
        others.push(Box::new(Dbench::new(DbenchConfig::new(Arc::new(load), 0)).expect("there is room")));
    }
    others
}

fn replay() -> ReplayConfig {
    let mut trace = PageTrace::new();
    let pages: Vec<u32> = (0..1 << 20).collect();
    trace.append(Records { pages: &pages, runs: None, writes: None }).expect("there is memory");
    ReplayConfig { at_end: AtEnd::Repeats, ..ReplayConfig::new(Arc::new(trace)) }
}

criterion_group!(benches, workloads);
criterion_main!(benches);
