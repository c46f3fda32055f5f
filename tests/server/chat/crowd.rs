//! Full rooms: whatever is said reaches everyone else once, in its speaker's order.
//!
//! `MYNAH_LONG=1` makes the rooms as full as one process has files for.

use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::super::support::{PATIENCE, Server, crowd};
use super::{Event, Kind, Lang, line};

/// Clients that come at a time: everybody present is told of each of them.
const ARRIVALS: usize = 250;

/// What a speaker that ends its messages sends in one write, and how often.
const BURST: u32 = 5;
const BURST_EVERY: Duration = Duration::from_millis(100);

/// How long a speaker that ends none is silent at least: longer than what the server takes for the
/// end of one.
const PAUSE: Duration = Duration::from_millis(60);

fn is_long() -> bool {
    std::env::var_os("MYNAH_LONG").is_some()
}

#[test]
fn a_full_room_hears_every_message_of_one_speaker_once_and_in_order() {
    let members = if is_long() { 10_000 } else { 1_000 };
    let _guard = crowd(members);
    let mut room = Room::gather(members, 1);
    let began_at = Instant::now();
    room.speak_for(Duration::from_secs(if is_long() { 10 } else { 1 }));
    println!("{}", room.assert_all_heard(began_at));
}

#[test]
fn a_full_room_hears_every_message_of_ten_speakers_once_and_each_in_its_order() {
    let members = if is_long() { 5_000 } else { 300 };
    let _guard = crowd(members);
    let mut room = Room::gather(members, 10);
    let began_at = Instant::now();
    room.speak_for(Duration::from_secs(if is_long() { 30 } else { 2 }));
    println!("{}", room.assert_all_heard(began_at));
}

/// A room all of whose members are served by this thread.
///
/// All but the speakers hear the same bytes: they are kept once, in the record, and a listener is a
/// place in it.
struct Room {
    server: Server,
    poll: Poll,
    events: Events,
    /// The speakers, then the listeners.
    members: Vec<Member>,
    phase: Phase,
    record: Record,
    /// Something has come.
    progress: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Members come, and hear of those who come after them.
    Arriving,
    /// Nobody comes any more, and what is heard are messages.
    Talking,
    /// Nobody talks any more, and each is to hear its last line.
    Ending,
}

struct Member {
    stream: TcpStream,
    kind: Kind,
    /// What it has heard of an unfinished line, of its welcome or in the end.
    heard: Vec<u8>,
    welcomed: bool,
    /// How many have joined after it.
    joins: usize,
    /// A listener's place in the record.
    place: usize,
    /// Of a speaker, which hears all but itself: messages of each speaker it has heard.
    messages: Vec<u32>,
    said: u32,
    said_at: Instant,
}

/// What has been said, as far as any listener has heard it.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    /// How many of them have been looked at: whole lines.
    counted: usize,
    /// Messages of each speaker among those.
    messages: Vec<u32>,
}

impl Room {
    /// A room with `members` members, the first of them speakers. Every other one ends its
    /// messages.
    fn gather(members: usize, speakers: usize) -> Room {
        let server = Server::start(&["-l", "chat://127.0.0.1:0", "-l", "command://127.0.0.1:0"]);
        let mut room = Room {
            server,
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1_024),
            members: Vec::new(),
            phase: Phase::Arriving,
            record: Record { messages: vec![0; speakers], ..Record::default() },
            progress: false,
        };
        for first in (0..members).step_by(ARRIVALS) {
            for number in first..members.min(first + ARRIVALS) {
                room.enter(number);
            }
            room.hear_until("the newcomers are welcomed", |room| {
                room.members[first..].iter().all(|member| member.welcomed)
            });
        }
        let pairs = members * (members - 1) / 2;
        room.hear_until("everyone has heard of those who came later", |room| {
            room.members.iter().map(|member| member.joins).sum::<usize>() >= pairs
        });
        let mut joins: Vec<usize> = room.members.iter().map(|member| member.joins).collect();
        joins.sort_unstable();
        assert!(joins.into_iter().eq(0..members), "each hears of all those who come after it");
        room.members[..speakers].iter_mut().for_each(|member| member.messages = vec![0; speakers]);
        room.phase = Phase::Talking;
        room
    }

    fn enter(&mut self, number: usize) {
        let source = [127, 0, 0, 1 + (number % 16) as u8];
        let stream = self.server.connect_from(source).into_stream();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE).unwrap();
        let mut member = Member {
            stream,
            kind: if number.is_multiple_of(2) { Kind::Lines } else { Kind::Unterminated },
            heard: Vec::new(),
            welcomed: false,
            joins: 0,
            place: 0,
            messages: Vec::new(),
            said: 0,
            said_at: Instant::now(),
        };
        member.say(&nick(number));
        self.members.push(member);
    }

    /// Lets the speakers speak for so long.
    ///
    /// Two messages of a client that ends none are two only if the server takes the first before
    /// the second comes, and it may be busy for longer than any pause. So these speakers do as
    /// people do: they go on when they have paused and somebody has heard them.
    fn speak_for(&mut self, time: Duration) {
        let began_at = Instant::now();
        while began_at.elapsed() < time {
            for (number, recorded) in self.record.messages.iter().enumerate() {
                let speaker = &mut self.members[number];
                let silent = speaker.said_at.elapsed();
                if speaker.kind != Kind::Unterminated {
                    if silent > BURST_EVERY {
                        speaker.speak(number, BURST);
                    }
                } else if silent > PAUSE && *recorded == speaker.said {
                    speaker.speak(number, 1);
                }
            }
            self.hear(Duration::from_millis(5));
        }
    }

    /// Hears what comes until `done`; nothing coming for too long is a failure.
    #[track_caller]
    fn hear_until(&mut self, what: &str, done: impl Fn(&Room) -> bool) {
        let mut progress_at = Instant::now();
        while !done(self) {
            self.hear(Duration::from_millis(100));
            if mem::take(&mut self.progress) {
                progress_at = Instant::now();
            }
            assert!(progress_at.elapsed() < PATIENCE, "waited in vain: {what}");
        }
    }

    /// Waits for at most `time` for something to hear, and hears it.
    fn hear(&mut self, time: Duration) {
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
                    Phase::Arriving => member.hear_who_joins(number, bytes),
                    Phase::Talking if number < self.record.messages.len() => {
                        member.hear_the_others(number, bytes);
                    }
                    Phase::Talking => self.record.compare(member, bytes),
                    Phase::Ending => member.heard.extend(bytes),
                }
            }
        }
        self.record.count();
    }

    /// Waits until all that was said has been heard, and holds everyone to having heard it once, in
    /// each speaker's order, and nothing else. Returns the figures.
    #[track_caller]
    fn assert_all_heard(&mut self, began_at: Instant) -> String {
        let speakers = self.record.messages.len();
        let said: Vec<u32> = self.members[..speakers].iter().map(|member| member.said).collect();
        self.hear_until("all that was said is heard", |room| {
            let (talkers, listeners) = room.members.split_at(speakers);
            room.record.messages == said
                && listeners.iter().all(|member| member.place == room.record.bytes.len())
                && talkers.iter().enumerate().all(|(own, member)| {
                    (0..speakers).all(|of| of == own || member.messages[of] == said[of])
                })
        });
        let took = began_at.elapsed();
        self.phase = Phase::Ending;
        let last = line(Lang::En, Event::Usage, &[]) + "\n";
        self.members.iter_mut().for_each(|member| member.say("/msg"));
        self.hear_until("each hears its last line", |room| {
            room.members.iter().all(|member| member.heard.len() >= last.len())
        });
        for member in &self.members {
            assert_eq!(String::from_utf8_lossy(&member.heard), last);
        }
        let status = self.server.connect_to(1).status();
        assert_eq!(status.get("slow_consumers_total"), 0);
        assert_eq!(status.get("connections"), self.members.len() as u64 + 1);
        let messages: u64 = said.iter().copied().map(u64::from).sum();
        assert_eq!(status.get("broadcasts_total"), messages);
        let deliveries = messages * (self.members.len() as u64 - 1);
        format!(
            "{} members, {speakers} of them speakers, {messages} messages, {deliveries} deliveries \
             in {took:.1?}, none lost, none twice",
            self.members.len()
        )
    }
}

impl Member {
    fn say(&mut self, text: &str) {
        let bytes = [text.as_bytes(), self.kind.end()].concat();
        assert_eq!(self.stream.write(&bytes).unwrap(), bytes.len());
    }

    /// Says its next `count` messages in one write.
    fn speak(&mut self, number: usize, count: u32) {
        let next = self.said..self.said + count;
        self.said = next.end;
        self.said_at = Instant::now();
        let texts: Vec<String> = next.map(|message| text(number, message)).collect();
        self.say(&texts.join("\n"));
    }

    fn hear_who_joins(&mut self, number: usize, bytes: &[u8]) {
        let mut newlines = bytes.iter().filter(|byte| **byte == b'\n').count();
        if !self.welcomed {
            self.heard.extend(bytes);
            if newlines == 0 {
                return;
            }
            let welcome = line(Lang::En, Event::Welcome, &[&nick(number)]) + "\n";
            assert!(self.heard.starts_with(welcome.as_bytes()), "{:?}", self.heard);
            self.heard = Vec::new();
            self.welcomed = true;
            newlines -= 1;
        }
        self.joins += newlines;
    }

    fn hear_the_others(&mut self, number: usize, bytes: &[u8]) {
        self.heard.extend(bytes);
        let lines = count_messages(&self.heard, &mut self.messages);
        self.heard.drain(..lines);
        assert_eq!(self.messages[number], 0, "{} hears itself", nick(number));
    }
}

impl Record {
    /// A listener hears what others have heard, or is the first to hear it.
    fn compare(&mut self, listener: &mut Member, bytes: &[u8]) {
        let known = &self.bytes[listener.place..];
        let (again, new) = bytes.split_at(known.len().min(bytes.len()));
        assert!(
            known.starts_with(again),
            "one hears {:?}, others {:?}",
            String::from_utf8_lossy(again),
            String::from_utf8_lossy(&known[..again.len()])
        );
        self.bytes.extend(new);
        listener.place += bytes.len();
    }

    fn count(&mut self) {
        self.counted += count_messages(&self.bytes[self.counted..], &mut self.messages);
    }
}

/// Counts the messages of each speaker among whole lines. Each must be the one after the last of
/// its speaker. Returns how many bytes the lines have.
fn count_messages(bytes: &[u8], messages: &mut [u32]) -> usize {
    let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') else { return 0 };
    for line in str::from_utf8(&bytes[..last]).unwrap().split('\n') {
        let speaker = line.strip_prefix("[m").and_then(|rest| rest.split_once(']'));
        let (number, _) = speaker.unwrap_or_else(|| panic!("nobody says {line:?}"));
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
