//! Answers of each resource where all is well.

use serde_json::{Value, json};

use super::{Http, Site, without_token};

#[test]
fn status_has_the_fields_of_status_and_more() {
    let site = Site::command(&["-l", "command://127.0.0.1:0?name=second"]);
    let mut client = site.server.connect_to(1);
    let counted = client.status();
    let status = site.get("/status").json();
    for (key, at_least) in [
        ("connections", 1),
        ("accepted_total", 1),
        ("refused_total", 0),
        ("frames_in_total", 1),
        ("bytes_in_total", 5),
        ("bytes_out_total", counted.0.len() as u64 + 5),
        ("broadcasts_total", 0),
        ("slow_consumers_total", 0),
        ("uptime_secs", 0),
        ("max_clients", 1),
        ("buffered_bytes", 1),
        ("memory_limit_bytes", 1),
    ] {
        assert!(status[key].as_u64() >= Some(at_least), "{key}: {status}");
    }
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["draining"], &status["cluster"]), (&json!(false), &Value::Null));
    let addr = |index: usize| site.server.addr(index);
    assert_eq!(
        status["listeners"],
        json!([
            {"name": "admin", "url": format!("admin://{}", addr(0)), "protocol": "admin",
             "connections": 1, "accepted_total": 1},
            {"name": "command", "url": format!("command://{}", addr(1)), "protocol": "command",
             "connections": 1, "accepted_total": 1},
            {"name": "second", "url": format!("command://{}", addr(2)), "protocol": "command",
             "connections": 0, "accepted_total": 0},
        ])
    );
}

#[test]
fn page_is_one_document_with_a_policy() {
    let server = without_token(&[]);
    let mut http = Http::plain(&server);
    let page = http.get("/");
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let policy = page.field("Content-Security-Policy").unwrap();
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_eq!(page.field("Content-Encoding"), None);
    http.fields = "Accept-Encoding: gzip, br\r\n".to_owned();
    let zipped = http.get("/");
    assert_eq!(zipped.field("Content-Encoding"), Some("gzip"));
    assert_eq!(zipped.field("Vary"), Some("Accept-Encoding"));
    assert!(zipped.body.starts_with(b"\x1f\x8b") && zipped.body.len() <= 30 << 10);
    http.fields = "Accept-Encoding: gzip;q=0\r\n".to_owned();
    assert_eq!(http.get("/").body, page.body);
}

#[test]
fn health_is_told_in_a_word() {
    let server = without_token(&[]);
    let mut http = Http::plain(&server);
    for target in ["/healthz", "/readyz", "/healthz?verbose", "/readyz?x=y"] {
        http.get(target).expect(200, "ok\n");
    }
}

#[test]
fn connection_is_a_row_of_exact_fields() {
    let site = Site::command(&[]);
    let mut client = site.server.connect_to(1);
    client.expect_alive();
    let list = site.get("/connections?listener=command").json();
    let row = &list["connections"][0];
    let id = row["id"].as_u64().unwrap();
    assert_eq!(
        list,
        json!({
            "total": 1,
            "connections": [{
                "id": id, "listener": "command",
                "address": format!("127.0.0.1:{}", client.local_port()), "name": null,
                "connected_secs": row["connected_secs"], "idle_secs": row["idle_secs"],
                "queue_bytes": 0, "tls": false,
            }],
            "next": null,
        })
    );
    assert!(row["connected_secs"].as_u64() < Some(30) && row["idle_secs"].as_u64() < Some(30));
    site.server.wait_for_line(&format!("#{id} 127.0.0.1:{} connected", client.local_port()));
}

#[test]
fn who_asks_is_in_the_list_too() {
    let server = without_token(&[]);
    let mut http = Http::plain(&server);
    let list = http.get("/connections").json();
    assert_eq!((&list["total"], &list["connections"][0]["listener"]), (&json!(1), &json!("admin")));
    let expected = format!("127.0.0.1:{}", http.client.local_port());
    assert_eq!(list["connections"][0]["address"], expected);
}
