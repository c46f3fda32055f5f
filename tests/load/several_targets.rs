//! A fan-out over several targets: nodes of a cluster, one server named twice, and targets that lose
//! messages.

use std::io::Read;

use serde_json::{Value, json};

use super::tester::{RunWithReport, TcpTarget, run_with_report, server, try_send, url};
#[cfg(feature = "cluster")]
use crate::support::redis::{self, Redis};
#[cfg(feature = "cluster")]
use crate::support::{Server, wait_until};

/// The counts of target `number`: opened, delivered, lost.
fn counts(json: &Value, number: usize) -> [u64; 3] {
    let target = &json["targets"][number];
    ["opened", "deliveries", "lost"].map(|field| target[field].as_u64().unwrap())
}

#[cfg(feature = "cluster")]
#[test]
fn fanout_reaches_subscribers_of_other_nodes() {
    let Some(redis) = Redis::start(&[]) else { return };
    for protocol in ["command", "chat"] {
        let nodes = ["a", "b", "c"].map(|node| {
            let url = format!("redis+unix://{}?node={node}&prefix={protocol}", redis.socket());
            Server::start(&["-l", &format!("{protocol}://127.0.0.1:0"), "--cluster", &url])
        });
        wait_until("all nodes hear", || {
            let redis::Value::BulkString(list) = redis.ask(&["CLIENT", "LIST"]) else {
                return false;
            };
            // The channel of the heartbeats and that of the room.
            String::from_utf8(list).unwrap().matches(" sub=2 ").count() == nodes.len()
        });
        let urls = nodes.each_ref().map(|node| url(protocol, node)).join(" ");
        let args = format!("fanout {urls} --subscribers 5 --size 50 --batch 8 -d 1");
        let (ended, json) = run_with_report(&args);
        assert_eq!(ended.code, Some(0), "{protocol}: {ended:?}");
        let published = json["requests"]["sent"].as_u64().unwrap();
        assert!(published >= 16 && published % 8 == 0, "{published}");
        assert_eq!(json["deliveries"], published * 5, "{protocol}");
        assert_eq!(counts(&json, 0), [1, 0, 0], "the publisher");
        assert_eq!(counts(&json, 1), [3, published * 3, 0], "{protocol}");
        assert_eq!(counts(&json, 2), [2, published * 2, 0], "{protocol}");
        assert_eq!(json["targets"][2]["target"], url(protocol, &nodes[2]));
    }
}

#[test]
fn target_may_be_named_twice() {
    let server = server("chat");
    let url = url("chat", &server);
    let args = format!("fanout --target {url} {url} {url} --subscribers 3 --batch 2 -d 200ms");
    let (ended, json) = run_with_report(&args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let published = json["requests"]["sent"].as_u64().unwrap();
    assert_eq!(json["deliveries"], published * 3);
    assert_eq!(counts(&json, 1), [2, published * 2, 0]);
    assert_eq!(counts(&json, 2), [1, published, 0]);
    assert!(ended.stdout.contains(" delivered to 1 subscriber, 0 lost\n"), "{}", ended.stdout);
}

#[test]
fn lost_messages_are_counted_and_the_rest_goes_on() {
    let (first, second) = (TcpTarget::listen(), TcpTarget::listen());
    let urls = format!("{} {}", first.url("command"), second.url("command"));
    let args = format!("fanout {urls} --subscribers 1 --size 1 --batch 3 -d 6");
    let run = RunWithReport::start(&args);
    let mut publisher = first.accept(1).remove(0);
    let mut subscriber = second.accept(1).remove(0);
    for stream in [&mut publisher, &mut subscriber] {
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        assert!(try_send(stream, &hello));
    }
    run.tester.wait_for_phase("traffic");
    let mut delivered = 0;
    let mut batch = [0; 18];
    for number in 0.. {
        if publisher.read_exact(&mut batch).is_err() {
            break;
        }
        // The first batch but for one message is lost, and comes late.
        let sent = match number {
            0 => &batch[..6],
            1 => &[b"\x04\0\0\0\x01a\x04\0\0\0\x01a", &batch[..]].concat()[..],
            _ => &batch[..],
        };
        try_send(&subscriber, sent);
        try_send(&publisher, &b"\x01\0\0\0\x011".repeat(3));
        delivered += if number == 0 { 1 } else { 3 };
    }
    let (ended, json) = run.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(json["errors"], json!({"ETIMEDOUT": 1}), "one a connection");
    assert!(delivered > 4, "it goes on: {delivered}");
    assert_eq!(json["requests"]["sent"], delivered + 2);
    assert_eq!(json["deliveries"], delivered);
    assert_eq!(counts(&json, 1), [1, delivered, 2]);
}
