//! Admin clients that do not read what they have asked for.

use super::{Http, Site};
use crate::support::{Client, crowd, wait_until};

#[test]
fn slow_reader_of_lists_holds_up_nobody() {
    let _guard = crowd(1_200);
    let site = Site::command(&["--send-queue", "100000"]);
    let mut clients: Vec<Client> = (0..1_000).map(|_| site.server.connect_to(1)).collect();
    clients.iter_mut().for_each(Client::expect_alive);
    // Three ask for a thousand lists of 130 KB each, and take nothing.
    let slow: Vec<Http> = (0..3)
        .map(|_| {
            let fields = format!("Authorization: Bearer {}\r\n", super::TOKEN);
            let mut http = Http::new(site.server.connect_with_small_buffer(), &fields);
            let request = http.request("GET", "/connections?limit=1000");
            http.client.send_until_blocked(request.repeat(1_000).as_bytes());
            http
        })
        .collect();
    let mut operator = site.operator();
    // The kernel takes some megabytes for each before it is blocked.
    wait_until("they are all blocked", || {
        clients[0].expect_alive();
        operator.get("/connections?listener=admin&min_queue=50000").json()["total"] == 3
    });
    for _ in 0..20 {
        let list = operator.get("/connections?listener=command&limit=1000").json();
        assert_eq!(list["total"], 1_000);
        clients[0].expect_alive();
    }
    // What waits for them is bounded: the mark and one list each, and what is on its way.
    let status = operator.get("/status").json();
    let buffered = status["buffered_bytes"].as_u64().unwrap();
    assert!(buffered < 3 * (100_000 + 200_000) + (8 << 20), "{buffered}");
    operator
        .ask("DELETE", "/connections?listener=admin&min_queue=50000")
        .expect(200, "{\"kicked\":3}\n");
    drop(slow);
    operator.get("/healthz").expect(200, "ok\n");
}
