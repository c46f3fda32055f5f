//! Clients that do not read: TCP pushes back, and the server's memory stays bounded.

use std::thread;

use super::support::{KernelSocket, Server, frame, random_bytes};

#[test]
fn client_that_never_reads_is_not_read_from() {
    let server = Server::command(&[]);
    let mut observer = server.connect();
    let mut client = server.connect();
    let mut bytes = Vec::new();
    let body = random_bytes(65_536);
    for number in 0..1_600u32 {
        bytes.extend(frame(1, &[&number.to_be_bytes(), body.as_slice()].concat()));
    }
    assert!(bytes.len() > 100_000_000);
    let sent = client.send_until_blocked(&bytes);
    assert!(sent < bytes.len() / 2, "{sent} bytes were taken");
    observer.expect_alive();
    let taken = observer.status().get("bytes_in_total") as usize;
    assert!(taken < sent, "TCP pushes back: {taken} of {sent}");
    let mut writer = client.twin();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&bytes[sent..]));
        client.expect(&bytes);
    });
    client.expect_alive();
    let peak = server.memory("VmHWM");
    assert!(peak < 40_000_000, "{peak} bytes");
}

/// Bytes the server has taken in are those its kernel has taken out, and those that wait in its
/// queue.
#[test]
fn half_a_send_queue_unsent_stops_the_reading() {
    const SEND_QUEUE: usize = 1 << 20;
    const FRAME: usize = 300_005;
    let server = Server::command(&["--send-queue", "1048576"]);
    let mut observer = server.connect();
    let mut client = server.connect_with_small_buffer();
    let bytes = frame(1, &random_bytes(300_000)).repeat(100);
    client.send_until_blocked(&bytes);
    let status = observer.status();
    let taken = status.get("bytes_in_total") as usize - 5;
    let given = status.get("bytes_out_total") as usize;
    let answered = (status.get("frames_in_total") as usize - 1) * FRAME;
    let waiting = answered - given;
    assert!(waiting >= SEND_QUEUE / 2, "{waiting} bytes wait");
    assert!(waiting <= SEND_QUEUE + FRAME, "{waiting} bytes wait");
    assert!(taken <= given + SEND_QUEUE + 2 * FRAME, "{taken} bytes read");
    let unread = KernelSocket::serving(server.addr(0), &client).unwrap().unread;
    assert!(unread > 0, "more has come, and is not read");
}
