//! Bounds in sum: what many clients together may cost in memory and in time.

use std::cell::Cell;
use std::rc::Rc;

use allocation_counter::measure;
use mynah::clock::Millis;
use mynah::limits::{Limits, REVERSE_SLICE_BYTES, VISIT_BYTES_CROWDED};
use mynah::protocol::Protocol;
use mynah::protocol::chat::Lang;

use crate::support::frame;
use crate::{LIMITS, ROOMY, Scene};

/// A reply of so many bytes, header included, that nobody takes.
fn keep_waiting(scene: &mut Scene, client: usize, bytes: usize) {
    scene.send(client, &frame(1, &vec![7; bytes - 5]));
    scene.settle();
}

/// The network gives most clients one address; those numbered 5 and 6 have one each.
const OTHER_ADDRESS: usize = 5;

#[test]
fn memory_limit_cuts_the_address_that_holds_most_its_largest_connection_first() {
    let limits = Limits { memory_bytes_max: 300_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let clients: Vec<usize> = (0..8).map(|_| scene.connect(1)).collect();
    keep_waiting(&mut scene, clients[OTHER_ADDRESS], 90_000);
    for (n, &client) in clients[..4].iter().enumerate() {
        keep_waiting(&mut scene, client, 30_000 + n * 1_000);
    }
    assert!(clients.iter().all(|&client| !scene.is_closed(client)));
    keep_waiting(&mut scene, clients[4], 80_000);
    assert!(scene.is_closed(clients[4]), "the largest of the address with most");
    let others = [0, 1, 2, 3, 5, 6, 7];
    assert!(others.iter().all(|&client| !scene.is_closed(client)));
    assert!(scene.server.memory().is_relieved());
    assert_eq!(scene.server.stats().memory_cuts_total, 1);
}

/// Even where the limit is nothing, who holds nothing is served.
#[test]
fn memory_limit_cuts_nobody_who_holds_nothing() {
    let mut scene = Scene::new(Limits { memory_bytes_max: 40_000, ..LIMITS }, 0);
    let (innocent, hog) = (scene.connect(ROOMY), scene.connect(1));
    for _ in 0..3 {
        scene.send(innocent, &frame(1, b"hi"));
        scene.settle();
        assert_eq!(scene.receive(innocent), frame(1, b"hi"));
    }
    scene.send(hog, &frame(1, &[7; 100_000])[..60_000]);
    scene.settle();
    assert!(scene.is_closed(hog), "the beginning of a frame is held as well");
    scene.send(innocent, &frame(1, b"still here"));
    scene.settle();
    assert_eq!(scene.receive(innocent), frame(1, b"still here"));
}

#[test]
fn memory_limit_holds_whatever_a_thousand_send_and_do_not_read() {
    let limits = Limits {
        clients_max: 1_000,
        memory_bytes_max: 1 << 20,
        send_queue_bytes_max: 8 << 20,
        ..LIMITS
    };
    let mut scene = Scene::new(limits, 0);
    let clients: Vec<usize> = (0..1_000).map(|_| scene.connect(100)).collect();
    let innocent = clients[999];
    for chunk in clients[..999].chunks(10) {
        for &client in chunk {
            if !scene.is_closed(client) {
                scene.send(client, &frame(7, b"").repeat(300));
            }
        }
        scene.round();
        assert!(scene.server.memory().used() <= limits.memory_bytes_max);
    }
    scene.settle();
    assert!(scene.server.stats().memory_cuts_total > 0);
    scene.send(innocent, &frame(1, b"hi"));
    scene.settle();
    assert_eq!(scene.receive_all(innocent), frame(1, b"hi"));
}

/// From three quarters of the limit on, who has replies waiting is not read from; who takes them
/// goes on, and so does everybody when there is room again.
#[test]
fn clients_that_do_not_read_are_not_read_from_while_memory_is_tight() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let (hog, client) = (scene.connect(1), scene.connect(1_000));
    keep_waiting(&mut scene, client, 5_000);
    keep_waiting(&mut scene, hog, 300_000);
    let read = scene.server.stats().bytes_in_total;
    scene.send(client, &frame(1, b"more"));
    scene.settle();
    assert_eq!(scene.server.stats().bytes_in_total, read, "nobody reads from it");
    // The hog takes enough; the client, which has taken nothing, is read from again.
    scene.network.borrow_mut().sockets[hog].to_client_max = ROOMY;
    assert_eq!(scene.receive_all(hog).len(), 300_000);
    scene.settle();
    assert_eq!(scene.server.stats().bytes_in_total, read + 9);
    assert_eq!(scene.receive_all(client).len(), 5_000 + 9);
}

/// Members that lag by most of a log of a mebibyte, and the sender that made them.
fn laggards(scene: &mut Scene, count: usize) -> (Vec<usize>, usize) {
    let members: Vec<usize> = (0..count)
        .map(|n| {
            let member = scene.connect(200);
            scene.send(member, format!("member{n:03}\n").as_bytes());
            scene.settle();
            member
        })
        .collect();
    let sender = scene.connect(ROOMY);
    scene.send(sender, b"sender\n");
    scene.settle();
    for member in &members {
        scene.receive_all(*member);
    }
    for n in 0..200 {
        scene.send(sender, format!("{n:04}{}\n", "x".repeat(3_990)).as_bytes());
        scene.settle();
    }
    (members, sender)
}

fn chat_with_a_long_log() -> Scene {
    let limits = Limits {
        clients_max: 100,
        broadcast_log_bytes_max: 1 << 20,
        send_queue_bytes_max: 4 << 20,
        ..LIMITS
    };
    Scene::speaking(&Protocol::Chat { lang: Lang::En }, 1, limits, 0)
}

#[test]
fn private_messages_to_laggards_copy_nothing_of_the_log_and_cut_nobody() {
    let mut scene = chat_with_a_long_log();
    let (members, sender) = laggards(&mut scene, 20);
    let cost = measure(|| {
        for n in 0..members.len() {
            scene.send(sender, format!("/msg member{n:03} psst\n").as_bytes());
        }
        scene.send(sender, b"last\n");
        scene.settle();
    });
    assert!(cost.bytes_max < 100_000, "{} bytes for 20 short messages", cost.bytes_max);
    for member in members {
        scene.network.borrow_mut().sockets[member].to_client_max = 16 << 20;
        let heard = String::from_utf8(scene.receive_all(member)).unwrap();
        let lines: Vec<&str> = heard.lines().collect();
        assert_eq!(lines.len(), 202);
        for (n, line) in lines[..200].iter().enumerate() {
            assert!(line.starts_with(&format!("[sender]: {n:04}x")), "{n}: {line:.30}");
        }
        assert_eq!(lines[200..], ["[PM] sender: psst", "[sender]: last"], "in the order spoken");
    }
    assert_eq!(scene.server.stats().slow_consumers_total, 0);
}

#[test]
fn private_messages_cut_a_recipient_only_when_they_fill_its_send_queue() {
    let mut scene = Scene::chat(Limits { send_queue_bytes_max: 20_000, ..LIMITS });
    let (slow, sender) = (scene.connect(1), scene.connect(ROOMY));
    scene.send(slow, b"slow\n");
    scene.send(sender, b"sender\n");
    scene.settle();
    let message = format!("/msg slow {}\n", "x".repeat(1_000));
    for sent in 1..=18 {
        scene.send(sender, message.as_bytes());
        scene.settle();
        assert!(!scene.is_closed(slow), "after {sent} of a thousand bytes");
    }
    for _ in 0..3 {
        scene.send(sender, message.as_bytes());
        scene.settle();
    }
    assert!(scene.is_closed(slow));
    assert_eq!(scene.server.stats().slow_consumers_total, 1);
}

/// Each has the rest of the log to come, and it stands there once.
#[test]
fn a_stop_does_not_copy_the_log_for_those_who_lag() {
    let mut scene = chat_with_a_long_log();
    let (members, _) = laggards(&mut scene, 20);
    let cost = measure(|| {
        scene.stop();
        scene.settle();
    });
    assert!(cost.bytes_max < 100_000, "{} bytes", cost.bytes_max);
    for member in members {
        scene.network.borrow_mut().sockets[member].to_client_max = 16 << 20;
        let heard = String::from_utf8(scene.receive_all(member)).unwrap();
        assert_eq!(heard.lines().count(), 201);
        assert!(heard.ends_with("[INFO] The server has shut down\n"));
    }
}

/// A reply to one that lags comes behind the broadcasts before it, also when it is the last.
#[test]
fn an_error_that_closes_a_laggard_comes_whole_behind_what_it_lagged() {
    let mut scene = Scene::new(Limits { send_queue_bytes_max: 1 << 20, ..LIMITS }, 0);
    let (laggard, other) = (scene.connect(100), scene.connect(ROOMY));
    let news = frame(4, &[b'n'; 900]);
    scene.send(other, &news.repeat(3));
    scene.settle();
    scene.send(laggard, &[frame(1, b"hi"), vec![1, 255, 255, 255, 255]].concat());
    scene.settle();
    scene.send(other, &frame(4, b"too late"));
    scene.settle();
    let why = b"frame of 4294967295 bytes exceeds the limit of 1048576";
    let expected = [news.repeat(3), frame(1, b"hi"), frame(255, why)].concat();
    assert_eq!(scene.receive_all(laggard), expected);
}

/// A clock that goes on by `step` microseconds whenever the server looks at it.
fn set_clock(scene: &mut Scene, step: u64) -> Rc<Cell<u64>> {
    let micros = Rc::new(Cell::new(0));
    let seen = Rc::clone(&micros);
    let look = move || {
        seen.set(seen.get() + step);
        seen.get()
    };
    scene.server.set_clock(Box::new(look), 4_096);
    micros
}

#[test]
fn a_turn_takes_ten_milliseconds_whatever_a_crowd_asks_for() {
    let limits = Limits { clients_max: 500, send_queue_bytes_max: 8 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let crowd: Vec<usize> = (0..400).map(|_| scene.connect(ROOMY)).collect();
    let innocent = scene.connect(ROOMY);
    let micros = set_clock(&mut scene, 100);
    for client in crowd {
        scene.send(client, &frame(7, b"").repeat(2_000));
    }
    for round in 0..100 {
        scene.send(innocent, &frame(1, b"hi"));
        let before = micros.get();
        scene.round();
        let took = micros.get() - before;
        assert!(took <= 12_000, "a turn took {took} µs");
        // The first time it waits for the first answers of all who came before it.
        if round > 60 {
            assert_eq!(scene.receive(innocent), frame(1, b"hi"), "round {round}");
        } else {
            scene.receive(innocent);
        }
    }
    assert_eq!(scene.server.poll_timeout(scene.now), Some(0), "the crowd is not done yet");
}

#[test]
fn a_fan_out_stops_in_the_middle_of_a_page_and_goes_on_there() {
    let mut scene = Scene::new(Limits { clients_max: 1_000, ..LIMITS }, 0);
    let clients: Vec<usize> = (0..600).map(|_| scene.connect(ROOMY)).collect();
    let micros = set_clock(&mut scene, 500);
    scene.send(clients[0], &frame(4, b"news"));
    let mut rounds = 0;
    while clients[1..]
        .iter()
        .any(|&client| scene.network.borrow().sockets[client].to_client.is_empty())
    {
        let before = micros.get();
        scene.round();
        assert!(micros.get() - before <= 6_000);
        rounds += 1;
        assert!(rounds < 500);
    }
    assert!(rounds > 20, "{rounds} rounds");
    for &client in &clients[1..] {
        assert_eq!(scene.receive(client), frame(4, b"news"));
    }
}

#[test]
fn senders_take_turns_for_room_in_the_log() {
    let mut scene = Scene::new(LIMITS, 0);
    let (flooder, other, witness) =
        (scene.connect(ROOMY), scene.connect(ROOMY), scene.connect(ROOMY));
    const FLOOD: usize = 20_000;
    scene.send(flooder, &frame(4, b"").repeat(FLOOD));
    scene.round();
    scene.send(other, &frame(4, b"me too"));
    let mut rounds = 0;
    while scene.receive(other).windows(6).all(|six| six != frame(1, b"2")) {
        scene.round();
        rounds += 1;
        assert!(rounds < 20, "it is still waiting");
    }
    let done = scene.receive(flooder).len() / 6;
    assert!(done < FLOOD / 2, "{done} broadcasts of the flood came first");
    scene.settle();
    scene.receive(flooder);
    let heard = scene.receive_all(witness);
    assert_eq!(heard.len(), FLOOD * 5 + 11);
}

/// Each of three that wait has its turn within a round, in the order they came.
#[test]
fn senders_that_wait_are_let_in_in_the_order_they_came() {
    let mut scene = Scene::new(LIMITS, 0);
    let senders: Vec<usize> = (0..3).map(|_| scene.connect(ROOMY)).collect();
    let witness = scene.connect(ROOMY);
    let payload = |n: usize| vec![b'a' + n as u8; 1_000];
    for (n, &sender) in senders.iter().enumerate() {
        scene.send(sender, &frame(4, &payload(n)).repeat(12));
    }
    scene.settle();
    let heard = scene.receive_all(witness);
    let order: Vec<u8> = heard.chunks(1_005).map(|broadcast| broadcast[5]).collect();
    assert_eq!(order.len(), 36);
    for (n, sender) in [b'a', b'b', b'c'].into_iter().enumerate() {
        assert_eq!(order.iter().filter(|&&s| s == sender).count(), 12);
        let last_first = order.iter().position(|&s| s == sender).unwrap();
        assert!(last_first <= 4 * (n + 1), "{} waited for {last_first}", sender as char);
    }
}

/// The bytes of a frame that came in pieces are its answer: nothing is copied.
#[test]
fn a_long_echo_takes_no_more_memory_than_its_frame() {
    const LEN: usize = 6_000_000;
    let protocol = Protocol::Command { frame_len_max: 8 << 20 };
    let limits = Limits { send_queue_bytes_max: 1 << 20, ..LIMITS };
    for code in [1, 2] {
        let mut scene = Scene::speaking(&protocol, 1, limits, 0);
        let client = scene.connect(1);
        let request = frame(code, &vec![b'x'; LEN]);
        for piece in request.chunks(50_000) {
            scene.send(client, piece);
            scene.settle();
        }
        let held = scene.server.memory().used();
        assert!(held <= LEN * 11 / 10, "{held} bytes are held for a frame of {LEN}");
        scene.network.borrow_mut().sockets[client].to_client_max = 16 << 20;
        assert_eq!(scene.receive_all(client), frame(1, &vec![b'x'; LEN]));
    }
}

#[test]
fn a_long_reverse_is_worked_on_in_slices_between_which_others_are_served() {
    const SLICES: usize = 3;
    let protocol = Protocol::Command { frame_len_max: 8 << 20 };
    let limits = Limits { send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::speaking(&protocol, 1, limits, 0);
    let (client, other) = (scene.connect(16 << 20), scene.connect(ROOMY));
    let text = "é€x".repeat(SLICES * REVERSE_SLICE_BYTES / 6);
    let request = frame(2, text.as_bytes());
    let (most, rest) = request.split_at(request.len() - 10);
    scene.send(client, most);
    scene.settle();
    scene.send(client, &[rest, &frame(1, b"next")].concat());
    let mut rounds = 0;
    while scene.network.borrow().sockets[client].to_client.is_empty() {
        scene.send(other, &frame(1, b"hi"));
        scene.round();
        assert_eq!(scene.receive(other), frame(1, b"hi"));
        rounds += 1;
    }
    assert!(rounds >= 2 * SLICES, "{rounds} rounds");
    scene.settle();
    let reversed: String = text.chars().rev().collect();
    let expected = [frame(1, reversed.as_bytes()), frame(1, b"next")].concat();
    assert_eq!(scene.receive_all(client), expected);
}

#[test]
fn a_long_reverse_that_is_not_utf_8_at_its_end_is_refused_whole() {
    let protocol = Protocol::Command { frame_len_max: 8 << 20 };
    let mut scene = Scene::speaking(&protocol, 1, LIMITS, 0);
    let client = scene.connect(ROOMY);
    let mut text = vec![b'x'; 2 * REVERSE_SLICE_BYTES];
    text.extend(b"\xe2\x82");
    for piece in [frame(2, &text), frame(1, b"next")].concat().chunks(50_000) {
        scene.send(client, piece);
        scene.settle();
    }
    let why = format!("REVERSE needs UTF-8: invalid byte at offset {}", 2 * REVERSE_SLICE_BYTES);
    let expected = [frame(255, why.as_bytes()), frame(1, b"next")].concat();
    assert_eq!(scene.receive_all(client), expected);
}

/// A first visit is short where more have events than there is time for.
#[test]
fn an_event_that_waited_is_served_before_those_who_ask_for_much() {
    let limits = Limits { clients_max: 50, send_queue_bytes_max: 8 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 0);
    let crowd: Vec<usize> = (0..20).map(|_| scene.connect(ROOMY)).collect();
    let innocent = scene.connect(ROOMY);
    // Any look finds the time over.
    set_clock(&mut scene, 10_000);
    for &client in &crowd {
        scene.send(client, &frame(7, b"").repeat(5_000));
    }
    scene.send(innocent, &frame(1, b"hi"));
    let mut rounds = 0;
    while scene.receive(innocent).is_empty() {
        scene.round();
        rounds += 1;
        if rounds == 1 {
            // The first was served before the time was over, the second had waited.
            let answered = scene.receive(crowd[1]).len();
            assert!((1..=2 * VISIT_BYTES_CROWDED).contains(&answered), "{answered} bytes at first");
        }
        assert!(rounds <= crowd.len() + 2, "it waits for more than the first answers of others");
    }
}

#[test]
fn a_client_whose_deadline_comes_while_memory_is_tight_is_not_late() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 10_000);
    let (hog, client) = (scene.connect(1), scene.connect(1_000));
    keep_waiting(&mut scene, client, 5_000);
    keep_waiting(&mut scene, hog, 300_000);
    scene.send(client, &frame(1, b"more"));
    scene.now = Millis(20_000);
    scene.settle();
    assert!(!scene.is_closed(client) && !scene.is_closed(hog));
}

/// The first of its messages fills the queue of one whose stream has room. The others have their
/// places all the same.
#[test]
fn private_messages_of_a_visit_keep_their_places_where_they_fill_a_send_queue() {
    for unfinished in [&b""[..], b"half a li"] {
        let mut scene = Scene::chat(Limits { broadcast_log_bytes_max: 1 << 20, ..LIMITS });
        let [recipient, first, second] = ["recipient", "first", "second"].map(|nick| {
            let client = scene.connect(ROOMY);
            scene.send(client, format!("{nick}\n").as_bytes());
            scene.settle();
            client
        });
        scene.receive_all(recipient);
        scene.send(recipient, unfinished);
        scene.settle();
        let long = |len| format!("/msg recipient {}\n", "x".repeat(len));
        scene.send(first, long(3_500).as_bytes());
        let more = "one\n/msg recipient psst\ntwo\n";
        scene.send(second, (long(1_000) + more).as_bytes());
        scene.settle();
        let heard = String::from_utf8(scene.receive_all(recipient)).unwrap();
        let lines: Vec<&str> = heard.lines().skip(2).collect();
        assert_eq!(lines, ["[second]: one", "[PM] second: psst", "[second]: two"]);
    }
}

/// The time it was not read from is no silence of its client's, neither while memory is tight nor
/// when it is tight no more.
#[test]
fn a_client_that_was_silent_while_memory_was_tight_is_not_idle_afterwards() {
    let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
    let mut scene = Scene::new(limits, 10_000);
    let (hog, client) = (scene.connect(1), scene.connect(1_000));
    keep_waiting(&mut scene, client, 5_000);
    keep_waiting(&mut scene, hog, 300_000);
    scene.now = Millis(20_000);
    scene.settle();
    scene.network.borrow_mut().sockets[hog].to_client_max = ROOMY;
    assert_eq!(scene.receive_all(hog).len(), 300_000);
    scene.settle();
    assert!(!scene.is_closed(client), "it was not read from");
    scene.now = Millis(30_001);
    scene.settle();
    assert!(scene.is_closed(client), "it has been read from, and was silent");
}

/// The same of a frame that has begun: it has the time it had left, and no more.
#[test]
fn the_clock_of_a_frame_stands_still_while_memory_is_tight() {
    for rest in [&b""[..], b"more"] {
        let limits = Limits { memory_bytes_max: 400_000, send_queue_bytes_max: 1 << 20, ..LIMITS };
        let mut scene = Scene::new(limits, 0);
        let (hog, client) = (scene.connect(1), scene.connect(1_000));
        keep_waiting(&mut scene, client, 5_000);
        scene.send(client, &frame(1, &[7; 100])[..50]);
        scene.settle();
        keep_waiting(&mut scene, hog, 300_000);
        for now in [Millis(20_000), Millis(30_000)] {
            scene.now = now;
            scene.send(client, rest);
            scene.settle();
        }
        scene.network.borrow_mut().sockets[hog].to_client_max = ROOMY;
        scene.network.borrow_mut().sockets[client].to_client_max = ROOMY;
        assert_eq!(scene.receive_all(hog).len(), 300_000);
        assert_eq!(scene.receive_all(client).len(), 5_000);
        scene.now = Millis(32_999);
        scene.settle();
        assert!(scene.receive_all(client).is_empty());
        scene.now = Millis(33_001);
        scene.settle();
        assert_eq!(scene.receive_all(client), frame(255, b"frame incomplete after 3 s"));
    }
}

/// All listeners share the time there is for accepting, and none has what another leaves.
#[test]
fn a_listener_is_not_kept_waiting_by_a_storm_at_another() {
    let limits = Limits { clients_max: 2_000, ..LIMITS };
    let mut scene = Scene::with_listeners(2, limits, 0);
    set_clock(&mut scene, 100);
    let connect =
        |scene: &mut Scene, listener| scene.network.borrow_mut().connect(listener, 1_000, 1_000);
    for _ in 0..1_000 {
        connect(&mut scene, 0);
    }
    let others: Vec<usize> = (0..100).map(|_| connect(&mut scene, 1)).collect();
    others.iter().for_each(|&client| scene.send(client, &frame(1, b"hi")));
    let mut rounds = 0;
    while others.iter().any(|&client| scene.network.borrow().sockets[client].to_client.is_empty()) {
        scene.round();
        rounds += 1;
        assert!(rounds <= 30, "they are still waiting");
    }
    assert!(scene.server.sockets() < 1_000, "the storm is over");
}
