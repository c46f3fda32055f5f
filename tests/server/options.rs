//! Options, configuration file and exit status.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use super::support::{
    Client, Folder, KernelSocket, Server, error, frame, mynah, mynah_under, run, wait_until,
};

#[test]
fn listeners_are_announced_in_the_order_given() {
    let server = Server::start(&[
        "--listen",
        "command://localhost:0",
        "-l",
        "raw://[::1]:0",
        "-l",
        "prefixed://127.0.0.1:0",
        "-l",
        "command://[::1]:0?max_frame=1",
        "-l",
        "command://127.0.0.1:0",
    ]);
    let log = server.log();
    let announced: Vec<&str> = log
        .iter()
        .filter_map(|line| line.split_once(" listening on "))
        .map(|(_, url)| url.rsplit_once(':').unwrap().0)
        .collect();
    let expected = [
        "command://localhost",
        "raw://[::1]",
        "prefixed://127.0.0.1",
        "command://[::1]",
        "command://127.0.0.1",
    ];
    assert_eq!(announced, expected);
    server.connect_to(0).expect_alive();
    let mut raw = server.connect_to(1);
    raw.send(b"six");
    raw.expect(b"Echo: six");
    let mut prefixed = server.connect_to(2);
    prefixed.send(b"\x02ab");
    prefixed.expect(b"\x02ba");
    let mut six = server.connect_to(3);
    assert_eq!(six.ask(1, b"x"), (1, b"x".to_vec()));
    server.connect_to(4).expect_alive();
}

#[test]
fn taken_listener_is_an_error_if_it_was_asked_for() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("command://{}", taken.local_addr().unwrap());
    let ended = run(&["-l", "raw://127.0.0.1:0", "-l", &url]);
    assert_eq!(ended.code, Some(1));
    let why = format!("cannot listen on {url}: address already in use");
    assert!(ended.stderr.ends_with(&why), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");

    let silent = run(&["--log-level", "off", "-l", &url]);
    assert_eq!(silent.code, Some(1));
    assert!(silent.stderr.ends_with(&why), "{}", silent.stderr);

    let folder = Folder::new();
    let port = taken.local_addr().unwrap().port();
    let file = folder.file("mynah.ini", &format!("[command]\nport = {port}\n"));
    let ended = run(&["-c", &file]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.ends_with(&why), "{}", ended.stderr);
}

#[test]
fn taken_ipv6_listener_is_named_with_brackets() {
    let taken = TcpListener::bind("[::1]:0").unwrap();
    let url = format!("raw://{}", taken.local_addr().unwrap());
    assert!(url.starts_with("raw://[::1]:"));
    let ended = run(&["-l", &url]);
    assert_eq!(ended.code, Some(1));
    let why = format!("cannot listen on {url}: address already in use");
    assert!(ended.stderr.ends_with(&why), "{}", ended.stderr);
}

const DEFAULTS: [(&str, u16); 4] =
    [("command", 65432), ("prefixed", 8080), ("raw", 9999), ("chat", 5000)];

/// Uses fixed ports, as no other test does, because the defaults are fixed. It relies on nothing
/// but that a port which it holds itself is taken.
#[test]
fn taken_default_listeners_are_skipped_with_a_warning() {
    let folder = Folder::new();
    let empty = folder.file("empty.ini", "# no listeners\n[server]\ndrain_timeout = 1\n");
    for (held, args) in [
        (vec![], &[][..]),
        (vec![], &["-c", &empty]),
        (vec![8080], &[]),
        (vec![65432, 9999], &[]),
        (vec![65432, 8080, 9999, 5000], &[]),
    ] {
        // Where somebody else holds the port it is taken for now, but may be free in a moment.
        let holders: Vec<Option<TcpListener>> =
            held.iter().map(|&port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        let mut server = Server::spawn(mynah().args(args), Stdio::null());
        let mut opened = Vec::new();
        for (protocol, port) in DEFAULTS {
            let url = format!("{protocol}://127.0.0.1:{port}");
            let listening = format!("listening on {url}");
            let taken = format!("cannot listen on {url}: address already in use");
            let line =
                server.wait_for(&url, |line| line.contains(&listening) || line.contains(&taken));
            if line.contains(&listening) {
                opened.push((protocol, port));
            } else {
                assert!(line.contains("WARN"), "{line}");
            }
            let place = held.iter().position(|&held| held == port);
            if place.is_some_and(|place| holders[place].is_some()) {
                assert!(line.contains(&taken), "{line}");
            }
        }
        if opened.is_empty() {
            assert_eq!(server.wait_exit().code(), Some(1));
            let log = server.log();
            let why = "cannot listen on command://127.0.0.1:65432: address already in use";
            assert!(log.last().unwrap().ends_with(why), "{log:#?}");
            continue;
        }
        for (protocol, port) in opened {
            let (request, reply): (&[u8], &[u8]) = match protocol {
                "command" => (b"\x01\0\0\0\x01a", b"\x01\0\0\0\x01a"),
                "prefixed" => (b"\x02ab", b"\x02ba"),
                "chat" => (b"exitus\n", b"[INFO] Welcome, exitus!\n"),
                _ => (b"hi", b"Echo: hi"),
            };
            let mut client = Client::connect(SocketAddr::from(([127, 0, 0, 1], port)));
            client.send(request);
            client.expect(reply);
        }
        assert_eq!(server.stop(), Some(0));
    }
}

/// Expects status 2, and `why` on standard error.
#[track_caller]
fn refused(args: &[&str], why: &str) {
    let ended = run(args);
    assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
    let first = ended.stderr.lines().next().unwrap_or_default();
    assert_eq!(first, format!("mynah: {why}"), "{args:?}");
    assert_eq!(ended.stdout, "");
}

#[test]
fn number_out_of_range_is_a_usage_error() {
    for (option, min, max) in [
        ("max-clients", 1, 2_147_483_648u64),
        ("max-frame", 0, 1_073_741_824),
        ("idle-timeout", 0, 31_536_000),
        ("tcp-keepalive", 0, 32_767),
        ("frame-timeout", 1, 31_536_000),
        ("send-queue", 4_096, 1_073_741_824),
        ("memory-limit", 1_048_576, 70_368_744_177_664),
        ("broadcast-log", 4_096, 1_073_741_824),
        ("drain-timeout", 0, 31_536_000),
    ] {
        let long = format!("--{option}");
        for value in ["-1", "1.5", "", "many", &(max + 1).to_string()] {
            let why = format!("{long}: '{value}' is not a number from {min} to {max}");
            refused(&["--check", &format!("{long}={value}")], &why);
        }
        for value in [min, max] {
            let listen = "--listen=raw://127.0.0.1:0";
            let ended = run(&["--check", listen, &long, &value.to_string()]);
            assert_eq!(ended.code, Some(0), "{option} {value}");
        }
    }
}

#[test]
fn usage_error_names_the_culprit() {
    refused(&["--no-such"], "unknown option '--no-such'");
    refused(&["--lisen"], "unknown option '--lisen', did you mean --listen?");
    refused(&["--listen"], "--listen needs a value, URL");
    refused(&["now"], "unexpected argument 'now'");
    refused(&["-m", "1", "--max-clients", "2"], "--max-clients is given twice");
    refused(
        &["--log-level", "loud"],
        "--log-level: 'loud' is not off, error, warn, info, debug or trace",
    );
    refused(&["-v", "-q"], "only one of -v, -q and --log-level");
    refused(&["--log-file", ""], "--log-file: needs a value");
}

#[test]
fn invalid_listener_is_a_usage_error() {
    for (url, why) in [
        (
            "127.0.0.1:80",
            "not of the form PROTOCOL://HOST:PORT, did you mean command://127.0.0.1:80?",
        ),
        ("command://127.0.0.1", "bad port '', it is 0 to 65535"),
        ("command://127.0.0.1:65536", "bad port '65536', it is 0 to 65535"),
        ("command://::1:1", "bad host '::1'"),
        ("raw://h:1?max_frame=1", "a raw listener has no key 'max_frame'"),
        ("command://h:1?prefix=x", "a command listener has no key 'prefix'"),
        ("prefixed://h:1?prefix=x", "a prefixed listener has no key 'prefix'"),
        ("raw://h:1?lang=en", "a raw listener has no key 'lang'"),
        ("raw://h:1?idle=1&idle=2", "'idle' is given twice"),
        ("raw://h:1?idle=soon", "idle: 'soon' is not a number from 0 to 31536000"),
        (
            "command://h:1?max_frame=1073741825",
            "max_frame: '1073741825' is not a number from 0 to 1073741824",
        ),
        ("raw://h:1?prefix=%4", "prefix: '%4' is not percent-encoded text of at most 1024 bytes"),
    ] {
        refused(&["-l", url], &format!("--listen {url}: {why}"));
    }
    let ended = run(&["-l", "http://h:1"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("unknown protocol 'http'"));
}

#[test]
fn check_reads_the_file() {
    let folder = Folder::new();
    let good = folder.file("good.ini", "[raw]\nport = 0\n");
    let bad = folder.file("bad.ini", "[raw]\nport = x\n");
    let ended = run(&["--check", "-c", &good]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let why = format!("{bad}: line 2: [raw] port: bad port 'x', it is 0 to 65535");
    refused(&["--check", "-c", &bad], &why);
}

#[test]
fn help_names_every_option_version_the_version() {
    for option in ["-h", "--help"] {
        let help = run(&[option]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        for named in [
            "-l, --listen URL",
            "-c, --config FILE",
            "-m, --max-clients N",
            "--max-frame BYTES",
            "--idle-timeout SECS",
            "--tcp-keepalive SECS",
            "--frame-timeout SECS",
            "--send-queue BYTES",
            "--broadcast-log BYTES",
            "--memory-limit BYTES",
            "--drain-timeout SECS",
            "--log-level LEVEL",
            "--log-file FILE",
            "-v, ",
            "-q, ",
            "--check",
            "-h, --help",
            "-V, --version",
        ] {
            assert!(help.stdout.contains(named), "{named}: {}", help.stdout);
        }
    }
    for option in ["-V", "--version"] {
        let version = run(&[option]);
        let expected = concat!("mynah ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!((version.code, version.stdout.as_str()), (Some(0), expected));
    }
}

#[test]
fn file_sets_the_server_and_its_listeners() {
    let folder = Folder::new();
    let log = folder.path("logs/mynah.log");
    let file = folder.file(
        "mynah.ini",
        &format!(
            "# comments begin with either character\n\
             ; and may stand behind a value\n\
             [server]\n\
             max_clients = 3 # three\n\
             max_frame = 20 ; bytes\n\
             broadcast_log = 4096\n\
             log_file = {log}\n\
             log_level = debug\n\
             \n\
             [raw]\n\
             host = ::1\n\
             port = 0\n\
             prefix = %3E%20 # two characters\n\
             [command]\n\
             port=0\n\
             [raw plain]\n\
             host = localhost\n\
             port = 0\n\
             prefix =\n\
             [command small]\n\
             port = 0\n\
             max_frame = 5\n\
             [prefixed]\n\
             port = 0\n\
             idle = 0\n"
        ),
    );
    let server = Server::start_as(mynah().args(["-c", &file]), 5);
    let mut raw = server.connect_to(0);
    raw.send(b"six");
    raw.expect(b"> six");
    let mut command = server.connect_to(1);
    assert_eq!(command.ask(1, &[b'x'; 20]).0, 1);
    let mut plain = server.connect_to(2);
    plain.send(b"bare");
    plain.expect(b"bare");
    let mut full = server.connect_to(1);
    full.expect(&error("server is full: 3 clients"));
    full.expect_eof();
    assert_eq!(command.ask(1, &[b'x'; 21]).0, 255);
    command.expect_eof();
    let mut small = server.connect_to(3);
    small.expect_alive();
    small.send(&frame(1, b"longer"));
    small.expect(&error("frame of 6 bytes exceeds the limit of 5"));
    small.expect_eof();
    let mut prefixed = server.connect_to(4);
    prefixed.send(b"\x02ab");
    prefixed.expect(b"\x02ba");
    server.wait_for_line("DEBUG");
    wait_until("the log file", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("[DEBUG]"))
    });
}

#[test]
fn file_errors_name_file_line_section_and_key() {
    let folder = Folder::new();
    for (text, why) in [
        ("[ftp]\nport = 21\n", "line 1: [ftp]: no such section"),
        ("[raw]\ncolour = red\n", "line 2: [raw] colour: no such key"),
        ("[raw echo]\nmax_frame = 1\n", "line 2: [raw echo] max_frame: no such key"),
        ("[server]\ncolour = red\n", "line 2: [server] colour: no such key"),
        (
            "[server]\nmax-clients = 1\n",
            "line 2: [server] max-clients: no such key, did you mean max_clients?",
        ),
        ("[comand]\n", "line 1: [comand]: no such section, did you mean [command]?"),
        (
            "[server]\nmax_clients = none\n",
            "line 2: [server] max_clients: 'none' is not a number from 1 to 2147483648",
        ),
        (
            "[command]\nmax_frame = -1\n",
            "line 2: [command] max_frame: '-1' is not a number from 0 to 1073741824",
        ),
        (
            "[prefixed]\nidle = x # comment\n",
            "line 2: [prefixed] idle: 'x' is not a number from 0 to 31536000",
        ),
        ("[raw]\nport = 65536\n", "line 2: [raw] port: bad port '65536', it is 0 to 65535"),
        ("[raw]\nhost = a b\n", "line 2: [raw] host: bad host 'a b'"),
        (
            "[server]\nlog_level = loud\n",
            "line 2: [server] log_level: 'loud' is not off, error, warn, info, debug or trace",
        ),
        ("[raw]\nport = 0\n[raw]\nport = 0\n", "line 3: [raw]: given twice"),
        ("port = 0\n", "line 1: key 'port' before any section"),
    ] {
        let file = folder.file("bad.ini", text);
        refused(&["-c", &file], &format!("{file}: {why}"));
    }
    let missing = folder.path("missing.ini");
    refused(
        &["--config", &missing],
        &format!("{missing}: cannot be read: no such file or directory"),
    );
}

#[test]
fn listen_option_replaces_the_file_listeners() {
    let folder = Folder::new();
    let file = folder.file("mynah.ini", "[raw]\nport = 0\n[prefixed]\nport = 0\n");
    let server = Server::start(&["-c", &file, "-l", "command://127.0.0.1:0"]);
    server.connect().expect_alive();
    assert_eq!(server.count_lines(" listening on "), 1);
}

#[test]
fn listener_key_beats_option_beats_file() {
    let folder = Folder::new();
    let file = folder.file(
        "mynah.ini",
        "[server]\nmax_frame = 10\nmax_clients = 1\n\
         [command]\nport = 0\n[command own]\nport = 0\nmax_frame = 30\n",
    );
    let limit_of = |server: &Server, listener| {
        let mut client = server.connect_to(listener);
        client.send(b"\x01\x7f\xff\xff\xff");
        let (_, text) = client.read_frame();
        client.expect_eof();
        let text = String::from_utf8(text).unwrap();
        text.rsplit_once(' ').unwrap().1.to_owned()
    };
    let server = Server::start_as(mynah().args(["-c", &file]), 2);
    assert_eq!([0, 1].map(|listener| limit_of(&server, listener)), ["10", "30"]);
    let options = ["--max-frame", "20", "-m", "2"];
    let server = Server::start_as(mynah().args(["-c", &file]).args(options), 2);
    assert_eq!([0, 1].map(|listener| limit_of(&server, listener)), ["20", "30"]);
    let mut two = [server.connect(), server.connect()];
    two.iter_mut().for_each(Client::expect_alive);
    server.connect().expect(&error("server is full: 2 clients"));
}

#[test]
fn listener_key_beats_idle_timeout_beats_default() {
    let server = Server::start(&[
        "-l",
        "prefixed://127.0.0.1:0",
        "-l",
        "prefixed://127.0.0.1:0?idle=60",
        "-l",
        "raw://127.0.0.1:0",
        "--idle-timeout",
        "1",
    ]);
    let mut short = server.connect_to(0);
    let mut long = server.connect_to(1);
    let mut raw = server.connect_to(2);
    short.expect_eof();
    raw.expect_eof();
    long.expect_silence(Duration::from_millis(300));
    long.send(b"\x02ab");
    long.expect(b"\x02ba");
}

#[test]
fn max_clients_over_the_file_limit_is_lowered() {
    let server = Server::start_as(
        mynah_under("ulimit -n 64").args(["-l", "command://127.0.0.1:0", "-m", "1000"]),
        1,
    );
    let line = server.wait_for_line("WARN");
    assert!(line.contains(" 1000 ") && line.contains(" 32"), "{line}");
    fill(&server, 32);
}

#[test]
fn max_clients_default_is_the_file_limit_less_32() {
    let server =
        Server::start_as(mynah_under("ulimit -n 70").args(["-l", "command://127.0.0.1:0"]), 1);
    assert_eq!(server.count_lines("WARN"), 0);
    fill(&server, 38);
}

/// Expects that exactly `places` clients are accepted and as many more are refused.
fn fill(server: &Server, places: usize) {
    let mut clients: Vec<Client> = (0..places).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::expect_alive);
    for _ in 0..places {
        let mut refused = server.connect();
        refused.expect(&error(&format!("server is full: {places} clients")));
        refused.expect_eof();
    }
    clients.iter_mut().for_each(Client::expect_alive);
}

#[test]
fn soft_file_limit_is_raised_to_the_hard_one() {
    let server = Server::start_as(
        mynah_under("ulimit -S -n 40 && ulimit -H -n 100").args(["-l", "command://127.0.0.1:0"]),
        1,
    );
    let limits = fs::read_to_string(server.proc("limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let values: Vec<&str> = files.unwrap().split_whitespace().skip(3).take(2).collect();
    assert_eq!(values, ["100", "100"]);
}

#[test]
fn tcp_keepalive_sets_the_kernel_timers() {
    for (args, seconds) in
        [(&[][..], 300), (&["--tcp-keepalive", "1000"], 1_000), (&["--tcp-keepalive", "0"], 0)]
    {
        let server = Server::command(args);
        let mut client = server.connect();
        client.expect_alive();
        let mut socket = None;
        // Right after an exchange another timer may run in its place.
        wait_until("the keepalive timer is the one that runs", || {
            socket = KernelSocket::serving(server.addr(0), &client);
            let expected = if seconds == 0 { 0 } else { 2 };
            socket.as_ref().is_some_and(|socket| socket.timer == expected)
        });
        let left = socket.unwrap().timer_in / 100;
        let expected = if seconds == 0 { 0..=0 } else { seconds - 60..=seconds };
        assert!(expected.contains(&left), "{left} s of {seconds}");
    }
}
