//! How fast workloads make references; a guest's work on them is not in it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use esxcore_core::rng::Seed;
use esxcore_core::workload::{Batch, Toucher, ToucherConfig, Workload, Zipf, ZipfConfig};

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
    group.finish();
}

criterion_group!(benches, workloads);
criterion_main!(benches);
