//! Chat: lines, departures, shares of the log, private messages.

use allocation_counter::measure;
use mynah::internal::limits::{CHAT_LOG_BYTES_MIN, Limits};

use super::{AMPLE, LIMITS, Scenario, add_laggards, chat_with_a_long_log};

/// Simulation seed 783: the rest of a long line became a message, and the next line was dropped.
#[test]
fn oversized_line_ends_at_its_end_when_deferred() {
    let mut scenario = Scenario::chat(LIMITS);
    let client = scenario.connect(200);
    let long = "x".repeat(10_000);
    let lines = format!("ann\n{}{long}\n/msg\n", "/help\n".repeat(40));
    scenario.send(client, lines.as_bytes());
    scenario.run_until_idle();
    let answer = scenario.receive_all(client);
    let answer = String::from_utf8(answer).unwrap();
    let end = "[ERROR] message over 4096 bytes\n[ERROR] usage: /msg USER TEXT\n";
    assert!(answer.ends_with(end), "{answer}");
}

/// A client that leaves cannot be made to wait, as a speaker can; its departure is kept instead.
#[test]
fn every_departure_is_announced_when_the_log_is_full() {
    const DEPARTING: usize = 700;
    let mut scenario = Scenario::chat(Limits { clients_max: 1_000, ..LIMITS });
    let witness = scenario.join("witness");
    let nick = |n: usize| format!("long-nickname{n:03}");
    let departing: Vec<usize> = (0..DEPARTING)
        .map(|n| {
            let socket = scenario.connect(AMPLE);
            scenario.send(socket, format!("{}\n", nick(n)).as_bytes());
            socket
        })
        .collect();
    scenario.run_until_idle();
    scenario.receive_all(witness);
    for socket in departing {
        scenario.network.borrow_mut().reset(socket);
    }
    scenario.run_until_idle();
    let heard = String::from_utf8(scenario.receive_all(witness)).unwrap();
    assert!(heard.len() > CHAT_LOG_BYTES_MIN, "more than the log holds");
    let mut heard: Vec<&str> = heard.lines().collect();
    heard.sort_unstable();
    let mut expected: Vec<String> =
        (0..DEPARTING).map(|n| format!("[SERVER] {} left", nick(n))).collect();
    expected.sort_unstable();
    assert_eq!(heard, expected);
}

/// Shares are counted in log bytes, which are more than the sender wrote: each line begins with a
/// nickname. A share exceeds what may wait unsent, which does not hold the speaker back: it would
/// lose its place every time.
#[test]
fn chat_sender_share_is_counted_in_log_bytes() {
    let mut scenario = Scenario::chat(LIMITS);
    let [listener, ann, bob] = ["listener", "ann", "bob"].map(|nick| scenario.join(nick));
    scenario.receive_all(listener);
    scenario.send(ann, &b"x\n".repeat(5_000));
    scenario.send(bob, &b"x\n".repeat(5_000));
    scenario.run_until_idle();
    let heard = String::from_utf8(scenario.receive_all(listener)).unwrap();
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines.len(), 10_000);
    let runs: Vec<usize> = lines.chunk_by(|a, b| a == b).map(|run| run.len() * 9).collect();
    // The first had the log to itself, and the last had nobody to share it with.
    let longest = runs[1..runs.len() - 1].iter().max().unwrap();
    assert!(*longest <= CHAT_LOG_BYTES_MIN / 2 + 9, "{runs:?}");
}

/// Simulation seed 208: a client that took everything at once was cut for messages that came
/// between two of its turns.
#[test]
fn writable_recipient_is_flushed_before_a_close() {
    let mut scenario = Scenario::chat(LIMITS);
    let [ann, bob] = ["ann", "bob"].map(|nick| scenario.join(nick));
    scenario.receive_all(bob);
    let text = "x".repeat(500);
    scenario.send(ann, format!("/msg bob {text}\n").repeat(100).as_bytes());
    scenario.run_until_idle();
    assert_eq!(scenario.server.stats().slow_consumers_total, 0);
    let heard = String::from_utf8(scenario.receive_all(bob)).unwrap();
    assert_eq!(heard, format!("[PM] ann: {text}\n").repeat(100));
}

#[test]
fn private_messages_to_laggards_copy_no_log() {
    let mut scenario = chat_with_a_long_log();
    let (members, sender) = add_laggards(&mut scenario, 20);
    let cost = measure(|| {
        for n in 0..members.len() {
            scenario.send(sender, format!("/msg member{n:03} psst\n").as_bytes());
        }
        scenario.send(sender, b"last\n");
        scenario.run_until_idle();
    });
    assert!(cost.bytes_max < 100_000, "{} bytes for 20 short messages", cost.bytes_max);
    for member in members {
        scenario.network.borrow_mut().sockets[member].to_client_max = 16 << 20;
        let heard = String::from_utf8(scenario.receive_all(member)).unwrap();
        let lines: Vec<&str> = heard.lines().collect();
        assert_eq!(lines.len(), 202);
        for (n, line) in lines[..200].iter().enumerate() {
            assert!(line.starts_with(&format!("[sender]: {n:04}x")), "{n}: {line:.30}");
        }
        assert_eq!(lines[200..], ["[PM] sender: psst", "[sender]: last"], "in the order spoken");
    }
    assert_eq!(scenario.server.stats().slow_consumers_total, 0);
}

#[test]
fn private_messages_cut_only_a_full_recipient() {
    let mut scenario = Scenario::chat(Limits { send_queue_bytes_max: 20_000, ..LIMITS });
    let (slow, sender) = (scenario.connect(1), scenario.connect(AMPLE));
    scenario.send(slow, b"slow\n");
    scenario.send(sender, b"sender\n");
    scenario.run_until_idle();
    let message = format!("/msg slow {}\n", "x".repeat(1_000));
    for sent in 1..=18 {
        scenario.send(sender, message.as_bytes());
        scenario.run_until_idle();
        assert!(!scenario.is_closed(slow), "after {sent} of a thousand bytes");
    }
    for _ in 0..3 {
        scenario.send(sender, message.as_bytes());
        scenario.run_until_idle();
    }
    assert!(scenario.is_closed(slow));
    assert_eq!(scenario.server.stats().slow_consumers_total, 1);
}

/// The first message of the visit fills the recipient's queue, though its stream takes more. The
/// others keep their places all the same.
#[test]
fn private_messages_keep_their_places_in_the_log() {
    for unfinished in [&b""[..], b"half a li"] {
        let mut scenario = Scenario::chat(Limits { broadcast_log_bytes_max: 1 << 20, ..LIMITS });
        let [recipient, first, second] =
            ["recipient", "first", "second"].map(|nick| scenario.join(nick));
        scenario.receive_all(recipient);
        scenario.send(recipient, unfinished);
        scenario.run_until_idle();
        let long = |len| format!("/msg recipient {}\n", "x".repeat(len));
        scenario.send(first, long(3_500).as_bytes());
        let more = "one\n/msg recipient psst\ntwo\n";
        scenario.send(second, (long(1_000) + more).as_bytes());
        scenario.run_until_idle();
        let heard = String::from_utf8(scenario.receive_all(recipient)).unwrap();
        let lines: Vec<&str> = heard.lines().skip(2).collect();
        assert_eq!(lines, ["[second]: one", "[PM] second: psst", "[second]: two"]);
    }
}
