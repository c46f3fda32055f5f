//! Storms: against the counters of the real server, and against targets that refuse, answer late or
//! are gone.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::tester::{LoadTester, RunWithReport, TcpTarget, reset, run_with_report, server, url};
use crate::support::{PATIENCE, wait_until};

/// The figure at `pointer`.
#[track_caller]
fn number(json: &Value, pointer: &str) -> u64 {
    json.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {json}"))
}

#[track_caller]
fn secs(json: &Value, pointer: &str) -> f64 {
    json.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {json}"))
}

/// Checks that all `count` connections of storm `number` came back, in the order of the shares.
#[track_caller]
fn assert_served(json: &Value, storm: usize, count: u64) {
    let storm = &json["storm"][storm];
    for field in ["dropped", "served"] {
        assert_eq!(number(storm, &format!("/{field}")), count, "{field}: {storm}");
    }
    assert_eq!(storm["unserved"], 0);
    let shares = ["half", "p99", "all"].map(|share| secs(storm, &format!("/served_secs/{share}")));
    assert!(shares.is_sorted() && shares[0] > 0.0, "{shares:?}");
}

/// Answers a request of `command` with itself, as ECHO does, until the tester closes.
fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(len) = stream.read(&mut bytes) {
        if len == 0 || stream.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
}

/// Accepts `count` connections and echoes on each in a thread of its own. Returns handles of them.
fn accept_echoing(listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let accept = |_| {
        let (stream, _) = listener.accept().unwrap();
        let twin = stream.try_clone().unwrap();
        thread::spawn(move || echo(stream));
        twin
    };
    (0..count).map(accept).collect()
}

/// Waits until all of `streams` but the first `bystanders` have been dropped by the tester.
#[track_caller]
fn wait_until_dropped(streams: &[TcpStream], bystanders: usize) {
    // The echo of a stream that was dropped has ended, and with it what it reads.
    for mut stream in &streams[bystanders..] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut byte = [0; 1];
        let _ = stream.read(&mut byte);
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

#[test]
fn storm_counts_are_the_servers() {
    let server = server("command");
    let storm = format!("storm {} -c 200 --times 3 --hold 0.4", url("command", &server));
    let (ended, json) = run_with_report(&format!("{storm} --bystanders 5 --probe 50"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["storm"].as_array().unwrap().len(), 3);
    for storm in 0..3 {
        assert_served(&json, storm, 200);
        let storm = &json["storm"][storm];
        assert_eq!((number(storm, "/connected"), number(storm, "/attempts")), (200, 200));
        assert_eq!((&storm["retries"], &storm["failed_attempts"]), (&0.into(), &json!({})));
        assert!(secs(storm, "/bystanders_before_us/p50") > 0.0);
        assert!(secs(storm, "/connect_us/p50") > 0.0);
    }
    let connections = &json["connections"];
    assert_eq!(connections["opened"], 205, "those of the storms are told with them");
    assert_eq!((&connections["failed"], &connections["dropped"]), (&0.into(), &0.into()));
    let status = server.connect().status();
    assert_eq!(status.get("accepted_total"), 205 + 3 * 200 + 1, "and the STATUS connection");
    assert_eq!(status.get("frames_in_total"), number(&json, "/requests/sent") + 1);
    assert_eq!(status.get("bytes_in_total"), number(&json, "/bytes/sent") + 5);
    assert_eq!(status.get("bytes_out_total"), number(&json, "/bytes/received"));
    assert_eq!(json["requests"]["answered"], json["requests"]["sent"]);
    let rows = json["series"].as_array().unwrap();
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("opened"), sum("closed")), (805, 600));
    assert!(ended.stdout.contains("storm        3: served 50 % after "), "{}", ended.stdout);
}

#[test]
fn storms_of_every_protocol_come_back_spread() {
    let runs = ["command", "prefixed", "raw", "chat"].map(|protocol| {
        let server = server(protocol);
        let storm = format!("storm {} -c 50 --hold 0.2", url(protocol, &server));
        let run = RunWithReport::start(&format!("{storm} --orderly --spread 0.5"));
        (protocol, server, run)
    });
    for (protocol, _server, run) in runs {
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(0), "{protocol}: {ended:?}");
        assert_served(&json, 0, 50);
        let all = secs(&json["storm"][0], "/served_secs/all");
        assert!(all >= 0.49, "the last is due after 49/50 of the time: {all}");
        let half = secs(&json["storm"][0], "/served_secs/half");
        assert!(half >= 0.24, "{half}");
        assert!(ended.stdout.contains("50 dropped in order"), "{}", ended.stdout);
        assert!(ended.stdout.contains("after it was due to come back: p50"), "{}", ended.stdout);
    }
}

#[test]
fn tcp_target_has_served_who_is_connected() {
    let target = TcpTarget::listen();
    let storm = format!("storm {} -c 40 --times 2 --hold 0.1", target.url("tcp"));
    let (ended, json) = run_with_report(&storm);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_served(&json, 0, 40);
    assert_served(&json, 1, 40);
    assert_eq!(target.accept(50 + 80).len(), 130);
    assert_eq!(json["requests"], json!({"sent": 0, "answered": 0, "unanswered": 0, "unsent": 0}));
    assert_eq!(json["settings"]["load"], "none");
}

#[test]
fn storm_without_bystanders_is_met() {
    let server = server("command");
    let storm = format!("storm {} -c 20 --hold 0.1", url("command", &server));
    let (ended, json) = run_with_report(&format!("{storm} --bystanders 0"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_served(&json, 0, 20);
    assert_eq!(server.connect().status().get("accepted_total"), 41);
}

/// The closed port is opened again when each connection has tried: progress is told each 5 seconds.
#[test]
fn refused_connects_are_tried_again() {
    for option in ["", " --no-backoff"] {
        let (listener, addr) = listen();
        let storm = format!("storm command://{addr} -c 30 --bystanders 2 --hold 0.2{option}");
        let run = RunWithReport::start(&storm);
        let held = accept_echoing(&listener, 32);
        drop(listener);
        run.tester.wait_for_line("storm 5 s  0 of 30 served");
        let listener = TcpListener::bind(addr).unwrap();
        let back = accept_echoing(&listener, 30);
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_served(&json, 0, 30);
        let storm = &json["storm"][0];
        assert_eq!(json["errors"], json!({}), "who came back is no error of the run");
        let refused = number(storm, "/failed_attempts/ECONNREFUSED");
        assert_eq!(refused, number(storm, "/retries"), "{storm}");
        assert_eq!(number(storm, "/attempts"), refused + 30);
        assert_eq!(number(storm, "/connected"), 30);
        // In 5 seconds: 100, 200, 400, … ms at most, or one each millisecond at most.
        let most = if option.is_empty() { 30 * 60 } else { 30 * 20_000 };
        assert!((30..=most).contains(&refused), "{refused}");
        let all = secs(storm, "/served_secs/all");
        assert!(all >= 4.8, "{all}");
        drop((held, back));
    }
}

/// The target resets the first connections that come back, whose requests are lost with them.
#[test]
fn reset_connections_come_back_again() {
    const RESET: usize = 25;
    let (listener, addr) = listen();
    let storm = format!("storm command://{addr} -c 20 --bystanders 1 --hold 0.2 --no-backoff");
    let run = RunWithReport::start(&storm);
    let held = accept_echoing(&listener, 21);
    for _ in 0..RESET {
        let (mut stream, _) = listener.accept().unwrap();
        // The request, so that the connect is done.
        let _ = stream.read(&mut [0; 5]);
        reset(&stream);
    }
    let back = accept_echoing(&listener, 20);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_served(&json, 0, 20);
    let storm = &json["storm"][0];
    assert_eq!(storm["failed_attempts"], json!({"ECONNRESET": RESET}));
    assert_eq!(number(storm, "/connected"), 20 + RESET as u64);
    assert_eq!(json["connections"]["dropped"], 0);
    assert_eq!(json["requests"]["unanswered"], 0);
    assert!(ended.stdout.contains("refused: ECONNRESET 25; tried again 25 times"), "{ended:?}");
    drop((held, back));
}

#[test]
fn those_that_never_come_back_end_the_run() {
    let (listener, addr) = listen();
    let storm = format!("storm command://{addr} -c 7 --bystanders 2 --times 3 --hold 0.2");
    let run = RunWithReport::start(&format!("{storm} --timeout 1"));
    let held = accept_echoing(&listener, 9);
    drop(listener);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let storms = json["storm"].as_array().unwrap();
    assert_eq!(storms.len(), 1, "nothing is left to drop");
    assert_eq!((&storms[0]["served"], &storms[0]["unserved"]), (&0.into(), &7.into()));
    assert_eq!(storms[0]["served_secs"], json!({"half": null, "p99": null, "all": null}));
    assert_eq!(json["errors"], json!({"ETIMEDOUT": 7}));
    assert_eq!(json["connections"]["failed"], 7);
    assert!(ended.stdout.contains("fewer than half served again, 7 never"), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 of 3 storms: no connection was left"), "{}", ended.stdout);
    drop(held);
}

/// Connections that are still awaited when the time is over: connected, and not answered.
#[test]
fn unanswered_connections_are_given_up() {
    let (listener, addr) = listen();
    let storm = format!("storm command://{addr} -c 8 --bystanders 1 --hold 0.2 --timeout 0.5");
    let run = RunWithReport::start(&storm);
    let held = accept_echoing(&listener, 9);
    let silent: Vec<TcpStream> = (0..3).map(|_| listener.accept().unwrap().0).collect();
    let back = accept_echoing(&listener, 5);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let storm = &json["storm"][0];
    assert_eq!((&storm["served"], &storm["unserved"]), (&5.into(), &3.into()));
    assert!(storm["served_secs"]["half"].is_f64() && storm["served_secs"]["all"].is_null());
    assert_eq!(json["errors"], json!({"ETIMEDOUT": 3}));
    assert_eq!(
        (&json["connections"]["dropped"], &json["requests"]["unanswered"]),
        (&3.into(), &3.into())
    );
    drop((held, silent, back));
}

#[test]
fn late_answers_are_part_of_the_time() {
    const LATE: Duration = Duration::from_millis(300);
    let (listener, addr) = listen();
    let run = RunWithReport::start(&format!("storm command://{addr} -c 12 --hold 0.2"));
    let held = accept_echoing(&listener, 22);
    let late: Vec<TcpStream> = (0..12).map(|_| listener.accept().unwrap().0).collect();
    let accepted_at = Instant::now();
    wait_until("the answers are late", || accepted_at.elapsed() >= LATE);
    for stream in late {
        thread::spawn(move || echo(stream));
    }
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_served(&json, 0, 12);
    let storm = &json["storm"][0];
    let half = secs(storm, "/served_secs/half");
    assert!(half >= LATE.as_secs_f64(), "{half}");
    assert!(secs(storm, "/connect_us/p50") < 300e3, "the connects were not late: {storm}");
    drop(held);
}

/// A full backlog drops the SYN, and the kernel sends it again after a second.
#[cfg(target_os = "linux")]
#[test]
fn full_backlog_shows_as_a_step_at_1_second() {
    let (listener, addr) = listen();
    let run = RunWithReport::start(&format!("storm command://{addr} -c 20 --hold 0.2"));
    let held = accept_echoing(&listener, 30);
    // listen(2) again: the backlog of a listener may change.
    socket2::SockRef::from(&listener).listen(1).unwrap();
    run.tester.wait_for_phase("storm");
    wait_until_dropped(&held, 10);
    let dropped_at = Instant::now();
    wait_until("all have tried", || dropped_at.elapsed() >= Duration::from_millis(500));
    socket2::SockRef::from(&listener).listen(128).unwrap();
    let back = accept_echoing(&listener, 20);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_served(&json, 0, 20);
    let storm = &json["storm"][0];
    assert_eq!((&storm["failed_attempts"], &storm["retries"]), (&json!({}), &0.into()));
    let all = secs(storm, "/served_secs/all");
    assert!(all >= 0.95, "the SYN came again after a second: {all}");
    assert!(secs(storm, "/connect_us/max") >= 0.95e6, "{storm}");
    drop((held, back));
}

#[test]
fn signal_in_a_storm_ends_it_with_its_record() {
    let (listener, addr) = listen();
    let run = RunWithReport::start(&format!("storm command://{addr} -c 6 --hold 0.1"));
    let held = accept_echoing(&listener, 16);
    drop(listener);
    run.tester.wait_for_phase("storm");
    run.tester.signal(Signal::SIGTERM);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["interrupted"], "storm");
    assert_eq!(json["errors"], json!({}), "what was cut off has not failed");
    assert!(ended.stdout.contains("MISSED: interrupted in the storm\n"), "{}", ended.stdout);
    drop(held);
}

/// The bystanders' requests go on meanwhile, and those of the storm are told from those before.
#[test]
fn stall_in_a_storm_is_felt_by_bystanders() {
    const STALL: Duration = Duration::from_millis(700);
    let stalled = Arc::new(AtomicUsize::new(0));
    let (listener, addr) = listen();
    let run =
        RunWithReport::start(&format!("storm command://{addr} -c 5 --bystanders 2 --hold 0.6"));
    let is_stalled = Arc::clone(&stalled);
    let serve = move |mut stream: TcpStream| {
        let mut bytes = [0; 4096];
        while let Ok(len) = stream.read(&mut bytes) {
            wait_until("the stall is over", || is_stalled.load(Ordering::SeqCst) != 1);
            if len == 0 || stream.write_all(&bytes[..len]).is_err() {
                return;
            }
        }
    };
    let mut held = Vec::new();
    let mut accept = |count| {
        for _ in 0..count {
            let (stream, _) = listener.accept().unwrap();
            held.push(stream.try_clone().unwrap());
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    };
    accept(7);
    run.tester.wait_for_phase("storm");
    stalled.store(1, Ordering::SeqCst);
    accept(5);
    let since = Instant::now();
    wait_until("the stall is long enough", || since.elapsed() >= STALL);
    stalled.store(2, Ordering::SeqCst);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let storm = &json["storm"][0];
    let during = secs(storm, "/bystanders_during_us/max");
    assert!(during >= 500e3, "{storm}");
    let before = secs(storm, "/bystanders_before_us/p50");
    assert!(before < during / 2.0, "{storm}");
}

/// A connection that the target closes in the calm is lost, and the storm has the others.
#[test]
fn connections_lost_in_the_calm_do_not_come_back() {
    let (listener, addr) = listen();
    let run = RunWithReport::start(&format!("storm command://{addr} -c 9 --bystanders 1 --hold 1"));
    let held = accept_echoing(&listener, 10);
    run.tester.wait_for_phase("calm");
    for stream in &held[7..] {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    let back = accept_echoing(&listener, 6);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_served(&json, 0, 6);
    assert_eq!(json["errors"], json!({"EOF": 3}));
    drop(back);
}

/// The only bystander is lost in the calm, and nobody sends its requests.
#[test]
fn requests_without_a_bystander_have_not_left() {
    let (listener, addr) = listen();
    let storm = format!("storm command://{addr} -c 3 --bystanders 1 --hold 0.5 --max-errors 1");
    let run = RunWithReport::start(&storm);
    let held = accept_echoing(&listener, 4);
    run.tester.wait_for_phase("calm");
    let _ = held[0].shutdown(std::net::Shutdown::Both);
    let back = accept_echoing(&listener, 3);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_served(&json, 0, 3);
    let [sent, answered, unanswered, unsent] = ["sent", "answered", "unanswered", "unsent"]
        .map(|name| number(&json, &format!("/requests/{name}")));
    assert!(unsent > 0 && answered + unanswered == sent + unsent, "{}", json["requests"]);
    assert!(ended.stdout.contains(" could not leave in time"), "{}", ended.stdout);
    drop(back);
}

#[cfg(feature = "tls")]
#[test]
fn storm_over_tls_includes_handshakes() {
    use super::tls_server::{Authority, TlsServer};
    use rustls::HandshakeKind;
    let authority = Authority::new();
    let server = server("command");
    let tls = TlsServer::before(server.addr(0), authority.config(), false);
    let storm = format!("storm {} --cacert {}", tls.url("command"), authority.ca());
    let (ended, json) = run_with_report(&format!("{storm} -c 30 --bystanders 2 --hold 0.2"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_served(&json, 0, 30);
    assert_eq!(json["tls"]["handshakes"], 62);
    let resumed = tls.handshakes().iter().filter(|kind| **kind == HandshakeKind::Resumed).count();
    assert_eq!(json["tls"]["resumed"], resumed);
    assert!(resumed > 0, "connections come back with what they have agreed on");
}

/// With a request each, and with connects alone.
#[cfg(feature = "cluster")]
#[test]
fn redis_has_received_each_connection() {
    use crate::support::redis::{Redis, Value as Reply};
    let Some(redis) = Redis::start_tcp(&[]) else { return };
    let figure = |section: &str, name: &str| {
        let Reply::BulkString(info) = redis.ask(&["INFO", section]) else { panic!() };
        let info = String::from_utf8(info).unwrap();
        let count = info.split_once(name).map_or("0", |(_, count)| count);
        count.split(['\r', ',']).next().unwrap().parse::<u64>().unwrap()
    };
    let received = || figure("stats", "total_connections_received:");
    for exchange in ["", r" --send PING\r\n --expect +PONG\r\n"] {
        let pings = || figure("commandstats", "cmdstat_ping:calls=");
        let (before, pings_before) = (received(), pings());
        let storm = format!("storm tcp://127.0.0.1:{} -c 100 --times 2", redis.port());
        let (ended, json) = run_with_report(&format!("{storm} --hold 0.2{exchange}"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_served(&json, 0, 100);
        assert_served(&json, 1, 100);
        assert_eq!(received() - before, 110 + 200 + 2, "and the questions of the test");
        let pings = pings() - pings_before;
        assert_eq!(json["requests"]["sent"], pings);
        assert!(exchange.is_empty() || pings >= 110 + 200, "{pings}");
    }
}

/// Redis says why it refuses, and closes: the clients come back when it has room.
#[cfg(feature = "cluster")]
#[test]
fn full_redis_refuses_until_it_has_room() {
    use crate::support::redis::{Redis, Value as Reply};
    let Some(redis) = Redis::start_tcp(&["--maxclients", "60"]) else { return };
    let mut admin = redis.connect();
    let mut set_maxclients = |count: &str| {
        let reply = admin.ask(&["CONFIG", "SET", "maxclients", count]);
        assert_eq!(reply, Reply::SimpleString("OK".into()));
    };
    let exchange = r"--send PING\r\n --expect +PONG\r\n --no-backoff --bystanders 2";
    let storm = format!("storm tcp://127.0.0.1:{} -c 40 --hold 0.5", redis.port());
    let run = RunWithReport::start(&format!("{storm} {exchange}"));
    run.tester.wait_for_phase("calm");
    set_maxclients("20");
    run.tester.wait_for_line("storm 5 s  ");
    set_maxclients("60");
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_served(&json, 0, 40);
    let storm = &json["storm"][0];
    assert!(number(storm, "/retries") > 20, "{storm}");
    assert!(number(storm, "/connected") > 40, "accepted, and then refused: {storm}");
    assert!(ended.stdout.contains("max number of clients"), "{}", ended.stdout);
}

#[test]
fn order_needs_ports_for_each_storm() {
    let server = server("command");
    let storm = format!("storm {} -c 9k --times 4 --hold 30 --orderly", url("command", &server));
    let tester = LoadTester::start(&storm);
    tester.wait_for_line("local ports 36010 of 56464");
    tester.wait_for_phase("ramp");
    tester.signal(Signal::SIGTERM);
    assert_eq!(tester.end().code, Some(1));
}
