//! Full rooms: every message reaches all other members once, in its sender's order.
//!
//! `MYNAH_LONG=1` makes the rooms as full as one process's descriptors allow.

use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::super::support::{PATIENCE, Server, crowd};
use super::{Event, Kind, Lang, line};

/// Members that join at a time. Each join is announced to all members.
const JOIN_BATCH: usize = 250;

/// Messages that a sender of terminated messages writes at once, and the time between writes.
const BURST: u32 = 5;
const BURST_INTERVAL: Duration = Duration::from_millis(100);

/// Least pause between unterminated messages, longer than the pause that ends one.
const PAUSE: Duration = Duration::from_millis(60);

fn is_long() -> bool {
    std::env::var_os("MYNAH_LONG").is_some()
}

#[test]
fn full_room_gets_one_senders_messages_in_order() {
    let members = if is_long() { 10_000 } else { 1_000 };
    let _guard = crowd(members);
    let mut room = Room::join(members, 1);
    let began_at = Instant::now();
    room.send_for(Duration::from_secs(if is_long() { 10 } else { 1 }));
    println!("{}", room.assert_all_received(began_at));
}

#[test]
fn full_room_gets_ten_senders_messages_in_order() {
    let members = if is_long() { 5_000 } else { 300 };
    let _guard = crowd(members);
    let mut room = Room::join(members, 10);
    let began_at = Instant::now();
    room.send_for(Duration::from_secs(if is_long() { 30 } else { 2 }));
    println!("{}", room.assert_all_received(began_at));
}

/// A room whose members all run on this thread.
///
/// Members that send nothing receive the same bytes. These are stored once, in the record, and such
/// a member has an offset into it.
struct Room {
    server: Server,
    poll: Poll,
    events: Events,
    /// The senders, then the receivers.
    members: Vec<Member>,
    phase: Phase,
    record: Record,
    /// Bytes were received since the last check.
    progress: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Members join, and receive the joins after theirs.
    Joining,
    /// All have joined, and receive messages.
    Sending,
    /// All messages have been received, and each member receives a last line.
    Ending,
}

struct Member {
    stream: TcpStream,
    kind: Kind,
    /// The received bytes that are not counted yet.
    received: Vec<u8>,
    welcomed: bool,
    /// Joins received, of members after it.
    joins: usize,
    /// A receiver's offset into the record.
    offset: usize,
    /// Messages that a sender has received of each sender but itself.
    messages: Vec<u32>,
    sent: u32,
    sent_at: Instant,
}

/// The bytes that at least one receiver has received.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    /// Length of the lines that are counted.
    counted: usize,
    /// Counted messages of each sender.
    messages: Vec<u32>,
}

impl Room {
    /// A room with `members` members, of which the first are senders. Every other one terminates
    /// its messages.
    fn join(members: usize, senders: usize) -> Room {
        let server = Server::start(&["-l", "chat://127.0.0.1:0", "-l", "command://127.0.0.1:0"]);
        let mut room = Room {
            server,
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1_024),
            members: Vec::new(),
            phase: Phase::Joining,
            record: Record { messages: vec![0; senders], ..Record::default() },
            progress: false,
        };
        for first in (0..members).step_by(JOIN_BATCH) {
            for number in first..members.min(first + JOIN_BATCH) {
                room.add_member(number);
            }
            room.receive_until("the new members are welcomed", |room| {
                room.members[first..].iter().all(|member| member.welcomed)
            });
        }
        let pairs = members * (members - 1) / 2;
        room.receive_until("all joins are received", |room| {
            room.members.iter().map(|member| member.joins).sum::<usize>() >= pairs
        });
        let mut joins: Vec<usize> = room.members.iter().map(|member| member.joins).collect();
        joins.sort_unstable();
        assert!(joins.into_iter().eq(0..members), "each receives all joins after its own");
        room.members[..senders].iter_mut().for_each(|member| member.messages = vec![0; senders]);
        room.phase = Phase::Sending;
        room
    }

    fn add_member(&mut self, number: usize) {
        let source = [127, 0, 0, 1 + (number % 16) as u8];
        let stream = self.server.connect_from(source).into_stream();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE).unwrap();
        let mut member = Member {
            stream,
            kind: if number.is_multiple_of(2) { Kind::Lines } else { Kind::Unterminated },
            received: Vec::new(),
            welcomed: false,
            joins: 0,
            offset: 0,
            messages: Vec::new(),
            sent: 0,
            sent_at: Instant::now(),
        };
        member.send(&nick(number));
        self.members.push(member);
    }

    /// Has the senders send for this long.
    ///
    /// Two unterminated messages are two only if the server reads the first before the second
    /// arrives, and it may be busy for longer than any pause. So their senders go on after a pause
    /// and once a receiver has the last message.
    fn send_for(&mut self, time: Duration) {
        let began_at = Instant::now();
        while began_at.elapsed() < time {
            for (number, recorded) in self.record.messages.iter().enumerate() {
                let sender = &mut self.members[number];
                let pause = sender.sent_at.elapsed();
                if sender.kind != Kind::Unterminated {
                    if pause > BURST_INTERVAL {
                        sender.send_next(number, BURST);
                    }
                } else if pause > PAUSE && *recorded == sender.sent {
                    sender.send_next(number, 1);
                }
            }
            self.receive(Duration::from_millis(5));
        }
    }

    /// Receives until `done`. Fails if nothing is received for too long.
    #[track_caller]
    fn receive_until(&mut self, what: &str, done: impl Fn(&Room) -> bool) {
        let mut progress_at = Instant::now();
        while !done(self) {
            self.receive(Duration::from_millis(100));
            if mem::take(&mut self.progress) {
                progress_at = Instant::now();
            }
            assert!(progress_at.elapsed() < PATIENCE, "timed out: {what}");
        }
    }

    /// Receives what arrives within `time`.
    fn receive(&mut self, time: Duration) {
        self.poll.poll(&mut self.events, Some(time)).unwrap();
        let mut buffer = [0; 65_536];
        for event in &self.events {
            self.progress = true;
            let Token(number) = event.token();
            let member = &mut self.members[number];
            loop {
                let bytes = match member.stream.read(&mut buffer) {
                    Ok(0) => panic!("{} was cut", nick(number)),
                    Ok(n) => &buffer[..n],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{}: {error}", nick(number)),
                };
                match self.phase {
                    Phase::Joining => member.receive_joins(number, bytes),
                    Phase::Sending if number < self.record.messages.len() => {
                        member.receive_messages(number, bytes);
                    }
                    Phase::Sending => self.record.compare(member, bytes),
                    Phase::Ending => member.received.extend(bytes),
                }
            }
        }
        self.record.count();
    }

    /// Waits until all messages are received, and checks that each member received each of them
    /// once, in its sender's order, and nothing else. Returns the figures.
    #[track_caller]
    fn assert_all_received(&mut self, began_at: Instant) -> String {
        let senders = self.record.messages.len();
        let sent: Vec<u32> = self.members[..senders].iter().map(|member| member.sent).collect();
        self.receive_until("all messages are received", |room| {
            let (sending, receivers) = room.members.split_at(senders);
            room.record.messages == sent
                && receivers.iter().all(|member| member.offset == room.record.bytes.len())
                && sending.iter().enumerate().all(|(own, member)| {
                    (0..senders).all(|of| of == own || member.messages[of] == sent[of])
                })
        });
        let took = began_at.elapsed();
        self.phase = Phase::Ending;
        let last = line(Lang::En, Event::Usage, &[]) + "\n";
        self.members.iter_mut().for_each(|member| member.send("/msg"));
        self.receive_until("each receives its last line", |room| {
            room.members.iter().all(|member| member.received.len() >= last.len())
        });
        for member in &self.members {
            assert_eq!(String::from_utf8_lossy(&member.received), last);
        }
        let status = self.server.connect_to(1).status();
        assert_eq!(status.get("slow_consumers_total"), 0);
        assert_eq!(status.get("connections"), self.members.len() as u64 + 1);
        let messages: u64 = sent.iter().copied().map(u64::from).sum();
        assert_eq!(status.get("broadcasts_total"), messages);
        let deliveries = messages * (self.members.len() as u64 - 1);
        format!(
            "{} members, {senders} of them senders, {messages} messages, {deliveries} deliveries \
             in {took:.1?}, none lost, none twice",
            self.members.len()
        )
    }
}

impl Member {
    fn send(&mut self, text: &str) {
        let bytes = [text.as_bytes(), self.kind.end()].concat();
        assert_eq!(self.stream.write(&bytes).unwrap(), bytes.len());
    }

    /// Sends its next `count` messages in one write.
    fn send_next(&mut self, number: usize, count: u32) {
        let next = self.sent..self.sent + count;
        self.sent = next.end;
        self.sent_at = Instant::now();
        let texts: Vec<String> = next.map(|message| text(number, message)).collect();
        self.send(&texts.join("\n"));
    }

    fn receive_joins(&mut self, number: usize, bytes: &[u8]) {
        let mut newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
        if !self.welcomed {
            self.received.extend(bytes);
            if newlines == 0 {
                return;
            }
            let welcome = line(Lang::En, Event::Welcome, &[&nick(number)]) + "\n";
            assert!(self.received.starts_with(welcome.as_bytes()), "{:?}", self.received);
            self.received = Vec::new();
            self.welcomed = true;
            newlines -= 1;
        }
        self.joins += newlines;
    }

    fn receive_messages(&mut self, number: usize, bytes: &[u8]) {
        self.received.extend(bytes);
        let lines = count_messages(&self.received, &mut self.messages);
        self.received.drain(..lines);
        assert_eq!(self.messages[number], 0, "{} received its own messages", nick(number));
    }
}

impl Record {
    /// Compares what a receiver received with the record, or appends what it is the first to
    /// receive.
    fn compare(&mut self, receiver: &mut Member, bytes: &[u8]) {
        let known = &self.bytes[receiver.offset..];
        let (again, new) = bytes.split_at(known.len().min(bytes.len()));
        assert!(
            known.starts_with(again),
            "one received {:?}, others {:?}",
            String::from_utf8_lossy(again),
            String::from_utf8_lossy(&known[..again.len()])
        );
        self.bytes.extend(new);
        receiver.offset += bytes.len();
    }

    fn count(&mut self) {
        self.counted += count_messages(&self.bytes[self.counted..], &mut self.messages);
    }
}

/// Counts the messages of each sender in whole lines. Each must follow the last of its sender.
/// Returns the length of the lines.
fn count_messages(bytes: &[u8], messages: &mut [u32]) -> usize {
    let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') else { return 0 };
    for line in str::from_utf8(&bytes[..last]).unwrap().split('\n') {
        let sender = line.strip_prefix("[m").and_then(|rest| rest.split_once(']'));
        let (number, _) = sender.unwrap_or_else(|| panic!("not a message: {line:?}"));
        let number: usize = number.parse().unwrap();
        let expected = super::line(
            Lang::En,
            Event::Message,
            &[&nick(number), &text(number, messages[number])],
        );
        assert_eq!(line, expected);
        messages[number] += 1;
    }
    last + 1
}

fn nick(number: usize) -> String {
    format!("m{number:05}")
}

fn text(number: usize, message: u32) -> String {
    format!("сообщение {message} of {number}")
}
