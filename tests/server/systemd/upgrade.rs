//! One server after the other on sockets that the service manager holds, under load: no connect is
//! refused, and no reply is lost.
//!
//! A client whose request was not answered connects anew and asks again. That is safe if the server
//! has not acted on it, which its log tells: at debug it has each message.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use nix::sys::signal::Signal;

use super::Manager;
use crate::support::{Client, PATIENCE, Server, frame};

/// Restarts, unless `MYNAH_RESTARTS` says otherwise.
const RESTARTS: usize = 100;

/// Clients that stay connected, and as many that connect for each request; half over TCP.
const CLIENTS: usize = 4;

/// Pause of a client between two requests.
const PACE: Duration = Duration::from_millis(1);

/// Where clients connect to.
#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(String),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Place {
    fn connect(&self) -> Box<dyn Stream> {
        let connected: io::Result<Box<dyn Stream>> = match self {
            Place::Tcp(addr) => TcpStream::connect_timeout(addr, PATIENCE).and_then(|stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }),
            Place::Unix(path) => UnixStream::connect(path).and_then(|stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }),
        };
        connected.expect("a connect was refused")
    }
}

/// Outcome of a request.
enum Outcome {
    Answered,
    /// The connection ended before the first byte of an answer.
    Unanswered,
}

/// Asks once. Part of an answer, another one, and none in all the time there is are failures.
fn ask(stream: &mut dyn Stream, request: &[u8]) -> Outcome {
    if stream.write_all(request).is_err() {
        return Outcome::Unanswered;
    }
    let mut answer = vec![0; request.len()];
    let mut len = 0;
    while len < answer.len() {
        match stream.read(&mut answer[len..]) {
            Ok(0) if len == 0 => return Outcome::Unanswered,
            Ok(0) => panic!("the end came inside an answer"),
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if len == 0 && error.kind() == io::ErrorKind::ConnectionReset => {
                return Outcome::Unanswered;
            }
            Err(error) => panic!("after {len} bytes: {error}"),
        }
    }
    assert_eq!(answer, request);
    Outcome::Answered
}

/// Counts of what a client has seen.
#[derive(Default)]
struct Seen {
    answered: usize,
    /// Texts of requests that were not answered. Each attempt has its own.
    unanswered: Vec<String>,
}

/// Asks until `ends`, with one request after the other.
fn run_client(number: usize, place: &Place, stays: bool, ends: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut stream = place.connect();
    for attempt in 0.. {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        // Its log line is written by a thread that a flood would outrun.
        thread::sleep(PACE);
        let text = format!("client {number} attempt {attempt}");
        match ask(&mut *stream, &frame(1, text.as_bytes())) {
            Outcome::Answered => {
                seen.answered += 1;
                if stays {
                    continue;
                }
            }
            Outcome::Unanswered => seen.unanswered.push(text),
        }
        stream = place.connect();
    }
    seen
}

/// Ends the clients, also where the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The texts of requests that `server` has acted on, and how many lines it has lost.
fn acted_on(server: &Server, texts: &mut HashSet<String>) {
    for line in server.log() {
        assert!(!line.contains("log lines dropped"), "{line}");
        if let Some((_, text)) = line.split_once("\"client ") {
            texts.insert(format!("client {}", text.trim_end_matches('"')));
        }
    }
}

#[test]
fn restarts_under_load_refuse_and_lose_nothing() {
    let restarts = env::var("MYNAH_RESTARTS").map_or(RESTARTS, |count| count.parse().unwrap());
    let manager = Manager::new();
    let path = manager.folder.path("s");
    let (tcp, unix) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let places = [Place::Tcp(tcp.local_addr().unwrap()), Place::Unix(path.clone())];
    let start = || {
        let args = ["-v", "-l", "command://:0", "-l", "command://:0"];
        let sockets = vec![
            ("command", tcp.try_clone().unwrap().into()),
            ("command-2", unix.try_clone().unwrap().into()),
        ];
        manager.start(&args, sockets)
    };
    let request = frame(1, &[7; 1 << 18]).repeat(3);
    let ends = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let mut acted = HashSet::new();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let clients: Vec<_> = (0..2 * CLIENTS)
            .map(|number| {
                let (place, ends, served) = (places[number % 2].clone(), &ends, &served);
                scope.spawn(move || {
                    let seen = run_client(number, &place, number < CLIENTS, ends);
                    served.fetch_add(seen.answered, Ordering::Relaxed);
                    seen
                })
            })
            .collect();
        let end = Ends(&ends);
        for _ in 0..restarts {
            let mut server = start();
            manager.wait_for("READY=1");
            // It goes in the middle of its work.
            server.wait_for(" some requests", {
                let mut messages = 0;
                move |line| {
                    messages += usize::from(line.contains("\"client "));
                    messages >= 100
                }
            });
            // What has arrived is answered, also what its client is slow to take. It has when a send
            // to a Unix socket returns.
            let mut last = Client::unix(&path);
            last.send(&request);
            server.signal(Signal::SIGTERM);
            last.expect(&request);
            last.expect_eof();
            drop(last);
            assert_eq!(server.wait_exit().code(), Some(0));
            acted_on(&server, &mut acted);
        }
        let mut last = start();
        manager.wait_for("READY=1");
        drop(end);
        let seen = clients.into_iter().map(|client| client.join().unwrap()).collect();
        last.stop();
        acted_on(&last, &mut acted);
        seen
    });
    let lost: Vec<&String> = seen
        .iter()
        .flat_map(|seen| &seen.unanswered)
        .filter(|text| acted.contains(*text))
        .collect();
    let (answered, unanswered): (usize, usize) =
        (served.into_inner(), seen.iter().map(|seen| seen.unanswered.len()).sum());
    eprintln!("{restarts} restarts: {answered} answered, {unanswered} asked again");
    assert!(acted.len() >= answered, "each answer has its line");
    assert!(lost.is_empty(), "acted on, and not answered: {lost:?}");
}
