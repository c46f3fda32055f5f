//! The engine in trouble, and nodes that go on: their clients are served, what is lost is known, and
//! all heals by itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::{
    Node, broadcast, connections, kill, next_broadcast, post, post_numbers, read_numbers,
    read_until, say, subscribers, uptime, wait_until_claimed, wait_until_joined, wait_until_online,
    wait_until_receivers, within,
};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, Value};
use crate::support::{Client, Server, frame, mynah, wait_until};

/// A join is answered within so long, whatever the engine does.
const JOINED: Duration = Duration::from_secs(2);

/// All is well so long after the engine is.
const HEALED: Duration = Duration::from_secs(6);

/// Two nodes with a member each, who know of each other: `ann` on a, `bob` on b.
struct Pair {
    a: Node,
    b: Node,
    ann: Client,
    bob: Client,
}

impl Pair {
    #[track_caller]
    fn start(redis: &Redis) -> Pair {
        Pair::start_at(&redis.socket(), &redis.socket())
    }

    /// Nodes with engines at these paths; b speaks Russian.
    #[track_caller]
    fn start_at(path_of_a: &str, path_of_b: &str) -> Pair {
        let a = Node::start_at(path_of_a, "a", "", &[]);
        let b = Node::start_at(path_of_b, "b", "?lang=ru", &[]);
        wait_until_joined(&[&a, &b]);
        let mut ann = a.join("ann");
        b.wait_until_members("a", 1);
        let mut bob = b.guest();
        assert_eq!(say(&mut bob, "bob"), "[INFO] Добро пожаловать, bob!");
        assert_eq!(ann.read_line(), "[SERVER] bob joined");
        Pair { a, b, ann, bob }
    }

    /// Both nodes hear and are heard, and what was posted since `expected` is known by both: it came,
    /// or may have been missed.
    #[track_caller]
    fn expect_healed(&mut self, expected: [usize; 2]) {
        within(HEALED, "healing", || {
            wait_until_joined(&[&self.a, &self.b]);
        });
        post(&mut self.ann, "end");
        post(&mut self.bob, "end");
        let by_ann = read_numbers(&mut self.bob, "ann", "end");
        let by_bob = read_numbers(&mut self.ann, "bob", "end");
        assert_eq!([by_ann.total(), by_bob.total()], expected, "{by_ann:?} {by_bob:?}");
    }

    /// Names are one's own across the nodes, as the engine has them.
    #[track_caller]
    fn expect_own_names(&self, redis: &Redis) {
        wait_until_claimed(redis, 2);
        let mut guest = self.a.guest();
        for nick in ["bob", "BOB", "аnn"] {
            let refusal = format!("[ERROR] {nick} is taken, choose another");
            assert_eq!(say(&mut guest, nick), refusal);
        }
    }
}

/// A client of a node is served at once: with an echo, and with the posts of its own room.
#[track_caller]
fn expect_served(node: &Node) {
    node.command().expect_alive();
    let _ = node.get("/status");
}

/// SPEC: the engine restarts empty: joins are answered within 2 s meanwhile, else locally, and all heals
/// without a restart.
#[test]
fn killed_engine_holds_nobody_up() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    redis.kill();
    let mut cat = within(JOINED, "a join", || pair.a.join("cat"));
    assert_eq!(pair.ann.read_line(), "[SERVER] cat joined");
    // What this node knows has to do.
    let mut guest = pair.b.guest();
    let answer = within(JOINED, "a refusal", || say(&mut guest, "Ann"));
    assert_eq!(answer, "[ERROR] ник Ann занят, выберите другой");
    let answer = within(JOINED, "a join", || say(&mut guest, "dan"));
    assert_eq!(answer, "[INFO] Добро пожаловать, dan!");
    post_numbers(&mut pair.ann, 0..3);
    for number in 0..3 {
        assert_eq!(cat.read_line(), format!("[ann]: number {number}"), "at once");
    }
    post_numbers(&mut pair.bob, 0..5);
    expect_served(&pair.a);
    pair.a.wait_until_deaf();
    redis.restart();
    pair.expect_healed([3, 5]);
    wait_until_claimed(&redis, 4);
    for (node, nick) in [(&pair.a, "dan"), (&pair.b, "CAT"), (&pair.a, "bob"), (&pair.b, "ann")] {
        let answer = say(&mut node.guest(), nick);
        assert!(answer.starts_with("[ERROR] ") && answer.contains(nick), "{answer}");
    }
    wait_until_online(&mut cat, "ann, bob, cat, dan");
    pair.a.wait_until_ready();
    // The trouble is in the log once, and its end.
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.count_lines("; trying again"), 1, "{:#?}", node.server.log());
        assert_eq!(node.server.count_lines("connected to the engine"), 2);
    }
}

/// docs/cluster.md: who came while the engine was away is in `/who` of the other nodes a second or so
/// after it is back.
#[test]
fn members_of_an_outage_are_listed_soon() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut clients = Vec::new();
    let mut online = "ann".to_owned();
    for round in 0..4 {
        redis.kill();
        b.server.wait_for_line("; trying again");
        clients.push(b.join(&format!("nick{round}")));
        online += &format!(", nick{round}");
        redis.restart();
        within(HEALED, "healing", || wait_until_joined(&[&a, &b]));
        within(Duration::from_millis(1_500), "listing", || wait_until_online(&mut ann, &online));
    }
    assert_eq!(b.metric("lost_total"), 0);
}

/// SPEC: the engine restarts: again and again, and each heals.
#[test]
fn engine_that_flaps_is_followed() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    for round in 0..5 {
        redis.kill();
        post_numbers(&mut pair.ann, 10 * round..10 * round + 4);
        redis.restart();
        pair.expect_healed([4, 0]);
    }
    pair.expect_own_names(&redis);
}

/// SPEC: if a partition made two, the one that has been a member longer, as its own node counts, keeps
/// it: the other is told so and is without a nickname again.
#[test]
fn nickname_had_twice_stays_with_the_elder() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    redis.kill();
    pair.a.server.wait_for_line("; trying again");
    pair.b.server.wait_for_line("; trying again");
    let mut elder = pair.a.join("cat");
    // Members' ages are in seconds.
    let since = uptime(&pair.a);
    wait_until("the elder is some seconds older", || uptime(&pair.a) >= since + 3);
    let mut younger = pair.b.guest();
    assert_eq!(say(&mut younger, "Cat"), "[INFO] Добро пожаловать, Cat!");
    redis.restart();
    read_until(&mut younger, "[ERROR] ник Cat занят, выберите другой");
    assert_eq!(say(&mut younger, "kit"), "[INFO] Добро пожаловать, kit!");
    wait_until_claimed(&redis, 4);
    wait_until_joined(&[&pair.a, &pair.b]);
    post(&mut elder, "it is me");
    read_until(&mut younger, "[cat]: it is me");
    read_until(&mut pair.bob, "[cat]: it is me");
    read_until(&mut pair.ann, "[SERVER] kit joined");
    for client in [&mut pair.ann, &mut pair.bob] {
        wait_until("all are known", || {
            post(client, "/who");
            let mut line = client.read_line();
            while line.starts_with('[') {
                line = client.read_line();
            }
            line.ends_with(": ann, bob, cat, kit")
        });
    }
}

/// SPEC: a node that has not heard itself for 3 s is deaf, `/readyz` says so meanwhile, the loop never
/// waits for the engine, and what is lost is known.
#[test]
fn frozen_engine_makes_nodes_deaf() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    redis.freeze();
    post_numbers(&mut pair.ann, 0..7);
    let mut cat = within(JOINED, "a join", || pair.a.join("cat"));
    assert_eq!(pair.ann.read_line(), "[SERVER] cat joined");
    post_numbers(&mut pair.ann, 7..10);
    for number in 7..10 {
        assert_eq!(cat.read_line(), format!("[ann]: number {number}"), "at once");
    }
    pair.a.wait_until_deaf();
    pair.b.wait_until_deaf();
    expect_served(&pair.a);
    expect_served(&pair.b);
    redis.thaw();
    pair.expect_healed([10, 0]);
    pair.a.wait_until_ready();
    pair.b.wait_until_ready();
    wait_until_claimed(&redis, 3);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.count_lines("does not pass on what is published"), 1);
    }
}

/// SPEC: the gap is counted and logged, and chats are told `[INFO] N messages may have been missed`
/// (Russian `[INFO] возможно, пропущено сообщений: N`): those of their room.
#[test]
fn loss_is_told_with_its_number_in_both_languages() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    let c = Node::start(&redis, "c");
    wait_until_joined(&[&pair.a, &pair.b, &c]);
    c.wait_until_members("a", 1);
    c.wait_until_members("b", 1);
    let mut cat = c.join("cat");
    assert_eq!(pair.ann.read_line(), "[SERVER] cat joined");
    assert_eq!(pair.bob.read_line(), "[SERVER] cat теперь с нами");
    // Nobody hears what is published now.
    redis.set(&["ACL", "SETUSER", "default", "-subscribe"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(subscribers(&redis), 0);
    post_numbers(&mut pair.ann, 0..3);
    // Nor this one, which is no message of the room.
    broadcast(&mut pair.a.command(), b"unheard");
    wait_until("all is published", || pair.a.metric("published_total") == 4);
    redis.set(&["ACL", "SETUSER", "default", "+subscribe"]);
    within(HEALED, "healing", || {
        assert_eq!(pair.bob.read_line(), "[INFO] возможно, пропущено сообщений: 3");
        assert_eq!(cat.read_line(), "[INFO] 3 messages may have been missed");
    });
    wait_until_joined(&[&pair.a, &pair.b, &c]);
    wait_until("all losses are counted", || {
        [&pair.b, &c].iter().all(|node| node.metric("lost_total") == 4)
    });
    assert_eq!(pair.a.metric("lost_total"), 0);
    assert_eq!(c.status()["lost_total"], 4);
    c.server.wait_for_line("messages of other nodes that may have been missed: ");
    post(&mut cat, "hello");
    assert_eq!(pair.ann.read_line(), "[cat]: hello", "she has missed nothing");
    assert_eq!(pair.bob.read_line(), "[cat]: hello");
}

/// SPEC: where it is not known how many messages were missed, chats are told without a number: their
/// node has gone while nobody heard it.
#[test]
fn loss_without_a_number_is_told_in_both_languages() {
    let Some(redis) = Redis::start(&[]) else { return };
    let Pair { a, b, mut ann, mut bob } = Pair::start(&redis);
    let c = Node::start(&redis, "c");
    wait_until_joined(&[&a, &b, &c]);
    c.wait_until_members("a", 1);
    let mut cat = c.join("cat");
    assert_eq!(ann.read_line(), "[SERVER] cat joined");
    redis.set(&["ACL", "SETUSER", "default", "-subscribe"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(subscribers(&redis), 0);
    post_numbers(&mut ann, 0..3);
    wait_until("all is published", || a.metric("published_total") == 3);
    a.server.signal(Signal::SIGKILL);
    redis.set(&["ACL", "SETUSER", "default", "+subscribe"]);
    read_until(&mut bob, "[INFO] возможно, пропущены сообщения");
    read_until(&mut cat, "[INFO] messages may have been missed");
    for node in [&b, &c] {
        node.server.wait_for_line("that may have been missed: how many is not known");
        assert_eq!(node.metric("lost_total"), 0);
    }
    post(&mut cat, "end");
    read_until(&mut bob, "[cat]: end");
}

/// SPEC: each node must hear its own heartbeat: one whose subscriber has gone silent, while all else
/// goes on, is deaf after 3 s, and subscribes anew.
#[test]
fn silent_subscriber_is_connected_anew() {
    let Some(redis) = Redis::start(&[]) else { return };
    let proxy = Proxy::start(redis.folder().path("proxy.sock"), redis.socket(), 0);
    let mut pair = Pair::start_at(&redis.socket(), &proxy.path);
    let ids = |redis: &Redis| -> Vec<String> {
        let id = |line: &String| line.split(' ').next().unwrap().to_owned();
        connections(redis, "b").iter().map(id).collect()
    };
    let before = ids(&redis);
    proxy.mute_subscribers();
    post_numbers(&mut pair.ann, 0..4);
    post_numbers(&mut pair.bob, 0..2);
    pair.b.wait_until_deaf();
    expect_served(&pair.b);
    pair.expect_healed([4, 2]);
    pair.b.wait_until_ready();
    pair.a.wait_until_ready();
    assert_eq!(pair.b.server.count_lines("does not pass on what is published"), 1);
    assert_eq!(pair.b.metric("lost_total"), 4);
    let after = ids(&redis);
    let kept = before.iter().filter(|id| after.contains(id)).count();
    assert_eq!((kept, after.len()), (1, 2), "the other connection has had no trouble");
    pair.expect_own_names(&redis);
}

/// SPEC: the engine cuts the subscriber: it heals without a restart.
#[test]
fn cut_subscribers_come_back() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    for round in 0..3 {
        redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        post_numbers(&mut pair.ann, 10 * round..10 * round + 7);
        post_numbers(&mut pair.bob, 10 * round..10 * round + 2);
        within(HEALED, "healing", || {
            wait_until("both subscribe", || subscribers(&redis) == 2);
        });
        pair.expect_healed([7, 2]);
    }
    pair.expect_own_names(&redis);
}

/// SPEC: likewise the connection for commands: names are claimed anew after each reconnect.
#[test]
fn cut_commands_come_back() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    for round in 0..3 {
        redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        post_numbers(&mut pair.ann, 10 * round..10 * round + 7);
        let mut cat = within(JOINED, "a join", || pair.a.join("cat"));
        read_until(&mut pair.ann, "[SERVER] cat joined");
        within(HEALED, "healing", || {
            wait_until("both are there", || {
                ["a", "b"].iter().all(|node| connections(&redis, node).len() == 2)
            });
        });
        pair.expect_healed([7, 0]);
        wait_until_claimed(&redis, 3);
        post(&mut cat, "/quit");
        read_until(&mut pair.ann, "[SERVER] cat left");
        pair.expect_own_names(&redis);
    }
}

/// SPEC: the engine answers late: nothing is lost by that.
#[test]
fn late_engine_loses_nothing() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    redis.set(&["CLIENT", "PAUSE", "1500"]);
    post_numbers(&mut pair.ann, 0..20);
    let _cat = within(JOINED, "a join", || pair.a.join("cat"));
    post(&mut pair.ann, "end");
    let heard = read_numbers(&mut pair.bob, "ann", "end");
    assert_eq!((heard.numbers.len(), heard.missed, heard.unknown), (20, 0, 0));
}

/// SPEC: the engine answers too late: nodes are deaf, and heal.
#[test]
fn engine_that_pauses_for_long_is_waited_for() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut pair = Pair::start(&redis);
    redis.set(&["CLIENT", "PAUSE", "5000"]);
    post_numbers(&mut pair.ann, 0..20);
    pair.a.wait_until_deaf();
    let mut cat = within(JOINED, "a join", || pair.a.join("cat"));
    read_until(&mut pair.ann, "[SERVER] cat joined");
    post_numbers(&mut pair.ann, 20..22);
    assert_eq!(cat.read_line(), "[ann]: number 20");
    // No question is answered before.
    redis.ask(&["PING"]);
    pair.expect_healed([22, 0]);
    pair.a.wait_until_ready();
}

/// SPEC: the engine cuts the subscriber for its output buffer: what is lost is known exactly.
#[test]
fn burst_beyond_the_output_buffer_is_counted() {
    const SENT: usize = 600;
    let limit = ["--client-output-buffer-limit", "pubsub 64k 0 0"];
    let Some(redis) = Redis::start(&limit) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let (mut sender, mut receiver) = (a.command(), b.command());
    wait_until_receivers(&mut sender, 1);
    broadcast(&mut sender, b"begin");
    assert_eq!(next_broadcast(&mut receiver), b"begin");
    let before = a.metric("published_total");
    // It does not read meanwhile, for less than makes it gone.
    b.server.freeze();
    let payload = vec![b'x'; 8 * 1024];
    for number in 0..SENT {
        broadcast(&mut sender, &[number.to_string().as_bytes(), b" ", &payload].concat());
    }
    // Valkey's log hides whose connection it is.
    wait_until("its subscriber is cut", || connections(&redis, "b").len() == 1);
    assert!(redis.log().contains("output buffer limits"));
    b.server.thaw();
    wait_until("its subscriber is back", || connections(&redis, "b").len() == 2);
    let heard = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut numbers = Vec::new();
            loop {
                let payload = next_broadcast(&mut receiver);
                if payload == b"end" {
                    return numbers;
                }
                let text = String::from_utf8(payload).unwrap();
                numbers.push(text.split(' ').next().unwrap().parse::<usize>().unwrap());
            }
        });
        within(HEALED, "healing", || wait_until_joined(&[&a, &b]));
        broadcast(&mut sender, b"end");
        reader.join().unwrap()
    });
    assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
    let lost = b.metric("lost_total");
    assert!(lost > 0, "{} came", heard.len());
    assert_eq!(heard.len() as u64 + lost, SENT as u64, "{heard:?}");
    assert_eq!(a.metric("published_total") - before, SENT as u64 + 1);
    assert_eq!(a.metric("dropped_total"), 0);
}

/// SPEC: what waits to be published is bounded (`--send-queue`; beyond that dropped and counted).
#[test]
fn waiting_messages_are_bounded_and_counted() {
    const SENT: usize = 2_000;
    let Some(mut redis) = Redis::start(&[]) else { return };
    let small = ["--send-queue", "65536"];
    let a = Node::start_with(&redis, "a", "", &small);
    let b = Node::start(&redis, "b");
    wait_until_joined(&[&a, &b]);
    let (mut sender, mut receiver) = (a.command(), b.command());
    wait_until_receivers(&mut sender, 1);
    let mut bob = b.join("bob");
    broadcast(&mut sender, b"begin");
    assert_eq!(next_broadcast(&mut receiver), b"begin");
    redis.kill();
    // It is answered when the connection for commands is lost, whichever was lost first.
    drop(a.join("zed"));
    let payload = vec![b'x'; 1024];
    for _ in 0..SENT {
        broadcast(&mut sender, &payload);
    }
    let dropped = a.metric("dropped_total");
    let kept = SENT as u64 - dropped;
    assert!((900..1_024).contains(&kept), "{kept}: a mebibyte, whatever a client may leave unread");
    redis.restart();
    within(HEALED, "healing", || wait_until_joined(&[&a, &b]));
    broadcast(&mut sender, b"end");
    let mut heard = 0;
    while next_broadcast(&mut receiver) != b"end" {
        heard += 1;
    }
    assert_eq!(heard + b.metric("lost_total"), SENT as u64);
    assert!(b.metric("lost_total") >= dropped);
    post(&mut bob, "/who");
    let before = read_until(&mut bob, "Online: bob");
    assert!(
        before.iter().all(|line| line.starts_with("[SERVER] zed ")),
        "{before:?}: none was lost"
    );
}

/// SPEC: the engine answers errors: a user without rights heals when it has them, and is in the log
/// once.
#[test]
fn node_without_rights_heals_when_it_has_them() {
    let Some(redis) = Redis::start(&[]) else { return };
    redis.set(&["ACL", "SETUSER", "default", "-subscribe"]);
    let a = Node::start_early(&redis.socket(), "a", "", &[]);
    let b = Node::start_early(&redis.socket(), "b", "", &[]);
    let mut ann = within(JOINED, "a join", || a.join("ann"));
    for node in [&a, &b] {
        node.server.wait_for_line("answers NOPERM");
        node.wait_until_deaf();
        expect_served(node);
    }
    redis.set(&["ACL", "SETUSER", "default", "+subscribe"]);
    within(HEALED, "healing", || wait_until_joined(&[&a, &b]));
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    read_until(&mut ann, "[SERVER] bob joined");
    // Without scripts there are messages, and names by what a node knows.
    redis.set(&["ACL", "SETUSER", "default", "-evalsha"]);
    let mut cat = within(JOINED, "a join", || a.join("cat"));
    assert_eq!(bob.read_line(), "[SERVER] cat joined");
    assert_eq!(say(&mut b.guest(), "Cat"), "[ERROR] Cat is taken, choose another");
    redis.set(&["ACL", "SETUSER", "default", "+evalsha"]);
    wait_until_claimed(&redis, 3);
    // Without publications there are members and names.
    redis.set(&["ACL", "SETUSER", "default", "-publish"]);
    a.server.wait_for_line("the engine fails PUBLISH: NOPERM");
    post_numbers(&mut cat, 0..3);
    read_until(&mut ann, "[cat]: number 2");
    for node in [&a, &b] {
        node.wait_until_deaf();
    }
    redis.set(&["ACL", "SETUSER", "default", "+publish"]);
    within(HEALED, "healing", || {
        // A deaf node's subscriber is closed and opened again.
        a.wait_until_ready();
        b.wait_until_ready();
        wait_until_joined(&[&a, &b]);
    });
    post(&mut cat, "end");
    assert_eq!(read_numbers(&mut bob, "cat", "end").total(), 3);
    for node in [&a, &b] {
        assert_eq!(node.server.count_lines("answers NOPERM"), 1, "{:#?}", node.server.log());
        assert!(node.server.count_lines("fails PUBLISH") <= 1, "{:#?}", node.server.log());
    }
}

/// docs/cluster.md: the access control list there suffices.
#[test]
fn documented_access_control_list_suffices() {
    let Some(redis) = Redis::start(&[]) else { return };
    let manual = include_str!("../../docs/cluster.md");
    let (_, rest) = manual.split_once("user mynah on ").unwrap();
    let (list, _) = rest.split_once("```").unwrap();
    let rules = list.replace("PASSWORD", "s3cret");
    let rules: Vec<&str> = rules.split_whitespace().collect();
    redis.set(&[&["ACL", "SETUSER", "mynah", "on"], &rules[..]].concat());
    let password = redis.folder().file("password", "s3cret\n");
    let start = |node: &str| {
        let path = format!("{}?password_file={password}", redis.socket());
        let server_url = format!("redis+unix://mynah@{path}&node={node}");
        let listeners = ["chat", "command", "admin"].map(|name| format!("{name}://127.0.0.1:0"));
        let mut command = mynah();
        command.args(["--no-plugins", "--cluster", &server_url]);
        listeners.iter().for_each(|url| {
            command.args(["-l", url]);
        });
        Node { server: Server::start_as(&mut command, 3), name: node.to_owned() }
    };
    let (a, b) = (start("a"), start("b"));
    wait_until_joined(&[&a, &b]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    post(&mut bob, "/quit");
    assert_eq!(ann.read_line(), "[SERVER] bob left");
    let mut cat = b.join("bob");
    assert_eq!(say(&mut cat, "/msg ann hello"), "[PM to ann]: hello");
    // Names of a node that is gone are removed by the other.
    wait_until_claimed(&redis, 2);
    drop(b);
    read_until(&mut ann, "[SERVER] bob left");
    wait_until("its names are removed", || {
        redis.ask(&["HLEN", "{mynah}:nodes"]) == Value::Integer(1)
    });
    wait_until_claimed(&redis, 1);
    assert_eq!(a.server.count_lines("NOPERM"), 0, "{:#?}", a.server.log());
}

/// SPEC: the engine needs a password: another one at a reload heals.
#[test]
fn changed_password_heals_at_a_reload() {
    let Some(redis) = Redis::start(&[]) else { return };
    redis.set(&["ACL", "SETUSER", "mynah", "on", ">first", "~*", "&*", "+@all"]);
    let password = redis.folder().file("password", "first\n");
    let config = |node: &str| {
        let url = format!("redis+unix://mynah@{}?node={node}", redis.socket());
        let text = format!(
            "[server]\ncluster = {url}&password_file={password}\n\
             [chat]\nport = 0\n[command]\nport = 0\n[admin]\nport = 0\n"
        );
        redis.folder().file(&format!("{node}.conf"), &text)
    };
    let start = |node: &str| {
        let file = config(node);
        let server = Server::start_as(mynah().args(["-c", &file, "--no-plugins"]), 3);
        Node { server, name: node.to_owned() }
    };
    let (a, b) = (start("a"), start("b"));
    wait_until_joined(&[&a, &b]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    redis.set(&["ACL", "SETUSER", "mynah", "resetpass", ">second"]);
    for node in ["a", "b"] {
        connections(&redis, node).iter().for_each(|connection| kill(&redis, connection));
    }
    for node in [&a, &b] {
        node.server.wait_for_line("answers WRONGPASS");
        expect_served(node);
    }
    post_numbers(&mut ann, 0..3);
    fs::write(&password, "second\n").unwrap();
    for node in [&a, &b] {
        node.server.signal(Signal::SIGHUP);
        node.server.wait_for_line("the engine's password has changed");
    }
    within(HEALED, "healing", || wait_until_joined(&[&a, &b]));
    post(&mut ann, "end");
    let heard = read_numbers(&mut bob, "ann", "end");
    assert_eq!(heard.total(), 3, "{heard:?}");
    for node in [&a, &b] {
        assert_eq!(node.server.count_lines("WRONGPASS"), 1, "{:#?}", node.server.log());
    }
}

/// What nodes do while the engine refuses to write: messages cross, names are by what each knows, and
/// all is healed when `heal` has been done.
#[track_caller]
fn expect_read_only_engine_is_borne(
    redis: &Redis,
    word: &str,
    heal: impl FnOnce(),
    pair: &mut Pair,
) {
    pair.a.server.wait_for_line(word);
    pair.b.server.wait_for_line(word);
    let mut cat = within(JOINED, "a join", || pair.a.join("cat"));
    read_until(&mut pair.ann, "[SERVER] cat joined");
    read_until(&mut pair.bob, "[SERVER] cat теперь с нами");
    let mut guest = pair.b.guest();
    let answer = within(JOINED, "a refusal", || say(&mut guest, "Cat"));
    assert_eq!(answer, "[ERROR] ник Cat занят, выберите другой");
    post_numbers(&mut pair.ann, 0..3);
    post(&mut pair.ann, "end");
    assert_eq!(read_numbers(&mut pair.bob, "ann", "end").numbers, [0, 1, 2]);
    pair.a.wait_until_ready();
    heal();
    within(HEALED, "healing", || wait_until_claimed(redis, 3));
    pair.expect_healed([0, 0]);
    assert_eq!(say(&mut guest, "сat"), "[ERROR] ник сat занят, выберите другой");
    post(&mut cat, "/quit");
    pair.expect_own_names(redis);
    for node in [&pair.a, &pair.b] {
        for script in ["claim.lua", "renew.lua"] {
            let line = format!("fails {script}: ");
            assert!(node.server.count_lines(&line) <= 1, "{:#?}", node.server.log());
        }
    }
}

/// SPEC: the engine answers errors: `-OOM`.
#[test]
fn full_engine_is_borne() {
    let Some(redis) = Redis::start(&["--maxmemory-policy", "noeviction"]) else { return };
    let mut pair = Pair::start(&redis);
    redis.set(&["CONFIG", "SET", "maxmemory", "1"]);
    let heal = || redis.set(&["CONFIG", "SET", "maxmemory", "0"]);
    expect_read_only_engine_is_borne(&redis, "OOM", heal, &mut pair);
}

/// SPEC: the engine answers errors: `-MISCONF`.
#[test]
fn engine_that_cannot_save_is_borne() {
    let Some(redis) = Redis::start(&["--save", "3600 1"]) else { return };
    let mut pair = Pair::start(&redis);
    // A folder where the file should be.
    fs::create_dir(redis.folder().path("dump.rdb")).unwrap();
    redis.ask(&["BGSAVE"]);
    let heal = || redis.set(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    expect_read_only_engine_is_borne(&redis, "MISCONF", heal, &mut pair);
}

/// SPEC: the engine fails over: the nodes follow, and names are claimed anew.
#[test]
fn failover_is_followed() {
    let (Some(first), Some(second)) = (Redis::start_tcp(&[]), Redis::start_tcp(&[])) else {
        return;
    };
    let replicate = |replica: &Redis, master: &Redis| {
        replica.set(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    };
    // One path leads to the present master.
    let path = first.folder().path("master.sock");
    let lead_to = |master: &Redis| {
        let next = first.folder().path("next.sock");
        symlink(master.socket(), &next).unwrap();
        fs::rename(next, &path).unwrap();
    };
    lead_to(&first);
    replicate(&second, &first);
    let mut pair = Pair::start_at(&path, &path);
    for (old, new) in [(&first, &second), (&second, &first)] {
        new.set(&["REPLICAOF", "NO", "ONE"]);
        lead_to(new);
        replicate(old, new);
        post_numbers(&mut pair.ann, 0..5);
        post_numbers(&mut pair.bob, 0..3);
        // A subscriber that stays hears from the old one what the new one has, once that follows it.
        let passes_on = || match old.ask(&["INFO", "replication"]) {
            Value::BulkString(info) => info.escape_ascii().to_string().contains("_status:up"),
            other => panic!("{other:?}"),
        };
        let are_there = || ["a", "b"].iter().all(|node| !connections(new, node).is_empty());
        within(HEALED, "healing", || {
            wait_until("both hear the new master", || {
                let stay = || subscribers(new) + subscribers(old) == 2 && passes_on();
                subscribers(new) == 2 || are_there() && stay()
            });
        });
        pair.expect_healed([5, 3]);
        pair.expect_own_names(new);
    }
}

/// SPEC: a server that has become a replica, and is a master again, is used again.
#[test]
fn engine_that_was_a_replica_for_a_while_heals() {
    let (Some(redis), Some(other)) = (Redis::start_tcp(&[]), Redis::start_tcp(&[])) else { return };
    let mut pair = Pair::start(&redis);
    redis.set(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    pair.a.server.wait_for_line("READONLY");
    pair.b.server.wait_for_line("READONLY");
    let _cat = within(JOINED, "a join", || pair.a.join("cat"));
    read_until(&mut pair.ann, "[SERVER] cat joined");
    post_numbers(&mut pair.ann, 0..3);
    redis.set(&["REPLICAOF", "NO", "ONE"]);
    pair.expect_healed([3, 0]);
    wait_until_claimed(&redis, 3);
    for node in [&pair.a, &pair.b] {
        assert_eq!(node.server.count_lines("answers READONLY"), 1, "{:#?}", node.server.log());
    }
}

/// SPEC: the engine answers `-LOADING` for a while.
#[test]
fn loading_engine_is_waited_for() {
    let saves = ["--save", "3600 1", "--enable-debug-command", "yes"];
    let Some(mut redis) = Redis::start(&saves) else { return };
    redis.set(&["DEBUG", "POPULATE", "20000", "key", "100"]);
    let mut pair = Pair::start(&redis);
    redis.set(&["SAVE"]);
    redis.kill();
    // 100 µs a key, and it answers every few keys.
    redis.restart_with(&[
        "--key-load-delay",
        "100",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let _cat = within(JOINED, "a join", || pair.a.join("cat"));
    read_until(&mut pair.ann, "[SERVER] cat joined");
    post_numbers(&mut pair.ann, 0..3);
    wait_until("it has loaded", || !matches!(redis.ask(&["DBSIZE"]), Value::Error(_)));
    pair.expect_healed([3, 0]);
    // It has the names of the nodes' former connections, and knows they are void.
    wait_until_claimed(&redis, 3);
}

/// SPEC: the loop never waits for the engine: a client of a node whose engine is frozen is answered as
/// ever.
#[test]
fn frozen_engine_delays_no_client() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, _b] = Node::start_all(&redis, ["a", "b"]);
    let mut client = a.command();
    redis.freeze();
    within(Duration::from_secs(2), "2,000 broadcasts of 4 KiB", || {
        let payload = [b'x'; 4096];
        for _ in 0..2_000 {
            client.send(&frame(4, &payload));
            assert_eq!(client.read_frame().0, 1);
        }
    });
    redis.thaw();
}
