//! The clients of a plugin listener, whose plugin is `plugins/parrot.lua`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::clients::{Broadcast, Client, Ending};
use crate::support::rng::Rng;

/// The answer when the plugin fails.
const FAILED: &[u8] = b"Error occurred while processing data";
/// The answer when it has nothing to say.
const NOBODY: &[u8] = b"None";

/// Sends a package, and the next when it has its answer: nothing but the answer tells where a
/// package ended.
#[derive(Default)]
pub struct PluginClient {
    number: usize,
    address: Option<SocketAddr>,
    spoken: usize,
    sequence: u32,
    /// Bytes spoken up to and with each package that has no answer yet, and the answer.
    expected: VecDeque<(usize, Vec<u8>)>,
    input: Vec<u8>,
    heard: Vec<Broadcast>,
}

impl PluginClient {
    pub fn new(number: usize) -> Self {
        PluginClient { number, ..PluginClient::default() }
    }

    /// The first thing in the input, if it is whole: a broadcast, or an answer.
    fn next_piece(&self) -> Option<usize> {
        let fixed = [FAILED, NOBODY].into_iter().find(|fixed| self.input.starts_with(fixed));
        let line = || self.input.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        fixed.map_or_else(line, |fixed| Some(fixed.len()))
    }

    fn hear_piece(&mut self, piece: &[u8]) -> Result<(), String> {
        let shown = || String::from_utf8_lossy(piece).into_owned();
        if let Some(text) = piece.strip_prefix(b"! ") {
            let text = str::from_utf8(text).map_err(|_| "torn UTF-8")?.trim_end();
            let (sender, sequence) = text.split_once(':').ok_or_else(shown)?;
            let number = |digits: &str| digits.parse::<u32>().map_err(|_| shown());
            self.heard.push((number(sender)? as usize, number(sequence)?));
            return Ok(());
        }
        match self.expected.pop_front() {
            Some((_, answer)) if answer == piece => Ok(()),
            Some((_, answer)) => {
                Err(format!("{:?} for {:?}", shown(), String::from_utf8_lossy(&answer)))
            }
            None => Err(format!("an answer to nothing: {:?}", shown())),
        }
    }
}

impl Client for PluginClient {
    fn speak(&mut self, rng: &mut Rng) -> Vec<u8> {
        let asked = self.address.filter(|_| rng.one_in(6));
        let whence = asked.map(|addr| (b"whence me".to_vec(), format!("= {addr}\n").into_bytes()));
        let (package, answer) = whence.unwrap_or_else(|| match rng.below(10) {
            0 => (b"fail now".to_vec(), FAILED.to_vec()),
            1 => (b"what?".to_vec(), NOBODY.to_vec()),
            2..5 => {
                self.sequence += 1;
                let package = format!("cast {}:{}", self.number, self.sequence);
                (package.into_bytes(), b"= \n".to_vec())
            }
            _ => {
                let text: String = (0..rng.skewed(3_000)).map(|at| ['p', 'é'][at % 2]).collect();
                (format!("echo {text}").into_bytes(), format!("= {text}\n").into_bytes())
            }
        });
        self.spoken += package.len();
        self.expected.push_back((self.spoken, answer));
        package
    }

    fn end(&mut self, _: Ending, _: &mut Rng) -> Vec<u8> {
        Vec::new()
    }

    fn set_address(&mut self, address: SocketAddr) {
        self.address = Some(address);
    }

    fn is_ready(&self, _: bool) -> bool {
        self.expected.is_empty()
    }

    fn is_undivided(&self) -> bool {
        true
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.input.extend(bytes);
        while let Some(len) = self.next_piece() {
            let piece: Vec<u8> = self.input.drain(..len).collect();
            self.hear_piece(&piece)?;
        }
        Ok(())
    }

    fn check_answered(&self, handed: usize, _: &[usize]) -> Result<(), String> {
        match self.expected.front() {
            Some((asked_at, _)) if *asked_at <= handed => {
                Err(format!("no answer to what ended at byte {asked_at} of {handed}"))
            }
            _ if self.input.is_empty() => Ok(()),
            _ => Err("half an answer".to_owned()),
        }
    }

    fn heard(&self) -> &[Broadcast] {
        &self.heard
    }
}
