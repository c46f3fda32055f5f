//! A client that reads the server's counters.

use super::{Client, Status, wait_until};

/// A client of a `command` listener that asks for STATUS, and knows what its own requests add to
/// the counters.
pub(crate) struct Observer {
    client: Client,
    /// Its requests so far.
    asked: u64,
}

impl Observer {
    pub(crate) fn new(client: Client) -> Observer {
        Observer { client, asked: 0 }
    }

    #[track_caller]
    pub(crate) fn status(&mut self) -> Status {
        self.asked += 1;
        self.client.status()
    }

    /// Bytes read so far, without its own.
    #[track_caller]
    pub(crate) fn bytes_in(&mut self) -> u64 {
        self.status().get("bytes_in_total") - 5 * self.asked
    }

    /// Frames read so far, without its own.
    #[track_caller]
    pub(crate) fn frames_in(&mut self) -> u64 {
        self.status().get("frames_in_total") - self.asked
    }

    /// Runs `act`, and waits until the server has read `bytes` more from the other clients.
    #[track_caller]
    pub(crate) fn until_read(&mut self, bytes: usize, act: impl FnOnce()) {
        let before = self.bytes_in();
        act();
        wait_until("the bytes are read", || self.bytes_in() == before + bytes as u64);
    }

    /// Sends `bytes` in two pieces, the first `cut` bytes long. They are not merely written apart:
    /// the second follows when the server has read the first.
    #[track_caller]
    pub(crate) fn send_split(&mut self, client: &mut Client, bytes: &[u8], cut: usize) {
        let (head, tail) = bytes.split_at(cut);
        self.until_read(cut, || client.send(head));
        client.send(tail);
    }
}
