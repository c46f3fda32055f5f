//! SIGHUP and SIGTERM.

use std::fs;

use nix::sys::signal::Signal;

use super::*;

#[test]
fn reload_closes_connections_of_deleted_accounts() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let (mut bob, mut ann, mut plain) = (server.connect(), server.connect(), server.connect());
    for (client, name) in [(&mut bob, "bob"), (&mut ann, "ann")] {
        client.send(&login(name));
        expect_welcome(client, name);
    }
    let mut guest = join(&server, "guest");
    let mut chat = server.connect_to(1);
    assert_eq!(say(&mut chat, "/login bob bob's password"), "[INFO] Welcome, bob!");
    assert_eq!(guest.read_line(), "[SERVER] bob joined");
    accounts.delete("bob");
    server.signal(Signal::SIGHUP);
    bob.expect_eof();
    chat.expect_eof();
    assert_eq!(guest.read_line(), "[SERVER] bob left");
    server.wait_for_line("SIGHUP: reloading");
    server.wait_for_line("accounts reloaded: 3");
    server.wait_for_line("disconnected: account deleted");
    ann.expect_alive();
    plain.expect_alive();
    plain.send(&login("bob"));
    plain.expect_frame(255, "login failed");
    let mut newcomer = server.connect_to(1);
    assert_eq!(say(&mut newcomer, "bob"), "[INFO] Welcome, bob!");
}

#[test]
fn bad_file_is_not_taken_at_a_reload() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let good = accounts.text();
    let mut client = server.connect();
    client.send(&login("bob"));
    expect_welcome(&mut client, "bob");
    fs::write(&accounts.path, format!("# nobody\n{}nonsense\n", line("eve", "m=8,t=1,p=1")))
        .unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("line 3: is not of the form name:$argon2id$…");
    server.wait_for_line("reload failed: nothing was changed");
    client.expect_alive();
    let mut other = server.connect();
    other.send(&[login("ann"), login("eve")].concat());
    expect_welcome(&mut other, "ann");
    other.expect_frame(255, "already logged in as ann");
    fs::remove_file(&accounts.path).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("cannot read accounts: ");
    client.expect_alive();
    fs::write(&accounts.path, good).unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("accounts reloaded: 4");
    client.expect_alive();
}

#[test]
fn account_deleted_while_its_password_is_hashed_is_none() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&login("slow"));
    accounts.delete("slow");
    server.signal(Signal::SIGHUP);
    server.wait_for_line("accounts reloaded: 3");
    // The reload may be done before LOGIN is read, or after its outcome.
    let answer = client.read_frame();
    match answer.0 {
        1 => client.expect_eof(),
        _ => assert_eq!(answer.1, b"login failed"),
    }
}

#[test]
fn stop_answers_a_login_that_is_being_hashed() {
    let accounts = Accounts::new();
    let mut server = accounts.serve("", &["--drain-timeout", "20"]);
    let mut clients: Vec<Client> =
        (2..5).map(|host| server.connect_from([127, 0, 0, host])).collect();
    let mut chat = server.connect_to(1);
    chat.send(b"/login bob bob's password\n");
    for client in &mut clients {
        client.send(&[login("slow"), frame(1, b"x")].concat());
    }
    assert_eq!(server.stop(), Some(0));
    for client in &mut clients {
        expect_welcome(client, "slow");
        client.expect(&frame(1, b"x"));
        client.expect_eof();
    }
    assert_eq!(chat.read_line(), "[INFO] Welcome, bob!");
    assert_eq!(chat.read_line(), "[INFO] The server has shut down");
}
