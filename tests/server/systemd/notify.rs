//! Messages to the service manager, and when they are sent.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Manager, activated};
use crate::support::{Client, Server, mynah};

/// A server that tells `manager`, with the variables `env`.
fn start(manager: &Manager, args: &[&str], env: &[(&str, &str)]) -> Server {
    let mut command = activated(args);
    command.env("NOTIFY_SOCKET", manager.folder.path("notify")).envs(env.iter().copied());
    Server::spawn(&mut command, Stdio::null())
}

#[test]
fn ready_comes_after_all_listeners() {
    let manager = Manager::new();
    let paths = ["a", "b", "c"].map(|name| manager.folder.path(name));
    let urls: Vec<String> = paths.iter().map(|path| format!("command+unix://{path}")).collect();
    let args: Vec<&str> = urls.iter().flat_map(|url| ["-l", url]).collect();
    let _server = start(&manager, &args, &[]);
    assert_eq!(manager.told(), "READY=1\nSTATUS=connections: 0\n");
    paths.iter().for_each(|path| Client::unix(path).expect_alive());
}

#[test]
fn failed_start_is_never_ready() {
    let manager = Manager::new();
    let mut server = start(&manager, &["-l", "raw://192.0.2.1:0"], &[]);
    assert_eq!(server.wait_exit().code(), Some(1));
    assert_eq!(manager.told_within(Duration::from_millis(1)), None);
}

#[test]
fn stop_is_announced() {
    let manager = Manager::new();
    let mut server = start(&manager, &["-l", "raw://127.0.0.1:0"], &[]);
    manager.wait_for("READY=1");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(manager.told(), "STOPPING=1\nSTATUS=stopping\n");
}

#[test]
fn reload_is_begun_and_ended() {
    let manager = Manager::new();
    let server = start(&manager, &["-l", "raw://127.0.0.1:0"], &[]);
    manager.wait_for("READY=1");
    let mut last = 0;
    for _ in 0..2 {
        server.signal(Signal::SIGHUP);
        let told = manager.told();
        let usec = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        let usec: u64 = usec.parse().unwrap();
        assert!(usec > last, "the time goes on");
        last = usec;
        assert_eq!(manager.told(), "READY=1\n");
    }
    let mut reloads = 0;
    server.wait_for("two reloads", |line| {
        reloads += usize::from(line.contains("SIGHUP: "));
        reloads == 2
    });
}

#[cfg(feature = "accounts")]
#[test]
fn reload_that_fails_is_ended() {
    let manager = Manager::new();
    let file = manager.folder.file("accounts", "");
    let server = start(&manager, &["-l", "chat://127.0.0.1:0", "--accounts", &file], &[]);
    manager.wait_for("READY=1");
    manager.folder.file("accounts", "nonsense\n");
    server.signal(Signal::SIGHUP);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    server.wait_for_line("reload failed: nothing was changed");
}

#[cfg(feature = "plugins")]
#[test]
fn reload_ends_with_the_plugins() {
    let manager = Manager::new();
    // Longer than the time between two looks at whether it is over.
    manager.folder.file("slow.lua", "local n = 0 for i = 1, 3000000 do n = n + i end return {}");
    let dir = manager.folder.path("");
    let args = ["-l", "raw://127.0.0.1:0", "--plugin-dir", &dir, "--plugin-budget", "20000"];
    let server = start(&manager, &args, &[]);
    manager.wait_for("READY=1");
    server.signal(Signal::SIGHUP);
    manager.wait_for("READY=1");
    // Lines reach this process by way of another thread, in order.
    server.signal(Signal::SIGUSR1);
    server.wait_for_line("status {");
    assert_eq!(server.count_lines("plugins: slow"), 2);
}

#[test]
fn watchdog_is_fed() {
    let manager = Manager::new();
    let env = [("WATCHDOG_USEC", "100000")];
    let _server = start(&manager, &["-l", "raw://127.0.0.1:0"], &env);
    manager.wait_for("READY=1");
    (0..5).for_each(|_| assert_eq!(manager.told(), "WATCHDOG=1\n"));
}

#[cfg(feature = "plugins")]
#[test]
fn stuck_loop_does_not_feed_the_watchdog() {
    let manager = Manager::new();
    let busy = "local m = {} function m.process_client_pkg() while true do end end return m";
    manager.folder.file("busy.lua", busy);
    let (dir, socket) = (manager.folder.path(""), manager.folder.path("s"));
    let url = format!("plugin+unix://{socket}");
    let args = ["-l", &url, "--plugin-dir", &dir, "--plugin-budget", "1000"];
    let _server = start(&manager, &args, &[("WATCHDOG_USEC", "50000")]);
    manager.wait_for("WATCHDOG=1");
    Client::unix(&socket).send(b"hello");
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let ends_at = last + Duration::from_millis(2500);
    while last < ends_at {
        manager.wait_for("WATCHDOG=1");
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    assert!(longest > Duration::from_millis(900), "it was fed within {longest:?}");
}

#[test]
fn watchdog_without_period_or_process_is_none() {
    for env in [
        &[][..],
        &[("WATCHDOG_USEC", "")],
        &[("WATCHDOG_USEC", "0")],
        &[("WATCHDOG_USEC", "-1")],
        &[("WATCHDOG_USEC", "1s")],
        &[("WATCHDOG_USEC", "18446744073709551615")],
        &[("WATCHDOG_USEC", "99999999999999999999")],
        &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")],
        &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "x")],
    ] {
        let manager = Manager::new();
        let path = manager.folder.path("s");
        let url = format!("command+unix://{path}");
        let mut server = start(&manager, &["-l", &url], env);
        manager.wait_for("READY=1");
        // It would have been fed before the first answer.
        Client::unix(&path).expect_alive();
        assert_eq!(server.stop(), Some(0));
        assert_eq!(manager.wait_for("STOPPING=1"), [""; 0], "{env:?}");
    }
}

#[test]
fn busy_manager_holds_up_nobody() {
    let manager = Manager::new();
    let path = manager.folder.path("s");
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    let fill = || filler.send_to(b"FILL=1\n", manager.folder.path("notify")).is_ok();
    while fill() {}
    let url = format!("command+unix://{path}");
    let server = start(&manager, &["-l", &url], &[("WATCHDOG_USEC", "20000")]);
    server.wait_for_line("listening on ");
    Client::unix(&path).expect_alive();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("SIGHUP: ");
    Client::unix(&path).expect_alive();
    manager.wait_for("READY=1");
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
}

#[test]
fn manager_that_is_gone_is_a_warning() {
    for address in ["", "relative", "vsock:2:1234", "/no/such/socket"] {
        let mut command = mynah();
        command.env("NOTIFY_SOCKET", address).args(["-l", "raw://127.0.0.1:0"]);
        let mut server = Server::spawn(&mut command, Stdio::null());
        server.wait_for_line("service manager");
        assert_eq!(server.stop(), Some(0));
        assert_eq!(server.count_lines(" WARN "), 1, "{address}");
    }
}
