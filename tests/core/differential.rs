//! The parsers against a whole-buffer reference: the checks of the fuzz targets `frame_parser` and
//! `line_decoder`, over every cutting of short streams and over random ones. Their seeds run in
//! `fuzz_bodies.rs`.

use std::env;

use crate::bodies::{frame_parser, line_decoder};
use crate::support::rng::Rng;

/// Streams with something in them: frames of several lengths, both protocols' idea of them, bad
/// UTF-8, a header over the limit, a QUIT before more, tails of every length.
fn streams() -> Vec<Vec<u8>> {
    let mut streams: Vec<Vec<u8>> = vec![
        b"\x01\0\0\0\x05hello\x02\0\0\0\x04H\xc3\xa9!\x04\0\0\0\x02hi\x01\0\0\0\0".to_vec(),
        b"\x02\0\0\0\x03a\xffb\x09\0\0\0\x01x\xff\0\0\0\0\x02\0\0\0\x02\xe2\x82".to_vec(),
        b"\x01\0\0\0\x01a\x01\0\0\x01\0overlong".to_vec(),
        b"\x01\xff\xff\xff\xff".to_vec(),
        b"\x03\0\0\0\x01q\x01\0\0\0\x01a".to_vec(),
        b"\x07\0\0\0\x03abc\x01\0\0\0\x01a".to_vec(),
        b"\0\x01a\x02bc\x03def\0\0\x05short".to_vec(),
        b"a\r\nb\n\n\r\n\rc\r".to_vec(),
        b"\n\n\r\r\n.\n".to_vec(),
        b"never ended".to_vec(),
    ];
    for len in 0..40 {
        streams.push((0..len).map(|at: u8| at % 7 * 5 % 7).collect());
    }
    streams
}

/// Longest payload in these tests: one frame above is longer.
const MAX: u32 = 32;

/// All that is no frame to one decoder is something to another.
fn check(chunks: &[&[u8]]) {
    frame_parser::check(chunks, MAX);
    line_decoder::check(chunks);
}

#[test]
fn streams_cut_in_two_give_the_same_frames() {
    for stream in streams() {
        assert!(stream.len() <= 64);
        for cut in 0..=stream.len() {
            check(&[&stream[..cut], &stream[cut..]]);
        }
    }
}

#[test]
fn short_streams_in_any_chunks_decode_equally() {
    for stream in streams() {
        let stream = &stream[..stream.len().min(12)];
        for cuts in 0..1u32 << stream.len().saturating_sub(1) {
            check(&chunked(stream, |at| cuts >> at & 1 == 1));
        }
    }
}

#[test]
fn random_streams_in_any_chunks_decode_equally() {
    // Mutation testing has no time for all of them, and needs no more than a few.
    let rounds = env::var("MYNAH_CHUNKINGS").map_or(100_000, |text| text.parse().unwrap());
    let mut random = Rng::new(1);
    for _ in 0..rounds {
        let stream = random_stream(&mut random);
        let density = random.below(20) + 1;
        let chunks = chunked(&stream, |_| random.below(density) == 0);
        check(&chunks);
    }
}

/// Mostly whole frames of a few bytes, now and then random bytes or a long one.
fn random_stream(random: &mut Rng) -> Vec<u8> {
    if random.one_in(4) {
        return random_lines(random);
    }
    let mut stream = Vec::new();
    for _ in 0..random.below(6) {
        let longest = [3000, 60, 60, 60, 8, 8, 8, 8, 8, 8][random.below(10)];
        let len = random.below(longest);
        let any = random.below(256) as u8;
        let command = [1, 1, 2, 2, 4, 6, 255, any][random.below(8)];
        stream.push(command);
        stream.extend((len as u32).to_be_bytes());
        stream.extend((0..len).map(|_| random.below(256) as u8));
    }
    stream.truncate(stream.len().saturating_sub(random.below(4)));
    stream
}

/// Lines, now and then one about as long as one may be.
fn random_lines(random: &mut Rng) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..random.below(8) {
        let len = if random.one_in(200) { 4_090 + random.below(12) } else { random.below(30) };
        stream.extend((0..len).map(|_| b"ab\r"[random.below(3)]));
        stream.extend(*[&b"\n"[..], b"\r\n", b""].get(random.below(3)).unwrap());
    }
    stream
}

/// Cuts `stream` behind every position but the last for which `cut` holds.
fn chunked(stream: &[u8], mut cut: impl FnMut(usize) -> bool) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    let mut start = 0;
    for at in 1..stream.len() {
        if cut(at - 1) {
            chunks.push(&stream[start..at]);
            start = at;
        }
    }
    chunks.push(&stream[start..]);
    chunks
}
