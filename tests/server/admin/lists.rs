//! Lists of connections: filters, orders, pages.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Site;
use crate::support::{Client, crowd, frame};

fn ids(list: &Value) -> Vec<u64> {
    let rows = list["connections"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[test]
fn pages_show_each_connection_once() {
    let _guard = crowd(800);
    let site = Site::command(&[]);
    let mut clients: Vec<Client> = (0..700).map(|_| site.server.connect_to(1)).collect();
    clients.iter_mut().for_each(Client::expect_alive);
    let mut operator = site.operator();
    for limit in [1, 7, 100, 1000] {
        let (mut seen, mut pages, mut after) = (Vec::new(), 0, String::new());
        loop {
            let target = format!("/connections?listener=command&limit={limit}{after}");
            let list = operator.get(&target).json();
            assert_eq!(list["total"], 700);
            assert!(list["connections"].as_array().unwrap().len() <= limit);
            seen.extend(ids(&list));
            pages += 1;
            match list["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!((seen.len(), pages), (700, 700usize.div_ceil(limit)), "{limit} a page");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 700, "{limit} a page");
    }
}

#[test]
fn filters_choose_by_listener_address_and_name() {
    let site = Site::start(&[
        "-l",
        "chat://127.0.0.1:0",
        "-l",
        "command://127.0.0.1:0",
        "-l",
        "chat://127.0.0.1:0",
    ]);
    let chat = |nick: &str, source: [u8; 4]| {
        let mut client = Client::connect_from(source, site.server.addr(1));
        client.send(format!("{nick}\n").as_bytes());
        assert_eq!(client.read_line(), format!("[INFO] Welcome, {nick}!"));
        client
    };
    let _clients = [chat("anna", [127, 0, 0, 1]), chat("boris", [127, 0, 0, 2])];
    let mut command = site.server.connect_to(2);
    command.expect_alive();
    let mut operator = site.operator();
    for (filter, total) in [
        ("", 4),
        ("listener=chat", 2),
        ("listener=chat-2", 0),
        ("listener=command", 1),
        ("listener=admin", 1),
        ("ip=127.0.0.2", 1),
        ("ip=%3A%3Affff%3A127.0.0.2", 1),
        ("ip=127.0.0.1", 3),
        ("ip=::1", 0),
        ("name=anna", 1),
        ("name=Anna", 0),
        ("name=anna&ip=127.0.0.2", 0),
        ("name=boris&ip=127.0.0.2&listener=chat", 1),
        ("min_idle=1000", 0),
        ("min_queue=1", 0),
        ("listener=&ip=&name=&min_idle=&min_queue=&sort=&limit=&after=", 4),
    ] {
        let list = operator.get(&format!("/connections?{filter}")).json();
        assert_eq!(list["total"], total, "{filter}");
        assert_eq!(list["connections"].as_array().unwrap().len(), total, "{filter}");
    }
    for (query, why) in [
        ("listener=nobody", "no listener 'nobody'\n"),
        ("listener=a%0Ab", "no listener 'a\\nb'\n"),
        ("limit=1001", "limit is a number up to 1000\n"),
        ("sort=name", "sort is idle or queue\n"),
        ("ip=localhost", "ip is an IP address\n"),
        ("after=x", "after is the `next` of a list\n"),
        ("sort=idle&after=00000001", "a sorted list has one page: no after\n"),
        ("nick=anna", "no parameter 'nick'\n"),
        ("name=a&name=b", "'name' is given twice\n"),
        ("min_idle=-1", "min_idle is a number of seconds\n"),
    ] {
        let response = operator.get(&format!("/connections?{query}"));
        assert_eq!(response.status, 400, "{query}");
        assert_eq!(response.text().trim_end(), why.trim_end(), "{query}");
    }
}

#[test]
fn sorted_list_begins_with_the_largest() {
    let site = Site::command(&["--broadcast-log", "16777216"]);
    // Each takes nothing of what it has asked for, one more than the other.
    let mut slow: Vec<Client> = (0..3).map(|_| site.server.connect_to(1)).collect();
    for (client, copies) in slow.iter_mut().zip([250, 350, 300]) {
        client.send_until_blocked(&frame(1, &[7; 100_000]).repeat(copies));
    }
    let mut operator = site.operator();
    let list = operator.get("/connections?sort=queue&limit=2&listener=command").json();
    let queues: Vec<u64> = list["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["queue_bytes"].as_u64().unwrap())
        .collect();
    assert_eq!((&list["total"], queues.len()), (&Value::from(3), 2));
    assert!(queues[0] >= queues[1] && queues[0] > 0, "{list}");
    let first = ids(&list)[0];
    let least = queues[1].max(1);
    let list = operator.get(&format!("/connections?min_queue={least}&listener=command")).json();
    assert!(ids(&list).contains(&first), "{list}");
    let list = operator.get("/connections?sort=idle&limit=1000").json();
    let idle: Vec<u64> = list["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["idle_secs"].as_u64().unwrap())
        .collect();
    assert!(idle.is_sorted_by(|a, b| a >= b) && list["next"].is_null(), "{list}");
}

#[test]
fn nickname_of_markup_is_text_in_json() {
    let site = Site::start(&["-l", "chat://127.0.0.1:0"]);
    for nick in ["<b>\"&'</b>", "</script>", "\"}{\\", "русский"] {
        let mut client = site.server.connect_to(1);
        client.send(format!("{nick}\n").as_bytes());
        assert_eq!(client.read_line(), format!("[INFO] Welcome, {nick}!"));
        let list = site.get("/connections?listener=chat").json();
        let response = site.get("/connections?listener=chat");
        assert_eq!(response.field("Content-Type"), Some("application/json"));
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(list["connections"][0]["name"], nick);
        client.send(b"/exit\n");
        client.discard_to_end();
    }
}
