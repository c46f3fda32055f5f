//! The log: where it goes, what its lines look like, and what is said at which level.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use rlimit::Resource;

use super::support::{
    Client, Folder, KernelSocket, Server, mynah, mynah_under, random_bytes, run, wait_until,
};

/// True if `text` has a digit wherever `pattern` has a 0, and the same character elsewhere.
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
fn console_time_is_utc_file_time_is_local() {
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
fn log_file_is_created_with_folders_and_appended_to() {
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
fn unopenable_log_file_is_named_and_nothing_runs() {
    let folder = Folder::new();
    let log = format!("{}/log.txt", folder.file("a-file", ""));
    let ended = run(&["-l", "command://127.0.0.1:0", "--log-file", &log]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&log), "{}", ended.stderr);
    assert!(!ended.stderr.contains("listening"), "{}", ended.stderr);
}

#[test]
fn server_prints_nothing_but_the_log() {
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
fn connects_and_disconnects_are_logged_with_reason() {
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
fn debug_line_escapes_a_message_and_cuts_at_128_bytes() {
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

/// All connect within one turn of the loop, so that no second begins among them.
#[test]
fn connection_lines_past_100_a_second_are_summed_up() {
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
fn quiet_logs_warnings_and_errors_only() {
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
fn log_level_off_logs_nothing() {
    let args = ["-l", "command://127.0.0.1:0", "--log-level", "off"];
    let mut server = Server::spawn(mynah().args(args), Stdio::null());
    connect_unannounced(&server).expect_alive();
    assert_eq!(server.stop(), Some(0));
    assert_eq!(server.log(), [""; 0]);
}

/// The counts in those warnings that begin and end with these texts.
fn counts(server: &Server, before: &str, after: &str) -> Vec<u64> {
    let text = |line: &String| {
        let (_, rest) = line.split_once(before)?;
        rest.strip_suffix(after).map(|count| count.parse().unwrap())
    };
    server.log().iter().filter_map(text).collect()
}

#[test]
fn refusals_are_one_warning_a_second_with_the_count() {
    let mut server = Server::spawn(
        mynah().args(["-l", "command://127.0.0.1:0", "-m", "3", "-q"]),
        Stdio::null(),
    );
    let first = connect_unannounced(&server);
    let addr = first.peer_addr();
    let mut admitted = vec![first, Client::connect(addr), Client::connect(addr)];
    admitted.iter_mut().for_each(Client::expect_alive);
    let began_at = Instant::now();
    let mut refused = 0;
    while began_at.elapsed() < Duration::from_millis(1500) {
        let mut client = Client::connect(addr);
        client.expect_frame(255, "server is full: 3 clients");
        refused += 1;
    }
    let (before, after) =
        ("WARN  [mynah] server is full: 3 clients; ", " refused in the last second");
    // Every refusal is in a count, the last ones when their second is over.
    wait_until("all are counted", || counts(&server, before, after).iter().sum::<u64>() == refused);
    let seconds = usize::try_from(began_at.elapsed().as_secs()).unwrap();
    let counts = counts(&server, before, after);
    assert_eq!(counts[0], 1, "the first is not kept waiting: {counts:?}");
    assert!(counts.len() <= seconds + 2, "{counts:?}");
    drop(admitted);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(server.log().len(), counts.len(), "{:#?}", server.log());
}

#[test]
fn pending_refusal_counts_are_logged_at_a_stop() {
    let mut server = Server::command(&["-m", "1"]);
    let mut admitted = server.connect();
    admitted.expect_alive();
    for _ in 0..5 {
        server.connect().expect_frame(255, "server is full: 1 clients");
    }
    drop(admitted);
    assert_eq!(server.stop(), Some(0));
    let counts = counts(&server, "server is full: 1 clients; ", " refused in the last second");
    assert_eq!(counts.iter().sum::<u64>(), 5, "{counts:?}");
}

#[test]
fn slow_consumers_are_one_warning_with_the_count() {
    let args = ["-l", "command://127.0.0.1:0", "--broadcast-log", "65536", "-q"];
    let server = Server::spawn(mynah().args(args), Stdio::null());
    let mut sender = connect_unannounced(&server);
    let addr = sender.peer_addr();
    let mut slow: Vec<Client> = (0..5).map(|_| Client::connect(addr)).collect();
    slow.iter_mut().for_each(Client::expect_alive);
    wait_until("they are cut", || {
        sender.ask(4, &random_bytes(16_000));
        sender.status().get("slow_consumers_total") == 5
    });
    let sum = |(before, after)| counts(&server, before, after).iter().sum::<u64>();
    let (one, many) =
        (" slow consumer cut in the last second", " slow consumers cut in the last second");
    wait_until("all are counted", || {
        [one, many].map(|s| sum(("WARN  [mynah] ", s))).iter().sum::<u64>() == 5
    });
}

#[test]
fn reset_is_logged_in_plain_words() {
    let server = Server::command(&[]);
    let mut client = server.connect();
    client.expect_alive();
    client.abort();
    let line = server.wait_for_line(" disconnected: ");
    assert!(line.ends_with(" disconnected: connection failed: connection reset by peer"), "{line}");
}

/// A file size limit stands in for a full disk: the write that reaches it is short, the next one
/// fails (setrlimit(2), `RLIMIT_FSIZE`).
#[test]
fn full_disk_tears_no_line_and_losses_are_counted() {
    let folder = Folder::new();
    let log = folder.path("mynah.log");
    let mut server = Server::start_as(
        // In blocks of 512 bytes.
        mynah_under("ulimit -S -f 8").args([
            "-v",
            "-l",
            "command://127.0.0.1:0",
            "--log-file",
            &log,
        ]),
        1,
    );
    let mut client = server.connect();
    let name = format!("log file {log} ");
    let failed = format!("{name}cannot be written: file too large");
    let began_at = Instant::now();
    // Through two retries: neither they nor the lines that are lost are a line each.
    while server.count_lines(&failed) == 0 || began_at.elapsed() < Duration::from_millis(2500) {
        client.expect_alive();
    }
    assert_eq!(fs::metadata(&log).unwrap().len(), 4096);
    assert_eq!(server.count_lines(&name), 1);
    let pid = i32::try_from(server.pid()).unwrap();
    let unlimited = (rlimit::INFINITY, rlimit::INFINITY);
    rlimit::prlimit(pid, Resource::FSIZE, Some(unlimited), None).unwrap();
    // Nothing needs to be logged for it.
    let again = server.wait_for_line(&format!("{name}is written again; "));
    client.ask(1, b"the last message");
    drop(client);
    assert_eq!(server.stop(), Some(0));
    let text = fs::read_to_string(&log).unwrap();
    for line in text.lines() {
        assert!(
            matches(&line[..20], "0000-00-00 00:00:00 ") && line[20..].starts_with('['),
            "{line}"
        );
    }
    let (_, lost) = again.split_once("again; ").unwrap();
    let lost: usize = lost.strip_suffix(" lines were lost").unwrap().parse().unwrap();
    // The console has one line that is not the file's: that the file cannot be written.
    assert_eq!(text.lines().count() + lost, server.log().len() - 1);
    assert!(
        text.contains("the last message") && text.contains(&again[again.find(&name).unwrap()..])
    );
    assert!(text.ends_with("[INFO] stopped\n"), "{text}");
}

#[test]
fn lines_lost_until_exit_are_counted_on_the_console() {
    let folder = Folder::new();
    let log = folder.path("mynah.log");
    let mut server = Server::start_as(
        mynah_under("ulimit -f 0").args(["-l", "command://127.0.0.1:0", "--log-file", &log]),
        1,
    );
    server.wait_for_line(&format!("log file {log} cannot be written: file too large"));
    assert_eq!(server.stop(), Some(0));
    let lines = server.log().len() - 2;
    let last = format!("ERROR [mynah] log file {log} could not be written; lines lost: {lines}");
    assert_eq!(server.count_lines(&last), 1, "{:#?}", server.log());
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
}

#[test]
fn log_file_that_cannot_be_reopened_stays_in_use() {
    let folder = Folder::new();
    let (log, moved) = (folder.path("logs/mynah.log"), folder.path("moved"));
    let mut server = Server::command(&["--log-file", &log]);
    fs::rename(folder.path("logs"), &moved).unwrap();
    folder.file("logs", "in the way");
    server.signal(Signal::SIGHUP);
    let text = format!("log file {log} cannot be opened anew, the old one stays in use: ");
    server.wait_for_line(&text);
    server.connect().expect_alive();
    assert_eq!(server.stop(), Some(0));
    assert_eq!(server.count_lines(&text), 1);
    let kept = fs::read_to_string(format!("{moved}/mynah.log")).unwrap();
    assert!(kept.contains(&text) && kept.ends_with("[INFO] stopped\n"), "{kept}");
}

/// Connects to a server that logs too little to name its address.
fn connect_unannounced(server: &Server) -> Client {
    let mut addr = None;
    wait_until("it listens", || {
        addr = KernelSocket::listening(server);
        addr.is_some()
    });
    Client::connect(addr.unwrap())
}
