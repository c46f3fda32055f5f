//! Signals: a stop in order, a stop at once, a reopened log, the counters.

use std::fs;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::support::{Client, Folder, KernelSocket, Server, frame, random_bytes, wait_until};

#[test]
fn stop_signals_end_an_idle_server_with_status_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::command(&[]);
        let mut client = server.connect();
        client.expect_alive();
        server.signal(signal);
        client.expect_eof();
        drop(client);
        assert_eq!(server.wait_exit().code(), Some(0), "{signal}");
        assert_eq!(server.count_lines("disconnected: server stopping"), 1);
        assert!(server.log().last().unwrap().ends_with(" stopped"));
    }
}

#[test]
fn stop_does_not_wait_for_idle_clients() {
    let mut server = Server::command(&["--drain-timeout", "60"]);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.expect_alive();
    }
    assert_eq!(server.stop(), Some(0));
    for client in &mut clients {
        client.expect_eof();
    }
}

#[test]
fn stop_answers_requests_in_kernel_queues() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::command(&[]);
        let mut client = server.connect();
        let mut half = server.connect();
        client.expect_alive();
        half.expect_alive();
        server.freeze();
        client.send(b"\x01\0\0\0\x04last\x02\0\0\0\x02ab\x09\0\0\0\0");
        half.send(b"\x01\0\0\0\x01x\x01\0\0\0\x05hal");
        server.wait_until_unread(&client, 21);
        server.wait_until_unread(&half, 14);
        server.signal(signal);
        server.thaw();
        client.expect(b"\x01\0\0\0\x04last\x01\0\0\0\x02ba");
        client.expect_frame(255, "unknown command 9");
        client.expect_eof();
        half.expect(b"\x01\0\0\0\x01x");
        half.expect_eof();
        drop((client, half));
        assert_eq!(server.wait_exit().code(), Some(0), "{signal}");
    }
}

#[test]
fn stop_answers_a_full_kernel_queue() {
    let mut server = Server::command(&[]);
    let mut client = server.connect();
    client.expect_alive();
    server.freeze();
    let requests = frame(1, &random_bytes(1_000)).repeat(10_000);
    let sent = client.send_until_blocked(&requests);
    let unread = KernelSocket::serving(server.addr(0), &client).unwrap().unread;
    assert!(unread > 60_000 && sent >= unread, "{unread} of {sent}");
    server.signal(Signal::SIGTERM);
    server.thaw();
    let got = client.read_until_cut();
    // An unfinished frame gets no reply.
    let due = unread - unread % 1_005;
    assert!(got.len() >= due, "{} of {due}", got.len());
    assert!(requests.starts_with(&got));
    drop(client);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn stop_answers_connections_in_the_backlog() {
    let mut server = Server::command(&[]);
    server.freeze();
    let mut asking: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    let mut silent = server.connect();
    for client in &mut asking {
        client.send(b"\x02\0\0\0\x03abc");
    }
    for client in &asking {
        server.wait_until_unread(client, 8);
    }
    server.signal(Signal::SIGTERM);
    server.thaw();
    for client in &mut asking {
        client.expect(b"\x01\0\0\0\x03cba");
        client.expect_eof();
    }
    silent.expect_eof();
    drop((asking, silent));
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn stop_delivers_broadcasts_that_had_arrived() {
    let mut server = Server::command(&[]);
    let mut sender = server.connect();
    let mut other = server.connect();
    sender.expect_alive();
    other.expect_alive();
    server.freeze();
    sender.send(b"\x04\0\0\0\x07goodbye");
    server.wait_until_unread(&sender, 12);
    server.signal(Signal::SIGTERM);
    server.thaw();
    sender.expect(b"\x01\0\0\0\x011");
    sender.expect_eof();
    other.expect(b"\x04\0\0\0\x07goodbye");
    other.expect_eof();
    drop((sender, other));
    assert_eq!(server.wait_exit().code(), Some(0));
}

/// A stopping server with more unsent replies to `client` than the kernel takes.
fn stop_owing(args: &[&str]) -> (Server, Client, Vec<u8>) {
    let args = [&["--max-frame", "33554432"], args].concat();
    let server = Server::command(&args);
    let mut client = server.connect_with_small_buffer();
    let request = frame(1, &random_bytes(30_000_000));
    client.send(&request);
    let mut observer = server.connect();
    wait_until("the request is answered", || {
        let status = observer.status();
        status.get("bytes_in_total") > 30_000_000
    });
    drop(observer);
    server.signal(Signal::SIGTERM);
    server.wait_for_line(" stopping, ");
    (server, client, request)
}

#[test]
fn stop_waits_for_a_client_that_still_reads() {
    let (mut server, mut client, reply) = stop_owing(&["--drain-timeout", "60"]);
    client.expect(&reply);
    client.expect_eof();
    drop(client);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn stop_refuses_new_connections() {
    let (server, _client, _) = stop_owing(&["--drain-timeout", "60"]);
    wait_until("connections are refused", || TcpStream::connect(server.addr(0)).is_err());
}

#[test]
fn stop_is_in_order_when_the_drain_time_runs_out() {
    let began_at = Instant::now();
    let (mut server, mut client, reply) = stop_owing(&["--drain-timeout", "1"]);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(began_at.elapsed() >= Duration::from_secs(1));
    let got = client.read_until_cut();
    assert!(got.len() < reply.len() && reply.starts_with(&got));
    assert!(server.log().last().unwrap().ends_with(" stopped"));
}

#[test]
fn drain_timeout_of_zero_does_not_wait() {
    let (mut server, _client, _) = stop_owing(&["--drain-timeout", "0"]);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn second_stop_signal_ends_the_server_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut server, _client, _) = stop_owing(&["--drain-timeout", "600"]);
        server.signal(second);
        assert_eq!(server.wait_exit().code(), Some(1), "{second}");
    }
}

#[test]
fn sigusr1_logs_the_counters_of_status() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.expect_alive();
    server.signal(Signal::SIGUSR1);
    let line = server.wait_for_line("\"uptime_secs\"");
    let (_, after) = line.split_once('{').unwrap();
    let (_, figures) = after.split_once("\"connections\"").unwrap();
    assert_eq!(
        figures,
        ":1,\"accepted_total\":1,\"refused_total\":0,\"frames_in_total\":1,\"bytes_in_total\":10,\
         \"bytes_out_total\":10,\"broadcasts_total\":0,\"slow_consumers_total\":0}"
    );
    assert!(after.starts_with(concat!("\"version\":\"", env!("CARGO_PKG_VERSION"), "\",")));
    client.expect_alive();
}

#[test]
fn sighup_reopens_a_log_file_that_was_moved() {
    let folder = Folder::new();
    let (log, moved) = (folder.path("mynah.log"), folder.path("mynah.log.1"));
    let mut server = Server::command(&["--log-file", &log]);
    let wait_for_text = |path: &str, text: &str| {
        wait_until(text, || fs::read_to_string(path).is_ok_and(|found| found.contains(text)));
    };
    wait_for_text(&log, "listening on command://");
    fs::rename(&log, &moved).unwrap();
    server.connect().expect_alive();
    wait_for_text(&moved, "disconnected: closed by peer");
    assert!(fs::metadata(&log).is_err(), "it is not reopened unasked");
    server.signal(Signal::SIGHUP);
    wait_until("a new file", || fs::metadata(&log).is_ok());
    let old = fs::read_to_string(&moved).unwrap();
    server.connect().expect_alive();
    wait_for_text(&log, "disconnected: closed by peer");
    assert_eq!(server.stop(), Some(0));
    wait_for_text(&log, "[INFO] stopped");
    assert_eq!(fs::read_to_string(&moved).unwrap(), old);
    let new = fs::read_to_string(&log).unwrap();
    assert!(!new.contains("listening"), "{new}");
}

#[test]
fn sighup_without_a_log_file_does_nothing() {
    let mut server = Server::command(&[]);
    let mut client = server.connect();
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGUSR1);
    server.wait_for_line("\"uptime_secs\"");
    client.expect_alive();
    drop(client);
    assert_eq!(server.stop(), Some(0));
}

/// Runs `during` while `signal` is sent to `server` every millisecond; returns how long it was.
fn storm(server: &mut Server, signal: Signal, during: impl FnOnce(&mut Server)) -> Duration {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let (done, began_at) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && signal::kill(pid, signal).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        // Ends the storm also if `during` panics: the scope waits for its thread.
        let end_storm = SetOnDrop(&done);
        during(server);
        drop(end_storm);
        storm.join().unwrap();
    });
    began_at.elapsed()
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Most lines that a storm may cause: one at once, one a second, and one for the last request.
fn most_lines(time: Duration) -> usize {
    usize::try_from(time.as_secs()).unwrap() + 2
}

#[test]
fn sigusr1_storm_is_one_line_a_second() {
    let mut server = Server::command(&[]);
    let mut client = server.connect();
    let time = storm(&mut server, Signal::SIGUSR1, |server| {
        let began_at = Instant::now();
        while began_at.elapsed() < Duration::from_millis(1500) {
            client.expect_alive();
        }
        assert!(server.count_lines("\"uptime_secs\"") > 1);
    });
    let lines = server.count_lines("\"uptime_secs\"");
    assert!(lines <= most_lines(time), "{lines} in {time:?}");
    // The last request is answered when the second is over.
    let frames = client.status().get("frames_in_total");
    server.signal(Signal::SIGUSR1);
    server.wait_for_line(&format!("\"frames_in_total\":{frames}"));
}

#[test]
fn sighup_storm_delays_neither_clients_nor_a_stop() {
    let folder = Folder::new();
    let log = folder.path("mynah.log");
    #[cfg(feature = "plugins")]
    let args = {
        let busy = "local t = {} for i = 1, 200000 do t[i % 9] = i end return {}";
        (0..9).for_each(|number| drop(folder.file(&format!("busy{number}.lua"), busy)));
        ["--log-file", &log, "--plugin-dir", &folder.path(""), "--plugin-budget", "5000"]
    };
    #[cfg(not(feature = "plugins"))]
    let args = ["--log-file", &log];
    let mut server = Server::command(&args);
    let mut client = server.connect();
    let time = storm(&mut server, Signal::SIGHUP, |server| {
        let began_at = Instant::now();
        while began_at.elapsed() < Duration::from_millis(1500) {
            client.expect_alive();
        }
        server.signal(Signal::SIGTERM);
        client.expect_eof();
        drop(client);
        assert_eq!(server.wait_exit().code(), Some(0));
    });
    let lines = server.count_lines(" SIGHUP: reopening the log file");
    assert!((1..=most_lines(time)).contains(&lines), "{lines} in {time:?}");
}

/// The loop is idle and must wake by itself.
#[test]
fn sighup_soon_after_another_waits_for_its_second() {
    let folder = Folder::new();
    let log = folder.path("mynah.log");
    let server = Server::command(&["--log-file", &log]);
    for moved in ["1", "2", "3"] {
        fs::rename(&log, folder.path(moved)).unwrap();
        server.signal(Signal::SIGHUP);
        wait_until("a new file", || fs::metadata(&log).is_ok());
    }
    let reopened = || server.count_lines(&format!(" log file {log} opened anew"));
    wait_until("all three are logged", || reopened() == 3);
}

#[test]
fn stop_comes_before_an_earlier_reload() {
    let mut server = Server::command(&[]);
    server.freeze();
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGTERM);
    server.thaw();
    assert_eq!(server.wait_exit().code(), Some(0));
    assert_eq!(server.count_lines("SIGHUP"), 0);
}

#[test]
fn ignored_signals_do_nothing() {
    let mut server = Server::command(&[]);
    let mut client = server.connect();
    for signal in [Signal::SIGUSR2, Signal::SIGPIPE, Signal::SIGXFSZ] {
        server.signal(signal);
        client.expect_alive();
    }
    let lines = server.log().len();
    assert_eq!(lines, server.count_lines(" starting") + server.count_lines(" connected ") + 1);
    drop(client);
    assert_eq!(server.stop(), Some(0));
}
