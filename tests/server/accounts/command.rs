//! LOGIN and REGISTER, answer by answer.

use super::*;
use crate::support::error;

#[test]
fn login_welcomes_by_the_registered_name() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&frame(LOGIN, &credentials("ＢＯＢ", &password("bob"))));
    expect_welcome(&mut client, "bob");
    client.expect_alive();
    assert_eq!(client.ask(LOGIN, b"anything").1, b"already logged in as bob");
    assert_eq!(client.ask(REGISTER, b"anything").1, b"already logged in as bob");
}

#[test]
fn bad_attempt_is_answered_with_its_reason() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let mut client = server.connect();
    let long = credentials("bob", &"x".repeat(129));
    for (code, payload, reason) in [
        (LOGIN, &b""[..], "LOGIN needs NAME NUL PASSWORD"),
        (REGISTER, b"", "REGISTER needs NAME NUL PASSWORD"),
        (LOGIN, b"bob", "LOGIN needs NAME NUL PASSWORD"),
        (LOGIN, b"bob\0pass\0word", "LOGIN needs NAME NUL PASSWORD"),
        (REGISTER, b"bob\0pass\0word", "REGISTER needs NAME NUL PASSWORD"),
        (LOGIN, b"\0password", "a name has 3 to 16 characters"),
        (LOGIN, b"abcdefghijklmnopq\0password", "a name has 3 to 16 characters"),
        (LOGIN, b"b b\0password", "a name has no blanks or control characters"),
        (REGISTER, b"#bob\0password", "a name has no blanks or control characters"),
        (LOGIN, b"b\xffb\0password", "a name has no blanks or control characters"),
        (LOGIN, b"bob\0", "a password has 8 to 128 bytes"),
        (LOGIN, b"bob\0seven77", "a password has 8 to 128 bytes"),
        (LOGIN, &long, "a password has 8 to 128 bytes"),
        (REGISTER, b"Server\0password", "Server is taken"),
        (REGISTER, b"BOB\0password", "BOB is taken"),
        (LOGIN, b"nobody\0password", "login failed"),
        (LOGIN, b"bob\0password", "login failed"),
        (LOGIN, b"server\0password", "login failed"),
    ] {
        client.send(&frame(code, payload));
        client.expect_frame(255, reason);
    }
    client.send(&login("bob"));
    expect_welcome(&mut client, "bob");
}

#[test]
fn look_alike_of_an_account_cannot_be_registered() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let mut client = server.connect();
    client.send(&register("paypal"));
    expect_welcome(&mut client, "paypal");
    let mut client = server.connect();
    client.send(&register("раураl"));
    client.expect_frame(255, "раураl is taken");
    client.send(&frame(LOGIN, &credentials("раураl", &password("paypal"))));
    client.expect_frame(255, "login failed");
}

#[test]
fn register_logs_in_and_is_in_the_file() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let mut client = server.connect();
    client.send(&[register("b#b"), login("b#b")].concat());
    expect_welcome(&mut client, "b#b");
    client.expect_frame(255, "already logged in as b#b");
    assert!(accounts.text().contains("\nb#b:$argon2id$v=19$m=19456,t=2,p=1$"));
    drop(server);
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&login("b#b"));
    expect_welcome(&mut client, "b#b");
}

#[test]
fn registration_is_closed_unless_allowed() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&[frame(REGISTER, b""), register("eve")].concat());
    client.expect(&[error("registration is closed"), error("registration is closed")].concat());
}

#[test]
fn codes_5_and_6_are_unknown_without_accounts() {
    let accounts = Accounts::new();
    let off = accounts.serve("?auth=off", &[]);
    let without = Server::command(&[]);
    for server in [off, without] {
        let mut client = server.connect();
        client.send(&[login("bob"), register("eve")].concat());
        client.expect(&[error("unknown command 5"), error("unknown command 6")].concat());
    }
}

#[test]
fn replies_keep_their_order_while_a_password_is_hashed() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let mut client = server.connect();
    let long = vec![b'x'; 100_000];
    let sent = [frame(1, b"a"), wrong("bob"), frame(2, b"bc"), login("slow"), frame(1, &long)];
    client.send(&[&sent.concat()[..], &register("eve"), &frame(3, b""), &frame(1, b"")].concat());
    client.expect(&frame(1, b"a"));
    client.expect(&error("login failed"));
    client.expect(&frame(1, b"cb"));
    expect_welcome(&mut client, "slow");
    client.expect(&frame(1, &long));
    client.expect(&error("already logged in as slow"));
    client.expect_eof();
}

#[test]
fn half_closed_client_gets_its_outcome() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&[login("slow"), frame(1, b"x")].concat());
    client.half_close();
    expect_welcome(&mut client, "slow");
    client.expect(&frame(1, b"x"));
    client.expect_eof();
}

#[test]
fn ten_thousand_pipelined_logins_cost_one_hash() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    let mut twin = client.twin();
    let all = login("bob").repeat(10_000);
    let sender = std::thread::spawn(move || twin.send(&all));
    expect_welcome(&mut client, "bob");
    client.expect(&error("already logged in as bob").repeat(9_999));
    sender.join().unwrap();
}

#[test]
fn one_address_has_one_attempt_at_a_time() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut clients: Vec<Client> = (0..64).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&login("slow")));
    let mut other = server.connect_from([127, 0, 0, 2]);
    other.send(&login("bob"));
    expect_welcome(&mut other, "bob");
    let answers: Vec<_> = clients.iter_mut().map(Client::read_frame).collect();
    let welcome = answers.iter().filter(|answer| answer.1 == b"welcome slow").count();
    let busy = answers.iter().filter(|answer| answer.1 == b"busy, try again").count();
    assert!(welcome >= 1 && welcome + busy == 64, "{welcome} welcome, {busy} busy");
    assert!(busy >= 32, "{busy} busy");
}

#[test]
fn others_are_served_while_a_password_is_hashed() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&login("slow"));
    let mut other = server.connect();
    let mut echoes = 0;
    while client.is_quiet_for(std::time::Duration::from_millis(1)) {
        other.expect_alive();
        echoes += 1;
    }
    expect_welcome(&mut client, "slow");
    assert!(echoes > 5, "{echoes}");
}

#[test]
fn client_that_leaves_meanwhile_frees_its_place() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect();
    client.send(&login("slow"));
    client.abort();
    let mut next = server.connect();
    loop {
        next.send(&login("bob"));
        match next.read_frame() {
            (1, _) => break,
            (255, reason) => assert_eq!(reason, b"busy, try again"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(next.status().get("connections"), 1);
}

#[test]
fn clocks_stand_still_while_a_password_is_hashed() {
    let accounts = Accounts::new();
    let server = accounts.serve("?idle=1", &["--frame-timeout", "1"]);
    // Twelve attempts of as many addresses, each behind the others, take longer than a second.
    let clients = (10..22).map(|host| server.connect_from([127, 0, 0, host]));
    let mut clients: Vec<Client> = clients.collect();
    for client in &mut clients {
        client.send(&[login("slow"), frame(1, b"half")[..7].to_vec()].concat());
    }
    for client in &mut clients {
        expect_welcome(client, "slow");
    }
}
