//! Targets other than mynah, and targets that fail.

use std::io::{BufRead, BufReader, Read};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::tester::{
    RunWithReport, TcpTarget, closed_addr, reset, run_with_report, server, try_send, url,
};
use crate::support::Server;

#[test]
fn tcp_target_is_connected_to_and_held() {
    let target = TcpTarget::listen();
    let idle = format!("idle --target {} --connections 50 --hold 1", target.url("tcp"));
    let (ended, json) = run_with_report(&idle);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["connections"]["opened"], 50);
    assert_eq!(json["bytes"], json!({"sent": 0, "received": 0}));
    assert_eq!(target.accept(50).len(), 50);
}

#[test]
fn tcp_target_may_send_anything() {
    let addr = TcpTarget::serve(|stream| while try_send(&stream, &[b'?'; 65_536]) {});
    let (ended, json) =
        run_with_report(&format!("idle --target tcp://{addr} --connections 3 --hold 1"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(json["bytes"]["received"].as_u64().unwrap() > 65_536);
}

#[test]
fn connect_errors_are_counted_by_name() {
    let target = closed_addr();
    let (ended, json) = run_with_report(&format!("idle --target tcp://{target} --connections 7"));
    assert_eq!(ended.code, Some(1));
    assert_eq!(json["errors"], json!({"ECONNREFUSED": 7}));
    assert_eq!(
        json["connections"],
        json!({"wanted": 7, "opened": 0, "failed": 7, "dropped": 0, "held": 0})
    );
    assert!(ended.stdout.contains("MISSED: no connection was opened"), "{}", ended.stdout);
    for mode in ["echo --connections 2 --depth 1", "fanout --subscribers 2 --batch 1"] {
        let args = format!("{mode} --target command://{target} --size 1 --duration 1");
        let (ended, json) = run_with_report(&args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(json["connections"]["opened"], 0);
    }
}

#[test]
fn dropped_connections_are_counted_with_times() {
    let target = TcpTarget::listen();
    let args = format!("idle --target {} --connections 9 --hold 300", target.url("tcp"));
    let run = RunWithReport::start(&args);
    let held = target.accept(9);
    run.tester.wait_for_phase("hold");
    held[..4].iter().for_each(reset);
    drop(held);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["errors"], json!({"ECONNRESET": 4, "EOF": 5}));
    assert_eq!(json["connections"]["dropped"], 9);
    assert!(ended.stdout.contains("ECONNRESET 4 times, "), "{}", ended.stdout);
    assert!(ended.stdout.contains("EOF 5 times, "), "the last one ends the run");
}

#[test]
fn resets_fail_the_run() {
    let addr = TcpTarget::serve(|stream| reset(&stream));
    let (ended, json) =
        run_with_report(&format!("idle --target tcp://{addr} --connections 20 --hold 1"));
    assert_eq!(ended.code, Some(1));
    assert_eq!(json["errors"], json!({"ECONNRESET": 20}));
}

#[test]
fn unanswered_requests_time_out() {
    let target = TcpTarget::listen();
    let echo = "echo --connections 4 --depth 2 --size 5 --duration 1";
    let (ended, json) = run_with_report(&format!("{echo} --target {}", target.url("command")));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["requests"], json!({"sent": 8, "answered": 0, "unanswered": 8, "unsent": 0}));
    assert_eq!(json["errors"], json!({"ETIMEDOUT": 4}));
    assert!(ended.stdout.contains("8 without an answer"), "{}", ended.stdout);
    assert!(ended.stdout.contains("nothing was answered"), "{}", ended.stdout);
}

/// The backlog stays in the schedule, which counts it and takes no memory for it.
#[test]
fn open_loop_counts_unanswered_due_requests() {
    let target = TcpTarget::listen();
    let echo = "echo --connections 2 --depth 3 --size 5 --duration 1 --rate 3000000";
    let (ended, json) = run_with_report(&format!("{echo} --target {}", target.url("command")));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = json!({"sent": 6, "answered": 0, "unanswered": 3_000_000, "unsent": 2_999_994});
    assert_eq!(json["requests"], expected, "those that wait for a place have not left either");
    assert!(ended.stdout.contains(", 3,000,000 without an answer"), "{}", ended.stdout);
    assert!(ended.stdout.contains(" requests could not leave in time"), "{}", ended.stdout);
}

/// The target reads nothing, and closes the connection when all requests are due.
#[test]
fn requests_of_a_lost_connection_have_not_left() {
    let target = TcpTarget::listen();
    let echo = "echo --connections 1 --depth 2 --size 5 --duration 1 --rate 100 --max-errors 1";
    let run = RunWithReport::start(&format!("{echo} --target {}", target.url("command")));
    let held = target.accept(1);
    run.tester.wait_for_phase("drain");
    reset(&held[0]);
    drop(held);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = json!({"sent": 2, "answered": 0, "unanswered": 100, "unsent": 98});
    assert_eq!(json["requests"], expected);
    assert!(ended.stdout.contains("98 requests could not leave in time"), "{}", ended.stdout);
}

#[test]
fn unanswered_hellos_time_out() {
    let target = TcpTarget::listen();
    let args = "fanout --subscribers 2 --size 5 --batch 1 --duration 1";
    let (ended, json) = run_with_report(&format!("{args} --target {}", target.url("chat")));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["errors"], json!({"ETIMEDOUT": 3}));
}

#[test]
fn unexpected_reply_fails_the_connection() {
    let addr = TcpTarget::serve(|mut stream| {
        let mut request = [0; 1];
        let _ = stream.read(&mut request);
        try_send(&stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // Until the tester closes.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    for protocol in ["command", "prefixed", "raw", "chat"] {
        let (ended, json) = run_with_report(&format!(
            "echo --target {protocol}://{addr} --connections 3 --depth 1 --size 5 --duration 1"
        ));
        assert_eq!(ended.code, Some(1), "{protocol}: {ended:?}");
        assert_eq!(json["errors"], json!({"EBADMSG": 3}), "{protocol}");
    }
}

#[test]
fn unrequested_answer_fails_the_connection() {
    let addr = TcpTarget::serve(|mut stream| {
        let mut frame = vec![1, 0, 0, 0, 64];
        frame.extend((b'a'..=b'z').cycle().take(64));
        try_send(&stream, &frame);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (ended, json) =
        run_with_report(&format!("idle --target command://{addr} --connections 2 --hold 1"));
    assert_eq!((ended.code, &json["errors"]), (Some(1), &json!({"EBADMSG": 2})), "{ended:?}");
}

#[test]
fn unrequested_beginning_fails_the_connection() {
    let addr = TcpTarget::serve(|mut stream| {
        try_send(&stream, b"Echo: x");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (ended, json) = run_with_report(&format!("idle raw://{addr} -c 2 --hold 1"));
    assert_eq!((ended.code, &json["errors"]), (Some(1), &json!({"EBADMSG": 2})), "{ended:?}");
}

#[test]
fn refusal_of_a_full_server_is_quoted() {
    for (protocol, words) in
        [("command", "server is full: 5 clients"), ("chat", "[ERROR] server is full: 5 clients")]
    {
        let server = Server::start(&["-m", "5", "-l", &format!("{protocol}://127.0.0.1:0")]);
        let target = url(protocol, &server);
        let (ended, json) =
            run_with_report(&format!("idle --target {target} --connections 8 --hold 1"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(json["errors"], json!({"EPROTO": 3}), "{protocol}");
        assert_eq!(json["connections"]["dropped"], 3);
        assert!(ended.stdout.contains(&format!("the target said: {words}")), "{}", ended.stdout);
    }
}

#[test]
fn death_of_the_target_ends_the_run() {
    for mode in ["echo --connections 5 --depth 2", "fanout --subscribers 5 --batch 2"] {
        let server = server("command");
        let target = url("command", &server);
        let args = format!("{mode} --size 9 --duration 300 --target {target}");
        let run = RunWithReport::start(&args);
        run.tester.wait_for_phase("traffic");
        let started_at = Instant::now();
        server.signal(Signal::SIGKILL);
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(started_at.elapsed() < Duration::from_secs(15), "{:?}", started_at.elapsed());
        let opened = json["connections"]["opened"].as_u64().unwrap();
        let errors: u64 =
            json["errors"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!((errors, &json["connections"]["dropped"]), (opened, &opened.into()), "{json}");
    }
}

#[test]
fn broadcasts_of_others_are_not_deliveries() {
    let server = server("command");
    let fanout = format!("fanout --target {} --subscribers 5", url("command", &server));
    let run = RunWithReport::start(&format!("{fanout} --size 9 --batch 2 --duration 2"));
    run.tester.wait_for_phase("traffic");
    let mut other = server.connect();
    let mut answer = other.ask(4, b"not yours");
    while answer.0 == 4 {
        answer = other.read_frame();
    }
    assert_eq!(answer, (1, b"6".to_vec()));
    drop(other);
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let published = json["requests"]["sent"].as_u64().unwrap();
    assert_eq!(json["deliveries"].as_u64().unwrap(), published * 5);
}

#[test]
fn fanouts_on_one_server_count_their_own_messages() {
    for protocol in ["command", "chat"] {
        let server = server(protocol);
        let fanout = format!("fanout {} --size 9 --batch 2", url(protocol, &server));
        let first = RunWithReport::start(&format!("{fanout} --subscribers 3 -d 2"));
        first.tester.wait_for_phase("traffic");
        let second = run_with_report(&format!("{fanout} --subscribers 2 -d 300ms"));
        for ((ended, json), subscribers) in [(second, 2), (first.end(), 3)] {
            assert_eq!(ended.code, Some(0), "{protocol}: {ended:?}");
            let published = json["requests"]["sent"].as_u64().unwrap();
            assert_eq!(json["deliveries"], published * subscribers, "{protocol}");
        }
    }
}

/// Processes in containers may have the same number.
#[test]
fn nicknames_do_not_come_from_the_process_id() {
    let target = TcpTarget::listen();
    let [first, second] = [(); 2].map(|()| {
        let run = RunWithReport::start(&format!("fanout {} --subscribers 1", target.url("chat")));
        let mut names = target.accept(2).into_iter().map(|stream| {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        });
        let names = [names.next().unwrap(), names.next().unwrap()];
        run.end();
        names
    });
    for names in [&first, &second] {
        let (prefix, index) = names[0].split_at(8);
        assert!(prefix.starts_with('l') && prefix.ends_with('-') && index == "0", "{names:?}");
        assert!(prefix[1..7].bytes().all(|byte| byte.is_ascii_lowercase()), "{names:?}");
        assert_eq!(names[1], format!("{prefix}1"));
    }
    assert_ne!(first, second);
}

#[test]
fn message_too_many_fails_one_subscriber_and_the_fanout_goes_on() {
    let target = TcpTarget::listen();
    let fanout = format!("fanout {} --subscribers 2 --size 1 -d 1", target.url("command"));
    let run = RunWithReport::start(&format!("{fanout} --max-errors 1"));
    let mut all = target.accept(3);
    for stream in &mut all {
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        assert!(try_send(stream, &hello));
    }
    run.tester.wait_for_phase("traffic");
    let [publisher, right, wrong] = &mut all[..] else { panic!("three connections") };
    let mut message = [0; 6];
    publisher.read_exact(&mut message).unwrap();
    try_send(wrong, &message.repeat(2));
    // The tester closes it.
    assert!(matches!(wrong.read(&mut [0; 1]), Ok(0) | Err(_)));
    try_send(publisher, b"\x01\0\0\0\x012");
    try_send(right, &message);
    while publisher.read_exact(&mut message).is_ok() {
        try_send(publisher, b"\x01\0\0\0\x011");
        try_send(right, &message);
    }
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["errors"], json!({"EBADMSG": 1}));
    let published = &json["requests"]["sent"];
    assert!(published.as_u64().unwrap() > 1, "the fan-out goes on");
    assert_eq!(&json["deliveries"], published);
}

#[test]
fn fanout_is_drained_while_deliveries_come() {
    let target = TcpTarget::listen();
    let fanout = format!("fanout --target {} --subscribers 1", target.url("command"));
    let run = RunWithReport::start(&format!("{fanout} --size 1 --batch 3 --duration 1"));
    let mut streams = target.accept(2);
    for stream in &mut streams {
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        assert!(try_send(stream, &hello));
    }
    let mut batch = [0; 18];
    streams[0].read_exact(&mut batch).unwrap();
    assert!(try_send(&streams[0], &b"\x01\0\0\0\x011".repeat(3)));
    for message in batch.chunks(6) {
        // A target that takes longer than the drain for all, and not for the next.
        thread::sleep(Duration::from_millis(2_300));
        assert!(try_send(&streams[1], message));
    }
    let (ended, json) = run.end();
    assert_eq!((ended.code, &json["deliveries"]), (Some(0), &3.into()), "{ended:?}");
}

#[test]
fn lost_subscriber_does_not_stop_the_fanout() {
    const FRAME: [u8; 6] = *b"\x04\0\0\0\x01a";
    let target = TcpTarget::listen();
    let fanout = format!("fanout --target {} --subscribers 2", target.url("command"));
    let args = format!("{fanout} --size 1 --batch 1 --duration 1 --max-errors 1");
    let run = RunWithReport::start(&args);
    let mut all = target.accept(3);
    for stream in &mut all {
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        assert!(try_send(stream, &hello));
    }
    run.tester.wait_for_phase("traffic");
    // The first connection publishes; the last is dropped.
    let mut publisher = all.remove(0);
    let kept = all.remove(0);
    drop(all);
    let mut message = [0; FRAME.len()];
    while publisher.read_exact(&mut message).is_ok() {
        assert_eq!(message, FRAME);
        try_send(&publisher, b"\x01\0\0\0\x011");
        try_send(&kept, &message);
    }
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["errors"], json!({"EOF": 1}));
    let published = &json["requests"]["sent"];
    assert!(published.as_u64().unwrap() > 1, "the fan-out goes on");
    assert_eq!(&json["deliveries"], published);
}
