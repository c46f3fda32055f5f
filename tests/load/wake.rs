//! Sleepers: against the counters of the real server, and against targets that forget them.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::tester::{RunWithReport, TcpTarget, reset, run_with_report, server, url};

/// Bytes of a request of `command`, and of its answer.
const REQUEST: usize = 5 + 64;

/// Answers `count` requests with themselves.
fn echo_times(stream: &mut TcpStream, count: usize) {
    let mut request = [0; REQUEST];
    for _ in 0..count {
        if stream.read_exact(&mut request).is_err() || stream.write_all(&request).is_err() {
            return;
        }
    }
}

/// Samples, woken and lost of each step of a run.
#[track_caller]
fn steps(json: &Value) -> Vec<(f64, u64, u64, u64)> {
    let number = |step: &Value, field: &str| step[field].as_u64().unwrap();
    let read = |step: &Value| {
        let [sampled, woken, lost] = ["sampled", "woken", "lost"].map(|field| number(step, field));
        (step["sleep_secs"].as_f64().unwrap(), sampled, woken, lost)
    };
    json["wake"].as_array().unwrap().iter().map(read).collect()
}

#[test]
fn wake_counts_are_the_servers() {
    let server = server("command");
    let wake = format!("wake {} -c 60 --hold 2.5 --sample 10", url("command", &server));
    let (ended, json) = run_with_report(&wake);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(steps(&json), [(1.0, 3, 3, 0), (2.0, 3, 3, 0), (2.5, 4, 4, 0)]);
    for step in json["wake"].as_array().unwrap() {
        assert!(step["first_us"]["p50"].as_f64().unwrap() > 0.0);
        assert!(step["second_us"]["p50"].as_f64().unwrap() > 0.0);
        // A gap of a millisecond between two.
        assert!(step["took_secs"].as_f64().unwrap() >= 0.002, "{step}");
    }
    // One of each in the ramp, one more before the sleep, and two behind it.
    assert_eq!(json["requests"]["sent"], 60 + 3 * 10);
    assert_eq!(json["requests"]["answered"], 90);
    assert!(json["measured_secs"].as_f64().unwrap() >= 2.5);
    let status = server.connect().status();
    assert_eq!(status.get("accepted_total"), 61, "and the STATUS connection");
    assert_eq!(status.get("frames_in_total"), 91, "and the STATUS request");
    assert_eq!(status.get("bytes_out_total"), json["bytes"]["received"].as_u64().unwrap());
    assert!(ended.stdout.contains("  wake         after 2.5 s: first p50 "), "{}", ended.stdout);
    assert!(ended.stderr.contains("asleep 0/2.5 s"), "{}", ended.stderr);
}

#[test]
fn sleepers_of_every_protocol_are_woken() {
    let runs = ["command", "prefixed", "raw", "chat"].map(|protocol| {
        let server = server(protocol);
        let wake = format!("wake {} -c 30 --hold 0.4 --sample 99", url(protocol, &server));
        (protocol, server, RunWithReport::start(&wake))
    });
    for (protocol, _server, run) in runs {
        let (ended, json) = run.end();
        assert_eq!(ended.code, Some(0), "{protocol}: {ended:?}");
        assert_eq!(steps(&json), [(0.4, 30, 30, 0)], "{protocol}: no more than there are");
    }
}

/// As a firewall does that has forgotten the connection.
#[test]
fn reset_at_the_first_request_is_lost() {
    let addr = TcpTarget::serve(|mut stream| {
        echo_times(&mut stream, 2);
        let _ = stream.read(&mut [0; 5]);
        reset(&stream);
    });
    let (ended, json) =
        run_with_report(&format!("wake command://{addr} -c 20 --hold 0.3 --sample 5"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(steps(&json), [(0.3, 5, 0, 5)]);
    assert_eq!(json["errors"], json!({"ECONNRESET": 5}));
    assert_eq!(json["connections"]["dropped"], 5);
    assert!(ended.stdout.contains("0 woken, 5 lost"), "{}", ended.stdout);
    assert!(ended.stdout.contains("nothing was answered"), "{}", ended.stdout);
}

#[test]
fn closed_while_asleep_is_lost() {
    let addr = TcpTarget::serve(|mut stream| echo_times(&mut stream, 2));
    let (ended, json) =
        run_with_report(&format!("wake command://{addr} -c 12 --hold 0.3 --sample 4"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(steps(&json), [(0.3, 4, 0, 4)]);
    assert_eq!(json["errors"], json!({"EOF": 4}));
}

#[test]
fn unanswered_first_request_is_lost_after_10_seconds() {
    let addr = TcpTarget::serve(|mut stream| {
        echo_times(&mut stream, 2);
        // Until the tester closes.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (ended, json) =
        run_with_report(&format!("wake command://{addr} -c 6 --hold 0.2 --sample 2"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(steps(&json), [(0.2, 2, 0, 2)]);
    assert_eq!(json["errors"], json!({"ETIMEDOUT": 2}));
    assert_eq!(json["requests"]["unanswered"], 2);
}

#[test]
fn failed_second_request_is_an_error_and_not_lost() {
    let addr = TcpTarget::serve(|mut stream| echo_times(&mut stream, 3));
    let (ended, json) =
        run_with_report(&format!("wake command://{addr} -c 6 --hold 0.2 --sample 3"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(steps(&json), [(0.2, 3, 3, 0)]);
    let errors: u64 =
        json["errors"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(errors, 3, "{json}");
}

/// Closed at the request before the sleep, and as soon as they were open.
#[test]
fn connections_that_never_slept_are_not_lost() {
    let addr = TcpTarget::serve(|mut stream| {
        echo_times(&mut stream, 1);
        let _ = stream.read_exact(&mut [0; REQUEST]);
    });
    let (ended, json) =
        run_with_report(&format!("wake command://{addr} -c 20 --hold 0.3 --sample 5"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(steps(&json), [(0.3, 5, 0, 0)]);
    assert_eq!(json["errors"], json!({"EOF": 5}));

    let target = TcpTarget::listen();
    let run = RunWithReport::start(&format!("wake {} -c 4 --hold 0.3", target.url("command")));
    for (mut stream, times) in target.accept(4).into_iter().zip([1, 1, 99, 99]) {
        std::thread::spawn(move || echo_times(&mut stream, times));
    }
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(steps(&json), [(0.3, 4, 2, 0)]);
    assert_eq!(json["connections"]["dropped"], 2);
}

#[cfg(feature = "tls")]
#[test]
fn sleepers_over_tls_are_woken() {
    use super::tls_server::{Authority, TlsServer};
    let authority = Authority::new();
    let server = server("command");
    let tls = TlsServer::before(server.addr(0), authority.config(), false);
    let wake = format!("wake {} --cacert {}", tls.url("command"), authority.ca());
    let (ended, json) = run_with_report(&format!("{wake} -c 10 --hold 0.3 --sample 5"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(steps(&json), [(0.3, 5, 5, 0)]);
}
