//! An echo server on mynah's loop: every line comes back.
//!
//! `cargo run --example echo -- 127.0.0.1:7007`, then `nc 127.0.0.1 7007`. Ctrl-C stops it in order.

#![allow(clippy::print_stderr, reason = "it says where it listens")]

use std::error::Error;

use mynah::{ConnId, EventLoop, Framing, Limits, Next, Replies, Service, Signals};

struct Echo;

impl Service for Echo {
    fn find_frame(&self, input: &[u8]) -> Framing {
        match input.iter().position(|&byte| byte == b'\n') {
            Some(at) => Framing::Frame { len: at + 1 },
            None => Framing::Incomplete { needed: 1 },
        }
    }

    fn on_frame(&mut self, _: ConnId, line: &[u8], replies: &mut Replies<'_>) -> Next {
        replies.push(line);
        Next::Continue
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let mut event_loop = EventLoop::new(Limits::default())?;
    eprintln!("listening on {}", event_loop.bind(addr.parse()?, Echo)?);
    let mut signals = Signals::install(&event_loop)?;
    event_loop.run_with(&mut signals)?;
    Ok(())
}
