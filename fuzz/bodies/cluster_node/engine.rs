//! An engine that does what it is asked, in bytes: a node's two connections to it, scripts that grant
//! names without a look at who has them, and whatever is to be published.

use mynah::internal::clock::Millis;
use mynah::internal::cluster::{Engine, Link, Script, Want};

/// Most bytes that the node reads at once, as from a socket.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The engine's side of both connections.
#[derive(Default)]
pub(super) struct StubEngine {
    /// Connections that are there, and what was said on them that is not read.
    is_open: [bool; 2],
    said: [Vec<u8>; 2],
    /// What was asked that is not a whole command.
    asked: [Vec<u8>; 2],
    /// Scripts that were loaded.
    loads: usize,
    /// The node has subscribed.
    pub(super) is_subscribed: bool,
    /// No names are granted.
    pub(super) refuses: bool,
    /// What the node publishes is not passed on.
    pub(super) is_mute: bool,
}

impl StubEngine {
    /// Goes on with both connections: does what the node wants of them, answers what it asks, and has it
    /// read what there is for it.
    pub(super) fn advance(&mut self, node: &mut Engine, now: Millis) {
        for link in Link::ALL {
            match node.want(link, now) {
                Want::Nothing => {}
                Want::Close => self.close(link),
                Want::Connect => {
                    self.close(link);
                    node.on_connecting(link, now);
                    node.on_connected(link, now);
                    self.is_open[link as usize] = true;
                }
            }
            let unsent = node.unsent(link).len();
            self.asked[link as usize].extend_from_slice(node.unsent(link));
            node.on_sent(link, unsent);
            self.answer(link);
            if node.may_read(link) {
                let said = &mut self.said[link as usize];
                let len = said.len().min(READ_BYTES_MAX);
                node.on_bytes(link, &said[..len], now);
                said.drain(..len);
            }
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_quiet(&self, node: &Engine) -> bool {
        Link::ALL.into_iter().all(|link| {
            let has_said = !self.said[link as usize].is_empty();
            node.unsent(link).is_empty() && !(has_said && node.may_read(link))
        })
    }

    /// Publishes a message, if the node hears it.
    pub(super) fn publish(&mut self, channel: &str, payload: &[u8]) {
        if !self.is_subscribed {
            return;
        }
        let said = &mut self.said[Link::Subscriber as usize];
        let channel = format!("{{p}}:{channel}");
        said.extend_from_slice(
            format!(">3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n", channel.len()).as_bytes(),
        );
        said.extend_from_slice(format!("${}\r\n", payload.len()).as_bytes());
        said.extend_from_slice(payload);
        said.extend_from_slice(b"\r\n");
    }

    /// A connection ends, if it is there. What was said on it is lost.
    pub(super) fn end(&mut self, link: Link, node: &mut Engine, now: Millis) {
        if self.is_open[link as usize] {
            node.on_failed(link, "it has ended", now);
            self.close(link);
        }
    }

    fn close(&mut self, link: Link) {
        self.is_open[link as usize] = false;
        self.said[link as usize].clear();
        self.asked[link as usize].clear();
        self.is_subscribed &= link != Link::Subscriber;
    }

    fn answer(&mut self, link: Link) {
        while let Some(parts) = take_command(&mut self.asked[link as usize]) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let answer = match parts[..] {
                [b"HELLO", ..] => "%0\r\n".to_owned(),
                [b"SCRIPT", ..] => {
                    self.loads += 1;
                    format!("+{}\r\n", (self.loads - 1) % Script::ALL.len())
                }
                [b"PUBLISH", channel, payload] => {
                    let channel = str::from_utf8(channel).expect("a channel's name");
                    if !self.is_mute {
                        self.publish(channel.strip_prefix("{p}:").expect("the prefix"), payload);
                    }
                    ":1\r\n".to_owned()
                }
                [b"EVALSHA", sha, keys, ref rest @ ..] => self.call(sha, keys, rest),
                [b"SUBSCRIBE", ref channels @ ..] => {
                    self.is_subscribed = true;
                    let channels = channels.iter().map(|it| String::from_utf8_lossy(it));
                    let said = channels.map(|it| format!(">3\r\n+subscribe\r\n+{it}\r\n:1\r\n"));
                    said.collect()
                }
                _ => panic!("{:?}", parts.iter().map(|it| it.escape_ascii()).collect::<Vec<_>>()),
            };
            self.said[link as usize].extend_from_slice(answer.as_bytes());
        }
    }

    /// What a script answers: leases are there, names are granted unless the engine refuses.
    fn call(&self, sha: &[u8], keys: &[u8], rest: &[&[u8]]) -> String {
        let keys: usize = str::from_utf8(keys).expect("a number").parse().expect("a number");
        let args = rest.len() - keys;
        let number = usize::from(sha[0] - b'0');
        let (count, granted) = match Script::ALL[number] {
            Script::Renew => return ":1\r\n".to_owned(),
            Script::Claim => ((args - 5) / 5, !self.refuses),
            Script::Release => (args - 2, true),
        };
        format!("*{count}\r\n") + &format!(":{}\r\n", u8::from(granted)).repeat(count)
    }
}

/// Takes a whole command from the start of what was asked.
fn take_command(asked: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = str::from_utf8(&rest[1..end]).expect("a number");
        *rest = &rest[end + 2..];
        Some(line)
    }
    let mut rest = &asked[..];
    let count: usize = line(&mut rest)?.parse().expect("a number");
    let mut parts = Vec::new();
    for _ in 0..count {
        let len: usize = line(&mut rest)?.parse().expect("a number");
        parts.push(rest.get(..len)?.to_vec());
        rest = rest.get(len + 2..)?;
    }
    let left = rest.len();
    asked.drain(..asked.len() - left);
    Some(parts)
}
