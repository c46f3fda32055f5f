//! Requests that the user gives, to servers that know nothing of mynah, and to targets that answer
//! something else.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::foreign_server::ForeignServer;
use super::tester::{TcpTarget, run_with_report, try_send};
#[cfg(feature = "tls")]
use super::tls_server::{Authority, TlsServer};
use crate::support::Ended;
#[cfg(feature = "cluster")]
use crate::support::redis;

#[cfg(any(feature = "cluster", feature = "tls"))]
const PING: &str = r"--send PING\r\n --expect +PONG\r\n";
const GET_PAGE: &str = r"GET\x20/\x20HTTP/1.1\r\nHost:\x20x\r\n\r\n";

/// Requests that were answered: all that were sent, and nothing has failed.
#[track_caller]
fn answered(run: &(Ended, Value)) -> u64 {
    let (ended, json) = run;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(json["errors"], json!({}));
    assert_eq!(json["requests"]["answered"], json["requests"]["sent"]);
    json["requests"]["answered"].as_u64().unwrap()
}

/// Checks that each of `connections` failed with `error`, and that the summary has `reason` once.
#[track_caller]
fn assert_failed(run: &(Ended, Value), connections: u64, error: &str, reason: &str) {
    let (ended, json) = run;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["errors"], json!({ error: connections }), "{ended:?}");
    assert_eq!(ended.stdout.matches(reason).count(), 1, "{}", ended.stdout);
}

#[cfg(feature = "cluster")]
mod over_redis {
    use super::*;
    use redis::{Redis, Value as Reply};

    /// How often Redis has run `command` since its counters were reset.
    fn calls(redis: &Redis, command: &str) -> u64 {
        let Reply::BulkString(info) = redis.ask(&["INFO", "commandstats"]) else { panic!() };
        let info = String::from_utf8(info).unwrap();
        let calls = info.split_once(&format!("cmdstat_{command}:calls=")).unwrap().1;
        calls.split(',').next().unwrap().parse().unwrap()
    }

    #[test]
    fn redis_has_run_each_request() {
        let Some(redis) = Redis::start_tcp(&[]) else { return };
        redis.set(&["SET", "k", "a\0b"]);
        let tcp = format!("tcp://127.0.0.1:{}", redis.port());
        let unix = format!("tcp+unix://{}", redis.socket());
        let get = r"--send *2\r\n$3\r\nGET\r\n$1\r\nk\r\n --expect $3\r\na\0b\r\n";
        for (mode, url, exchange, command) in [
            ("echo -c 5 -d 1", &tcp, PING, "ping"),
            ("echo -c 5 -d 1 --depth 16", &unix, PING, "ping"),
            ("echo -c 3 -d 1 --rate 500 --depth 4", &tcp, get, "get"),
            ("echo -c 5 -d 1 --depth 3", &tcp, r"--send GET\tk\r\n --expect-bytes 9", "get"),
            ("idle -c 20 --hold 1 --probe 100", &tcp, get, "get"),
            ("wake -c 20 --hold 1 --sample 10", &tcp, get, "get"),
            ("storm -c 20 --hold 0.3 --times 2", &tcp, PING, "ping"),
            ("echo -c 7 -d 1 --depth 2 --jobs 3", &tcp, PING, "ping"),
        ] {
            redis.set(&["CONFIG", "RESETSTAT"]);
            let run = run_with_report(&format!("{mode} {url} {exchange}"));
            assert_eq!(answered(&run), calls(&redis, command), "{mode} {exchange}");
        }
    }

    #[test]
    fn mismatch_shows_both_once() {
        let Some(redis) = Redis::start_tcp(&["--requirepass", "x"]) else { return };
        let url = format!("tcp://127.0.0.1:{}", redis.port());
        let run = run_with_report(&format!("echo {url} -c 4 -d 1 {PING}"));
        let reason =
            r#"an answer is not the expected one: expected "+PONG\r\n", received "-NOAUTH"#;
        assert_failed(&run, 4, "EBADMSG", reason);
        assert_eq!(run.1["requests"]["answered"], 0);
        let run = run_with_report(&format!("echo {url} -c 4 -d 1 {PING} --quiet"));
        assert!(run.0.stderr.contains(reason), "{:?}", run.0);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn exchange_goes_over_tls() {
        let Some(redis) = Redis::start_tcp(&[]) else { return };
        let authority = Authority::new();
        let addr = ([127, 0, 0, 1], redis.port()).into();
        let tls = TlsServer::before(addr, authority.config(), true);
        redis.set(&["CONFIG", "RESETSTAT"]);
        let (url, ca) = (tls.url("tcp"), authority.ca());
        let args = format!("echo {url} -c 3 --depth 4 -d 1 {PING} --cacert {ca}");
        assert_eq!(answered(&run_with_report(&args)), calls(&redis, "ping"));
    }
}

#[test]
fn memcached_has_counted_each_request() {
    let Some(memcached) = ForeignServer::memcached() else { return };
    memcached.ask("set k 0 0 3\r\na\nb\r\n", "STORED\r\n");
    let get = r"--send get\x20k\r\n --expect VALUE\x20k\x200\x203\r\na\nb\r\nEND\r\n";
    let args = format!("echo {} -c 5 --depth 4 -d 1 {get}", memcached.url("tcp"));
    let answered = answered(&run_with_report(&args));
    let stats = memcached.ask("stats\r\n", "END\r\n");
    assert!(stats.contains(&format!("STAT cmd_get {answered}\r\n")), "{answered}: {stats}");
}

#[test]
fn nginx_has_logged_each_request() {
    let Some(nginx) = ForeignServer::nginx(None) else { return };
    let page = nginx.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nok");
    let exchange = format!("--send {GET_PAGE} --expect-bytes {}", page.len());
    let run = run_with_report(&format!("echo {} -c 5 -d 1 {exchange}", nginx.url("tcp")));
    assert_eq!(answered(&run), nginx.logged_requests() as u64 - 1);
    // The connection is closed behind the answer, which is an error of its own.
    let page = nginx.ask("GET /last HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nok");
    let send = GET_PAGE.replacen('/', "/last", 1);
    let exchange = format!("--send {send} --expect-bytes {}", page.len());
    let (_, json) = run_with_report(&format!("echo {} -c 5 -d 1 {exchange}", nginx.url("tcp")));
    assert_eq!(json["requests"]["answered"], 5);
    assert_eq!(json["connections"]["dropped"], 5);
}

#[cfg(feature = "tls")]
#[test]
fn nginx_is_asked_over_tls() {
    let authority = Authority::new();
    let issued = authority.issue(&["127.0.0.1"]);
    let Some(nginx) = ForeignServer::nginx(Some((&issued.cert, &issued.key))) else { return };
    // The length of a page is that of one without TLS.
    let len = ForeignServer::nginx(None).unwrap();
    let len = len.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\r\n\r\nok").len();
    let (url, ca) = (nginx.url("tcp+tls"), authority.ca());
    let exchange = format!("--send {GET_PAGE} --expect-bytes {len} --cacert {ca}");
    let run = run_with_report(&format!("echo {url} -c 5 -d 1 {exchange}"));
    assert_eq!(answered(&run), nginx.logged_requests() as u64);
    let run = run_with_report(&format!("echo {} -c 2 -d 1 {PING}", nginx.url("tcp")));
    assert_eq!(run.0.code, Some(1));
    assert_eq!(run.1["errors"], json!({"EBADMSG": 2}));
}

/// Answers each line with `answer`, until the peer closes.
fn answer_lines(mut stream: &TcpStream, answer: &[u8]) {
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|len| len > 0) {
        if byte == *b"\n" && !try_send(stream, answer) {
            return;
        }
    }
}

const NOOP: &str = r"--send NOOP\r\n --expect 250\x202.0.0\x20Ok\r\n";

/// Greets byte by byte, as SMTP does, and answers NOOP.
fn serve_mail(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let greeting = b"220-first line\r\n220 mail.example ESMTP\r\n";
    for byte in greeting {
        if !try_send(&stream, &[*byte]) {
            return;
        }
    }
    answer_lines(&stream, b"250 2.0.0 Ok\r\n");
}

#[test]
fn greeting_is_awaited() {
    let addr = TcpTarget::serve(serve_mail);
    let greeting = r"--greeting ESMTP\r\n";
    let run = run_with_report(&format!("echo tcp://{addr} -c 20 --depth 2 -d 1 {NOOP} {greeting}"));
    assert!(answered(&run) > 100);
    // The greeting alone, on connections without requests.
    let run = run_with_report(&format!("idle tcp://{addr} -c 20 --hold 0 {greeting}"));
    assert_eq!(answered(&run), 0);
    assert_eq!(run.1["bytes"], json!({"sent": 0, "received": 20 * 40}));
}

#[cfg(feature = "tls")]
#[test]
fn greeting_is_awaited_over_tls() {
    let authority = Authority::new();
    let tls = TlsServer::before(TcpTarget::serve(serve_mail), authority.config(), true);
    let (url, ca) = (tls.url("tcp"), authority.ca());
    let exchange = format!(r"{NOOP} --greeting ESMTP\r\n --cacert {ca}");
    assert!(answered(&run_with_report(&format!("echo {url} -c 5 -d 1 {exchange}"))) > 10);
}

#[test]
fn greeting_that_goes_on_is_a_mismatch() {
    let addr = TcpTarget::serve(serve_mail);
    let exchange = format!(r"{NOOP} --greeting \n");
    let (ended, json) = run_with_report(&format!("echo tcp://{addr} -c 3 -d 1 {exchange}"));
    assert_eq!(ended.code, Some(1));
    assert_eq!(json["errors"], json!({"EBADMSG": 3}), "{ended:?}");
}

#[test]
fn greeting_without_its_end_fails_the_connect() {
    let refuse = TcpTarget::serve(|stream| {
        try_send(&stream, b"554 no mail\x1b here\r\n");
    });
    let wait = r"--greeting 220";
    let run = run_with_report(&format!("idle tcp://{refuse} -c 3 --hold 0 {wait}"));
    assert_failed(&run, 3, "EOF", r"the target said: 554 no mail\u{1b} here\r\n");
    let connections = &run.1["connections"];
    assert_eq!((&connections["opened"], &connections["failed"]), (&0.into(), &3.into()));
    let endless = TcpTarget::serve(|stream| while try_send(&stream, &[b'?'; 1_000]) {});
    let run = run_with_report(&format!("idle tcp://{endless} -c 3 --hold 0 {wait}"));
    assert_failed(&run, 3, "EPROTO", "the target said: ???");
    let silent = TcpTarget::listen();
    let run = run_with_report(&format!("idle {} -c 3 --hold 0 {wait}", silent.url("tcp")));
    assert_eq!((run.0.code, &run.1["errors"]), (Some(1), &json!({"ETIMEDOUT": 3})));
}

#[test]
fn target_that_speaks_first_is_named() {
    let addr = TcpTarget::serve(|stream| {
        try_send(&stream, b"220 ready\r\n");
        answer_lines(&stream, b"250 Ok\r\n");
    });
    // Requests are due once all are connected: a second after the first, which is greeted at once.
    let idle = format!("idle tcp://{addr} -c 2 --rate 1 --hold 1 --probe 1");
    let run = run_with_report(&format!(r"{idle} --send x\n --expect 250\x20Ok\r\n"));
    let reason = r#"the target spoke before any request: "220 ready\r\n"; --greeting TEXT waits"#;
    assert_failed(&run, 2, "EBADMSG", reason);
}

#[test]
fn answer_longer_than_expected_is_a_mismatch() {
    let addr = TcpTarget::serve(|stream| answer_lines(&stream, b"+PONG\r\n"));
    for expect in ["--expect +PONG", "--expect-bytes 5"] {
        let args = format!(r"echo tcp://{addr} -c 3 -d 1 --send PING\r\n {expect}");
        assert_failed(
            &run_with_report(&args),
            3,
            "EBADMSG",
            r#"more came than the answers: "\r\n";"#,
        );
    }
}

#[test]
fn answer_shorter_than_expected_times_out() {
    let addr = TcpTarget::serve(|stream| answer_lines(&stream, b"+PONG\r\n"));
    let args = format!(r"echo tcp://{addr} -c 3 -d 1 --send PING\r\n --expect-bytes 8");
    let reason = "an answer was left unfinished: 7 of its 8 bytes came";
    assert_failed(&run_with_report(&args), 3, "ETIMEDOUT", reason);
}

#[test]
fn answer_may_come_before_the_request_is_whole() {
    let addr = TcpTarget::serve(|mut stream| {
        let mut read = 0;
        let mut buffer = [0; 4096];
        // An answer for the first byte of each request.
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            let begun = |at: usize| at.div_ceil(60_000);
            let answers = begun(read + len) - begun(read);
            read += len;
            if !try_send(&stream, &b"413\n".repeat(answers)) {
                return;
            }
        }
    });
    let send = "x".repeat(60_000);
    let run = run_with_report(&format!(
        r"echo tcp://{addr} -c 2 --depth 2 -d 1 --send {send} --expect 413\n"
    ));
    assert!(answered(&run) > 4);
}

#[test]
fn answers_may_be_cut_anywhere() {
    let addr = TcpTarget::serve(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        // A byte of the answers for each byte of the requests, which are as long.
        let mut answer = b"+PONG!\r\n".iter().cycle();
        while stream.read_exact(&mut byte).is_ok() {
            let Some(next) = answer.next() else { return };
            if stream.write_all(&[*next]).is_err() {
                return;
            }
        }
    });
    let exchange = r"--send PING12\r\n --expect +PONG!\r\n";
    let run = run_with_report(&format!("echo tcp://{addr} -c 4 --depth 16 -d 1 {exchange}"));
    assert!(answered(&run) > 100);
}
