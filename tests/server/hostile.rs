//! Clients that together want more than the server has: what it holds, whom it cuts, and what
//! others feel of it.

use std::thread;
use std::time::Duration;

use super::support::{Client, Server, crowd, frame, random_bytes, wait_until};

const MIB: u64 = 1 << 20;

/// Memory the process may hold beyond `--memory-limit`: the program's own pages, scratch buffers,
/// and what the allocator keeps between blocks.
const SLACK: u64 = 32 * MIB;

/// Sends `request` from `n` clients that never read, and checks what the server holds meanwhile.
/// Returns those clients.
fn attack(server: &Server, n: usize, limit: u64, request: &[u8]) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..n).map(|_| server.connect_with_small_buffer()).collect();
    let mut most = 0;
    for client in &mut clients {
        // It may have been cut already.
        client.try_send(request);
        most = most.max(server.memory("RssAnon"));
    }
    // The server has taken up all it will when it has nothing to do.
    let mut before = Duration::ZERO;
    wait_until("the server has done what it can", || {
        most = most.max(server.memory("RssAnon"));
        // Processor time is measured over it.
        thread::sleep(Duration::from_millis(50));
        let spent = server.processor_time();
        let is_idle = spent - before < Duration::from_millis(10);
        before = spent;
        is_idle
    });
    assert!(most <= limit + SLACK, "{} MiB held", most / MIB);
    clients
}

fn expect_memory_back(server: &Server, before: u64) {
    let mut after = 0;
    wait_until("memory has gone back", || {
        after = server.memory("RssAnon");
        after <= before + before / 10 + MIB / 4
    });
}

#[test]
fn memory_limit_holds_when_400_pipeline_status() {
    let _guard = crowd(500);
    let limit = 32 * MIB;
    let server = Server::command(&["--memory-limit", &limit.to_string()]);
    let mut innocent = server.connect();
    innocent.expect_alive();
    let before = server.memory("RssAnon");
    let clients = attack(&server, 400, limit, &frame(7, b"").repeat(5_000));
    innocent.expect_alive();
    // Who does not read is not read from in time, so nobody need be cut.
    assert_eq!(server.count_lines("memory limit"), 0);
    assert_eq!(innocent.status().get("connections"), 401);
    drop(clients);
    wait_until("all have gone", || innocent.status().get("connections") == 1);
    expect_memory_back(&server, before);
}

/// Beginnings of frames are held as well as replies, and cost their sender its connection.
#[test]
fn memory_limit_holds_with_600_unfinished_frames() {
    let _guard = crowd(700);
    let limit = 16 * MIB;
    let server = Server::command(&["--memory-limit", &limit.to_string()]);
    let mut innocent = server.connect();
    innocent.expect_alive();
    let before = server.memory("RssAnon");
    let request = frame(1, &random_bytes(200_000));
    let clients = attack(&server, 600, limit, &request[..150_000]);
    innocent.expect_alive();
    let line = server.wait_for_line("memory limit: ");
    assert!(line.contains(&format!("memory limit: {limit} bytes; ")), "{line}");
    drop(clients);
    wait_until("all have gone", || innocent.status().get("connections") == 1);
    expect_memory_back(&server, before);
}

/// A burst that is held for longer than it takes to be forgotten about, and then goes; while one
/// goes on talking.
#[test]
fn memory_is_released_while_a_client_keeps_sending() {
    const CLIENTS: usize = 2_000;
    let _guard = crowd(CLIENTS);
    let server = Server::command(&[]);
    let (mut talker, mut listener) = (server.connect(), server.connect());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    wait_until("all are in", || talker.status().get("connections") == 2 + CLIENTS as u64);
    let before = server.memory("RssAnon");
    let request = frame(1, &random_bytes(64 * 1024));
    for client in &mut clients {
        client.send(&request[..60_000]);
    }
    wait_until("the server holds the burst", || server.memory("RssAnon") > CLIENTS as u64 * 60_000);
    // Held for longer than a second, which used to be how long the trimmer remembered.
    thread::sleep(Duration::from_millis(1_500));
    drop(clients);
    let mut after = 0;
    wait_until("the burst has gone back", || {
        talker.send(&frame(4, b"tick"));
        listener.expect(&frame(4, b"tick"));
        after = server.memory("RssAnon");
        after <= before + before / 10 + MIB / 4
    });
    println!("anonymous memory: {before} before, {after} after");
}
