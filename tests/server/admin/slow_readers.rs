//! Admin clients that do not read what they have asked for, or hardly.

use super::{Http, Site};
use crate::support::{Client, crowd, wait_until};

/// A list of a thousand connections is shorter.
const LIST: u64 = 200_000;

/// Most unsent bytes of a connection, for servers here.
const SEND_QUEUE: u64 = 100_000;

/// One that asks for a thousand lists of a thousand connections each, until nobody takes its requests.
fn ask_for_lists(site: &Site) -> Http {
    let fields = format!("Authorization: Bearer {}\r\n", super::TOKEN);
    let mut http = Http::new(site.server.connect_with_small_buffer(), &fields);
    let request = http.request("GET", "/connections?limit=1000");
    http.client.send_until_blocked(request.repeat(1_000).as_bytes());
    http
}

#[test]
fn slow_reader_of_lists_holds_up_nobody() {
    let _guard = crowd(1_200);
    let site = Site::command(&["--send-queue", &SEND_QUEUE.to_string()]);
    let mut clients: Vec<Client> = (0..1_000).map(|_| site.server.connect_to(1)).collect();
    clients.iter_mut().for_each(Client::expect_alive);
    // Lists of 130 KB each.
    let slow: Vec<Http> = (0..3).map(|_| ask_for_lists(&site)).collect();
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
    assert!(buffered < 3 * (SEND_QUEUE + LIST) + (8 << 20), "{buffered}");
    operator
        .ask("DELETE", "/connections?listener=admin&min_queue=50000")
        .expect(200, "{\"kicked\":3}\n");
    drop(slow);
    operator.get("/healthz").expect(200, "ok\n");
}

#[cfg(feature = "load")]
mod trickling {
    //! Beside as many connections as a process may have files.

    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::super::{Http, Site, read_response};
    use super::{LIST, SEND_QUEUE, ask_for_lists};
    use crate::support::{crowd, wait_until};

    const CROWD: u64 = 19_000;

    /// Connections of another process, which has files of its own.
    struct Crowd(Child);

    impl Crowd {
        fn connect_to(site: &Site) -> Crowd {
            let target = format!("command://{}", site.server.addr(1));
            let mut command = Command::new(env!("CARGO_BIN_EXE_mynah-load"));
            command.args(["idle", &target, "-c", &CROWD.to_string(), "--hold", "600"]);
            // So many from each that ports last.
            command.args(["--source-ip", "127.0.0.2,127.0.0.3", "--quiet"]);
            Crowd(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
        }
    }

    impl Drop for Crowd {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn status(operator: &mut Http, field: &str) -> u64 {
        operator.get("/status").json()[field].as_u64().unwrap()
    }

    #[test]
    fn trickling_reader_beside_19000_is_bounded() {
        let _guard = crowd(CROWD as usize);
        let site = Site::command(&["--send-queue", &SEND_QUEUE.to_string()]);
        let _crowd = Crowd::connect_to(&site);
        let (mut operator, mut client) = (site.operator(), site.server.connect_to(1));
        wait_until("all are in", || status(&mut operator, "connections") == CROWD + 2);
        let before = status(&mut operator, "buffered_bytes");
        let mut slow = ask_for_lists(&site);
        wait_until("it has more than it takes", || {
            let list = operator.get("/connections?listener=admin&min_queue=50000").json();
            list["total"] == 1
        });
        // A byte every 100 ms, for two seconds; others are served all the time.
        let (mut head, mut held, mut lists) = (Vec::new(), 0, 0);
        for _ in 0..20 {
            let read_at = Instant::now();
            head.extend(slow.client.read_exactly(1));
            while read_at.elapsed() < Duration::from_millis(100) {
                client.expect_alive();
                let list = operator.get("/connections?listener=command&limit=1000").json();
                assert_eq!(list["total"], CROWD + 1);
                held = held.max(status(&mut operator, "buffered_bytes").saturating_sub(before));
                lists += 1;
            }
        }
        println!("{lists} lists beside it, {held} bytes held");
        // Up to half of the queue it is read from; and what it has sent that is not looked at yet.
        assert!((SEND_QUEUE / 2..SEND_QUEUE / 2 + LIST + 100_000).contains(&held), "{held} bytes");
        assert_eq!(head, b"HTTP/1.1 200 OK\r\nDat");
        // When it reads, its lists are whole.
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(slow.client.read_exactly(1));
        }
        let head = String::from_utf8(head).unwrap();
        let (_, len) = head.split_once("Content-Length: ").unwrap();
        let len = len.split_once("\r\n").unwrap().0.parse().unwrap();
        let first = serde_json::from_slice(&slow.client.read_exactly(len)).unwrap();
        let others = (0..3).map(|_| read_response(&mut slow.client, false).json());
        for list in std::iter::once::<serde_json::Value>(first).chain(others) {
            assert_eq!(list["total"], CROWD + 3);
            assert_eq!(list["connections"].as_array().unwrap().len(), 1_000);
        }
    }
}
