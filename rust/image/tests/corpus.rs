//! Replays the corpus of the fuzz target, which has a seed of each format.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::path::Path;

use common::{Guest, case, check_case, samples};

/// Set to write the seeds anew.
const WRITE: &str = "ESXCORE_WRITE_CORPUS";

#[test]
fn the_corpus_of_the_fuzzer_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/image");
    for sample in samples(&Guest::new(&[(0, &[1, 0])]), 100) {
        let (path, seed) = (directory.join(sample.name.replace(' ', "-")), case(&sample));
        if std::env::var_os(WRITE).is_some() {
            fs::create_dir_all(&directory).unwrap();
            fs::write(&path, &seed).unwrap();
        }
        assert!(fs::read(&path).unwrap() == seed, "{} is not what the writers write", path.display());
        assert!(sample.open().is_ok());
    }
    let cases = fs::read_dir(&directory).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    assert!(cases.inspect(|case| check_case(case)).count() >= 9);
}
