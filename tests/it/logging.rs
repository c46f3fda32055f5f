//! The log: where it goes, what its lines look like, and what is said at which level.

use std::fs;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use super::support::{Client, Folder, KernelSocket, Server, mynah, mynah_under, run, wait_until};

/// Whether `text` has a digit wherever `pattern` has a 0, and the same character elsewhere.
fn matches(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, expected)| {
            if expected == b'0' { byte.is_ascii_digit() } else { byte == expected }
        })
}

/// Seconds since the epoch of `YYYY-MM-DD?HH:MM:SS`, read as UTC (days as in Howard Hinnant's
/// `days_from_civil`).
fn seconds(text: &str) -> i64 {
    let number = |at: usize, len: usize| text[at..at + len].parse::<i64>().unwrap();
    let (year, month, day) = (number(0, 4), number(5, 2), number(8, 2));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    (days - 719_468) * 86_400 + number(11, 2) * 3600 + number(14, 2) * 60 + number(17, 2)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn the_console_tells_the_time_in_utc_and_the_file_tells_it_as_the_clock_on_the_wall() {
    let folder = Folder::new();
    let log = folder.path("log.txt");
    let before = now();
    let mut server = Server::start_as(
        mynah().env("TZ", "XYZ-5").args(["-l", "command://127.0.0.1:0", "--log-file", &log]),
        1,
    );
    server.connect().expect_alive();
    server.stop();
    let after = now();
    let console = server.log();
    let file = fs::read_to_string(&log).unwrap();
    let file: Vec<&str> = file.lines().collect();
    assert_eq!(console.len(), file.len());
    for (console, file) in console.iter().zip(file) {
        let (at, said) = console.split_once(' ').unwrap();
        assert!(matches(at, "0000-00-00T00:00:00.000Z"), "{console}");
        assert!((before..=after).contains(&seconds(at)), "{console}");
        assert!(said.starts_with("INFO "), "{console}");
        let (at, said) = file.split_at(20);
        assert!(matches(at, "0000-00-00 00:00:00 "), "{file}");
        let at = seconds(at) - 5 * 3600;
        assert!((before..=after).contains(&at), "{file}");
        let message = said.strip_prefix("[INFO] ").unwrap();
        assert!(console.ends_with(message), "{console} / {file}");
    }
}

#[test]
fn the_log_file_is_created_with_its_folders_and_added_to_later() {
    let folder = Folder::new();
    let log = folder.path("some/where/mynah.log");
    for runs in 1..=2 {
        let mut server = Server::command(&["--log-file", &log]);
        let url = format!("[INFO] listening on command://{}\n", server.addr(0));
        server.stop();
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains(&url), "{text}");
        assert_eq!(text.matches("[INFO] stopped\n").count(), runs);
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_is_named_and_nothing_runs() {
    let folder = Folder::new();
    let log = format!("{}/log.txt", folder.file("a-file", ""));
    let ended = run(&["-l", "command://127.0.0.1:0", "--log-file", &log]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&log), "{}", ended.stderr);
    assert!(!ended.stderr.contains("listening"), "{}", ended.stderr);
}

#[test]
fn nothing_but_the_log_is_printed() {
    let mut server = Server::spawn(mynah().args(["-l", "raw://[::1]:0"]), Stdio::piped());
    server.wait_for_line("listening on raw://[::1]:");
    server.stop();
    let log = server.log();
    let started = concat!("mynah ", env!("CARGO_PKG_VERSION"), " starting");
    assert!(log[0].contains(started), "{log:#?}");
    assert!(log.last().unwrap().ends_with(" stopped"), "{log:#?}");
    assert_eq!(server.stdout(), "");
}

#[test]
fn connects_and_disconnects_are_logged_with_the_reason() {
    let server = Server::command(&["--max-frame", "10"]);
    let ended = |end: fn(&mut Client)| {
        let mut client = server.connect();
        client.expect_alive();
        let line = server.wait_for_line(&format!(" 127.0.0.1:{} ", client.local_port()));
        let url = format!("connected to command://{}", server.addr(0));
        assert!(line.ends_with(&url) && line.contains("INFO"), "{line}");
        // The system forgets the address of a peer that has gone; the number stays.
        let id = line.split_whitespace().find(|word| word.starts_with('#'));
        let id = format!(" {} ", id.unwrap());
        end(&mut client);
        drop(client);
        let line = server
            .wait_for("the reason", |line| line.contains(&id) && line.contains(" disconnected: "));
        line.split_once(" disconnected: ").unwrap().1.to_owned()
    };
    assert_eq!(ended(|_| {}), "closed by peer");
    let quit = |client: &mut Client| {
        client.send(b"\x03\0\0\0\0");
        client.expect_eof();
    };
    assert_eq!(ended(quit), "quit");
    let too_long = |client: &mut Client| {
        client.send(b"\x01\0\0\0\x0b");
        client.read_to_end();
    };
    assert_eq!(ended(too_long), "protocol error");
}

#[test]
fn debug_shows_each_message_escaped_and_cut_at_128_bytes() {
    let server = Server::start(&["-v", "-l", "command://127.0.0.1:0", "-l", "raw://127.0.0.1:0"]);
    let mut client = server.connect();
    client.ask(1, b"a\n\x1b[31m\"\\\xff\x00");
    let line = server.wait_for_line("DEBUG");
    assert!(line.ends_with(r#" ECHO: "a\n\x1b[31m\"\\\xff\x00""#), "{line}");
    client.ask(2, &[b'r'; 128]);
    let line = server.wait_for_line("REVERSE");
    assert!(line.ends_with(&format!(" \"{}\"", "r".repeat(128))), "{line}");
    client.ask(4, &[b'b'; 129]);
    let line = server.wait_for_line("BROADCAST");
    let shown = format!(" \"{}\" ", "b".repeat(128));
    assert!(line.contains(&shown) && !line.contains(&"b".repeat(129)), "{line}");
    let mut raw = server.connect_to(1);
    raw.send(b"\r\n");
    let line = server.wait_for(r"\r\n", |line| line.ends_with(r#""\r\n""#));
    assert!(line.contains("DEBUG"), "{line}");
}

#[test]
fn messages_are_not_logged_at_info() {
    let mut server = Server::command(&[]);
    server.connect().expect_alive();
    server.stop();
    assert_eq!(server.count_lines("alive"), 0);
}

/// All come in one turn of the loop, so that no second begins among them.
#[test]
fn past_100_connection_lines_a_second_the_rest_are_summed_up_in_one_line() {
    let server = Server::command(&[]);
    server.freeze();
    let clients: Vec<Client> = (0..150).map(|_| server.connect()).collect();
    server.thaw();
    // It comes by itself when the second is over.
    let line = server.wait_for_line(" more ");
    assert!(line.contains("] 50 more connection events"), "{line}");
    assert_eq!(server.count_lines("connected to command://"), 100);
    drop(clients);
    server.wait_for_line("disconnected: closed by peer");
}

#[test]
fn quiet_says_warnings_and_nothing_less() {
    for quiet in [&["-q"][..], &["--log-level", "warn"]] {
        let mut server = Server::spawn(
            mynah_under("ulimit -n 64")
                .args(["-l", "command://127.0.0.1:0", "-m", "1000"])
                .args(quiet),
            Stdio::null(),
        );
        connect_unannounced(&server).expect_alive();
        assert_eq!(server.stop(), Some(0));
        let log = server.log();
        assert!(log.len() == 1 && log[0].contains("WARN"), "{log:#?}");
    }
}

#[test]
fn off_says_nothing() {
    let args = ["-l", "command://127.0.0.1:0", "--log-level", "off"];
    let mut server = Server::spawn(mynah().args(args), Stdio::null());
    connect_unannounced(&server).expect_alive();
    assert_eq!(server.stop(), Some(0));
    assert_eq!(server.log(), [""; 0]);
}

/// A client of a server that logs too little to tell where it listens.
fn connect_unannounced(server: &Server) -> Client {
    let mut addr = None;
    wait_until("it listens", || {
        addr = KernelSocket::listening(server);
        addr.is_some()
    });
    Client::connect(addr.unwrap())
}
