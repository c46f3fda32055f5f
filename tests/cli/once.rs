//! The commands of a script.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::program::{Fake, Running, client, expect, nobody, output, run, run_with, wait_for_end};
use super::support::{Folder, PATIENCE, Server, error, frame, random_bytes};

/// A server with the listeners the commands need, in the order of the constants.
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
fn the_answer_and_a_newline_go_to_standard_output_and_nothing_else() {
    let server = server();
    let addr = server.addr(COMMAND);
    run(addr, &["echo", "Hello, World!"]).answered("Hello, World!\n");
    run(addr, &["echo", ""]).answered("\n");
    run(addr, &["echo", "two\nlines\n"]).answered("two\nlines\n\n");
    run(addr, &["rev", "Hé!"]).answered("!éH\n");
    run(addr, &["broadcast", "to nobody"]).answered("0\n");
    run(addr, &["--protocol", "command", "echo", "--timeout"]).answered("--timeout\n");

    let status = run(addr, &["status"]);
    let text = String::from_utf8(status.stdout).unwrap();
    assert_eq!((status.code, &*status.stderr), (Some(0), ""));
    assert!(text.starts_with("{\"version\":") && text.ends_with("}\n"), "{text}");
    assert!(text.contains("\"connections\":1,"), "{text}");
}

#[test]
fn a_text_of_dash_is_standard_input_to_the_byte() {
    let server = server();
    let addr = server.addr(COMMAND);
    run_with(addr, &["rev", "-"], "Hé!\n".as_bytes()).answered("\n!éH\n");
    run_with(addr, &["echo", "-"], b"").answered("\n");
    run_with(addr, &["broadcast", "-"], b"x").answered("0\n");
    let bytes = random_bytes(1 << 20);
    run_with(addr, &["echo", "-"], &bytes).answered([&bytes[..], b"\n"].concat());
    run_with(server.addr(PREFIXED), &["--protocol", "prefixed", "send", "-"], b"\x00\xff\n")
        .answered(b"\n\xff\0\n");
}

#[test]
fn a_text_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let server = server();
    let mut command = client(server.addr(COMMAND), &["echo"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    Running::spawn(&mut command).wait().answered(b"\xff\xfe\n");
}

#[test]
fn send_goes_over_prefixed_and_raw() {
    let server = server();
    let prefixed = ["--protocol", "prefixed", "send", "Hello, world"];
    run(server.addr(PREFIXED), &prefixed).answered("dlrow ,olleH\n");
    run(server.addr(PREFIXED), &["--protocol", "prefixed", "send", ""]).answered("\n");
    let raw = ["--protocol", "raw", "send", "Hello, Server!"];
    run(server.addr(RAW), &raw).answered("Echo: Hello, Server!\n");
    run(server.addr(RAW), &["--protocol", "raw", "send", ""]).answered("\n");
}

#[test]
fn a_raw_answer_of_megabytes_is_read_while_the_message_is_written() {
    let server = Server::start(&["-l", "raw://127.0.0.1:0?prefix="]);
    let bytes = random_bytes(20 << 20);
    let ended = run_with(server.addr(0), &["--protocol", "raw", "send", "-"], &bytes);
    ended.answered([&bytes[..], b"\n"].concat());
}

#[test]
fn over_prefixed_a_long_text_is_cut_at_a_character_with_a_warning() {
    let server = server();
    let send = |text: &str| run(server.addr(PREFIXED), &["--protocol", "prefixed", "send", text]);
    let longest = "x".repeat(255);
    send(&longest).answered(format!("{longest}\n"));

    let ended = send(&format!("{}é!", "x".repeat(254)));
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stdout, format!("{}\n", "x".repeat(254)).as_bytes());
    let warning = "mynah-cli: warning: the text has 257 bytes, only 254 are sent\n";
    assert_eq!(ended.stderr, warning);
}

#[test]
fn listen_prints_broadcasts_as_they_come_until_the_server_goes() {
    let mut server = server();
    let listener = Running::spawn(&mut client(server.addr(COMMAND), &["listen"]));
    server.wait_for_line("connected to command");
    run(server.addr(COMMAND), &["broadcast", "one"]).answered("1\n");
    listener.expect("one\n");
    run_with(server.addr(COMMAND), &["broadcast", "-"], b"\xff\0two").answered("1\n");
    listener.expect("two\n");
    server.stop();
    let ended = listener.wait();
    assert_eq!(ended.stdout, b"one\n\xff\0two\n");
    assert_eq!(
        (ended.code, &*ended.stderr),
        (Some(1), "mynah-cli: the server closed the connection\n")
    );
}

#[test]
fn what_the_server_refuses_is_a_reason_and_status_1() {
    let server = Server::command(&["-m", "1", "--max-frame", "10"]);
    let addr = server.addr(0);
    run_with(addr, &["rev", "-"], b"ab\xff")
        .failed("REVERSE needs UTF-8: invalid byte at offset 2");
    run(addr, &["echo", "elevenbytes"]).failed("frame of 11 bytes exceeds the limit of 10");
    let _held = server.connect();
    server.wait_for_line("#3 ");
    run(addr, &["status"]).failed("server is full: 1 clients");
    run(addr, &["listen"]).failed("server is full: 1 clients");
}

#[test]
fn a_refusal_is_heard_by_a_client_that_is_still_sending() {
    let server = Server::command(&[]);
    let ended = run_with(server.addr(0), &["echo", "-"], &vec![b'x'; 50 << 20]);
    ended.failed("frame of 52428800 bytes exceeds the limit of 1048576");
}

#[test]
fn an_error_frame_is_shown_on_one_line_without_control_characters() {
    let fake = Fake::answering(&frame(1, b"x"), &error("no\n\x1b[2J"));
    run(fake.addr, &["echo", "x"]).failed(r"no\n\u{1b}[2J");
    fake.finish();
}

#[test]
fn a_broadcast_before_the_answer_is_not_taken_for_it() {
    let replies = [frame(4, b"news"), frame(4, b""), frame(1, b"x")].concat();
    let fake = Fake::answering(&frame(1, b"x"), &replies);
    run(fake.addr, &["echo", "x"]).answered("x\n");
    fake.finish();

    let fake = Fake::answering(&frame(4, b"x"), &[frame(4, b"x"), frame(1, b"7")].concat());
    run(fake.addr, &["broadcast", "x"]).answered("7\n");
    fake.finish();
}

#[test]
fn an_answer_may_come_in_pieces() {
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        stream.set_nodelay(true).unwrap();
        for byte in frame(1, b"abc") {
            stream.write_all(&[byte]).unwrap();
            thread::yield_now();
        }
        wait_for_end(&mut stream);
    });
    run(fake.addr, &["echo", "x"]).answered("abc\n");
    fake.finish();
}

#[test]
fn an_answer_of_megabytes_is_an_answer() {
    let bytes = random_bytes(30 << 20);
    let fake = Fake::answering(&frame(1, b"x"), &frame(1, &bytes));
    run(fake.addr, &["echo", "x"]).answered([&bytes[..], b"\n"].concat());
    fake.finish();
}

#[test]
fn a_server_that_closes_resets_or_talks_nonsense_is_a_failure() {
    let closes = "the server closed the connection without an answer";
    let fake = Fake::new(|mut stream| expect(&mut stream, &frame(1, b"x")));
    run(fake.addr, &["echo", "x"]).failed(closes);
    let fake = Fake::new(|mut stream| expect(&mut stream, b"\x01x"));
    run(fake.addr, &["--protocol", "prefixed", "send", "x"]).failed(closes);
    let fake = Fake::new(|mut stream| expect(&mut stream, b"x"));
    run(fake.addr, &["--protocol", "raw", "send", "x"]).failed(closes);

    let midway = "the server closed the connection in the middle of its answer";
    for (reply, why) in [
        (&b"\x01\0\0\0\x05abc"[..], midway),
        (b"\x01\0", midway),
        (b"\x09\0\0\0\0", "the server does not answer as it should: command 9"),
        (
            b"HTTP/1.1 400 Bad Request\r\n",
            "the server does not answer as it should: frame of 1414811695 bytes exceeds the limit of 1073741824",
        ),
    ] {
        let fake = Fake::new(|mut stream| {
            expect(&mut stream, &frame(1, b"x"));
            stream.write_all(reply).unwrap();
        });
        run(fake.addr, &["echo", "x"]).failed(why);
    }
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, b"\x01x");
        stream.write_all(b"\x05abc").unwrap();
    });
    run(fake.addr, &["--protocol", "prefixed", "send", "x"]).failed(midway);

    let fake = Fake::new(|mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    run(fake.addr, &["echo", "x"]).failed("the connection broke: connection reset by peer");
}

#[test]
fn a_listener_is_told_why_it_ends() {
    for (said, why) in [
        (error("go away"), "go away"),
        (frame(1, b"x"), "the server does not answer as it should: ECHO, which nobody asked for"),
        (vec![4, 0], "the server closed the connection in the middle of its answer"),
    ] {
        let fake = Fake::new(move |mut stream| stream.write_all(&said).unwrap());
        run(fake.addr, &["listen"]).failed(why);
    }
}

#[test]
fn an_answer_has_its_time() {
    for args in [
        &["--timeout", "0.2", "echo", "x"][..],
        &["--timeout", "0.2", "--protocol", "prefixed", "send", "x"],
        &["--timeout", "0.2", "--protocol", "raw", "send", "x"],
    ] {
        let (fake, release) = Fake::silent();
        run(fake.addr, args).failed("no answer within 0.2 s");
        drop(release);
        fake.finish();
    }
    // Dripping is not answering.
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        stream.write_all(b"\x01\0\0\xff\0").unwrap();
        let started_at = Instant::now();
        while stream.write_all(b".").is_ok() && started_at.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
        }
    });
    run(fake.addr, &["--timeout", "0.3", "echo", "x"])
        .failed("the answer did not end within 0.3 s");
    fake.finish();
}

#[test]
fn a_raw_answer_is_printed_as_it_comes() {
    let (sender, seen) = mpsc::channel();
    let fake = Fake::new(move |mut stream| {
        expect(&mut stream, b"x");
        for piece in [&b"one "[..], b"\xff", b" two"] {
            stream.write_all(piece).unwrap();
            seen.recv_timeout(PATIENCE).unwrap();
        }
    });
    let client = Running::spawn(&mut client(fake.addr, &["--protocol", "raw", "send", "x"]));
    for text in ["one ", "one \u{fffd}", "one \u{fffd} two"] {
        client.expect(text);
        sender.send(()).unwrap();
    }
    client.wait().answered(b"one \xff two\n");
    fake.finish();
}

/// It fills no memory, and says what came.
#[test]
fn a_raw_answer_without_end_has_its_time() {
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, b"x");
        while stream.write_all(&[b'.'; 1 << 16]).is_ok() {}
    });
    let args = ["--timeout", "1", "--protocol", "raw", "send", "x"];
    let mut client = client(fake.addr, &args);
    client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = client.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak = peak.max(resident_kib(child.id()));
        thread::yield_now();
    };
    let mut why = String::new();
    child.stderr.take().unwrap().read_to_string(&mut why).unwrap();
    assert_eq!((status.code(), &*why), (Some(1), "mynah-cli: the answer did not end within 1 s\n"));
    assert!(peak < 20 << 10, "{peak} KiB");
    fake.finish();
}

/// The resident memory of a process; 0 where it has gone.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_server_that_takes_nothing_does_not_hold_the_client() {
    let (fake, release) = Fake::silent();
    let ended = run_with(fake.addr, &["--timeout", "0.5", "echo", "-"], &vec![0; 30 << 20]);
    ended.failed("no answer within 0.5 s");
    drop(release);
    fake.finish();
}

#[test]
fn zero_is_no_time_limit() {
    let fake = Fake::new(|mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        thread::sleep(Duration::from_millis(300));
        stream.write_all(&frame(1, b"late")).unwrap();
        wait_for_end(&mut stream);
    });
    run(fake.addr, &["--timeout", "0", "echo", "x"]).answered("late\n");
    fake.finish();
}

#[test]
fn a_connect_has_its_time() {
    // A backlog that is full takes no more connects, and refuses none.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        held.push(stream);
    }
    let why = format!("cannot connect to command://{addr}: no answer within 0.3 s");
    for args in [&["echo", "x"][..], &["listen"], &["status"]] {
        run(addr, &[&["--timeout", "0.3"], args].concat()).failed(&why);
    }
    let why = why.replace("command", "chat");
    run(addr, &["--timeout", "0.3", "chat", "ann"]).failed(&why);
}

#[test]
fn who_cannot_be_reached_is_named() {
    let addr = nobody();
    let why = format!("cannot connect to command://{addr}: connection refused");
    for args in [&["echo", "x"][..], &["listen"]] {
        run(addr, args).failed(&why);
    }
    let ended = run(addr, &["-H", "no-such-host.invalid", "echo", "x"]);
    assert_eq!(ended.code, Some(2), "a host given twice is bad usage: {}", ended.stderr);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mynah-cli"));
    command.args(["-H", "no-such-host.invalid", "--timeout", "5", "echo", "x"]);
    let ended = Running::spawn(&mut command).wait();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("mynah-cli: cannot find no-such-host.invalid: "), "{ended:?}");
}

#[test]
fn hosts_may_be_ipv6_or_names() {
    let server = Server::start(&["-l", "command://[::1]:0"]);
    run(server.addr(0), &["echo", "six"]).answered("six\n");
    let server = Server::start(&["-l", "command://127.0.0.1:0"]);
    let port = server.addr(0).port().to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mynah-cli"));
    command.args(["--host", "localhost", "--port", &port, "echo", "named"]);
    Running::spawn(&mut command).wait().answered("named\n");
}

#[test]
fn the_address_may_come_from_the_ancestors_file_and_options_win() {
    let server = server();
    let folder = Folder::new();
    let bin = env!("CARGO_BIN_EXE_mynah-cli");
    let port = server.addr(COMMAND).port();
    let file = folder.file(
        "config.ini",
        &format!("[server]\nhost = 127.0.0.1 # IP\nport = {port} ; the port\n"),
    );
    let ask = |args: &[&str]| Running::spawn(std::process::Command::new(bin).args(args)).wait();
    ask(&["--config", &file, "echo", "x"]).answered("x\n");

    let wrong = folder.file("wrong.ini", "[server]\nhost = 127.0.0.2\nport = 1\n");
    let port = port.to_string();
    ask(&["--config", &wrong, "-H", "127.0.0.1", "-p", &port, "echo", "x"]).answered("x\n");
    ask(&["--config", &wrong, "echo", "x"])
        .failed("cannot connect to command://127.0.0.2:1: connection refused");
    // Where the file names no port, the protocol's is meant.
    let host = folder.file("host.ini", "[server]\nhost = 127.0.0.3\n");
    let ended = ask(&["--config", &host, "--protocol", "prefixed", "send", "x"]);
    assert!(ended.stderr.contains("prefixed://127.0.0.3:8080"), "{ended:?}");

    let broken = folder.file("broken.ini", "[server]\nport = x\n");
    let ended = ask(&["--config", &broken, "status"]);
    assert_eq!((ended.code, ended.stdout.len()), (Some(2), 0));
    let why = format!("mynah-cli: {broken}: [server] port: bad port 'x', it is 0 to 65535\n");
    assert!(ended.stderr.starts_with(&why), "{}", ended.stderr);
}

#[test]
fn bad_usage_is_status_2_and_says_what_is_bad() {
    let bin = env!("CARGO_BIN_EXE_mynah-cli");
    for (args, why) in [
        (&["--no-such"][..], "Unrecognized option: 'no-such'"),
        (&["ping"], "there is no command 'ping'"),
        (&["echo"], "echo needs a TEXT"),
        (&["send", "x"], "send goes over prefixed or raw, not over command"),
        (&["--protocol", "chat", "send", "x"], "send goes over prefixed or raw, not over chat"),
        (&["--protocol", "raw", "status"], "status goes over command, not over raw"),
        (&["-p", "65536", "status"], "--port: bad port '65536', it is 0 to 65535"),
        (
            &["--timeout", "soon", "status"],
            "--timeout: 'soon' is no number of seconds up to 31536000",
        ),
    ] {
        let ended = Running::spawn(std::process::Command::new(bin).args(args)).wait();
        assert_eq!((ended.code, ended.stdout.len()), (Some(2), 0), "{args:?}");
        assert_eq!(ended.stderr, format!("mynah-cli: {why}\nTry 'mynah-cli --help'.\n"));
    }
}

#[test]
fn help_and_version_need_no_server() {
    let bin = env!("CARGO_BIN_EXE_mynah-cli");
    let ask = |arg: &str| output(std::process::Command::new(bin).arg(arg));
    let version = ask("--version");
    assert_eq!(version.stdout, concat!("mynah-cli ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    let help = String::from_utf8(ask("-h").stdout).unwrap();
    assert!(help.starts_with("Usage: mynah-cli "), "{help}");
    assert!(help.ends_with("print the version\n"), "{help}");
}

#[test]
fn a_reader_that_has_gone_ends_the_client_quietly() {
    let server = server();
    // The answer is more than a pipe holds, so it cannot be written before the reader goes.
    let text = "x".repeat(100_000);
    let mut command = client(server.addr(COMMAND), &["echo", &text]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]));

    let mut command = client(server.addr(COMMAND), &["listen"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    server.wait_for(" the listener", |line| line.contains("#2 ") && line.contains("connected"));
    run(server.addr(COMMAND), &["broadcast", "x"]).answered("1\n");
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]));
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let server = server();
    let Ok(full) = File::options().write(true).open("/dev/full") else { return };
    let mut command = client(server.addr(COMMAND), &["echo", "x"]);
    let ended = command.stdout(full).stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let why = "mynah-cli: cannot write to standard output: no space left on device\n";
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), why);
}

#[test]
fn standard_input_that_cannot_be_read_is_a_failure() {
    let server = server();
    let folder = Folder::new();
    fs::create_dir_all(folder.path("folder")).unwrap();
    let mut command = client(server.addr(COMMAND), &["echo", "-"]);
    command.stdin(File::open(folder.path("folder")).unwrap());
    let ended = command.stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let why = "mynah-cli: cannot read standard input: is a directory\n";
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), why);
}

#[test]
fn the_client_leaves_no_reset_behind() {
    let (sender, seen) = std::sync::mpsc::channel();
    let fake = Fake::new(move |mut stream| {
        expect(&mut stream, &frame(1, b"x"));
        stream.write_all(&frame(1, b"x")).unwrap();
        sender.send(stream.read(&mut [0]).map_err(|error| error.kind())).unwrap();
        let _ = stream.shutdown(Shutdown::Both);
    });
    run(fake.addr, &["echo", "x"]).answered("x\n");
    assert_eq!(seen.recv().unwrap(), Ok(0));
    fake.finish();
}
