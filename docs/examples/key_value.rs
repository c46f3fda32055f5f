//! A key-value server with a binary protocol of its own, on mynah's loop.
//!
//! ```text
//! request   length of the rest (u16, big-endian) · G, S or D · length of the key (u8) · key · value
//! reply     length of the rest (u16, big-endian) · + or -    · value
//! ```
//!
//! `G` asks for a key's value, `S` sets it (an empty value is a value), `D` deletes it; the reply is
//! `+` with the value before, or `-` where there was none. A request that is not well-formed ends the
//! connection. At most [`PAIRS_MAX`] keys are kept; `-` without effect answers the next new one.
//!
//! `cargo run --example key_value -- 127.0.0.1:7008`, then
//! `printf '\0\x06S\x01khi!\0\x03G\x01k' | nc -N 127.0.0.1 7008 | xxd`.

#![allow(clippy::print_stderr, reason = "it says where it listens")]

use std::collections::HashMap;
use std::error::Error;

use mynah::{ConnId, EventLoop, Framing, Limits, Next, Replies, Service, Signals};

/// Bytes of the length in front of each message.
const LEN_BYTES: usize = 2;

/// Most keys that are kept. With keys and values at their longest, they take 6.5 GB: a server on the
/// open internet would count bytes.
const PAIRS_MAX: usize = 100_000;

/// The keys with their values.
#[derive(Debug, Default)]
pub struct KeyValue {
    pairs: HashMap<Vec<u8>, Vec<u8>>,
}

impl Service for KeyValue {
    fn find_frame(&self, input: &[u8]) -> Framing {
        let Some((len, rest)) = input.split_first_chunk::<LEN_BYTES>() else {
            return Framing::Incomplete { needed: LEN_BYTES - input.len() };
        };
        let len = usize::from(u16::from_be_bytes(*len));
        match len.checked_sub(rest.len()) {
            Some(needed @ 1..) => Framing::Incomplete { needed },
            _ => Framing::Frame { len: LEN_BYTES + len },
        }
    }

    fn on_frame(&mut self, _: ConnId, frame: &[u8], replies: &mut Replies<'_>) -> Next {
        let Some((operation, key, value)) = parse(&frame[LEN_BYTES..]) else { return Next::Close };
        match operation {
            b'G' if value.is_empty() => reply(self.pairs.get(key).map(Vec::as_slice), replies),
            b'D' if value.is_empty() => reply(self.pairs.remove(key).as_deref(), replies),
            b'S' => reply(self.set(key, value).as_deref(), replies),
            _ => return Next::Close,
        }
        Next::Continue
    }
}

impl KeyValue {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        if let Some(known) = self.pairs.get_mut(key) {
            return Some(std::mem::replace(known, value.to_vec()));
        }
        if self.pairs.len() < PAIRS_MAX {
            self.pairs.insert(key.to_vec(), value.to_vec());
        }
        None
    }
}

/// Operation, key and value of a request; `None` if it is not well-formed.
fn parse(request: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[operation, key_len], rest) = request.split_first_chunk()?;
    let (key, value) = rest.split_at_checked(usize::from(key_len))?;
    Some((operation, key, value))
}

fn reply(value: Option<&[u8]>, replies: &mut Replies<'_>) {
    let (sign, value) = value.map_or((b'-', &[][..]), |value| (b'+', value));
    // A value came in a frame whose length is a u16, with three bytes or more besides.
    let len = (1 + value.len()) as u16;
    replies.push(&len.to_be_bytes());
    replies.push(&[sign]);
    replies.push(value);
}

fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7008".to_owned());
    let mut event_loop = EventLoop::new(Limits::default())?;
    eprintln!("listening on {}", event_loop.bind(addr.parse()?, KeyValue::default())?);
    let mut signals = Signals::install(&event_loop)?;
    event_loop.run_with(&mut signals)?;
    Ok(())
}
