//! A node that goes, stops, stands still, is cut off or changes its listeners, as the others see it.

use std::collections::HashSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::process::{
    Node, Way, broadcast, next_broadcast, post, post_numbers, read_numbers, read_until, say,
    uptime, wait_until_claimed, wait_until_joined, wait_until_online, wait_until_receivers, within,
};
use crate::support::redis::{Redis, Value};
use crate::support::{Client, Server, mynah, wait_until};

/// A node that is gone is forgotten 3 s after its lease of 5 s at most.
const FORGOTTEN: Duration = Duration::from_secs(8);

/// Members of these numbers.
#[track_caller]
fn join_many(node: &Node, count: usize) -> Vec<Client> {
    (0..count).map(|number| node.join(&format!("nick{number:02}"))).collect()
}

/// Reads lines until so many have said that a member has left, and returns the members.
#[track_caller]
fn read_left(client: &mut Client, count: usize) -> Vec<String> {
    let mut left = Vec::new();
    while left.len() < count {
        let line = client.read_line();
        if let Some(nick) = line.strip_prefix("[SERVER] ").and_then(|l| l.strip_suffix(" left")) {
            left.push(nick.to_owned());
        }
    }
    left.sort_unstable();
    left
}

/// SPEC: one that is gone (killed) is forgotten at most 3 s after its lease ends, and its members are
/// said to have left. No ghosts.
#[test]
fn killed_node_leaves_no_ghosts() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let mut ann = a.join("ann");
    let clients = join_many(&b, 20);
    a.wait_until_members("b", 20);
    let _receiver = b.command();
    let mut sender = a.command();
    wait_until_receivers(&mut sender, 1);
    b.server.signal(Signal::SIGKILL);
    let left = within(FORGOTTEN, "forgetting", || read_left(&mut ann, 20));
    let expected: Vec<String> = (0..20).map(|number| format!("nick{number:02}")).collect();
    assert_eq!(left, expected, "each is named");
    assert_eq!(say(&mut ann, "/who"), "Online: ann");
    assert_eq!(sender.ask(4, b"to nobody"), (1, b"0".to_vec()));
    assert_eq!(a.nodes(), [("a".to_owned(), 1)]);
    assert_eq!(a.metric("nodes"), 1);
    a.server.wait_for_line("cluster: node b is gone");
    // Their names are free.
    let mut next = a.join("nick07");
    assert_eq!(ann.read_line(), "[SERVER] nick07 joined");
    assert_eq!(say(&mut next, "/msg nick08 hello"), "[ERROR] no such user: nick08");
    wait_until_claimed(&redis, 2);
    drop(clients);
}

/// SPEC: more than 20 that leave so together are one line, in both languages.
#[test]
fn many_members_of_a_killed_node_are_one_line() {
    let Some(redis) = Redis::start(&[]) else { return };
    let a = Node::start(&redis, "a");
    let b = Node::start(&redis, "b");
    let c = Node::start_with(&redis, "c", "?lang=ru", &[]);
    wait_until_joined(&[&a, &b, &c]);
    let _clients = join_many(&b, 21);
    a.wait_until_members("b", 21);
    c.wait_until_members("b", 21);
    let mut ann = a.join("ann");
    c.wait_until_members("a", 1);
    let mut eva = c.guest();
    assert_eq!(say(&mut eva, "Эва"), "[INFO] Добро пожаловать, Эва!");
    assert_eq!(ann.read_line(), "[SERVER] Эва joined");
    b.server.signal(Signal::SIGKILL);
    within(FORGOTTEN, "forgetting", || {
        assert_eq!(ann.read_line(), "[SERVER] 21 left (node b is gone)");
        assert_eq!(eva.read_line(), "[SERVER] ушли: 21 (узла b больше нет)");
    });
    assert_eq!(say(&mut ann, "/who"), "Online: ann, Эва");
    assert_eq!(say(&mut eva, "/who"), "В сети: ann, Эва");
}

/// SPEC: a node that stops says so: nobody waits for its lease.
#[test]
fn node_that_stops_says_so() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, mut b] = Node::start_all(&redis, ["a", "b"]);
    let _clients = join_many(&b, 25);
    a.wait_until_members("b", 25);
    let mut ann = a.join("ann");
    post(&mut ann, "still here");
    within(Duration::from_secs(1), "saying so", || {
        b.server.signal(Signal::SIGTERM);
        assert_eq!(ann.read_line(), "[SERVER] 25 left (node b is gone)");
    });
    assert_eq!(b.server.wait_exit().code(), Some(0));
    assert_eq!(say(&mut ann, "/who"), "Online: ann");
    assert_eq!(a.nodes().len(), 1);
    // Names are free at once.
    let _next = a.join("nick07");
    assert_eq!(ann.read_line(), "[SERVER] nick07 joined");
    // One that comes again by that name is another.
    let b = Node::start(&redis, "b");
    wait_until_joined(&[&a, &b]);
    b.wait_until_members("a", 2);
    let _bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    assert_eq!(a.metric("lost_total"), 0);
}

/// SPEC: a node renews its lease of 5 s every second; a killed node's ends by itself, that of one that
/// stops at once.
#[test]
fn lease_of_5_s_is_renewed_each_second() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let leases = || -> Vec<i64> {
        let Value::Array(keys) = redis.ask(&["KEYS", "{mynah}:lease:*"]) else { panic!("no keys") };
        let keys = keys.into_iter().map(|key| match key {
            Value::BulkString(key) => String::from_utf8(key).unwrap(),
            other => panic!("{other:?}"),
        });
        let left = keys.map(|key| match redis.ask(&["PTTL", &key]) {
            Value::Integer(left) => left,
            other => panic!("{other:?}"),
        });
        // One that has run out in between has none left.
        left.filter(|left| *left > 0).collect()
    };
    wait_until("each has one", || leases().len() == 2);
    let began_at = Instant::now();
    let (mut renewals, mut before) = (0, i64::MAX);
    wait_until("they are renewed", || {
        let left = leases().into_iter().min().unwrap();
        assert!(left <= 5_000, "{left}");
        renewals += usize::from(left > before);
        before = left;
        renewals >= 4
    });
    // Two nodes, so that the lesser of both rises twice a second at most.
    let took = began_at.elapsed();
    assert!(took > Duration::from_millis(900), "{took:?}");
    within(Duration::from_secs(5), "four renewals", || took);
    b.server.signal(Signal::SIGKILL);
    within(Duration::from_secs(5), "running out", || {
        wait_until("one is left", || leases().len() == 1);
    });
    let mut a = a;
    a.server.signal(Signal::SIGTERM);
    assert_eq!(a.server.wait_exit().code(), Some(0));
    assert_eq!(leases(), [0; 0]);
}

/// SPEC: a node that stood still for longer than its lease is told what it missed, is there again, and
/// nobody has a nickname twice.
#[test]
fn node_that_stood_still_is_there_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let (mut bob, mut eve) = (b.join("bob"), b.join("eve"));
    read_until(&mut ann, "[SERVER] eve joined");
    assert_eq!(bob.read_line(), "[SERVER] eve joined");
    b.server.freeze();
    let mut left = within(FORGOTTEN, "forgetting", || read_left(&mut ann, 2));
    left.sort_unstable();
    assert_eq!(left, ["bob", "eve"]);
    // Its names are free, while it is away.
    let mut usurper = a.join("Bob");
    assert_eq!(ann.read_line(), "[SERVER] Bob joined");
    post_numbers(&mut ann, 0..50);
    // What it had not read is still cut off.
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_until("a hears again", || a.is_connected());
    post_numbers(&mut ann, 50..100);
    wait_until("all is published", || a.metric("published_total") == 100);
    b.server.thaw();
    wait_until_joined(&[&a, &b]);
    // Its member has had the name for longer.
    let before = read_until(&mut usurper, "[ERROR] Bob is taken, choose another");
    assert!(before.iter().filter(|line| line.starts_with("[ann]: ")).count() == 100, "{before:?}");
    assert_eq!(say(&mut usurper, "usurper"), "[INFO] Welcome, usurper!");
    b.wait_until_members("a", 2);
    a.wait_until_members("b", 2);
    wait_until_claimed(&redis, 4);
    post(&mut ann, "end");
    for client in [&mut bob, &mut eve] {
        let heard = read_numbers(client, "ann", "end");
        assert_eq!(heard.total(), 100, "{heard:?}");
        wait_until_online(client, "ann, bob, eve, usurper");
    }
    post(&mut bob, "back");
    read_until(&mut ann, "[bob]: back");
    wait_until_online(&mut ann, "ann, bob, eve, usurper");
}

/// SPEC: one that is cut off is forgotten, serves its own clients, and is told what it missed when it is
/// back; what it published meanwhile comes.
#[test]
fn node_that_is_cut_off_comes_back() {
    let Some(redis) = Redis::start(&[]) else { return };
    let way = Way::new(&redis, "b");
    let a = Node::start(&redis, "a");
    let b = way.start("", &[]);
    wait_until_joined(&[&a, &b]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let (mut bob, mut eve) = (b.join("bob"), b.join("eve"));
    read_until(&mut ann, "[SERVER] eve joined");
    assert_eq!(bob.read_line(), "[SERVER] eve joined");
    way.cut();
    within(FORGOTTEN, "forgetting", || {
        assert_eq!(read_left(&mut ann, 2), ["bob", "eve"]);
    });
    read_until(&mut bob, "[SERVER] ann left");
    read_until(&mut eve, "[SERVER] ann left");
    b.wait_until_deaf();
    a.wait_until_ready();
    post_numbers(&mut ann, 0..5);
    post_numbers(&mut bob, 0..3);
    for number in 0..3 {
        assert_eq!(eve.read_line(), format!("[bob]: number {number}"), "at once");
    }
    way.mend();
    within(Duration::from_secs(6), "healing", || wait_until_joined(&[&a, &b]));
    a.wait_until_members("b", 2);
    b.wait_until_members("a", 1);
    post(&mut ann, "end");
    post(&mut bob, "end");
    let by_ann = read_numbers(&mut eve, "ann", "end");
    assert_eq!(by_ann.total(), 5, "{by_ann:?}");
    let by_bob = read_numbers(&mut ann, "bob", "end");
    assert_eq!(by_bob.total(), 3, "{by_bob:?}");
    wait_until_online(&mut ann, "ann, bob, eve");
}

/// SPEC: two nodes of one name are told apart by an incarnation drawn at start.
#[test]
fn nodes_of_one_name_are_told_apart() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = ["twin"; 3].map(|name| Node::start(&redis, name));
    wait_until_joined(&nodes.each_ref());
    let mut ann = nodes[0].join("ann");
    nodes[1].wait_until_members("twin", 1);
    let mut bob = nodes[1].join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    let _cat = nodes[2].join("cat");
    assert_eq!(ann.read_line(), "[SERVER] cat joined");
    read_until(&mut bob, "[SERVER] cat joined");
    for number in 0..100 {
        post(&mut bob, &format!("number {number}"));
    }
    for number in 0..100 {
        assert_eq!(ann.read_line(), format!("[bob]: number {number}"));
    }
    nodes[2].server.signal(Signal::SIGKILL);
    within(FORGOTTEN, "forgetting", || {
        assert_eq!(ann.read_line(), "[SERVER] cat left");
        assert_eq!(bob.read_line(), "[SERVER] cat left");
    });
    assert_eq!(say(&mut ann, "/who"), "Online: ann, bob");
    assert_eq!(nodes[0].metric("lost_total"), 0);
}

/// A node that has not read for a while hears 64 MiB of broadcasts in order, and answers its clients
/// meanwhile.
#[test]
fn backlog_of_64_mib_is_passed_on() {
    const SENT: usize = 1_024;
    let Some(redis) = Redis::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]) else {
        return;
    };
    let a = Node::start_with(&redis, "a", "", &["--send-queue", "134217728"]);
    // The client may read more slowly than the node.
    let b = Node::start_with(&redis, "b", "", &["--broadcast-log", "134217728"]);
    wait_until_joined(&[&a, &b]);
    let (mut sender, mut receiver) = (a.command(), b.command());
    wait_until_receivers(&mut sender, 1);
    broadcast(&mut sender, b"begin");
    assert_eq!(next_broadcast(&mut receiver), b"begin");
    b.server.freeze();
    let payload = vec![b'x'; 64 * 1024];
    for number in 0..SENT {
        broadcast(&mut sender, &[number.to_string().as_bytes(), b" ", &payload].concat());
    }
    assert_eq!(a.metric("dropped_total"), 0);
    b.server.thaw();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for number in 0..SENT {
                let payload = next_broadcast(&mut receiver);
                let start = format!("{number} ");
                assert!(payload.starts_with(start.as_bytes()), "not number {number}");
            }
        });
        within(Duration::from_secs(2), "an echo", || b.get("/status"));
        reader.join().unwrap();
    });
    assert_eq!(b.metric("lost_total"), 0);
    assert_eq!(b.metric("received_total"), a.metric("published_total"));
}

/// SPEC: the rooms of `chat` listeners span all nodes: those that a reload adds, and those that it
/// removes no more.
#[test]
fn reload_adds_and_removes_rooms() {
    let Some(redis) = Redis::start(&[]) else { return };
    let base = format!(
        "[server]\ncluster = redis+unix://{}?node=b\n\
         [chat]\nport = 0\n[command]\nport = 0\n[admin]\nport = 0\n",
        redis.socket()
    );
    let with_attic = format!("{base}[chat attic]\nport = 0\nname = attic\n");
    let file = redis.folder().file("b.conf", &base);
    let server = Server::start_as(mynah().args(["-c", &file, "--no-plugins"]), 3);
    let b = Node { server, name: "b".to_owned() };
    let a = Node::start_with(&redis, "a", "?name=attic", &[]);
    wait_until_joined(&[&a, &b]);
    let mut ann = a.join("ann");
    // Whoever has been there for a while knows what it has missed of others: not what was said before
    // it had the room.
    wait_until("b has been there for a while", || uptime(&b) >= 4);
    for round in 1..=3 {
        post_numbers(&mut ann, 0..5);
        fs::write(&file, &with_attic).unwrap();
        b.server.signal(Signal::SIGHUP);
        wait_until("it is reloaded", || b.server.count_lines("] reloaded") == 2 * round - 1);
        let lines = b.server.log();
        let line = lines.iter().rev().find(|line| line.contains(" listening on chat://")).unwrap();
        let addr = line.split_once("chat://").unwrap().1.parse().unwrap();
        b.wait_until_members("a", 1);
        let mut bob = Client::connect(addr);
        assert_eq!(say(&mut bob, "Ann"), "[ERROR] Ann is taken, choose another");
        assert_eq!(say(&mut bob, "bob"), "[INFO] Welcome, bob!");
        assert_eq!(ann.read_line(), "[SERVER] bob joined");
        assert_eq!(say(&mut bob, "/who"), "Online: ann, bob");
        post(&mut ann, "hello");
        assert_eq!(bob.read_line(), "[ann]: hello");
        post(&mut bob, "hi");
        assert_eq!(ann.read_line(), "[bob]: hi");
        fs::write(&file, &base).unwrap();
        b.server.signal(Signal::SIGHUP);
        assert_eq!(bob.read_line(), "[INFO] The server has shut down");
        bob.expect_eof();
        drop(bob);
        assert_eq!(ann.read_line(), "[SERVER] bob left");
        wait_until("it is reloaded", || b.server.count_lines("] reloaded") == 2 * round);
        assert_eq!(say(&mut ann, "/who"), "Online: ann");
        b.wait_until_members("a", 0);
        // The name is free.
        let mut next = a.join("bob");
        assert_eq!(ann.read_line(), "[SERVER] bob joined");
        post(&mut next, "/quit");
        assert_eq!(ann.read_line(), "[SERVER] bob left");
    }
    assert_eq!(a.metric("lost_total") + b.metric("lost_total"), 0);
}

/// SPEC: no ghosts: neither of a room whose listener a reload moves to another address, nor of one that
/// it gives another name.
#[test]
fn reload_moves_and_renames_a_room() {
    let Some(redis) = Redis::start(&[]) else { return };
    let config = |chat: &str| {
        format!(
            "[server]\ncluster = redis+unix://{}?node=b\n\
             [chat]\nport = 0\n{chat}[command]\nport = 0\n[admin]\nport = 0\n",
            redis.socket()
        )
    };
    let file = redis.folder().file("b.conf", &config("host = 127.0.0.1\n"));
    let server = Server::start_as(mynah().args(["-c", &file, "--no-plugins"]), 3);
    let b = Node { server, name: "b".to_owned() };
    let a = Node::start(&redis, "a");
    wait_until_joined(&[&a, &b]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    wait_until("b has been there for a while", || uptime(&b) >= 4);
    fs::write(&file, config("host = 127.0.0.2\n")).unwrap();
    b.server.signal(Signal::SIGHUP);
    assert_eq!(bob.read_line(), "[INFO] The server has shut down");
    bob.expect_eof();
    assert_eq!(ann.read_line(), "[SERVER] bob left");
    let line = b.server.wait_for_line("listening on chat://127.0.0.2:");
    let addr = line.split_once("chat://").unwrap().1.parse().unwrap();
    b.wait_until_members("a", 1);
    let _next = a.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    let mut cat = Client::connect(addr);
    assert_eq!(say(&mut cat, "cat"), "[INFO] Welcome, cat!");
    assert_eq!(ann.read_line(), "[SERVER] cat joined");
    wait_until_online(&mut cat, "ann, bob, cat");
    assert_eq!(say(&mut ann, "/who"), "Online: ann, bob, cat");
    post(&mut ann, "hello");
    assert_eq!(cat.read_line(), "[ann]: hello");
    fs::write(&file, config("host = 127.0.0.2\nname = attic\n")).unwrap();
    b.server.signal(Signal::SIGHUP);
    assert_eq!(ann.read_line(), "[SERVER] cat left");
    assert_eq!(read_left(&mut cat, 2), ["ann", "bob"]);
    assert_eq!(say(&mut cat, "/who"), "Online: cat");
    assert_eq!(say(&mut ann, "/who"), "Online: ann, bob");
    let _next = a.join("cat");
    assert_eq!(ann.read_line(), "[SERVER] cat joined");
    assert_eq!(a.metric("lost_total") + b.metric("lost_total"), 0);
}

/// SPEC: the same serves several mynahs on one machine that share a port with `reuse_port=yes`.
#[test]
fn nodes_on_one_port_are_one_server() {
    let Some(redis) = Redis::start(&[]) else { return };
    let start = |name: &str, port: u16| {
        let engine = format!("redis+unix://{}?node={name}", redis.socket());
        let chat = format!("chat://127.0.0.1:{port}?reuse_port=yes");
        let listeners = ["-l", &chat, "-l", "command://127.0.0.1:0", "-l", "admin://127.0.0.1:0"];
        let own = [&listeners[..], &["--no-plugins", "--cluster", &engine]].concat();
        Node { server: Server::start_as(mynah().args(own), 3), name: name.to_owned() }
    };
    let a = start("a", 0);
    let b = start("b", a.server.addr(0).port());
    wait_until_joined(&[&a, &b]);
    // The odds against one of them having all are 2^40.
    let mut clients: Vec<Client> = (0..40).map(|n| a.join(&format!("nick{n:02}"))).collect();
    let counts = [&a, &b].map(|node| node.nodes()[0].1);
    assert!(counts.iter().sum::<u64>() == 40 && !counts.contains(&0), "{counts:?}");
    let all: HashSet<String> = (0..40).map(|n| format!("nick{n:02}")).collect();
    a.wait_until_members("b", counts[1]);
    b.wait_until_members("a", counts[0]);
    post(&mut clients[0], "hello");
    for client in &mut clients[1..] {
        read_until(client, "[nick00]: hello");
        post(client, "/who");
    }
    for client in &mut clients[1..] {
        let online = client.read_line();
        let nicks = online.strip_prefix("Online: ").unwrap().split(", ");
        assert_eq!(nicks.map(str::to_owned).collect::<HashSet<_>>(), all);
    }
    assert!(say(&mut a.guest(), "NICK07").starts_with("[ERROR] NICK07 is taken"));
}
