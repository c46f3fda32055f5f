//! The ways servers of this kind fail, each as its users would meet it. `docs/testing.md` has the
//! whole list, the modes that other files test included.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rlimit::Resource;

use super::support::{
    Client, Folder, KernelSocket, Observer, Server, Transport, crowd, error, frame, random_bytes,
    wait_until,
};

/// As many connections as `n`.
fn connect_all(server: &Server, n: usize) -> Vec<Client> {
    (0..n).map(|_| server.connect()).collect()
}

/// Processor time of the server's loop while `time` passes: a loop that spins is no event to wait
/// for.
fn processor_time_in(server: &Server, time: Duration) -> Duration {
    let before = server.processor_time();
    thread::sleep(time);
    server.processor_time() - before
}

/// A connection that waits in the backlog keeps the listener readable. A server that tries again
/// at once does so for as long as no descriptor is free.
#[test]
fn accept_at_emfile_does_not_spin() {
    let server = Server::command(&[]);
    let mut first = server.connect();
    let mut second = server.connect();
    first.expect_alive();
    second.expect_alive();
    let pid = server.pid().cast_signed();
    let mut hard = 0;
    rlimit::prlimit(pid, Resource::NOFILE, None, Some((&mut 0, &mut hard))).unwrap();
    // A new descriptor gets the lowest number that is free, which has to be below the limit.
    let is_free = |number: &u64| !server.proc("fd").join(number.to_string()).is_symlink();
    let used_up = (0..).find(is_free).unwrap();
    rlimit::prlimit(pid, Resource::NOFILE, Some((used_up, hard)), None).unwrap();
    let mut third = server.connect();
    third.send(b"\x01\0\0\0\x05third");
    let mut fourth = server.connect();
    fourth.send(b"\x01\0\0\0\x06fourth");
    server.wait_for_line("cannot accept for now: too many open files");
    let spent = processor_time_in(&server, Duration::from_secs(1));
    assert!(spent < Duration::from_millis(100), "{spent:?} of a second");
    let lines = server.count_lines("cannot accept for now");
    assert!(lines <= 3, "said {lines} times");
    second.expect_alive();
    drop(first);
    third.expect(b"\x01\0\0\0\x05third");
    fourth.expect_silence(Duration::from_millis(300));
    drop(second);
    fourth.expect(b"\x01\0\0\0\x06fourth");
    third.expect_alive();
}

/// The edge comes once for all of them, and they are more than one turn accepts.
#[test]
fn burst_of_2000_connects_on_one_edge_is_accepted() {
    const BURST: usize = 2_000;
    let _guard = crowd(BURST);
    let server = Server::command(&[]);
    let mut before = server.connect();
    before.expect_alive();
    server.freeze();
    let mut clients = connect_all(&server, BURST);
    for client in &mut clients {
        client.send(b"\x01\0\0\0\x04here");
    }
    server.thaw();
    for client in &mut clients {
        client.expect(b"\x01\0\0\0\x04here");
    }
    assert_eq!(before.status().get("connections"), BURST as u64 + 1);
}

/// The read that returns the data is short. Whoever takes that for "drained" waits for an edge
/// that has been.
#[test]
fn short_read_does_not_lose_the_end_of_file() {
    const CLOSE_WAIT: u8 = 0x08;
    let server = Server::command(&[]);
    let mut half_closed = server.connect();
    let mut silent = server.connect();
    let mut gone = server.connect();
    for client in [&mut half_closed, &mut silent, &mut gone] {
        client.expect_alive();
    }
    server.freeze();
    half_closed.send(b"\x01\0\0\0\x04last");
    half_closed.half_close();
    silent.send(b"\x01\0\0\0\x04la");
    silent.half_close();
    gone.send(b"\x01\0\0\0\x04la");
    let closing = |client: &Client| {
        KernelSocket::serving(server.addr(0), client).is_some_and(|end| end.state == CLOSE_WAIT)
    };
    wait_until("both ends of file are here", || closing(&half_closed) && closing(&silent));
    drop(gone);
    server.thaw();
    half_closed.expect(b"\x01\0\0\0\x04last");
    half_closed.expect_eof();
    silent.expect_eof();
    wait_until("all are gone", || server.count_lines("disconnected: closed by peer") == 3);
}

/// The end of the input is known and stays readable; the replies wait for the client. Neither is a
/// reason to hang up, or to ask again and again.
#[test]
fn half_closed_client_is_neither_cut_nor_spun_on() {
    for &transport in Transport::ALL {
        half_close(transport);
    }
}

fn half_close(transport: Transport) {
    let server = transport.command(&[]);
    let mut client = server.connect_with_small_buffer();
    let requests = frame(1, &random_bytes(1_000_000)).repeat(3);
    client.send(&requests);
    client.half_close();
    let mut observer = server.connect();
    wait_until("all is read", || observer.status().get("bytes_in_total") > 3_000_000);
    observer.expect_alive();
    let spent = processor_time_in(&server, Duration::from_secs(1));
    assert!(spent < Duration::from_millis(50), "{spent:?} of a second");
    client.expect(&requests);
    client.expect_eof();
}

/// Frames that cost the server much to read and little to answer, so that pushing back does not
/// stop their sender, and a client that asks for 64 bytes at a time.
#[test]
fn flooders_do_not_starve_an_echo() {
    let server = Server::command(&[]);
    let mut probe = server.connect();
    let done = AtomicBool::new(false);
    let large = frame(99, &random_bytes(1_000_000));
    let small = frame(1, b"x").repeat(10_000);
    let latencies = thread::scope(|scope| {
        for bytes in [&large, &large, &small] {
            let flooder = server.connect();
            let (mut writer, mut reader) = (flooder.twin(), flooder);
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    writer.send(bytes);
                }
                writer.half_close();
            });
            scope.spawn(move || reader.discard_to_end());
        }
        wait_until("the flood has come", || probe.status().get("bytes_in_total") > 20_000_000);
        let mut latencies = Vec::new();
        let request = frame(1, &[b'.'; 64]);
        let began_at = Instant::now();
        while latencies.len() < 20 || began_at.elapsed() < Duration::from_secs(1) {
            let asked_at = Instant::now();
            probe.send(&request);
            probe.expect(&request);
            latencies.push(asked_at.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        latencies
    });
    let mut sorted = latencies;
    sorted.sort();
    let (median, worst) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    println!("{} echoes beside the flood, median {median:?}, worst {worst:?}", sorted.len());
    assert!(median < Duration::from_millis(100), "median {median:?}");
    assert!(worst < Duration::from_secs(2), "worst {worst:?}");
}

/// Everything happens in one batch: some leave in every way there is, those that linger make way
/// for others, and newcomers take their slots.
#[test]
fn stale_event_does_not_reach_the_next_connection() {
    const CLIENTS: usize = 120;
    let server = Server::command(&[]);
    let mut observer = server.connect();
    let mut tenants = connect_all(&server, CLIENTS);
    for round in 0..20 {
        for tenant in &mut tenants {
            tenant.expect_alive();
        }
        server.freeze();
        let mut staying = Vec::new();
        let mut leaving = Vec::new();
        for (number, mut tenant) in tenants.drain(..).enumerate() {
            match number % 5 {
                0 => tenant.abort(),
                1 => drop(tenant),
                2 => {
                    tenant.send(b"\x03\0\0\0\0and more that nobody reads");
                    leaving.push(tenant);
                }
                3 => {
                    tenant.send(b"\x01\0\0\0\x04hal");
                    tenant.half_close();
                    leaving.push(tenant);
                }
                _ => staying.push(tenant),
            }
        }
        let mut newcomers = connect_all(&server, CLIENTS - staying.len());
        for (number, client) in staying.iter_mut().chain(&mut newcomers).enumerate() {
            client.send(&frame(1, format!("{round} {number}").as_bytes()));
        }
        server.thaw();
        for (number, client) in staying.iter_mut().chain(&mut newcomers).enumerate() {
            client.expect_frame(1, &format!("{round} {number}"));
        }
        for client in &mut leaving {
            client.read_until_cut();
        }
        tenants = staying;
        tenants.append(&mut newcomers);
    }
    drop(tenants.split_off(CLIENTS / 2));
    wait_until("half are gone", || observer.status().get("connections") == 1 + CLIENTS as u64 / 2);
    for tenant in &mut tenants {
        tenant.expect_alive();
    }
}

/// Linux hands out connections that were reset while they waited; whatever is asked of them fails.
#[test]
fn aborted_connections_do_not_end_the_listener() {
    for full in [false, true] {
        let server = Server::command(if full { &["-m", "1"] } else { &[] });
        let mut first = server.connect();
        first.expect_alive();
        let files = server.open_files();
        server.freeze();
        let mut waiting = Vec::new();
        for number in 0..300 {
            let mut client = server.connect();
            if number % 50 == 49 {
                waiting.push(client);
                continue;
            }
            if number % 3 == 0 {
                client.send(b"\x01\0\0\0\x04gone");
            }
            client.abort();
        }
        server.thaw();
        for client in &mut waiting {
            if full {
                client.expect(&error("server is full: 1 clients"));
                client.expect_eof();
            } else {
                client.expect_alive();
            }
        }
        drop(waiting);
        first.expect_alive();
        wait_until("no descriptor is left over", || server.open_files() == files);
        drop(first);
        wait_until("there is room again", || {
            let mut client = server.connect();
            client.send(b"\x01\0\0\0\x04next");
            client.read_frame() == (1, b"next".to_vec())
        });
    }
}

/// Slowloris: places are held at the price of a byte now and then.
#[test]
fn slowloris_cannot_hold_a_full_server() {
    const PLACES: usize = 500;
    let _guard = crowd(PLACES);
    let server = Server::command(&["-m", "500", "--frame-timeout", "1"]);
    let mut tricklers = connect_all(&server, PLACES);
    let began_at = Instant::now();
    for trickler in &mut tricklers {
        trickler.send(b"\x01\0\0\0\xff");
    }
    for trickler in &mut tricklers[..PLACES - 1] {
        trickler.send(b".");
    }
    let mut honest = server.connect();
    honest.expect(&error("server is full: 500 clients"));
    wait_until("an honest client gets in", || {
        for trickler in &mut tricklers {
            trickler.try_send(b".");
        }
        // Their pace: a trickle, and no flood.
        thread::sleep(Duration::from_millis(50));
        honest = server.connect();
        honest.send(b"\x01\0\0\0\x05alive");
        honest.read_frame() == (1, b"alive".to_vec())
    });
    let held = began_at.elapsed();
    println!("{PLACES} tricklers held their places for {held:?}");
    assert!(held < Duration::from_secs(6), "{held:?}");
    wait_until("all of them are cut", || honest.status().get("connections") == 1);
}

/// The header says what will come, and the server takes nobody's word for it.
#[test]
fn length_bombs_cost_what_was_sent_not_declared() {
    const BOMBS: usize = 500;
    let _guard = crowd(BOMBS);
    let server = Server::command(&["--max-frame", "1073741824"]);
    let mut observer = server.connect();
    observer.expect_alive();
    let (resident, mapped) = (server.memory("VmHWM"), server.memory("VmPeak"));
    let mut bombs = connect_all(&server, BOMBS);
    let before = observer.status().get("bytes_in_total");
    for bomb in &mut bombs {
        bomb.send(b"\x01\x40\0\0\0");
        bomb.send(b"boom");
    }
    wait_until("all of it is read", || {
        let taken = observer.status().get("bytes_in_total") - before;
        taken >= 9 * BOMBS as u64
    });
    let resident = server.memory("VmHWM") - resident;
    let mapped = server.memory("VmPeak") - mapped;
    println!("{BOMBS} promises of 1 GiB: {resident} bytes resident, {mapped} mapped");
    assert!(resident < 2_000_000, "{resident} bytes resident");
    assert!(mapped < 16_000_000, "{mapped} bytes mapped");
}

#[test]
fn lengths_at_every_corner_are_taken_exactly() {
    for &transport in Transport::ALL {
        take_lengths(transport);
    }
}

fn take_lengths(transport: Transport) {
    const MAX: u32 = 1_048_576;
    let server = transport.command(&[]);
    let mut client = server.connect();
    for len in [0, 1, 255, 256, MAX - 1, MAX] {
        let request = frame(1, &random_bytes(len as usize));
        client.send(&request);
        client.expect(&request);
    }
    for len in [MAX + 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX] {
        for code in [1, 4] {
            let mut client = server.connect();
            client.send(b"\x01\0\0\0\x06before");
            client.send(&[&[code], len.to_be_bytes().as_slice()].concat());
            client.expect(b"\x01\0\0\0\x06before");
            let why = format!("frame of {len} bytes exceeds the limit of {MAX}");
            client.expect_frame(255, &why);
            client.expect_eof();
        }
    }
    client.expect_alive();
}

/// One message to many is one message in the log, whoever does not read.
#[test]
fn broadcast_to_200_slow_readers_is_stored_once() {
    for &transport in Transport::ALL {
        broadcast_to_slow_readers(transport);
    }
}

fn broadcast_to_slow_readers(transport: Transport) {
    const SUBSCRIBERS: usize = 200;
    const LOG: u64 = 2 << 20;
    let server = transport.command(&["--broadcast-log", "2097152"]);
    // What is sealed for each and has not been taken: one write, 64 KiB, where the socket was free.
    let sealed = if transport == Transport::Plain { 0 } else { SUBSCRIBERS as u64 * 66 * 1024 };
    let mut sender = server.connect();
    let non_readers: Vec<Client> =
        (0..SUBSCRIBERS).map(|_| server.connect_with_small_buffer()).collect();
    wait_until("all are in", || sender.status().get("connections") == 1 + SUBSCRIBERS as u64);
    let before = server.memory("VmHWM");
    let mut grown = 0;
    let mut sent = 0;
    while sender.status().get("slow_consumers_total") < SUBSCRIBERS as u64 {
        assert!(sent < 400, "they were never cut");
        sent += 1;
        let (code, _) = sender.ask(4, &[b'x'; 100_000]);
        assert_eq!(code, 1);
        grown = server.memory("VmHWM") - before;
        assert!(grown < 2 * LOG + sealed, "{grown} bytes after {sent} broadcasts");
    }
    eprintln!("{sent} broadcasts of 100 kB to {SUBSCRIBERS}: {grown} bytes more");
    drop(non_readers);
}

/// A pass of the fan-out visits 1,024 subscribers a turn, so these leave before, in and after it.
#[test]
fn fan_out_survives_members_that_leave_inside_it() {
    for &transport in Transport::ALL {
        fan_out_to_leaving_members(transport);
    }
}

fn fan_out_to_leaving_members(transport: Transport) {
    const SUBSCRIBERS: usize = 2_000;
    const BROADCASTS: usize = 40;
    let _guard = crowd(SUBSCRIBERS);
    let server = transport.command(&[]);
    let mut sender = server.connect();
    let mut subscribers = connect_all(&server, SUBSCRIBERS);
    wait_until("all are in", || sender.status().get("connections") == 1 + SUBSCRIBERS as u64);
    let broadcast = |number: usize| frame(4, format!("{number:0>100}").as_bytes());
    let first: Vec<u8> = (0..BROADCASTS).flat_map(broadcast).collect();
    let second: Vec<u8> = (BROADCASTS..2 * BROADCASTS).flat_map(broadcast).collect();

    // What everyone does is there at once, in one batch of events and the next.
    server.freeze();
    sender.send(&first);
    for client in subscribers.drain(..700) {
        client.abort();
    }
    for mut client in subscribers.drain(..300) {
        client.send(b"\x03\0\0\0\0");
    }
    server.thaw();
    for client in &mut subscribers {
        client.expect(&first);
    }

    // They leave while it runs.
    let leaving: Vec<Client> = subscribers.drain(..500).collect();
    thread::scope(|scope| {
        scope.spawn(|| leaving.into_iter().for_each(Client::abort));
        for broadcast in second.chunks(105) {
            sender.send(broadcast);
        }
    });
    for client in &mut subscribers {
        client.expect(&second);
    }
    for _ in 0..2 * BROADCASTS {
        assert_eq!(sender.read_frame().0, 1);
    }
    wait_until("those who left are gone", || {
        sender.status().get("connections") == 1 + subscribers.len() as u64
    });
    let count = subscribers.len().to_string();
    assert_eq!(sender.ask(4, b"last"), (1, count.into_bytes()));
    for client in &mut subscribers {
        client.expect(b"\x04\0\0\0\x04last");
        client.expect_alive();
    }
}

#[test]
fn stop_is_not_delayed_by_3000_idle_connections() {
    for &transport in Transport::ALL {
        stop_with_idle_connections(transport);
    }
}

fn stop_with_idle_connections(transport: Transport) {
    // Handshakes take the time, of which there is enough with fewer.
    let size = if transport == Transport::Plain { 3_000 } else { 500 };
    let _guard = crowd(size);
    let mut server = transport.command(&["--drain-timeout", "60"]);
    let mut herd = connect_all(&server, size);
    for client in &mut herd {
        client.expect_alive();
    }
    let began_at = Instant::now();
    assert_eq!(server.stop(), Some(0));
    let took = began_at.elapsed();
    eprintln!("{size} idle connections: stopped in {took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    for client in &mut herd {
        client.expect_eof();
    }
}

/// To the server, being stopped looks like a clock that jumps. These are more than one batch of
/// events, so most are found late by their timers before their bytes are found by an event.
#[test]
fn clock_jump_cuts_no_client_whose_bytes_arrived() {
    const CLIENTS: usize = 1_500;
    let _guard = crowd(CLIENTS);
    let server = Server::command(&["--frame-timeout", "2", "--idle-timeout", "2"]);
    let mut observer = server.connect();
    let mut clients = connect_all(&server, CLIENTS);
    for client in &mut clients {
        client.send(b"\x01\0\0\0\x04ha");
    }
    let mut asked = 0;
    wait_until("the halves are read", || {
        asked += 1;
        observer.status().get("bytes_in_total") == (7 * CLIENTS + 5 * asked) as u64
    });
    server.freeze();
    for client in &mut clients {
        client.send(b"lf");
    }
    observer.send(b"\x01\0\0\0\x04idle");
    // Longer than the timeouts: time is the subject.
    thread::sleep(Duration::from_millis(2_500));
    server.thaw();
    for client in &mut clients {
        client.expect(b"\x01\0\0\0\x04half");
    }
    observer.expect(b"\x01\0\0\0\x04idle");
    assert_eq!(server.count_lines("timeout"), 0);
}

/// The console is a pipe, its reader has stopped reading, and every message is logged.
#[test]
fn blocked_console_holds_up_nothing_else() {
    const MESSAGES: usize = 12_000;
    let folder = Folder::new();
    let (log, moved) = (folder.path("mynah.log"), folder.path("mynah.log.1"));
    let mut server = Server::unheard(&["-v", "-l", "command://127.0.0.1:0", "--log-file", &log]);
    let mut client = server.connect();
    let wait_for_text = |path: &str, text: &str| {
        wait_until(text, || fs::read_to_string(path).is_ok_and(|found| found.contains(text)));
    };
    let message = |number: usize| format!("message {number:05} {:=>80}", "");
    for first in (0..MESSAGES).step_by(20) {
        let batch = first..first + 20;
        let requests: Vec<u8> =
            batch.clone().flat_map(|number| frame(1, message(number).as_bytes())).collect();
        client.send(&requests);
        client.expect(&requests);
        // No writer keeps up with a client for ever; the file's may be behind by 8,192 lines.
        if batch.end % 4_000 == 0 {
            wait_for_text(&log, &message(batch.end - 1));
        }
    }
    let text = fs::read_to_string(&log).unwrap();
    let logged = text.lines().filter(|line| line.contains(" ECHO: \"message "));
    assert_eq!(logged.count(), MESSAGES);
    assert!(!text.contains("dropped"));
    fs::rename(&log, &moved).unwrap();
    server.signal(Signal::SIGHUP);
    wait_until("a new file", || fs::metadata(&log).is_ok());
    client.ask(1, b"after the hangup");
    wait_for_text(&log, "after the hangup");
    drop(client);
    let began_at = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert!(began_at.elapsed() < Duration::from_secs(8), "{:?}", began_at.elapsed());
    wait_for_text(&log, "[INFO] stopped");
}

#[test]
fn signals_by_the_thousand_disturb_no_echo() {
    const SIGNALS: usize = 10_000;
    let folder = Folder::new();
    let mut server = Server::command(&["--log-file", &folder.path("mynah.log")]);
    let mut client = server.connect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let requests = frame(1, &random_bytes(700)).repeat(50);
            let mut echoer = server.connect();
            while !done.load(Ordering::Relaxed) {
                echoer.send(&requests);
                echoer.expect(&requests);
            }
        });
        for number in 0..SIGNALS {
            server.signal(if number % 2 == 0 { Signal::SIGUSR1 } else { Signal::SIGHUP });
            if number % 10 == 0 {
                client.expect_alive();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let heard = server.count_lines("\"uptime_secs\"");
    println!("{SIGNALS} signals, {heard} lines of figures");
    assert!(heard > 0);
    client.expect_alive();
    drop(client);
    assert_eq!(server.stop(), Some(0));
}

/// Every way a connection goes wrong, over and over. `MYNAH_LONG=1` makes it 100,000 of them.
#[test]
fn descriptors_leak_on_no_error_path() {
    let wrongs = if std::env::var_os("MYNAH_LONG").is_some() { 100_000 } else { 10_000 };
    let server = Server::command(&["--max-frame", "5000", "--frame-timeout", "1"]);
    let full = Server::command(&["-m", "1"]);
    let mut observer = server.connect();
    let mut holder = full.connect();
    holder.expect_alive();
    observer.expect_alive();
    let files = [&server, &full].map(Server::open_files);
    let mut late: Vec<Client> = Vec::new();
    for number in 0..wrongs {
        let source = [127, 0, 0, 1 + (number % 16) as u8];
        let target = if number / 10 % 5 == 0 { &full } else { &server };
        let mut client = target.connect_from(source);
        match number % 10 {
            0 => client.abort(),
            1 => {
                client.try_send(b"\x01\0\0");
                client.abort();
            }
            2 => client.try_send(b"\x01\0\0\0\x09hal"),
            3 => {
                client.try_send(b"\x01\xff\xff\xff\xff");
                client.abort();
            }
            4 => client.try_send(b"\x03\0\0\0\0junk behind a QUIT"),
            5 => client.try_send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            6 => {
                client.try_send(&frame(1, &[b'.'; 4_000]));
                client.abort();
            }
            7 => {
                client.try_send(&frame(4, b"to whom it may concern"));
                client.abort();
            }
            8 => {
                client.try_send(b"\x02\0\0\0\x01\xff\x09\0\0\0\0\x01");
                client.half_close();
                client.read_until_cut();
            }
            _ => {
                client.try_send(b"\x01\0\0\0\x09late");
                late.push(client);
                if late.len() > 50 {
                    late.clear();
                }
            }
        }
    }
    for client in &mut late {
        client.read_until_cut();
    }
    drop(late);
    wait_until("all descriptors are back", || [&server, &full].map(Server::open_files) == files);
    assert_eq!(server.connect().status().get("connections"), 2);
    assert_eq!(holder.status().get("connections"), 1);
    println!("{wrongs} connections gone wrong, {} and {} descriptors", files[0], files[1]);
}

/// Each connection holds an unfinished frame of 64 KiB at the same time: 655 MB at least.
#[test]
fn memory_is_released_10_s_after_a_burst() {
    for &transport in Transport::ALL {
        release_a_burst(transport);
    }
}

fn release_a_burst(transport: Transport) {
    const LEN: usize = 64 * 1024;
    let count = if transport == Transport::Plain { 10_000 } else { 1_000 };
    let _guard = crowd(count);
    let server = transport.command(&[]);
    let mut observer = server.connect();
    let mut clients = connect_all(&server, count);
    wait_until("all are in", || observer.status().get("connections") == 1 + count as u64);
    let before = server.memory("RssAnon");
    let request = frame(1, &random_bytes(LEN));
    let (most, last) = request.split_at(request.len() - 1);
    for client in &mut clients {
        client.send(most);
    }
    let burst = (count * LEN) as u64;
    let mut held = 0;
    wait_until("the server holds the burst", || {
        held = server.memory("RssAnon");
        held > burst
    });
    // Half of them from the front, the others from the back: which block is freed last decides
    // what a heap can give back.
    let (front, back) = clients.split_at_mut(count / 2);
    for client in front.iter_mut().chain(back.iter_mut().rev()) {
        client.send(last);
        client.expect(&request);
    }
    // Over TLS the loop keeps a buffer for each side, and the heap some of what lay between states.
    let buffers = if transport == Transport::Plain { 0 } else { 1 << 20 };
    let over_at = Instant::now();
    let mut after = 0;
    wait_until("the burst has gone back", || {
        after = server.memory("RssAnon");
        after <= before + before / 10 + buffers
    });
    assert!(over_at.elapsed() < Duration::from_secs(10));
    eprintln!("anonymous memory: {before} before, {held} in the burst, {after} after");
}

/// Each piece is read before the next is sent, so the character is in two or more reads.
#[test]
fn text_split_inside_a_character_is_reversed_whole() {
    let server = Server::command(&[]);
    let mut observer = Observer::new(server.connect());
    let text = "aé€🦜z";
    let reversed: String = text.chars().rev().collect();
    let request = frame(2, text.as_bytes());
    let pairs = (5..request.len()).flat_map(|a| (a + 1..request.len()).map(move |b| (a, b)));
    for (first, second) in pairs {
        let mut client = server.connect();
        for piece in [&request[..first], &request[first..second]] {
            observer.until_read(piece.len(), || client.send(piece));
        }
        client.send(&request[second..]);
        client.expect(&frame(1, reversed.as_bytes()));
        client.half_close();
        client.expect_eof();
    }
}
