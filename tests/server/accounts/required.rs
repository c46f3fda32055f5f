//! Listeners with `auth=required`.

use std::time::{Duration, Instant};

use super::*;
use crate::support::error;

const REQUIRED: &str = "?auth=required";

#[test]
fn all_but_quit_needs_a_login() {
    let accounts = Accounts::new();
    let server = accounts.serve(REQUIRED, &[]);
    let mut client = server.connect();
    for code in [1, 2, 4, 7, 9, 128, 255] {
        assert_eq!(client.ask(code, b"x"), (255, b"login required".to_vec()), "{code}");
    }
    client.send(&login("bob"));
    expect_welcome(&mut client, "bob");
    client.expect_alive();
    assert_eq!(client.ask(9, b"").1, b"unknown command 9");
    let mut client = server.connect();
    client.send(&frame(3, b""));
    client.expect_eof();
}

#[test]
fn broadcasts_reach_those_who_are_logged_in() {
    let accounts = Accounts::new();
    let server = accounts.serve(REQUIRED, &[]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for (client, name) in clients.iter_mut().zip(["bob", "ann"]) {
        client.send(&login(name));
        expect_welcome(client, name);
    }
    assert_eq!(clients[0].ask(4, b"one"), (1, b"1".to_vec()));
    clients[1].expect(&frame(4, b"one"));
    clients[2].send(&[login("bob"), frame(4, b"two")].concat());
    expect_welcome(&mut clients[2], "bob");
    clients[2].expect(&frame(1, b"2"));
    clients[0].expect(&frame(4, b"two"));
    drop(clients.remove(1));
    server.wait_for_line("disconnected");
    assert_eq!(clients[1].ask(4, b"three"), (1, b"1".to_vec()));
}

#[test]
fn frame_before_the_login_has_at_most_512_bytes() {
    let accounts = Accounts::new();
    let server = accounts.serve(REQUIRED, &[]);
    let mut client = server.connect();
    client.send(&frame(1, &[b'x'; 512]));
    client.expect(&error("login required"));
    client.send(b"\x01\0\0\x02\x01");
    client.expect(&error("frame of 513 bytes exceeds the limit of 512"));
    client.expect_eof();
}

/// Whatever comes behind a LOGIN in one piece is judged when it has its outcome.
#[test]
fn long_frame_behind_a_login_has_the_usual_limit() {
    let accounts = Accounts::new();
    let server = accounts.serve(REQUIRED, &[]);
    for len in [513, 3_000, 300_000] {
        let payload = vec![b'x'; len];
        let mut client = server.connect();
        client.send(&[login("bob"), frame(1, &payload)].concat());
        expect_welcome(&mut client, "bob");
        client.expect(&frame(1, &payload));
    }
    let mut client = server.connect();
    client.send(&[wrong("bob"), frame(1, &[b'x'; 3_000])].concat());
    client.expect(&error("login failed"));
    client.expect(&error("frame of 3000 bytes exceeds the limit of 512"));
    client.expect_eof();
}

#[test]
fn login_has_to_come_in_time_whatever_else_comes() {
    let accounts = Accounts::new();
    let server = accounts.serve(REQUIRED, &["--handshake-timeout", "1"]);
    let mut clients = [server.connect(), server.connect_to(1)];
    let started_at = Instant::now();
    let mut talker = server.connect();
    while talker.is_quiet_for(Duration::from_millis(50)) {
        talker.try_send(&frame(1, b"x"));
        let mut answer = [0; 19];
        if std::io::Read::read_exact(&mut talker, &mut answer).is_err() {
            break;
        }
        if started_at.elapsed() > Duration::from_secs(10) {
            panic!("it may go on");
        }
    }
    assert!(started_at.elapsed() >= Duration::from_millis(990));
    clients[0].expect(&error("login required"));
    clients[0].expect_eof();
    let line = "[ERROR] this room needs an account: /login NICK PASSWORD";
    assert_eq!(clients[1].read_line(), line);
    clients[1].expect_eof();
    server.wait_for_line("disconnected: login timeout");
}

#[test]
fn logged_in_client_has_all_the_time_there_is() {
    let accounts = Accounts::new();
    let server = accounts.serve(REQUIRED, &["--handshake-timeout", "1"]);
    let mut client = server.connect();
    client.send(&login("bob"));
    expect_welcome(&mut client, "bob");
    client.expect_silence(Duration::from_millis(1_500));
    client.expect_alive();
}

#[test]
fn room_lets_in_nobody_without_an_account() {
    let accounts = Accounts::new();
    let server = accounts.serve(REQUIRED, &["--allow-register"]);
    let mut client = server.connect_to(1);
    let refusal = "[ERROR] this room needs an account: /login NICK PASSWORD";
    for line in ["guest", "bob", "/who", "/register password", "/msg bob x"] {
        assert_eq!(say(&mut client, line), refusal, "{line}");
    }
    assert_eq!(say(&mut client, "/login bob bob's password"), "[INFO] Welcome, bob!");
    assert_eq!(say(&mut client, "/who"), "Online: bob");
    let mut client = server.connect_to(1);
    client.send(b"/quit\n");
    client.expect_eof();
}
