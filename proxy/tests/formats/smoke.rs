//! The short run of what `fuzz/run` does for hours: every target of `fuzz/`, by its name, over its corpus and over some
//! hundred inputs that are made of it by small changes. The same ones at every run.

use std::fs;
use std::path::{Path as File, PathBuf};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::hostile::decoders;
use super::properties::{claims, exercise, read_rows};

/// Inputs for each target, beside its corpus.
const INPUTS: usize = 400;
/// What is put where a length may stand.
const LENGTHS: [&[u8]; 6] =
    [b"\x00", b"\x7f", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"99999999999999999999"];

fn fuzz() -> PathBuf {
    File::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// What the target of this name does with an input.
fn run(target: &str, input: &[u8]) {
    match target {
        "cookie" => claims(input, Some(input)),
        "table" => drop(read_rows(input)),
        decoder => {
            let all = decoders();
            let found = all.iter().find(|(name, _)| *name == decoder);
            exercise(
                &found.unwrap_or_else(|| panic!("{decoder}: nothing of this name is tried here")).1,
                input,
            );
        }
    }
}

fn targets() -> Vec<String> {
    let files = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let name = |file: PathBuf| file.file_stem().unwrap().to_string_lossy().into_owned();
    let mut names: Vec<_> = files.map(|entry| name(entry.unwrap().path())).collect();
    names.sort();
    names
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One input, changed in up to eight places: a byte, a length, a part left out or written again, the end of another one.
fn changed(corpus: &[Vec<u8>], random: &mut TestRng) -> Vec<u8> {
    let mut below = |end: usize| usize::try_from(random.next_u32()).unwrap() % end.max(1);
    let mut input = corpus[below(corpus.len())].clone();
    for _ in 0..=below(8) {
        let (at, to) = (below(input.len()), below(input.len()));
        let (at, to) = (at.min(to), at.max(to));
        match below(6) {
            0 if !input.is_empty() => input[at] = u8::try_from(below(256)).unwrap(),
            1 => drop(input.splice(at..at, LENGTHS[below(LENGTHS.len())].iter().copied())),
            2 => drop(input.drain(at..to)),
            3 => {
                let again = input[at..to].repeat(1 + below(64));
                input.splice(to..to, again);
            }
            4 => {
                let other = &corpus[below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[below(other.len())..]);
            }
            _ => input.truncate(to),
        }
        input.truncate(300 * 1024);
    }
    input
}

#[test]
fn a_short_run_of_every_fuzz_target_harms_nothing() {
    let targets = targets();
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not built");
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{target} begins with nothing");
        for input in &corpus {
            run(target, input);
        }
        let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        for _ in 0..INPUTS {
            run(target, &changed(&corpus, &mut random));
        }
    }
    assert!(targets.len() >= 18, "{targets:?}");
}

#[test]
fn the_rows_that_the_fuzzer_begins_with_are_sessions() {
    for input in corpus("table") {
        assert!(read_rows(&input) > 0, "{}", String::from_utf8_lossy(&input));
    }
}
