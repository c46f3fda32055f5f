//! The bodies of the fuzz targets on a stable toolchain: over their seeds, and over random
//! mutations of them. A find of the fuzzer stays found once it is a seed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bodies;
use crate::support::rng::Rng;

/// Mutations of each target's seeds.
const MUTATIONS: usize = 4_000;
/// Inputs that slow machines are spared.
const TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(feature = "accounts")]
#[test]
fn accounts_file() {
    check("accounts_file", bodies::accounts_file::run);
}

#[cfg(feature = "admin")]
#[test]
fn admin() {
    check("admin", bodies::admin::run);
}

#[test]
fn chat_room() {
    check("chat_room", bodies::chat_room::run);
}

#[cfg(feature = "cluster")]
#[test]
fn cluster_engine() {
    check("cluster_engine", bodies::cluster_engine::run);
}

#[cfg(feature = "cluster")]
#[test]
fn cluster_node() {
    check("cluster_node", bodies::cluster_node::run);
}

#[test]
fn command() {
    check("command", bodies::command::run);
}

#[test]
fn config() {
    check("config", bodies::config::run);
}

#[test]
fn frame_parser() {
    check("frame_parser", bodies::frame_parser::run);
}

#[test]
fn line_decoder() {
    check("line_decoder", bodies::line_decoder::run);
}

#[cfg(feature = "accounts")]
#[test]
fn login() {
    check("login", bodies::login::run);
}

#[cfg(feature = "plugins")]
#[test]
fn plugin_host() {
    check("plugin_host", bodies::plugin_host::run);
}

#[test]
fn prefixed() {
    check("prefixed", bodies::prefixed::run);
}

#[cfg(feature = "admission")]
#[test]
fn proxy_header() {
    check("proxy_header", bodies::proxy_header::run);
}

#[cfg(feature = "service")]
#[test]
fn service() {
    check("service", bodies::service::run);
}

#[test]
fn session() {
    check("session", bodies::session::run);
}

#[cfg(feature = "tls")]
#[test]
fn tls_stream() {
    check("tls_stream", bodies::tls_stream::run);
}

/// Runs a body over every seed of its corpus, then over mutations, the same ones each time.
fn check(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    // What the fuzzer left here is named by its hash, and differs from machine to machine.
    files.retain(|file| file.file_name().unwrap().len() < 40);
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() >= 5, "{target} has {} seeds", seeds.len());
    for (seed, file) in seeds.iter().zip(&files) {
        let shown = Shown { what: format!("{}", file.display()), input: seed };
        run(seed);
        drop(shown);
    }
    let (mut random, start) = (Rng::new(1), Instant::now());
    for number in 0..MUTATIONS {
        if start.elapsed() > TIME_MAX {
            break;
        }
        let input = mutated(&seeds, &mut random);
        let _shown = Shown { what: format!("mutation {number} of {target}"), input: &input };
        run(&input);
    }
}

/// Says which input it was when a body panics.
struct Shown<'a> {
    what: String,
    input: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: b\"{}\"", self.what, self.input.escape_ascii());
        }
    }
}

/// One seed with a few changes: bytes replaced, removed, inserted, copied, or a piece of another
/// seed put in.
fn mutated(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(16) + 1);
        let byte = [0, 1, 5, 255, b'\n', b'=', random.below(256) as u8][random.below(7)];
        match random.below(6) {
            0 => input[at..end].fill(byte),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, byte),
            3 => drop(input.splice(at..at, input[at..end].to_vec())),
            4 if at < end => input[at] ^= 1 << random.below(8),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let piece = &other[from..other.len().min(from + 40)];
                drop(input.splice(at..end, piece.iter().copied()));
            }
        }
    }
    input
}
