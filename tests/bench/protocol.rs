//! Requests and expected replies as bytes, in the protocol of each server. Knows no sockets and no
//! time.

use mynah::internal::codec::command::{Command, Frame};

/// Protocol of a measured server. Most are not mynah's, so this is not `ProtocolName`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireProtocol {
    /// `command` of mynah, which the C echo and the tokio server have too.
    Command,
    /// No frames: the C fan-out sends each chunk to all other clients.
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

/// A request and its expected reply.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    /// The whole reply; in a handshake, its end.
    pub(crate) reply: Vec<u8>,
}

/// A broadcast: the request, the delivery to each subscriber, and the publisher's reply.
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
    /// The handshake, if the protocol has one. The reply may begin with anything and ends as given.
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

    /// Stores `payload` once, if requests fetch a stored value.
    pub(crate) fn store(self, payload: &[u8]) -> Option<Exchange> {
        let set = format!("set k 0 0 {}\r\n", payload.len());
        match self {
            WireProtocol::Memcached => {
                Exchange::new([set.as_bytes(), payload, b"\r\n"].concat(), "STORED\r\n")
            }
            _ => None,
        }
    }

    /// A request whose reply has `payload`.
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

    /// The request that makes a connection a subscriber, and its confirmation.
    pub(crate) fn subscribe(self) -> Option<Exchange> {
        match self {
            // Every client receives broadcasts; the reply proves that the server has the client.
            WireProtocol::Command => self.echo(b""),
            // Connections are accepted in order: the publisher's first broadcast proves it for all.
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

    /// A request of the server (`reply`) and its answer (`request`): NATS measures the round trip
    /// once, two seconds after a connect.
    pub(crate) fn server_ping(self) -> Option<Exchange> {
        match self {
            WireProtocol::Nats => Exchange::new("PONG\r\n", "PING\r\n"),
            _ => None,
        }
    }

    /// A broadcast of `payload` to `subscribers`, if the server has broadcasts.
    pub(crate) fn broadcast(self, payload: &[u8], subscribers: usize) -> Option<Broadcast> {
        let len = payload.len();
        let (publish, delivery, confirmation) = match self {
            WireProtocol::Command => {
                let count = subscribers.to_string();
                let message = frame(Command::Broadcast, payload);
                (message.clone(), message, frame(Command::Echo, count.as_bytes()))
            }
            // The same number of bytes as mynah delivers.
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

/// REVERSE of `text`, a command of mynah alone.
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
