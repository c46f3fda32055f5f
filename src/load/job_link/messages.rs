//! Lines between parent and job. Knows no sockets.

use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::record::Record;
use super::super::stats::{Counts, Phase, Row};

/// Longest line. That of the record of an hour has about ten million bytes.
const LINE_BYTES_MAX: usize = 256 << 20;

/// A line of the parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum ToJob {
    Start {
        /// Number of the job, from 0.
        job: u32,
        /// Address of each target, which all jobs have from the parent; `None` is a Unix socket.
        addresses: Vec<Option<SocketAddr>>,
    },
    /// All jobs have arrived.
    Go,
    /// The run ends now.
    Stop,
}

/// A line of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum FromJob {
    /// It goes on when all others have come as far as it says.
    Waiting(Tick),
    Tick(Tick),
    Row {
        row: Row,
        /// Its latencies, encoded.
        second: Option<String>,
    },
    Done(Box<Record>),
    /// It could not run, for these reasons.
    Failed(Vec<String>),
}

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Tick {
    pub(in super::super) phase: Phase,
    pub(in super::super) counts: Counts,
    /// Connections that are connecting or joining.
    pub(in super::super) pending: u64,
}

/// A line that is not one of ours, or has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct BadLine;

/// A line as it is written.
pub(in super::super) fn encode(message: &impl Serialize) -> Vec<u8> {
    // Maps have text as keys, so there is no error.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Received bytes, cut into lines.
#[derive(Debug, Default)]
pub(in super::super) struct Lines {
    bytes: Vec<u8>,
    /// Bytes at the front that have been returned.
    taken: usize,
    /// Bytes behind `taken` in which there is no line break.
    searched: usize,
}

impl Lines {
    /// Adds received bytes.
    pub(in super::super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The message of the next whole line; `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// The line is not a message, or too long.
    pub(in super::super) fn next<M: DeserializeOwned>(&mut self) -> Result<Option<M>, BadLine> {
        let rest = &self.bytes[self.taken..];
        let Some(len) = rest[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = rest.len();
            return if rest.len() > LINE_BYTES_MAX { Err(BadLine) } else { Ok(None) };
        };
        let len = self.searched + len;
        self.searched = 0;
        self.taken += len + 1;
        serde_json::from_slice(&rest[..len]).map(Some).map_err(|_| BadLine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_in_any_pieces() {
        let addresses = vec![Some("127.0.0.1:5".parse().unwrap()), None];
        let sent = [ToJob::Start { job: 3, addresses }, ToJob::Go, ToJob::Stop, ToJob::Go];
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        for size in [1, 2, 7, 50, bytes.len()] {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for piece in bytes.chunks(size) {
                lines.push(piece);
                while let Some(message) = lines.next::<ToJob>().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, sent, "{size} at a time");
        }
    }

    #[test]
    fn line_that_is_no_message_is_an_error() {
        for text in ["\n", "{}\n", "\"go\"x\n", "\"jump\"\n", "\u{feff}\n"] {
            let mut lines = Lines::default();
            lines.push(text.as_bytes());
            assert_eq!(lines.next::<ToJob>(), Err(BadLine), "{text:?}");
        }
    }
}
