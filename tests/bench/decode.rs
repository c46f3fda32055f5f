//! What it takes to find 64-byte frames in place, to be counted in instructions:
//!
//! ```text
//! cargo bench --bench decode -- ours 100000      # under valgrind --tool=callgrind, and with 200000:
//! cargo bench --bench decode -- c 100000         # the difference over 100000 is one frame's
//! ```
//!
//! `c` is the loop of the C yardstick as it would stand in Rust: no limits, no errors, no `Frame`.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

use std::env;
use std::hint::black_box;

use mynah::codec::Decoder;
use mynah::codec::command::{CommandDecoder, Frame};

const FRAMES_PER_READ: usize = 900;

fn main() {
    let mut args = env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let which = args.next().unwrap_or_else(|| "ours".into());
    let frames: usize = args.next().map_or(90_000, |arg| arg.parse().unwrap());
    let frame = [&b"\x01\0\0\0\x40"[..], &[b'x'; 64]].concat();
    let read = frame.repeat(FRAMES_PER_READ);
    let mut bytes = 0;
    for _ in 0..frames / FRAMES_PER_READ {
        bytes += if which == "c" { as_in_c(black_box(&read)) } else { ours(black_box(&read)) };
    }
    println!("{which}: {frames} frames, {bytes} bytes of payload");
}

#[inline(never)]
fn ours(mut rest: &[u8]) -> usize {
    let mut decoder = CommandDecoder::new(1 << 20);
    let mut bytes = 0;
    while let Ok(Some((Frame { command, payload }, len))) = decoder.decode(rest) {
        black_box(command);
        bytes += black_box(payload).len();
        rest = &rest[len..];
    }
    bytes
}

#[inline(never)]
fn as_in_c(input: &[u8]) -> usize {
    let (mut at, mut bytes) = (0, 0);
    while input.len() - at >= 5 {
        let len = u32::from_be_bytes(input[at + 1..at + 5].try_into().unwrap()) as usize;
        if input.len() - at < 5 + len {
            break;
        }
        black_box(input[at]);
        bytes += black_box(&input[at + 5..at + 5 + len]).len();
        at += 5 + len;
    }
    bytes
}
