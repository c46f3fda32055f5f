//! Limits by address: open connections, and new ones a second.

use std::time::{Duration, Instant};

use crate::support::{Client, Server, error, wait_until};

/// Connects from one of this machine's addresses.
fn from(server: &Server, listener: usize, host: u8) -> Client {
    Client::connect_from([127, 0, 1, host], server.addr(listener))
}

/// Whether a connection of that host is let in.
fn is_let_in(server: &Server, host: u8) -> bool {
    let mut client = from(server, 0, host);
    client.try_send(b"\x01\0\0\0\x02hi\x03\0\0\0\0");
    let answer = client.read_until_cut();
    match &answer[..] {
        b"\x01\0\0\0\x02hi" => true,
        answer => {
            assert!(answer.is_empty() || answer == error(&refusal(host)), "{answer:?}");
            false
        }
    }
}

fn refusal(host: u8) -> String {
    format!("too many connections from 127.0.1.{host}")
}

#[test]
fn address_over_its_limit_is_refused() {
    let server = Server::command(&["--max-per-ip", "2"]);
    let (mut first, mut second) = (from(&server, 0, 1), from(&server, 0, 1));
    first.expect_alive();
    second.expect_alive();
    let mut third = from(&server, 0, 1);
    third.expect(&error(&refusal(1)));
    third.expect_eof();
    let mut other = from(&server, 0, 2);
    other.expect_alive();
    let line = server.wait_for_line("too many connections from one address");
    assert!(line.contains("WARN") && line.contains("1 refused"), "{line}");
    assert!(line.ends_with("the last from 127.0.1.1"), "{line}");
    let status = other.status();
    assert_eq!((status.get("connections"), status.get("refused_total")), (3, 1));
    first.expect_alive();
}

#[test]
fn place_is_free_when_a_connection_has_gone() {
    let server = Server::command(&["--max-per-ip", "1"]);
    for end in [Client::abort, |mut client: Client| client.half_close(), drop::<Client>] {
        let mut client = from(&server, 0, 1);
        client.expect_alive();
        from(&server, 0, 1).expect(&error(&refusal(1)));
        end(client);
        wait_until("the place is free", || {
            let mut next = from(&server, 0, 1);
            next.try_send(b"\x03\0\0\0\0");
            next.read_until_cut().is_empty()
        });
    }
}

#[test]
fn refusal_has_the_words_of_its_protocol() {
    let server = Server::start(&[
        "-l",
        "chat://127.0.0.1:0",
        "-l",
        "chat://127.0.0.1:0?lang=ru",
        "-l",
        "prefixed://127.0.0.1:0",
        "-l",
        "raw://127.0.0.1:0",
        "--max-per-ip",
        "1",
    ]);
    let mut first = from(&server, 0, 1);
    first.send(b"anna\n");
    first.read_line();
    for (listener, words) in [
        (0, "[ERROR] too many connections from 127.0.1.1\n"),
        (1, "[ERROR] слишком много подключений с адреса 127.0.1.1\n"),
        (2, ""),
        (3, ""),
    ] {
        let mut refused = from(&server, listener, 1);
        refused.expect(words.as_bytes());
        refused.expect_eof();
    }
}

#[test]
fn exempt_address_is_not_counted() {
    let server =
        Server::command(&["--max-per-ip", "1", "--limit-exempt", "10.0.0.0/8,127.0.1.0/30"]);
    let mut exempt: Vec<Client> = (0..5).map(|_| from(&server, 0, 2)).collect();
    exempt.iter_mut().for_each(Client::expect_alive);
    let mut other = from(&server, 0, 9);
    other.expect_alive();
    from(&server, 0, 9).expect(&error(&refusal(9)));
}

#[test]
fn full_server_counts_nobody_for_an_address() {
    let server = Server::command(&["--max-per-ip", "2", "-m", "2"]);
    let (mut a, mut b) = (from(&server, 0, 1), from(&server, 0, 2));
    a.expect_alive();
    b.expect_alive();
    for _ in 0..5 {
        from(&server, 0, 1).expect(&error("server is full: 2 clients"));
    }
    drop(b);
    wait_until("there is a place", || a.status().get("connections") == 1);
    from(&server, 0, 1).expect_alive();
}

#[test]
fn ipv4_client_of_a_dual_stack_listener_is_counted_as_ipv4() {
    let server = Server::start(&["-l", "command://:0", "--max-per-ip", "1"]);
    let mut first = from(&server, 0, 1);
    first.expect_alive();
    from(&server, 0, 1).expect(&error(&refusal(1)));
    from(&server, 0, 2).expect_alive();
}

#[test]
fn connections_may_come_at_their_rate() {
    let server = Server::command(&["--connect-rate", "5"]);
    let began_at = Instant::now();
    let let_in = (0..20).filter(|_| is_let_in(&server, 1)).count();
    // A slow machine takes some of the second that allows five more.
    let later = began_at.elapsed().as_millis() as usize / 200;
    assert!((5..=5 + later).contains(&let_in), "{let_in}");
    assert!(is_let_in(&server, 2), "another address");
    wait_until("its turn comes", || is_let_in(&server, 1));
    assert!(began_at.elapsed() > Duration::from_millis(190));
}
