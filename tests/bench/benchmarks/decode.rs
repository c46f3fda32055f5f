//! Instructions per 64-byte frame decoded in place, counted by valgrind's callgrind: the difference
//! of two runs, one of which decodes a thousand passes more, so that the rest of the program
//! cancels out. Unlike times, counts of instructions depend neither on the machine nor on its other
//! load.

use std::env;
use std::ffi::OsStr;
use std::hint::black_box;
use std::process::Command;

use mynah::internal::codec::Decoder;
use mynah::internal::codec::command::CommandDecoder;

use super::{Suite, payload};
use crate::protocol::WireProtocol;
use crate::samples::Samples;
use crate::servers::Server;
use crate::table::{Bar, Row, Unit};

/// Frames of a pass: those of a read of 64 KiB, as in `decode.c`.
const FRAMES: usize = 949;
const PAYLOAD_LEN: usize = 64;
const FRAME_LEN_MAX: u32 = 1 << 20;

/// Passes of the short and of the long run.
const PASSES: (usize, usize) = (100, 1100);

/// Option by which this program decodes, under valgrind.
pub(crate) const OPTION: &str = "--decode-passes";

pub(crate) fn run(suite: &mut Suite) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return suite.table.note("instructions per frame: skipped, no valgrind".to_owned());
    }
    let own = env::current_exe().unwrap();
    let ours = instructions_each(&[own.as_os_str(), OPTION.as_ref()]);
    let program = suite.servers.program(Server::CDecode);
    let theirs = program.map(|program| instructions_each(&[program.as_os_str()]));
    let line = |server: &'static str, values: f64, ratio: Option<f64>, bar| Row {
        figure: "instructions per 64-byte frame decoded in place".to_owned(),
        server,
        values: Samples::one(values),
        unit: Unit::Number,
        ratio: ratio.map(|ratio| (Server::CDecode.name(), Samples::one(ratio))),
        bar,
        cpu_share: None,
        benchmark: "decode",
    };
    suite.table.push(line(Server::Mynah.name(), ours, None, Some(Bar::AtMost(40.0))));
    if let Some(theirs) = theirs {
        suite.table.push(line(Server::CDecode.name(), theirs, None, None));
        let ratio = Some(ours / theirs);
        suite.table.push(line(Server::Mynah.name(), ours, ratio, Some(Bar::AtMost(1.1))));
    }
}

/// Instructions per frame: the difference of the runs over the difference of their frames.
fn instructions_each(program: &[&OsStr]) -> f64 {
    let (few, many) = (instructions(program, PASSES.0), instructions(program, PASSES.1));
    (many - few) / ((PASSES.1 - PASSES.0) * FRAMES) as f64
}

/// Instructions of a run, from callgrind's line `Collected : N`.
fn instructions(program: &[&OsStr], passes: usize) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(program)
        .arg(passes.to_string())
        .output()
        .unwrap();
    let decoded = String::from_utf8_lossy(&output.stdout).trim().parse();
    assert_eq!(decoded, Ok(passes * FRAMES), "frames decoded by {program:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected.unwrap().1.trim().parse().unwrap()
}

/// Decodes `passes` times, and prints the number of frames.
pub(crate) fn decode(passes: usize) {
    let input = WireProtocol::Command.echo(&payload(PAYLOAD_LEN)).unwrap().request.repeat(FRAMES);
    let frames: u64 = (0..passes).map(|_| pass(black_box(input.as_slice()))).sum();
    println!("{frames}");
}

/// Decodes once. A function of its own, so that its variables are in registers as in the C loop.
#[inline(never)]
fn pass(mut rest: &[u8]) -> u64 {
    let mut decoder = CommandDecoder::new(FRAME_LEN_MAX);
    let mut frames = 0;
    while let Ok(Some((frame, len))) = decoder.decode(rest) {
        // By reference: the frame is then in memory as in the C loop, and is not copied.
        black_box(&frame);
        rest = &rest[len..];
        frames += 1;
    }
    frames
}
