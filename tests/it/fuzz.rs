//! The fuzz targets' checks over the kept corpus and seeded mutations of it; `tests/fuzz` runs them for as
//! long as one likes.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Mutations of each corpus file, unless `FUZZ_MUTATIONS` says otherwise; some thousands for each target.
const MUTATIONS: usize = 150;
/// Longest input, in bytes.
const LONGEST: usize = 4096;

/// Pieces that are put into an input: what the readers under test look for.
const PIECES: [&[u8]; 36] = [
    b"\0",
    b"\0\0\0\x04",
    b"\xff\xff\xff\xff",
    b"\0\x03\0\0",
    b"Q",
    b"\x7f",
    b"\xc3\xa4",
    b";",
    b"--",
    b"/*",
    b"*/",
    b"'",
    b"\"",
    b"$$",
    b"$a$",
    b"E'\\'",
    b"U&\"\\0061\"",
    b"(",
    b")",
    b"::",
    b":=",
    b"\\",
    b"\n",
    b"COMMIT",
    b"ROLLBACK TO a",
    b"BEGIN ATOMIC",
    b"END",
    b"CASE",
    b"CREATE FUNCTION f()",
    b"now()",
    b"current_timestamp",
    b"INSERT INTO t VALUES (",
    b"PREPARE TRANSACTION 'x'",
    b"EXPLAIN ANALYZE ",
    b"$1",
    b"COPY t FROM STDIN",
];

fn check(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(corpus.len() >= 8, "the corpus of {target} is nearly empty");
    let asked = std::env::var("FUZZ_MUTATIONS").ok();
    let mutations = asked.and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    let mut rng = SmallRng::seed_from_u64(20_240_229);
    for (file, input) in files.iter().zip(&corpus) {
        attempt(&file.display().to_string(), input, run);
        for n in 0..mutations {
            let mutated = mutate(input, &corpus, &mut rng);
            attempt(
                &format!("mutation {n} of {}", file.display()),
                &mutated,
                run,
            );
        }
    }
}

fn attempt(what: &str, input: &[u8], run: fn(&[u8])) {
    let result = catch_unwind(AssertUnwindSafe(|| run(input)));
    assert!(
        result.is_ok(),
        "{what}: {:?}",
        String::from_utf8_lossy(input)
    );
}

fn mutate(input: &[u8], corpus: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
            2 => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                let from = rng.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            3 => {
                let end = rng.random_range(at..=bytes.len());
                let copied = bytes[at..end].to_vec();
                bytes.splice(at..at, copied);
            }
            _ => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

#[test]
fn framing() {
    check("framing", checks::framing);
}

#[test]
fn startup() {
    check("startup", checks::startup);
}

#[test]
fn sql() {
    check("sql", checks::sql);
}
