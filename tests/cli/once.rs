//! One command: its output, its errors, its exit status.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::mock_server::{MockServer, expect, read_to_eof};
use super::program::{RunningClient, client_command, closed_addr, run, run_args, run_with_input};
use super::support::{Folder, PATIENCE, Server, error, frame, random_bytes, wait_until};

/// A server with a listener for each protocol of a command, in the order of the constants.
fn server() -> Server {
    Server::start(&[
        "-l",
        "command://127.0.0.1:0",
        "-l",
        "prefixed://127.0.0.1:0",
        "-l",
        "raw://127.0.0.1:0",
    ])
}

const COMMAND: usize = 0;
const PREFIXED: usize = 1;
const RAW: usize = 2;

#[test]
fn standard_output_is_the_reply_and_a_newline() {
    let server = server();
    let addr = server.addr(COMMAND);
    run(addr, &["echo", "Hello, World!"]).assert_reply("Hello, World!\n");
    run(addr, &["echo", ""]).assert_reply("\n");
    run(addr, &["echo", "two\nlines\n"]).assert_reply("two\nlines\n\n");
    run(addr, &["rev", "Hé!"]).assert_reply("!éH\n");
    run(addr, &["broadcast", "to nobody"]).assert_reply("0\n");
    run(addr, &["--protocol", "command", "echo", "--timeout"]).assert_reply("--timeout\n");

    let status = run(addr, &["status"]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert_eq!((status.code, &*status.stderr), (Some(0), ""));
    assert!(text.starts_with("{\"version\":") && text.ends_with("}\n"), "{text}");
    assert!(text.contains("\"connections\":1,"), "{text}");
}

#[test]
fn dash_is_standard_input_byte_for_byte() {
    let server = server();
    let addr = server.addr(COMMAND);
    run_with_input(addr, &["rev", "-"], "Hé!\n".as_bytes()).assert_reply("\n!éH\n");
    run_with_input(addr, &["echo", "-"], b"").assert_reply("\n");
    run_with_input(addr, &["broadcast", "-"], b"x").assert_reply("0\n");
    let bytes = random_bytes(1 << 20);
    run_with_input(addr, &["echo", "-"], &bytes).assert_reply([&bytes[..], b"\n"].concat());
    run_with_input(server.addr(PREFIXED), &["--protocol", "prefixed", "send", "-"], b"\x00\xff\n")
        .assert_reply(b"\n\xff\0\n");
}

#[test]
fn text_may_be_any_bytes() {
    let server = server();
    let mut command = client_command(server.addr(COMMAND), &["echo"]);
    command.arg(OsStr::from_bytes(b"\xff\xfe"));
    RunningClient::spawn(&mut command).wait().assert_reply(b"\xff\xfe\n");
}

#[test]
fn send_works_over_prefixed_and_raw() {
    let server = server();
    let prefixed = ["--protocol", "prefixed", "send", "Hello, world"];
    run(server.addr(PREFIXED), &prefixed).assert_reply("dlrow ,olleH\n");
    run(server.addr(PREFIXED), &["--protocol", "prefixed", "send", ""]).assert_reply("\n");
    let raw = ["--protocol", "raw", "send", "Hello, Server!"];
    run(server.addr(RAW), &raw).assert_reply("Echo: Hello, Server!\n");
    run(server.addr(RAW), &["--protocol", "raw", "send", ""]).assert_reply("\n");
}

#[test]
fn url_names_protocol_and_address() {
    let server = server();
    let url = |index: usize, protocol: &str| format!("{protocol}://{}", server.addr(index));
    run_args(&[&url(COMMAND, "command"), "ECHO", "x"]).assert_reply("x\n");
    run_args(&[&url(PREFIXED, "prefixed"), "send", "abc"]).assert_reply("cba\n");
    run_args(&[&url(RAW, "raw"), "send", "abc"]).assert_reply("Echo: abc\n");
    run_args(&[&server.addr(COMMAND).to_string(), "reverse", "abc"]).assert_reply("cba\n");
    run_args(&[&server.addr(COMMAND).to_string(), "echo", "--", "-n"]).assert_reply("-n\n");
}

#[cfg(feature = "plugins")]
#[test]
fn send_and_call_reach_plugins() {
    let folder = Folder::new();
    let plugin = "return { process_client_pkg = function(data, client)
        return tostring(client.command) .. ' ' .. data:upper() end }";
    folder.file("shout.lua", plugin);
    let dir = folder.path("");
    let args = ["-l", "plugin://127.0.0.1:0", "-l", "command://127.0.0.1:0", "--plugin-dir", &dir];
    let server = Server::start(&args);
    run(server.addr(0), &["--protocol", "plugin", "send", "x"]).assert_reply("nil X\n");
    run_with_input(server.addr(0), &["--protocol", "plugin"], b"one\ntwo\n")
        .assert_reply("nil ONE\nnil TWO\n");
    run(server.addr(1), &["call", "128", "x"]).assert_reply("128 X\n");
    run_with_input(server.addr(1), &[], b"call 254 a b\n").assert_reply("254 A B\n");
    let result = run(server.addr(1), &["call", "127", "x"]);
    result.assert_error("unknown command 127");
}

#[test]
fn call_sends_any_command() {
    let server = server();
    let addr = server.addr(COMMAND);
    run(addr, &["call", "1", "x"]).assert_reply("x\n");
    run(addr, &["call", "2", "abc"]).assert_reply("cba\n");
    run(addr, &["call", "3"]).assert_reply("\n");
    run(addr, &["call", "4", "x"]).assert_reply("0\n");
    run(addr, &["call", "9", "x"]).assert_error("unknown command 9");
}

#[test]
fn echo_of_another_protocol_names_it() {
    let server = Server::start(&[
        "-l",
        "prefixed://127.0.0.1:0",
        "-l",
        "raw://127.0.0.1:0",
        "-l",
        "chat://127.0.0.1:0",
    ]);
    for (index, answer, protocol, command) in [
        (0, "'olleh' is not what was sent", "prefixed", "send TEXT"),
        (1, r"'Echo: \u{1}\u{0}\u{0}\u{0}\u{5}hello'", "raw", "send TEXT"),
        (2, r"'[ERROR] a nickname has no blanks or control characters\n'", "chat", "chat"),
    ] {
        let addr = server.addr(index);
        run(addr, &["echo", "hello"]).assert_error(&format!(
            "the server does not answer as it should: {answer}; the server seems to speak \
             {protocol}, try: mynah-cli {protocol}://{addr} {command}"
        ));
    }
}

#[test]
fn foreign_reply_is_not_waited_for() {
    // The replies never end, and there is no timeout.
    for (args, request, reply, server) in [
        (&["rev", "x"][..], frame(2, b"x"), &b"+PONG"[..], "Redis"),
        (
            &["--protocol", "prefixed", "send", "x"],
            b"\x01x".to_vec(),
            b"HTTP/1.1 400",
            "an HTTP server; if it is an admin listener, try: mynah-cli --admin admin://ADDR status",
        ),
        (&["chat", "ann"], b"ann\n".to_vec(), b"SSH-2.0-x", "an SSH server"),
    ] {
        let mock = MockServer::replying(&request, reply);
        let result = run(mock.addr, &[&["--timeout", "0"], args].concat());
        assert_eq!(result.code, Some(1), "{result:?}");
        let server = server.replace("ADDR", &mock.addr.to_string());
        let hint = format!("; the server seems to be {server}\n");
        assert!(result.stderr.ends_with(&hint), "{result:?}");
        mock.join();
    }
}

#[test]
fn status_repeats_with_watch() {
    let server = server();
    let mut command = client_command(server.addr(COMMAND), &["status", "--watch"]);
    let client = RunningClient::spawn(&mut command);
    client.expect("\"frames_in_total\":1,");
    client.expect("\"frames_in_total\":2,");
    drop(client);
    run(server.addr(COMMAND), &["status", "--json"]).code.unwrap();
    let connects = || server.count_lines(" connected to ");
    wait_until("both are logged", || connects() >= 2);
    assert_eq!(connects(), 2);
}

#[test]
fn raw_reply_is_read_while_the_message_is_written() {
    let server = Server::start(&["-l", "raw://127.0.0.1:0?prefix="]);
    let bytes = random_bytes(20 << 20);
    let result = run_with_input(server.addr(0), &["--protocol", "raw", "send", "-"], &bytes);
    result.assert_reply([&bytes[..], b"\n"].concat());
}

#[test]
fn prefixed_truncates_at_a_character_and_warns() {
    let server = server();
    let send = |text: &str| run(server.addr(PREFIXED), &["--protocol", "prefixed", "send", text]);
    let longest = "x".repeat(255);
    send(&longest).assert_reply(format!("{longest}\n"));

    let result = send(&format!("{}é!", "x".repeat(254)));
    assert_eq!(result.code, Some(0));
    assert_eq!(result.stdout, format!("{}\n", "x".repeat(254)).as_bytes());
    let warning = "mynah-cli: warning: the text has 257 bytes, only 254 are sent\n";
    assert_eq!(result.stderr, warning);
}

#[test]
fn listen_prints_broadcasts_until_the_server_closes() {
    let mut server = server();
    let listener = RunningClient::spawn(&mut client_command(server.addr(COMMAND), &["listen"]));
    server.wait_for_line("connected to command");
    run(server.addr(COMMAND), &["broadcast", "one"]).assert_reply("1\n");
    listener.expect("one\n");
    run_with_input(server.addr(COMMAND), &["broadcast", "-"], b"\xff\0two").assert_reply("1\n");
    listener.expect("two\n");
    server.stop();
    let result = listener.wait();
    assert_eq!(result.stdout, b"one\n\xff\0two\n");
    assert_eq!(
        (result.code, &*result.stderr),
        (Some(1), "mynah-cli: the server closed the connection\n")
    );
}

#[test]
fn refusal_is_printed_and_status_1() {
    let server = Server::command(&["-m", "1", "--max-frame", "10"]);
    let addr = server.addr(0);
    run_with_input(addr, &["rev", "-"], b"ab\xff")
        .assert_error("REVERSE needs UTF-8: invalid byte at offset 2");
    run(addr, &["echo", "elevenbytes"]).assert_error("frame of 11 bytes exceeds the limit of 10");
    let _held = server.connect();
    server.wait_for_line("#3 ");
    run(addr, &["status"]).assert_error("server is full: 1 clients");
    run(addr, &["listen"]).assert_error("server is full: 1 clients");
}

#[test]
fn refusal_is_read_while_the_request_is_written() {
    let server = Server::command(&[]);
    let result = run_with_input(server.addr(0), &["echo", "-"], &vec![b'x'; 50 << 20]);
    result.assert_error("frame of 52428800 bytes exceeds the limit of 1048576");
}

#[test]
fn error_frame_is_printed_on_one_line_escaped() {
    let mock = MockServer::replying(&frame(1, b"x"), &error("no\n\x1b[2J"));
    run(mock.addr, &["echo", "x"]).assert_error(r"no\n\u{1b}[2J");
    mock.join();
}

#[test]
fn broadcast_before_the_reply_is_not_the_reply() {
    let replies = [frame(4, b"news"), frame(4, b""), frame(1, b"x")].concat();
    let mock = MockServer::replying(&frame(1, b"x"), &replies);
    run(mock.addr, &["echo", "x"]).assert_reply("x\n");
    mock.join();

    let mock = MockServer::replying(&frame(4, b"x"), &[frame(4, b"x"), frame(1, b"7")].concat());
    run(mock.addr, &["broadcast", "x"]).assert_reply("7\n");
    mock.join();
}

#[test]
fn reply_may_arrive_byte_by_byte() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, &frame(2, b"x"));
        stream.set_nodelay(true).unwrap();
        for byte in frame(1, b"abc") {
            stream.write_all(&[byte]).unwrap();
            thread::yield_now();
        }
        read_to_eof(&mut stream);
    });
    run(mock.addr, &["rev", "x"]).assert_reply("abc\n");
    mock.join();
}

#[test]
fn reply_may_be_30_megabytes() {
    let bytes = random_bytes(30 << 20);
    let mock = MockServer::replying(&frame(2, b"x"), &frame(1, &bytes));
    run(mock.addr, &["rev", "x"]).assert_reply([&bytes[..], b"\n"].concat());
    mock.join();
}

#[test]
fn close_reset_and_garbage_are_errors() {
    let closes = "the server closed the connection without an answer";
    let mock = MockServer::new(|mut stream| expect(&mut stream, &frame(1, b"x")));
    run(mock.addr, &["echo", "x"]).assert_error(closes);
    let mock = MockServer::new(|mut stream| expect(&mut stream, b"\x01x"));
    run(mock.addr, &["--protocol", "prefixed", "send", "x"]).assert_error(closes);
    let mock = MockServer::new(|mut stream| expect(&mut stream, b"x"));
    run(mock.addr, &["--protocol", "raw", "send", "x"]).assert_error(closes);

    let midway = "the server closed the connection in the middle of its answer";
    for (reply, reason) in [
        (&b"\x01\0\0\0\x05abc"[..], midway),
        (b"\x01\0", midway),
        (b"\x09\0\0\0\0", "the server does not answer as it should: command 9"),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            concat!(
                r"the server does not answer as it should: 'HTTP/1.1 400 Bad Request\r\n'; ",
                "the server seems to be an HTTP server; if it is an admin listener, try: ",
                "mynah-cli --admin admin://ADDR status"
            ),
        ),
    ] {
        let mock = MockServer::new(|mut stream| {
            expect(&mut stream, &frame(1, b"x"));
            stream.write_all(reply).unwrap();
        });
        let reason = reason.replace("ADDR", &mock.addr.to_string());
        run(mock.addr, &["echo", "x"]).assert_error(&reason);
    }
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, b"\x01x");
        stream.write_all(b"\x05abc").unwrap();
    });
    run(mock.addr, &["--protocol", "prefixed", "send", "x"]).assert_error(midway);

    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    run(mock.addr, &["echo", "x"]).assert_error("the connection broke: connection reset by peer");
}

#[test]
fn listen_reports_why_it_ends() {
    for (said, reason) in [
        (error("go away"), "go away"),
        (frame(1, b"x"), "the server does not answer as it should: ECHO, which nobody asked for"),
        (vec![4, 0], "the server closed the connection in the middle of its answer"),
    ] {
        let mock = MockServer::new(move |mut stream| stream.write_all(&said).unwrap());
        run(mock.addr, &["listen"]).assert_error(reason);
    }
}

#[test]
fn reply_has_a_timeout() {
    for args in [
        &["--timeout", "0.2", "echo", "x"][..],
        &["--timeout", "0.2", "--protocol", "prefixed", "send", "x"],
        &["--timeout", "0.2", "--protocol", "raw", "send", "x"],
    ] {
        let (mock, release) = MockServer::silent();
        run(mock.addr, args).assert_error("no answer within 0.2 s");
        drop(release);
        mock.join();
    }
    // A reply that drips does not extend it.
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        stream.write_all(b"\x01\0\0\xff\0").unwrap();
        while is_waiting(&mut stream, Duration::from_millis(10)) {
            let _ = stream.write_all(b".");
        }
    });
    run(mock.addr, &["--timeout", "0.3", "echo", "x"])
        .assert_error("the answer did not end within 0.3 s");
    mock.join();
}

/// True if the client neither closes nor sends a byte within `time`.
fn is_waiting(stream: &mut TcpStream, time: Duration) -> bool {
    stream.set_read_timeout(Some(time)).unwrap();
    let read = stream.read(&mut [0]);
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn raw_reply_is_printed_as_it_arrives() {
    let (sender, seen) = mpsc::channel();
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, b"x");
        for chunk in [&b"one "[..], b"\xff", b" two"] {
            stream.write_all(chunk).unwrap();
            seen.recv_timeout(PATIENCE).unwrap();
        }
    });
    let client =
        RunningClient::spawn(&mut client_command(mock.addr, &["--protocol", "raw", "send", "x"]));
    for text in ["one ", "one \u{fffd}", "one \u{fffd} two"] {
        client.expect(text);
        sender.send(()).unwrap();
    }
    client.wait().assert_reply(b"one \xff two\n");
    mock.join();
}

#[test]
fn endless_raw_reply_times_out_in_constant_memory() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, b"x");
        while stream.write_all(&[b'.'; 1 << 16]).is_ok() {}
    });
    let args = ["--timeout", "1", "--protocol", "raw", "send", "x"];
    let mut command = client_command(mock.addr, &args);
    let client = RunningClient::spawn_with(&mut command, Stdio::null(), Stdio::null());
    let mut peak_kib = 0;
    let result = client.wait_with(|pid| peak_kib = peak_kib.max(resident_kib(pid)));
    result.assert_error("the answer did not end within 1 s");
    assert!(peak_kib < 20 << 10, "{peak_kib} KiB");
    mock.join();
}

/// The resident memory of a process; 0 if it has ended.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[test]
fn server_that_reads_nothing_times_out() {
    let (mock, release) = MockServer::silent();
    let result = run_with_input(mock.addr, &["--timeout", "0.5", "echo", "-"], &vec![0; 30 << 20]);
    result.assert_error("no answer within 0.5 s");
    drop(release);
    mock.join();
}

#[test]
fn timeout_of_zero_is_no_limit() {
    let mock = MockServer::new(|mut stream| {
        expect(&mut stream, &frame(2, b"x"));
        assert!(is_waiting(&mut stream, Duration::from_millis(300)));
        stream.write_all(&frame(1, b"late")).unwrap();
        read_to_eof(&mut stream);
    });
    run(mock.addr, &["--timeout", "0", "rev", "x"]).assert_reply("late\n");
    mock.join();
}

#[test]
fn connect_has_a_timeout() {
    // A listener with a full backlog drops connection requests.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut backlog = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        backlog.push(stream);
    }
    let reason = format!("cannot connect to command://{addr}: no answer within 0.3 s");
    for args in [&["echo", "x"][..], &["listen"], &["status"]] {
        run(addr, &[&["--timeout", "0.3"], args].concat()).assert_error(&reason);
    }
    let reason = reason.replace("command", "chat");
    run(addr, &["--timeout", "0.3", "chat", "ann"]).assert_error(&reason);
}

#[test]
fn connect_error_names_the_server() {
    let addr = closed_addr();
    let reason = format!("cannot connect to command://{addr}: connection refused");
    for args in [&["echo", "x"][..], &["listen"]] {
        run(addr, args).assert_error(&reason);
    }
    let result = run(addr, &["-H", "no-such-host.invalid", "echo", "x"]);
    assert_eq!(result.code, Some(2), "a host given twice is bad usage: {}", result.stderr);
    let result = run_args(&["-H", "no-such-host.invalid", "--timeout", "5", "echo", "x"]);
    assert_eq!(result.code, Some(1));
    assert!(
        result.stderr.starts_with("mynah-cli: cannot find no-such-host.invalid: "),
        "{result:?}"
    );
}

#[test]
fn host_may_be_ipv6_or_a_name() {
    let server = Server::start(&["-l", "command://[::1]:0"]);
    run(server.addr(0), &["echo", "six"]).assert_reply("six\n");
    let server = Server::start(&["-l", "command://127.0.0.1:0"]);
    let port = server.addr(0).port().to_string();
    run_args(&["--host", "localhost", "--port", &port, "echo", "named"]).assert_reply("named\n");
}

#[test]
fn config_file_gives_the_address_and_options_win() {
    let server = server();
    let folder = Folder::new();
    let port = server.addr(COMMAND).port();
    let file = folder.file(
        "config.ini",
        &format!("[server]\nhost = 127.0.0.1 # IP\nport = {port} ; the port\n"),
    );
    run_args(&["--config", &file, "echo", "x"]).assert_reply("x\n");

    let wrong = folder.file("wrong.ini", "[server]\nhost = 127.0.0.2\nport = 1\n");
    let port = port.to_string();
    run_args(&["--config", &wrong, "-H", "127.0.0.1", "-p", &port, "echo", "x"])
        .assert_reply("x\n");
    run_args(&["--config", &wrong, "echo", "x"])
        .assert_error("cannot connect to command://127.0.0.2:1: connection refused");
    // The default port of the protocol, where the file has none.
    let host = folder.file("host.ini", "[server]\nhost = 127.0.0.3\n");
    let result = run_args(&["--config", &host, "--protocol", "prefixed", "send", "x"]);
    assert!(result.stderr.contains("prefixed://127.0.0.3:8080"), "{result:?}");

    let broken = folder.file("broken.ini", "[server]\nport = x\n");
    let result = run_args(&["--config", &broken, "status"]);
    assert_eq!((result.code, result.stdout.len()), (Some(2), 0));
    let reason =
        format!("mynah-cli: {broken}: line 2: [server] port: bad port 'x', it is 0 to 65535\n");
    assert!(result.stderr.starts_with(&reason), "{}", result.stderr);
}

#[test]
fn usage_error_is_status_2_and_names_the_culprit() {
    for (args, reason) in [
        (&["--no-such"][..], "unknown option '--no-such'"),
        (&["ping"], "there is no command 'ping', did you mean echo?"),
        (
            &["127.0.0.1"],
            "there is no command '127.0.0.1', did you mean command://127.0.0.1:65432?",
        ),
        (&["-h", "10.0.0.1", "echo"], "-h is --help; the host is -H, as in -H 10.0.0.1"),
        (&["echo"], "echo needs a TEXT"),
        (
            &["-p", "8080", "echo", "x"],
            "echo needs --protocol command; port 8080 means prefixed: use send there",
        ),
        (&["raw://127.0.0.1:9999", "status"], "status needs --protocol command; over raw use send"),
        #[cfg(not(feature = "tls"))]
        (&["command+tls://h:1", "status"], "command+tls://h:1: this build has no TLS"),
        #[cfg(feature = "tls")]
        (
            &["--insecure", "status"],
            "--insecure needs a +tls URL, such as command+tls://127.0.0.1:65432",
        ),
        (&["-p", "65536", "status"], "--port: bad port '65536', it is 0 to 65535"),
        (
            &["--timeout", "soon", "status"],
            "--timeout: 'soon' is not a number of seconds up to 31536000",
        ),
    ] {
        let result = run_args(args);
        assert_eq!((result.code, result.stdout.len()), (Some(2), 0), "{args:?}");
        assert_eq!(result.stderr, format!("mynah-cli: {reason}\nTry 'mynah-cli --help'.\n"));
    }
}

#[test]
fn help_and_version_need_no_server() {
    let version = concat!("mynah-cli ", env!("CARGO_PKG_VERSION"), "\n");
    run_args(&["--version"]).assert_reply(version);
    let help = String::from_utf8(run_args(&["-h"]).stdout).unwrap();
    assert!(help.starts_with("mynah-cli, the client of mynah"), "{help}");
    let last = if cfg!(feature = "tls") { "if not the URL's\n" } else { "print the version\n" };
    assert!(help.ends_with(last), "{help}");
}

#[test]
fn closed_output_ends_the_client_silently() {
    let server = server();
    // The reply is more than a pipe holds, so it is not written whole before the pipe is closed.
    let text = "x".repeat(100_000);
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = client_command(server.addr(COMMAND), &["echo", &text]);
    let client = RunningClient::spawn_with(&mut command, Stdio::null(), writer);
    reader.read_exact(&mut [0]).unwrap();
    drop(reader);
    client.wait().assert_reply("");

    let (reader, writer) = io::pipe().unwrap();
    let mut command = client_command(server.addr(COMMAND), &["listen"]);
    let client = RunningClient::spawn_with(&mut command, Stdio::null(), writer);
    drop(reader);
    server.wait_for("the second client", |line| line.contains("#2 ") && line.contains("connected"));
    run(server.addr(COMMAND), &["broadcast", "x"]).assert_reply("1\n");
    client.wait().assert_reply("");
}

#[test]
fn output_error_is_status_1() {
    let server = server();
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    for args in [&["echo", "x"][..], &["status"], &["status", "--watch"], &["--help"], &["-V"]] {
        let mut command = client_command(server.addr(COMMAND), args);
        RunningClient::spawn_with(&mut command, Stdio::null(), full.try_clone().unwrap())
            .wait()
            .assert_error("cannot write to standard output: no space left on device");
    }
}

#[test]
fn input_error_is_status_1() {
    let server = server();
    let folder = Folder::new();
    let mut command = client_command(server.addr(COMMAND), &["echo", "-"]);
    let directory = File::open(folder.path("")).unwrap();
    RunningClient::spawn_with(&mut command, directory, Stdio::piped())
        .wait()
        .assert_error("cannot read standard input: is a directory");
}

#[test]
fn client_closes_without_a_reset() {
    let (sender, seen) = mpsc::channel();
    let mock = MockServer::new(move |mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        stream.write_all(&frame(1, b"x")).unwrap();
        sender.send(stream.read(&mut [0]).map_err(|error| error.kind())).unwrap();
        let _ = stream.shutdown(Shutdown::Both);
    });
    run(mock.addr, &["echo", "x"]).assert_reply("x\n");
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Ok(0));
    mock.join();
}
