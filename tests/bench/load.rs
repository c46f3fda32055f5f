//! The load: closed-loop echo over many connections, and connections that say nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as BlockingStream;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use mynah::codec::command::{Command, Frame};

use super::subject::Subject;

/// Each connection keeps `depth` requests on their way.
pub(crate) struct EchoLoad {
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) payload: usize,
    pub(crate) seconds: u64,
}

/// What came of a run.
pub(crate) struct Measured {
    pub(crate) messages: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) seconds: f64,
}

struct Client {
    stream: TcpStream,
    /// Bytes of the answers still to come for the requests on their way.
    owed: usize,
}

impl EchoLoad {
    pub(crate) fn run(&self, subject: &Subject) -> Measured {
        let mut request = Vec::new();
        Frame { command: Command::Echo, payload: &vec![b'x'; self.payload] }.encode(&mut request);
        let frame_len = request.len();
        let batch = request.repeat(self.depth);
        let mut poll = Poll::new().unwrap();
        let mut clients: Vec<Client> = (0..self.connections)
            .map(|number| {
                let stream = BlockingStream::connect(("127.0.0.1", subject.port)).unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_nonblocking(true).unwrap();
                let mut stream = TcpStream::from_std(stream);
                poll.registry().register(&mut stream, Token(number), Interest::READABLE).unwrap();
                Client { stream, owed: 0 }
            })
            .collect();
        for client in &mut clients {
            client.send(&batch);
        }
        let mut run = |duration: Duration| {
            let started = Instant::now();
            let (mut messages, cpu_before) = (0, subject.cpu_ns());
            while started.elapsed() < duration {
                messages += turn(&mut poll, &mut clients, frame_len, &batch);
            }
            let seconds = started.elapsed().as_secs_f64();
            Measured { messages, cpu_ns: subject.cpu_ns() - cpu_before, seconds }
        };
        run(Duration::from_millis(300));
        run(Duration::from_secs(self.seconds))
    }
}

/// Takes one batch of answers and asks as many questions again.
fn turn(poll: &mut Poll, clients: &mut [Client], frame_len: usize, batch: &[u8]) -> u64 {
    let mut events = Events::with_capacity(1024);
    let mut buffer = [0; 64 * 1024];
    let mut messages = 0;
    poll.poll(&mut events, Some(Duration::from_secs(1))).unwrap();
    for event in &events {
        let client = &mut clients[event.token().0];
        loop {
            match client.stream.read(&mut buffer) {
                Ok(0) => panic!("the server closed a connection"),
                Ok(n) => {
                    let before = client.owed.div_ceil(frame_len);
                    client.owed -= n;
                    let answered = before - client.owed.div_ceil(frame_len);
                    messages += answered as u64;
                    client.send(&batch[..answered * frame_len]);
                    if n < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    messages
}

impl Client {
    fn send(&mut self, requests: &[u8]) {
        if !requests.is_empty() {
            self.stream.write_all(requests).expect("a closed loop fits into the socket's buffer");
            self.owed += requests.len();
        }
    }
}

/// Opens `n` connections and returns when the server has let all of them in.
pub(crate) fn open_idle(port: u16, n: usize) -> Vec<BlockingStream> {
    let open = |_| BlockingStream::connect(("127.0.0.1", port)).unwrap();
    let held: Vec<BlockingStream> = (0..n).map(open).collect();
    let mut last = held.last().unwrap();
    last.write_all(b"\x01\0\0\0\0").unwrap();
    last.read_exact(&mut [0; 5]).unwrap();
    held
}
