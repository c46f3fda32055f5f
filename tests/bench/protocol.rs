//! What is said to a server and what it has to answer, in each server's protocol, as bytes. Knows no
//! sockets and no time.

use mynah::codec::command::{Command, Frame};

/// A protocol that a server under measurement speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireProtocol {
    /// mynah's 5-byte header; the C echo and the tokio server speak it too.
    Command,
    /// What is sent goes to everyone else as it is: the C fan-out.
    Unframed,
    /// RESP2.
    Redis,
    /// memcached's text protocol.
    Memcached,
    /// MQTT 3.1.1, quality of service 0.
    Mqtt,
    /// NATS's text protocol.
    Nats,
}

/// Something said, and what has to come back.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    /// All that comes back, but in a hello: there only how it ends.
    pub(crate) reply: Vec<u8>,
}

/// A broadcast: what the publisher sends, what each subscriber gets of it, and what the publisher is
/// told.
#[derive(Debug, Clone)]
pub(crate) struct Broadcast {
    pub(crate) publish: Vec<u8>,
    pub(crate) delivery: Vec<u8>,
    pub(crate) confirmation: Vec<u8>,
}

impl Exchange {
    fn new(request: impl Into<Vec<u8>>, reply: impl Into<Vec<u8>>) -> Option<Self> {
        Some(Exchange { request: request.into(), reply: reply.into() })
    }
}

impl WireProtocol {
    /// What a connection has to say before the server takes it for a client. The answer may begin
    /// with anything and ends as given.
    pub(crate) fn handshake(self) -> Option<Exchange> {
        match self {
            // CONNECT: protocol MQTT level 4, clean session, keep-alive 0, no name; CONNACK.
            WireProtocol::Mqtt => {
                Exchange::new(*b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0", *b"\x20\x02\0\0")
            }
            WireProtocol::Nats => {
                Exchange::new(*b"CONNECT {\"verbose\":false}\r\nPING\r\n", *b"PONG\r\n")
            }
            _ => None,
        }
    }

    /// What one connection says once, so that all can ask for `payload`.
    pub(crate) fn store(self, payload: &[u8]) -> Option<Exchange> {
        let set = format!("set k 0 0 {}\r\n", payload.len());
        match self {
            WireProtocol::Memcached => {
                Exchange::new([set.as_bytes(), payload, b"\r\n"].concat(), "STORED\r\n")
            }
            _ => None,
        }
    }

    /// A request that brings `payload` back.
    pub(crate) fn echo(self, payload: &[u8]) -> Option<Exchange> {
        let len = payload.len();
        match self {
            WireProtocol::Command => {
                let frame = frame(Command::Echo, payload);
                Exchange::new(frame.clone(), frame)
            }
            WireProtocol::Redis => {
                let value = [format!("${len}\r\n").as_bytes(), payload, b"\r\n"].concat();
                Exchange::new([b"*2\r\n$4\r\nECHO\r\n", value.as_slice()].concat(), value)
            }
            WireProtocol::Memcached => {
                let value = format!("VALUE k 0 {len}\r\n");
                Exchange::new("get k\r\n", [value.as_bytes(), payload, b"\r\nEND\r\n"].concat())
            }
            WireProtocol::Unframed | WireProtocol::Mqtt | WireProtocol::Nats => None,
        }
    }

    /// What a connection says to become a subscriber, and how it knows that it is one.
    pub(crate) fn subscribe(self) -> Option<Exchange> {
        match self {
            // Whoever is connected hears broadcasts; the answer proves that the server has it.
            WireProtocol::Command => self.echo(b""),
            // Accepted in order, so that the publisher's first broadcast proves it for all.
            WireProtocol::Unframed => None,
            WireProtocol::Redis => Exchange::new(
                "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
                "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
            ),
            // SUBSCRIBE, packet 1, topic `c`, quality of service 0; SUBACK.
            WireProtocol::Mqtt => Exchange::new(*b"\x82\x06\0\x01\0\x01c\0", *b"\x90\x03\0\x01\0"),
            WireProtocol::Nats => Exchange::new("SUB c 1\r\nPING\r\n", "PONG\r\n"),
            WireProtocol::Memcached => None,
        }
    }

    /// What the server asks by itself soon after a connect, and what it wants to hear: NATS measures
    /// the round trip once, after two seconds.
    pub(crate) fn server_ping(self) -> Option<Exchange> {
        match self {
            WireProtocol::Nats => Exchange::new("PONG\r\n", "PING\r\n"),
            _ => None,
        }
    }

    /// A message of `payload` to `subscribers`; none where the server has no such thing.
    pub(crate) fn broadcast(self, payload: &[u8], subscribers: usize) -> Option<Broadcast> {
        let len = payload.len();
        let (publish, delivery, confirmation) = match self {
            WireProtocol::Command => {
                let count = subscribers.to_string();
                let message = frame(Command::Broadcast, payload);
                (message.clone(), message, frame(Command::Echo, count.as_bytes()))
            }
            // As many bytes as mynah delivers.
            WireProtocol::Unframed => {
                let message = frame(Command::Broadcast, payload);
                (message.clone(), message, Vec::new())
            }
            WireProtocol::Redis => {
                let value = [format!("${len}\r\n").as_bytes(), payload, b"\r\n"].concat();
                let publish = [b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n", value.as_slice()].concat();
                let delivery = [b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n", value.as_slice()].concat();
                (publish, delivery, format!(":{subscribers}\r\n").into_bytes())
            }
            WireProtocol::Mqtt => {
                let packet = mqtt_publish(payload);
                (packet.clone(), packet, Vec::new())
            }
            WireProtocol::Nats => {
                let publish = [format!("PUB c {len}\r\n").as_bytes(), payload, b"\r\n"].concat();
                let delivery = [format!("MSG c 1 {len}\r\n").as_bytes(), payload, b"\r\n"].concat();
                (publish, delivery, Vec::new())
            }
            WireProtocol::Memcached => return None,
        };
        Some(Broadcast { publish, delivery, confirmation })
    }
}

/// REVERSE of `text`, which only mynah has.
pub(crate) fn reverse(text: &str) -> Exchange {
    let reversed: String = text.chars().rev().collect();
    Exchange {
        request: frame(Command::Reverse, text.as_bytes()),
        reply: frame(Command::Echo, reversed.as_bytes()),
    }
}

fn frame(command: Command, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame { command, payload }.encode(&mut bytes);
    bytes
}

/// PUBLISH to the topic `c`, quality of service 0 (MQTT 3.1.1, 3.3).
fn mqtt_publish(payload: &[u8]) -> Vec<u8> {
    let topic = *b"\0\x01c";
    let mut packet = vec![0x30];
    let mut len = topic.len() + payload.len();
    // Seven bits a byte, the lowest first (2.2.3).
    while len >= 128 {
        packet.push((len % 128) as u8 | 128);
        len /= 128;
    }
    packet.push(len as u8);
    packet.extend(topic);
    packet.extend(payload);
    packet
}
