//! Keys of a listener that stays: clients that are connected keep what they came under.

#[cfg(feature = "admission")]
use crate::support::Client;

#[cfg(any(feature = "admission", feature = "unix"))]
use super::Reloading;

#[cfg(feature = "admission")]
#[test]
fn proxies_are_trusted_from_a_reload_on() {
    let without = "[command]\nport = 0\n";
    let with = "[command]\nport = 0\nproxy = 127.0.0.1\n";
    let server = Reloading::start(without, &[]);
    let addr = server.addr("command");
    let behind = || {
        let mut client = Client::connect(addr);
        client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n");
        client
    };
    let mut old = server.connect("command");
    old.expect_alive();
    let lines = server.reload(with);
    let line = format!("proxy of command://{addr} default -> 127.0.0.1");
    assert_eq!(lines[1..], [line, "reloaded".to_owned()]);
    old.expect_alive();
    let mut trusted = behind();
    trusted.expect_alive();
    server.server.wait_for_line("192.0.2.7:51234 connected");
    let mut headerless = server.connect("command");
    headerless.send(b"\x01\0\0\0\x05alive");
    headerless.read_until_cut();
    server.server.wait_for_line("it does not begin with one");
    server.reload(without);
    old.expect_alive();
    trusted.expect_alive();
    server.connect("command").expect_alive();
    // "PROXY" is the header of a frame of the unknown command 80, too long by far.
    behind().expect_frame(255, "frame of 1380931673 bytes exceeds the limit of 1048576");
}

#[cfg(feature = "unix")]
#[test]
fn sockets_options_need_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;

    let file = |keepalive: u32, protocol: &str, mode: &str| {
        let server = format!("[server]\ntcp_keepalive = {keepalive}\n");
        format!("{server}[command]\nport = 0\n[{protocol}+unix]\npath = DIR/s\nmode = {mode}\n")
    };
    let server = Reloading::start(&file(100, "raw", "0600"), &[]);
    let path = server.folder.path("s");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let mut old = crate::support::Client::unix(&path);
    let lines = server.reload(&file(200, "raw", "0660"));
    let shown = format!("raw+unix://{}/s", server.folder.path(""));
    let expected = [
        "tcp-keepalive 100 -> 200 needs a restart".to_owned(),
        format!("mode of {shown} 0600 -> 0660 needs a restart"),
        "reloaded".to_owned(),
    ];
    assert_eq!(lines[1..], expected);
    assert_eq!(server.server.count_lines("WARN"), 2);
    assert_eq!(mode(), 0o600);
    old.send(b"x");
    old.expect(b"Echo: x");
    let lines = server.reload(&file(200, "prefixed", "0666"));
    let warning =
        format!("mode of {} 0660 -> 0666 needs a restart", shown.replace("raw", "prefixed"));
    assert!(lines.contains(&warning), "{lines:?}");
    assert_eq!(mode(), 0o600);
    old.expect_eof();
}

/// Whoever may connect to another protocol's socket may not administer the server.
#[cfg(all(feature = "admin", feature = "unix"))]
#[test]
fn socket_of_another_protocol_becomes_no_admin() {
    let file = |protocol: &str| format!("[command]\nport = 0\n[{protocol}+unix]\npath = DIR/s\n");
    let server = Reloading::start(&file("raw"), &[]);
    let lines = server.reload(&file("admin"));
    let shown = format!("admin+unix://{}/s", server.folder.path(""));
    let reason = format!("cannot listen on {shown}: it is open for raw: that needs a restart");
    assert_eq!(lines[1..], [reason, "reload failed: nothing was changed".to_owned()]);
    let mut client = crate::support::Client::unix(&server.folder.path("s"));
    client.send(b"x");
    client.expect(b"Echo: x");
}
