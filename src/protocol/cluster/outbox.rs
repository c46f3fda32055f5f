//! Events of this node's rooms until they are published: those of a turn travel together.

use std::collections::VecDeque;

use super::event::Event;

/// A room that spans nodes, by number: a listener's name with its protocol.
pub type Channel = u16;

/// Length of a batch at which another begins: a receiver takes up a batch at a time.
const BATCH_BYTES: usize = 64 * 1024;

/// Largest buffer that is kept for the batches to come.
const KEPT_CAPACITY_MAX: usize = 2 * BATCH_BYTES;

/// Events that were published together, numbered one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The number of the first.
    pub first: u64,
    /// How many [messages](Event::is_message) the channel had before.
    pub messages_before: u64,
    /// How many it has itself.
    pub messages: u64,
    /// The events, encoded.
    pub bytes: Vec<u8>,
}

/// The end of a channel's stream of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The number of the next event.
    pub next: u64,
    /// How many messages there were.
    pub messages: u64,
}

/// The events of each channel that wait to be published. What does not fit is dropped, and has its
/// number, so that the others know.
#[derive(Debug)]
pub struct Outbox {
    streams: Vec<Stream>,
    /// The buffer of a batch that was published.
    spare: Vec<u8>,
    /// Bytes of all that wait.
    bytes: usize,
    bytes_max: usize,
    /// Messages dropped so far.
    dropped: u64,
}

#[derive(Debug, Default)]
struct Stream {
    end: Position,
    batch: Batch,
    sealed: VecDeque<Batch>,
}

impl Outbox {
    /// An empty one that holds at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Outbox { streams: Vec::new(), spare: Vec::new(), bytes: 0, bytes_max, dropped: 0 }
    }

    /// Has it hold at most `bytes_max` from now on.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Adds a channel.
    pub(super) fn add_channel(&mut self) {
        self.streams.push(Stream::default());
    }

    /// Appends an event to its channel's stream.
    pub fn push(&mut self, channel: Channel, event: &Event<'_>) {
        let Some(stream) = self.streams.get_mut(usize::from(channel)) else { return };
        if stream.batch.bytes.is_empty() {
            if stream.batch.bytes.capacity() == 0 {
                stream.batch.bytes = std::mem::take(&mut self.spare);
            }
            (stream.batch.first, stream.batch.messages_before) =
                (stream.end.next, stream.end.messages);
        }
        let before = stream.batch.bytes.len();
        let fits = self.bytes < self.bytes_max;
        let is_written = fits && postcard::to_io(event, &mut stream.batch.bytes).is_ok();
        stream.end.next += 1;
        stream.end.messages += u64::from(event.is_message());
        if !is_written {
            stream.batch.bytes.truncate(before);
            self.dropped += u64::from(event.is_message());
            // What follows has a gap before it.
            stream.seal();
            return;
        }
        stream.batch.messages += u64::from(event.is_message());
        self.bytes += stream.batch.bytes.len() - before;
        if stream.batch.bytes.len() >= BATCH_BYTES {
            stream.seal();
        }
    }

    /// Whether anything waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The next batch of a channel.
    pub fn pop(&mut self, channel: Channel) -> Option<Batch> {
        let stream = self.streams.get_mut(usize::from(channel))?;
        let batch = match stream.sealed.pop_front() {
            Some(batch) => batch,
            None if stream.batch.bytes.is_empty() => return None,
            None => std::mem::take(&mut stream.batch),
        };
        self.bytes -= batch.bytes.len();
        Some(batch)
    }

    /// Takes back a batch for its buffer.
    pub fn reuse(&mut self, batch: Batch) {
        let mut bytes = batch.bytes;
        if bytes.capacity() <= KEPT_CAPACITY_MAX && self.spare.capacity() < bytes.capacity() {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// How many channels there are.
    #[must_use]
    pub fn channels(&self) -> Channel {
        // Channels are numbered by 16 bits.
        self.streams.len() as Channel
    }

    /// Where a channel's stream ends.
    #[must_use]
    pub fn end(&self, channel: Channel) -> Position {
        self.streams.get(usize::from(channel)).map_or(Position::default(), |stream| stream.end)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes allocated, about.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.bytes + self.spare.capacity()
    }

    /// Messages dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Messages were dropped that had left the outbox.
    pub fn note_dropped(&mut self, messages: u64) {
        self.dropped += messages;
    }
}

impl Stream {
    fn seal(&mut self) {
        if !self.batch.bytes.is_empty() {
            self.sealed.push_back(std::mem::take(&mut self.batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(bytes_max: usize) -> Outbox {
        let mut outbox = Outbox::new(bytes_max);
        outbox.add_channel();
        outbox.add_channel();
        outbox
    }

    fn post(text: &str) -> Event<'_> {
        Event::Post { from: "ann", text }
    }

    fn events(batch: &Batch) -> Vec<Event<'_>> {
        let (mut events, mut rest) = (Vec::new(), &*batch.bytes);
        while !rest.is_empty() {
            let (event, behind) = postcard::take_from_bytes(rest).unwrap();
            events.push(event);
            rest = behind;
        }
        events
    }

    #[test]
    fn events_of_a_turn_travel_together() {
        let mut outbox = outbox(1000);
        outbox.push(0, &Event::Joined("ann"));
        outbox.push(1, &post("elsewhere"));
        outbox.push(0, &post("hello"));
        let batch = outbox.pop(0).unwrap();
        assert_eq!((batch.first, batch.messages_before), (0, 0));
        assert_eq!(events(&batch), [Event::Joined("ann"), post("hello")]);
        assert_eq!(outbox.pop(0), None);
        outbox.push(0, &post("again"));
        let batch = outbox.pop(0).unwrap();
        assert_eq!((batch.first, batch.messages_before), (2, 1));
        assert_eq!(events(&outbox.pop(1).unwrap()), [post("elsewhere")]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn dropped_events_have_their_numbers() {
        let mut outbox = outbox(20);
        outbox.push(0, &post("a text of more than twenty bytes"));
        outbox.push(0, &post("dropped"));
        outbox.push(0, &Event::Left("ann"));
        assert_eq!((outbox.dropped(), outbox.end(0)), (1, Position { next: 3, messages: 2 }));
        let batch = outbox.pop(0).unwrap();
        assert_eq!(events(&batch).len(), 1);
        outbox.push(0, &post("fits"));
        let batch = outbox.pop(0).unwrap();
        assert_eq!((batch.first, batch.messages_before), (3, 2));
    }

    #[test]
    fn batches_are_bounded() {
        let mut outbox = outbox(1 << 20);
        let text = "x".repeat(BATCH_BYTES / 4);
        (0..10).for_each(|_| outbox.push(0, &post(&text)));
        let mut first = 0;
        while let Some(batch) = outbox.pop(0) {
            assert!(batch.bytes.len() < BATCH_BYTES + text.len() + 16);
            assert_eq!(batch.first, first);
            first += events(&batch).len() as u64;
        }
        assert_eq!(first, 10);
    }

    #[test]
    fn buffer_of_a_batch_is_used_again() {
        let mut outbox = outbox(1 << 20);
        outbox.push(0, &post("hello"));
        let batch = outbox.pop(0).unwrap();
        let (buffer, capacity) = (batch.bytes.as_ptr(), batch.bytes.capacity());
        outbox.reuse(batch);
        assert_eq!(outbox.allocated(), capacity);
        outbox.push(1, &post("again"));
        let batch = outbox.pop(1).unwrap();
        assert_eq!((batch.bytes.as_ptr(), batch.first, batch.messages), (buffer, 0, 1));
        assert_eq!(events(&batch), [post("again")]);
        // Not a large one.
        outbox.push(0, &post(&"x".repeat(KEPT_CAPACITY_MAX)));
        let batch = outbox.pop(0).unwrap();
        outbox.reuse(batch);
        assert_eq!(outbox.allocated(), 0);
    }

    #[test]
    fn binary_payloads_are_whole() {
        let mut outbox = outbox(1000);
        let bytes: Vec<u8> = (0..=255).collect();
        outbox.push(0, &Event::Broadcast(super::super::Payload(&bytes)));
        let batch = outbox.pop(0).unwrap();
        assert_eq!(events(&batch), [Event::Broadcast(super::super::Payload(&bytes))]);
    }
}
