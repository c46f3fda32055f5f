//! What nodes publish, written without the code that reads it: postcard's variable-length numbers,
//! texts with their lengths, variants by number.

/// An event of a room, as `protocol/cluster/event.rs` has them.
pub(super) enum Event<'a> {
    Post { from: &'a str, text: &'a str },
    Joined(&'a str),
    Left(&'a str),
    SnapshotBegins,
    Present(&'a str),
    SnapshotEnds,
}

impl Event<'_> {
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Event::Post { .. })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (variant, texts): (u64, &[&str]) = match self {
            Event::Post { from, text } => (1, &[from, text]),
            Event::Joined(nick) => (2, &[nick]),
            Event::Left(nick) => (3, &[nick]),
            Event::SnapshotBegins => (4, &[]),
            Event::Present(nick) => (5, &[nick]),
            Event::SnapshotEnds => (6, &[]),
        };
        number(variant, out);
        texts.iter().for_each(|it| text(it, out));
    }
}

/// A place in a stream: the number of its next event, and how many messages it had.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) next: u64,
    pub(super) messages: u64,
}

/// A batch of events that begins there.
pub(super) fn batch(incarnation: u64, first: Place, events: &[Event<'_>]) -> Vec<u8> {
    let mut out = header(incarnation, first);
    events.iter().for_each(|event| event.write(&mut out));
    out
}

/// The beginning of a batch.
pub(super) fn header(incarnation: u64, first: Place) -> Vec<u8> {
    let mut out = vec![1];
    [incarnation, first.next, first.messages].into_iter().for_each(|it| number(it, &mut out));
    out
}

/// A heartbeat, with the channels it names, and the node whose members it asks for.
pub(super) fn heartbeat(
    incarnation: u64,
    name: &str,
    is_last: bool,
    channels: &[(&str, Place, u32)],
    wants: &[(u64, &str)],
) -> Vec<u8> {
    let mut out = vec![1, 1];
    number(incarnation, &mut out);
    text(name, &mut out);
    out.push(u8::from(is_last));
    number(channels.len() as u64, &mut out);
    for (name, place, receivers) in channels {
        text(name, &mut out);
        let numbers = [place.next, place.messages, u64::from(*receivers)];
        numbers.into_iter().for_each(|it| number(it, &mut out));
    }
    number(wants.len() as u64, &mut out);
    for (node, name) in wants {
        number(*node, &mut out);
        text(name, &mut out);
    }
    out
}

fn number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn text(text: &str, out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}
