//! Failed attempts are charged to the address they come from.

use std::time::Instant;

use super::*;
use crate::support::wait_until;

/// Fails six times.
#[track_caller]
fn fail(server: &Server) -> Client {
    let mut client = server.connect();
    for name in ["bob", "ann", "nobody", "bob", "bob", "bob"] {
        client.send(&wrong(name));
        client.expect_frame(255, "login failed");
    }
    client
}

#[test]
fn address_waits_after_its_sixth_failure() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let mut client = fail(&server);
    client.send(&[login("bob"), register("eve")].concat());
    client.expect_frame(255, "too many attempts, try again in 1 s");
    client.expect_frame(255, "too many attempts, try again in 1 s");
    let mut chat = server.connect_to(1);
    let refusal = "[ERROR] too many attempts, try again in 1 s";
    assert_eq!(say(&mut chat, "/login bob bob's password"), refusal);
    loop {
        client.send(&login("bob"));
        match client.read_frame() {
            (1, _) => break,
            (_, reason) => assert_eq!(reason, b"too many attempts, try again in 1 s"),
        }
    }
}

#[test]
fn failures_of_one_address_do_not_delay_the_owner() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut thief = fail(&server);
    let started_at = Instant::now();
    let mut owner = server.connect_from([127, 0, 0, 2]);
    owner.send(&login("bob"));
    expect_welcome(&mut owner, "bob");
    assert!(started_at.elapsed().as_millis() < 1_000);
    thief.send(&login("bob"));
    thief.expect_frame(255, "too many attempts, try again in 1 s");
}

/// A client that does not wait for its outcome is charged all the same.
#[test]
fn failure_of_a_client_that_has_gone_is_charged() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    for n in 1..=6 {
        let mut client = server.connect();
        client.send(&wrong("bob"));
        drop(client);
        wait_until("the failure is logged", || server.count_lines("login failed") >= n);
    }
    let mut client = server.connect();
    client.send(&login("bob"));
    client.expect_frame(255, "too many attempts, try again in 1 s");
}

#[test]
fn login_failure_is_logged_with_its_address() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&wrong("bob"));
    client.expect_frame(255, "login failed");
    server.wait_for_line(&format!("#1 127.0.0.1:{} login failed", client.local_port()));
}
