//! Kicks: by number, by filter, and never who asks.

use super::{Site, read_response};
use crate::support::{Client, wait_until};

#[test]
fn kick_by_number_closes_that_one() {
    let site = Site::command(&[]);
    let mut clients: Vec<Client> = (0..3).map(|_| site.server.connect_to(1)).collect();
    clients.iter_mut().for_each(Client::expect_alive);
    let port = clients[1].local_port();
    let line = site.server.wait_for_line(&format!("127.0.0.1:{port} connected"));
    let (_, after) = line.split_once('#').unwrap();
    let id = after.split(' ').next().unwrap();
    let mut operator = site.operator();
    let target = format!("/connections/{id}");
    operator.ask("DELETE", &target).expect(200, "{\"kicked\":1}\n");
    clients[1].expect_eof();
    site.server.wait_for_line(&format!("#{id} 127.0.0.1:{port} disconnected: kicked"));
    operator.ask("DELETE", &target).expect(404, "no such connection\n");
    clients[0].expect_alive();
    clients[2].expect_alive();
    let metrics = operator.get("/metrics");
    let line = "mynah_closed_total{listener=\"command\",reason=\"kicked\"} 1\n";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[test]
fn kick_by_filter_closes_who_matches() {
    let site = Site::start(&["-l", "chat://127.0.0.1:0", "-l", "command://127.0.0.1:0"]);
    let member = |nick: &str, source: [u8; 4]| {
        let mut client = Client::connect_from(source, site.server.addr(1));
        client.send(format!("{nick}\n").as_bytes());
        client.read_line();
        client
    };
    let (mut anna, mut boris) = (member("anna", [127, 0, 0, 1]), member("boris", [127, 0, 0, 2]));
    assert_eq!(anna.read_line(), "[SERVER] boris joined");
    let mut command = site.server.connect_to(2);
    command.expect_alive();
    let mut operator = site.operator();
    operator.ask("DELETE", "/connections?name=nobody").expect(200, "{\"kicked\":0}\n");
    operator.ask("DELETE", "/connections?name=anna&ip=127.0.0.2").expect(200, "{\"kicked\":0}\n");
    operator.ask("DELETE", "/connections?name=boris").expect(200, "{\"kicked\":1}\n");
    boris.expect_eof();
    assert_eq!(anna.read_line(), "[SERVER] boris left");
    operator.ask("DELETE", "/connections?listener=chat").expect(200, "{\"kicked\":1}\n");
    anna.expect_eof();
    command.expect_alive();
    operator.ask("DELETE", "/connections?ip=127.0.0.1").expect(200, "{\"kicked\":1}\n");
    command.expect_eof();
    operator.get("/healthz").expect(200, "ok\n");
}

#[test]
fn kick_needs_a_filter() {
    let site = Site::command(&[]);
    let mut client = site.server.connect_to(1);
    client.expect_alive();
    let mut operator = site.operator();
    let needed = "a filter is needed: listener, ip, name, min_idle or min_queue";
    for (target, status, why) in [
        ("/connections", 400, needed),
        ("/connections?", 400, needed),
        ("/connections?min_idle=0", 400, needed),
        ("/connections?ip=&name=", 400, needed),
        ("/connections?sort=idle", 400, "no parameter 'sort'"),
        ("/connections?listener=nobody", 400, "no listener 'nobody'"),
        ("/connections?name=a&ban=5", 400, "ban needs ip"),
        ("/connections?ip=127.0.0.1&ban=0", 400, "ban is seconds from 1 to 31536000"),
        ("/connections?ip=127.0.0.1&ban=31536001", 400, "ban is seconds from 1 to 31536000"),
        ("/connections/1?ip=x", 400, "ip is an IP address"),
    ] {
        let response = operator.ask("DELETE", target);
        assert_eq!((response.status, response.text().trim_end()), (status, why), "{target}");
    }
    client.expect_alive();
}

#[test]
fn who_kicks_is_not_kicked() {
    let site = Site::command(&[]);
    let mut client = site.server.connect_to(1);
    client.expect_alive();
    let (mut operator, mut other) = (site.operator(), site.operator());
    other.get("/healthz").expect(200, "ok\n");
    operator.ask("DELETE", "/connections?ip=127.0.0.1").expect(200, "{\"kicked\":2}\n");
    client.expect_eof();
    other.client.expect_eof();
    operator.get("/healthz").expect(200, "ok\n");
}

#[test]
fn kicked_client_has_what_was_answered() {
    let site = Site::command(&[]);
    let mut client = site.server.connect_to(1);
    let request = crate::support::frame(1, &[9; 300_000]);
    client.send(&request);
    wait_until("it is answered", || {
        let list = site.get("/connections?listener=command").json();
        list["connections"][0]["queue_bytes"].as_u64() > Some(0)
            || site.get("/status").json()["frames_in_total"].as_u64() > Some(0)
    });
    site.ask("DELETE", "/connections?listener=command").expect(200, "{\"kicked\":1}\n");
    client.expect(&request);
    client.expect_eof();
}

#[test]
fn kick_of_who_has_hung_up_is_made() {
    let site = Site::command(&[]);
    let mut client = site.server.connect_to(1);
    client.expect_alive();
    let mut operator = site.operator();
    let request = operator.request("DELETE", "/connections?listener=command");
    operator.client.send(request.as_bytes());
    operator.client.half_close();
    read_response(&mut operator.client, false).expect(200, "{\"kicked\":1}\n");
    operator.client.expect_eof();
    client.expect_eof();
}
