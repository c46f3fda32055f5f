//! Draining, and a server that is full: what operators can do then.

use nix::sys::signal::Signal;

use super::{Http, Site, read_response};
use crate::support::{Client, wait_until};

/// Places kept for admin.
const PLACES: usize = 8;

#[test]
fn draining_server_accepts_admin_alone() {
    let site = Site::command(&[]);
    let mut client = site.server.connect_to(1);
    client.expect_alive();
    let mut operator = site.operator();
    operator.ask("POST", "/drain").expect(200, "{\"draining\":true}\n");
    operator.ask("POST", "/drain").expect(200, "{\"draining\":true}\n");
    operator.get("/readyz").expect(503, "draining\n");
    operator.get("/healthz").expect(200, "ok\n");
    assert_eq!(operator.get("/status").json()["draining"], true);
    client.expect_alive();
    // It connects, because the kernel takes it, and is served when the server accepts again.
    let mut waiting = site.server.connect_to(1);
    waiting.send(b"\x01\0\0\0\x05alive");
    for _ in 0..20 {
        assert_eq!(site.get("/status").json()["listeners"][1]["accepted_total"], 1);
    }
    assert!(waiting.is_quiet_for(std::time::Duration::from_millis(100)));
    operator.ask("POST", "/undrain").expect(200, "{\"draining\":false}\n");
    waiting.expect(b"\x01\0\0\0\x05alive");
    operator.get("/readyz").expect(200, "ok\n");
    client.expect_alive();
    assert_eq!(site.server.count_lines("draining: accepting no more"), 1);
    site.server.wait_for_line("accepting again");
}

#[test]
fn stop_of_a_draining_server_serves_its_backlog() {
    let mut site = Site::command(&[]);
    site.ask("POST", "/drain").expect(200, "{\"draining\":true}\n");
    let mut waiting = site.server.connect_to(1);
    waiting.send(b"\x01\0\0\0\x05alive");
    site.server.signal(Signal::SIGTERM);
    waiting.expect(b"\x01\0\0\0\x05alive");
    waiting.expect_eof();
    assert_eq!(site.server.wait_exit().code(), Some(0));
}

#[test]
fn full_server_has_eight_places_for_admin() {
    let site = Site::command(&["-m", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| site.server.connect_to(1)).collect();
    clients.iter_mut().for_each(Client::expect_alive);
    let mut refused = site.server.connect_to(1);
    assert_eq!(refused.read_frame(), (255, b"server is full: 3 clients".to_vec()));
    let mut operators: Vec<Http> = (0..PLACES).map(|_| site.operator()).collect();
    for operator in &mut operators {
        let status = operator.get("/status").json();
        assert_eq!(
            (&status["refused_total"], &status["listeners"][1]["connections"]),
            (&1.into(), &3.into())
        );
        operator.get("/readyz").expect(503, "not accepting: the server is full: 3 clients\n");
    }
    let mut ninth = site.server.connect();
    let response = read_response(&mut ninth, false);
    response.expect(503, "too many connections\n");
    assert_eq!(response.field("Connection"), Some("close"));
    ninth.expect_eof();
    // Others are told so too, however many admin clients there are.
    for _ in 0..3 {
        let mut refused = site.server.connect_to(1);
        assert_eq!(refused.read_frame(), (255, b"server is full: 3 clients".to_vec()));
    }
    drop(operators.pop());
    wait_until("its place is free", || {
        let mut next = site.operator();
        let request = next.request("GET", "/healthz");
        next.client.try_send(request.as_bytes());
        read_response(&mut next.client, false).status == 200
    });
    clients.iter_mut().for_each(Client::expect_alive);
}

#[test]
fn operator_makes_place_on_a_full_server() {
    let site = Site::command(&["-m", "2"]);
    let mut clients: Vec<Client> = (0..2).map(|_| site.server.connect_to(1)).collect();
    clients.iter_mut().for_each(Client::expect_alive);
    site.ask("DELETE", "/connections?listener=command").expect(200, "{\"kicked\":2}\n");
    clients.iter_mut().for_each(Client::expect_eof);
    wait_until("there is a place", || {
        let mut client = site.server.connect_to(1);
        client.try_send(b"\x01\0\0\0\x05alive");
        client.read_frame() == (1, b"alive".to_vec())
    });
}
