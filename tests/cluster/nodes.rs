//! Several nodes while all is well: broadcasts, one room, nicknames, order, languages, accounts.

use std::thread;

use crate::process::{
    Node, broadcast, next_broadcast, post, read_until, say, subscribers, wait_until_joined,
    wait_until_online, wait_until_receivers,
};
use crate::support::redis::{Redis, Value};
use crate::support::{Client, frame, wait_until};

/// SPEC: broadcasts of `command` listeners with the same name span all nodes. BROADCAST answers local
/// receivers plus what the other nodes last reported.
#[test]
fn broadcast_reaches_all_nodes_and_answers_the_sum() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = Node::start_all(&redis, ["a", "b", "c"]);
    let mut sender = nodes[0].command();
    let mut receivers = [&nodes[0], &nodes[1], &nodes[1], &nodes[2]].map(Node::command);
    wait_until_receivers(&mut sender, 4);
    assert_eq!(sender.ask(4, b"to all"), (1, b"4".to_vec()));
    for receiver in &mut receivers {
        assert_eq!(next_broadcast(receiver), b"to all");
    }
    // From another node, and not to its sender.
    let [.., back] = &mut receivers;
    wait_until_receivers(back, 4);
    assert_eq!(back.ask(4, b"back"), (1, b"4".to_vec()));
    back.expect_alive();
    assert_eq!(next_broadcast(&mut sender), b"back");
    for receiver in &mut receivers[..3] {
        assert_eq!(next_broadcast(receiver), b"back");
    }
}

/// SPEC: BROADCAST answers local receivers plus what the other nodes last reported: of what has changed
/// since it knows nothing.
#[test]
fn broadcast_answers_what_others_reported_last() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let (mut sender, _here) = (a.command(), a.command());
    let (first, _second) = (b.command(), b.command());
    wait_until_receivers(&mut sender, 3);
    redis.freeze();
    drop(first);
    wait_until("b serves one less", || {
        let (_, status) = b.get("/status");
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["listeners"][1]["connections"] == 1
    });
    assert_eq!(sender.ask(4, b"to all"), (1, b"3".to_vec()));
    redis.thaw();
    wait_until_receivers(&mut sender, 2);
}

/// Broadcasts of a turn travel together: the engine is asked to publish less often than they are many.
#[test]
fn broadcasts_of_a_turn_are_published_together() {
    const SENT: usize = 200;
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let (mut sender, mut receiver) = (a.command(), b.command());
    wait_until_receivers(&mut sender, 1);
    broadcast(&mut sender, b"begin");
    assert_eq!(next_broadcast(&mut receiver), b"begin");
    redis.set(&["CONFIG", "RESETSTAT"]);
    sender.send(&frame(4, b"x").repeat(SENT));
    for _ in 0..SENT {
        assert_eq!(next_broadcast(&mut receiver), b"x");
    }
    let Value::BulkString(stats) = redis.ask(&["INFO", "commandstats"]) else { panic!("no stats") };
    let stats = String::from_utf8(stats).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls=")).unwrap();
    let calls: usize = line.split(',').next().unwrap().parse().unwrap();
    assert!(calls < SENT / 4, "{calls} for {SENT}, heartbeats among them");
}

/// SPEC: Redis or Valkey: one that knows no RESP3, too.
#[test]
fn nodes_meet_over_an_engine_without_resp3() {
    let Some(redis) = Redis::start(&["--rename-command", "HELLO", ""]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    post(&mut bob, "hello");
    assert_eq!(ann.read_line(), "[bob]: hello");
    assert_eq!(say(&mut b.guest(), "аnn"), "[ERROR] аnn is taken, choose another");
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_until("both subscribe", || subscribers(&redis) == 2);
    wait_until_joined(&[&a, &b]);
    post(&mut ann, "hi");
    read_until(&mut bob, "[ann]: hi");
}

/// SPEC: the rooms of `chat` listeners with the same name span all nodes.
#[test]
fn rooms_of_one_name_are_one_room() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    post(&mut ann, "hello");
    assert_eq!(bob.read_line(), "[ann]: hello");
    post(&mut bob, "hi");
    assert_eq!(ann.read_line(), "[bob]: hi");
    assert_eq!(say(&mut ann, "/who"), "Online: ann, bob");
    assert_eq!(say(&mut bob, "/who"), "Online: ann, bob");
    assert_eq!(say(&mut ann, "/msg BOB psst"), "[PM to bob]: psst");
    assert_eq!(bob.read_line(), "[PM] ann: psst");
    assert_eq!(say(&mut ann, "/msg eve psst"), "[ERROR] no such user: eve");
    assert_eq!(a.nodes(), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    post(&mut bob, "/quit");
    assert_eq!(ann.read_line(), "[SERVER] bob left");
    assert_eq!(say(&mut ann, "/who"), "Online: ann");
    assert_eq!(a.nodes(), [("a".to_owned(), 1), ("b".to_owned(), 0)]);
}

/// SPEC: `/who` answers at once from replicated state: of members who came before the node, too.
#[test]
fn node_that_starts_later_knows_all_members() {
    let Some(redis) = Redis::start(&[]) else { return };
    let a = Node::start(&redis, "a");
    let mut clients: Vec<Client> = (0..300).map(|n| a.join(&format!("nick{n:03}"))).collect();
    let b = Node::start(&redis, "b");
    wait_until_joined(&[&a, &b]);
    let mut bob = b.join("bob");
    let mut nicks: Vec<String> = (0..300).map(|n| format!("nick{n:03}")).collect();
    nicks.insert(0, "bob".to_owned());
    wait_until_online(&mut bob, &nicks.join(", "));
    // Nobody has come for whoever was not there.
    post(&mut clients[7], "hello");
    assert_eq!(bob.read_line(), "[nick007]: hello");
}

/// SPEC: nicknames are one's own across all nodes, because likeness of names is more than equality of
/// keys.
#[test]
fn nickname_like_one_elsewhere_is_taken() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let paypal = a.join("paypal");
    let _strasse = a.join("Straße");
    b.wait_until_members("a", 2);
    let mut guest = b.guest();
    for nick in ["paypal", "PayPal", "раураl", "ｐａｙｐａｌ", "STRASSE"] {
        assert_eq!(say(&mut guest, nick), format!("[ERROR] {nick} is taken, choose another"));
    }
    // Likeness within one script is none.
    assert_eq!(say(&mut guest, "strassc"), "[INFO] Welcome, strassc!");
    drop(paypal);
    assert_eq!(guest.read_line(), "[SERVER] paypal left");
    assert_eq!(say(&mut b.guest(), "раураl"), "[INFO] Welcome, раураl!");
}

/// SPEC: nicknames are claimed atomically: of two that come at once, one has it.
#[test]
fn nickname_claimed_twice_at_once_is_had_once() {
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = Node::start_all(&redis, ["a", "b"]);
    for round in 0..50 {
        let nick = format!("racer{round}");
        let mut clients = nodes.each_ref().map(Node::guest);
        for client in &mut clients {
            post(client, &nick);
        }
        let answers = clients.each_mut().map(|client| client.read_line());
        let welcome = format!("[INFO] Welcome, {nick}!");
        let welcomes = answers.iter().filter(|answer| **answer == welcome).count();
        assert_eq!(welcomes, 1, "{answers:?}");
        let refusal = format!("[ERROR] {nick} is taken, choose another");
        assert!(answers.contains(&refusal), "{answers:?}");
    }
}

/// SPEC: to local clients at once, to others at most once, each publisher's order kept, no duplicates.
#[test]
fn order_of_a_publisher_is_kept_each_way() {
    const POSTS: usize = 1_000;
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    let mut listener = a.join("listener");
    assert_eq!(ann.read_line(), "[SERVER] listener joined");
    assert_eq!(bob.read_line(), "[SERVER] listener joined");
    let both = thread::scope(|scope| {
        let write = |client: &Client| {
            let mut writer = client.twin();
            scope.spawn(move || {
                for number in 0..POSTS {
                    post(&mut writer, &format!("number {number}"));
                }
            });
        };
        write(&ann);
        write(&bob);
        let read = |client: &mut Client, from: &str| {
            for number in 0..POSTS {
                assert_eq!(client.read_line(), format!("[{from}]: number {number}"));
            }
        };
        read(&mut ann, "bob");
        read(&mut bob, "ann");
        (0..2 * POSTS).map(|_| listener.read_line()).collect::<Vec<_>>()
    });
    for nick in ["ann", "bob"] {
        let start = format!("[{nick}]: number ");
        let numbers = both.iter().filter_map(|line| line.strip_prefix(&start));
        let expected: Vec<String> = (0..POSTS).map(|number| number.to_string()).collect();
        assert_eq!(numbers.collect::<Vec<_>>(), expected, "of {nick}");
    }
    post(&mut ann, "end");
    assert_eq!(bob.read_line(), "[ann]: end", "nothing came twice");
    assert_eq!(a.metric("lost_total") + b.metric("lost_total"), 0);
    assert_eq!(b.metric("received_total"), POSTS as u64 + 1);
}

/// SPEC: listeners with the same `name` are one: others are not.
#[test]
fn listeners_of_other_names_do_not_meet() {
    let Some(redis) = Redis::start(&[]) else { return };
    let a = Node::start_with(&redis, "a", "?name=lobby", &[]);
    let b = Node::start_with(&redis, "b", "?name=attic", &[]);
    let c = Node::start_with(&redis, "c", "?name=lobby", &[]);
    wait_until_joined(&[&a, &b, &c]);
    let mut ann = a.join("ann");
    // The name is free in the other room.
    let mut other = b.join("ann");
    c.wait_until_members("a", 1);
    let mut cat = c.join("cat");
    assert_eq!(ann.read_line(), "[SERVER] cat joined");
    post(&mut other, "hello attic");
    assert_eq!(say(&mut other, "/who"), "Online: ann");
    post(&mut ann, "hello lobby");
    assert_eq!(cat.read_line(), "[ann]: hello lobby");
    assert_eq!(say(&mut ann, "/who"), "Online: ann, cat");
    post(&mut cat, "bye");
    assert_eq!(ann.read_line(), "[cat]: bye");
    // `command` listeners have one name everywhere here, and meet.
    let (mut sender, _receiver) = (a.command(), b.command());
    wait_until_receivers(&mut sender, 1);
}

/// SPEC: `prefix=` is part of the URL: what another cluster says in the same engine is not heard.
#[test]
fn clusters_of_other_prefixes_do_not_meet() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let c = Node::start_at(&format!("{}?prefix=other", redis.socket()), "c", "", &[]);
    let mut ann = a.join("ann");
    let mut other = c.join("ann");
    b.wait_until_members("a", 1);
    let mut bob = b.join("bob");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    post(&mut other, "hello");
    post(&mut bob, "hi");
    assert_eq!(ann.read_line(), "[bob]: hi");
    assert_eq!(say(&mut other, "/who"), "Online: ann");
    assert_eq!((a.nodes().len(), c.nodes().len()), (2, 1));
}

/// SPEC: the messages of the room, in the language of each node.
#[test]
fn room_speaks_the_language_of_each_node() {
    let Some(redis) = Redis::start(&[]) else { return };
    let a = Node::start(&redis, "a");
    let b = Node::start_with(&redis, "b", "?lang=ru", &[]);
    wait_until_joined(&[&a, &b]);
    let mut ann = a.join("ann");
    b.wait_until_members("a", 1);
    let mut eva = b.guest();
    assert_eq!(say(&mut eva, "ANN"), "[ERROR] ник ANN занят, выберите другой");
    assert_eq!(say(&mut eva, "Эва"), "[INFO] Добро пожаловать, Эва!");
    assert_eq!(ann.read_line(), "[SERVER] Эва joined");
    let bob = a.join("bob");
    assert_eq!(eva.read_line(), "[SERVER] bob теперь с нами");
    assert_eq!(ann.read_line(), "[SERVER] bob joined");
    assert_eq!(say(&mut eva, "/who"), "В сети: ann, bob, Эва");
    assert_eq!(say(&mut eva, "/msg ann привет"), "[ЛС для ann]: привет");
    assert_eq!(ann.read_line(), "[PM] Эва: привет");
    drop(bob);
    assert_eq!(eva.read_line(), "[SERVER] bob ушёл");
}

/// SPEC: `/msg` reaches other nodes; not whoever has just left there.
#[test]
fn private_messages_cross_in_order() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let (mut ann, mut bob) = (a.join("ann"), b.join("bob"));
    read_until(&mut ann, "[SERVER] bob joined");
    b.wait_until_members("a", 1);
    let mut eve = b.join("eve");
    read_until(&mut bob, "[SERVER] eve joined");
    assert_eq!(ann.read_line(), "[SERVER] eve joined");
    for number in 0..100 {
        post(&mut ann, &format!("/msg bob number {number}"));
    }
    for number in 0..100 {
        assert_eq!(ann.read_line(), format!("[PM to bob]: number {number}"));
        assert_eq!(bob.read_line(), format!("[PM] ann: number {number}"));
    }
    post(&mut ann, "to all");
    assert_eq!(eve.read_line(), "[ann]: to all", "they were for bob alone");
}

/// SPEC: `/msg` reaches other nodes: a recipient who has left meanwhile is answered for.
#[test]
fn private_message_to_whoever_left_is_answered() {
    let Some(redis) = Redis::start(&[]) else { return };
    let [a, b] = Node::start_all(&redis, ["a", "b"]);
    let (mut ann, mut bob) = (a.join("ann"), b.join("bob"));
    read_until(&mut ann, "[SERVER] bob joined");
    b.wait_until_members("a", 1);
    redis.freeze();
    assert_eq!(say(&mut ann, "/msg bob psst"), "[PM to bob]: psst");
    post(&mut bob, "/quit");
    drop(bob);
    wait_until("he has left", || b.nodes()[0].1 == 0);
    redis.thaw();
    let before = read_until(&mut ann, "[ERROR] no such user: bob");
    assert!(before.iter().all(|line| line == "[SERVER] bob left"), "{before:?}");
}

/// SPEC: the take-over of an account reaches other nodes.
#[cfg(feature = "accounts")]
#[test]
fn login_takes_a_nickname_from_another_node() {
    use mynah::internal::accounts::{Hasher, Password, PasswordHash};
    let Some(redis) = Redis::start(&[]) else { return };
    let like = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8";
    let mut hasher = Hasher::new(PasswordHash::parse(like).unwrap().cost());
    let hash = hasher.hash(&Password::new(b"bob's password".to_vec()).unwrap()).unwrap();
    let file = |name: &str| redis.folder().file(name, &format!("bob:{hash}\n"));
    let (own, others) = (file("accounts-a"), file("accounts-b"));
    let a = Node::start_with(&redis, "a", "", &["--accounts", &own]);
    let b = Node::start_with(&redis, "b", "", &["--accounts", &others]);
    // It knows of no account.
    let c = Node::start(&redis, "c");
    wait_until_joined(&[&a, &b, &c]);
    let mut witnesses: Vec<Client> =
        [&a, &b, &c].iter().map(|node| node.join(&format!("witness-{}", node.name))).collect();
    for witness in &mut witnesses {
        wait_until_online(witness, "witness-a, witness-b, witness-c");
    }
    let mut guest = c.join("bob");
    for witness in &mut witnesses {
        read_until(witness, "[SERVER] bob joined");
    }
    let mut first = a.guest();
    assert_eq!(say(&mut first, "/login bob bob's password"), "[INFO] Welcome, bob!");
    read_until(&mut guest, "[INFO] bob logged in elsewhere");
    guest.expect_eof();
    let mut second = b.guest();
    assert_eq!(say(&mut second, "/login bob bob's password"), "[INFO] Welcome, bob!");
    read_until(&mut first, "[INFO] bob logged in elsewhere");
    first.expect_eof();
    // In this order on each node, whichever of the two it has heard first.
    let left_and_joined = ["[SERVER] bob left", "[SERVER] bob joined"];
    for witness in &mut witnesses {
        let lines: Vec<String> = (0..4).map(|_| witness.read_line()).collect();
        assert_eq!(lines, [&left_and_joined[..], &left_and_joined].concat());
    }
    let mut ann = a.join("ann");
    read_until(&mut second, "[SERVER] ann joined");
    post(&mut second, "it is me");
    read_until(&mut ann, "[bob]: it is me");
    for witness in &mut witnesses {
        let lines = [witness.read_line(), witness.read_line()];
        assert_eq!(lines, ["[SERVER] ann joined", "[bob]: it is me"]);
    }
    wait_until_online(&mut ann, "ann, bob, witness-a, witness-b, witness-c");
    assert_eq!(say(&mut second, "/who"), "Online: ann, bob, witness-a, witness-b, witness-c");
}

/// SPEC: at most once, no duplicates: broadcasts of many senders on three nodes.
#[test]
fn broadcasts_of_all_nodes_come_once_and_in_order() {
    const EACH: usize = 300;
    let Some(redis) = Redis::start(&[]) else { return };
    let nodes = Node::start_all(&redis, ["a", "b", "c"]);
    let mut senders = nodes.each_ref().map(Node::command);
    let mut receivers = nodes.each_ref().map(Node::command);
    for sender in &mut senders {
        wait_until_receivers(sender, 5);
    }
    for number in 0..EACH {
        for (at, sender) in senders.iter_mut().enumerate() {
            sender.send(&frame(4, format!("{at} {number}").as_bytes()));
        }
    }
    for receiver in &mut receivers {
        let mut next = [0; 3];
        for _ in 0..3 * EACH {
            let payload = String::from_utf8(next_broadcast(receiver)).unwrap();
            let (from, number) = payload.split_once(' ').unwrap();
            let expected = &mut next[from.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<usize>().unwrap(), *expected, "of sender {from}");
            *expected += 1;
        }
        assert_eq!(next, [EACH; 3]);
        receiver.expect_alive();
    }
}

/// SPEC: what is lost is known: a broadcast that a node with lower limits does not take is missed there,
/// and nothing else is.
#[test]
fn broadcast_over_the_limits_of_a_node_is_missed_there() {
    let Some(redis) = Redis::start(&[]) else { return };
    let a = Node::start(&redis, "a");
    let b = Node::start_with(&redis, "b", "", &["--broadcast-log", "131072"]);
    wait_until_joined(&[&a, &b]);
    let (mut sender, mut receiver) = (a.command(), b.command());
    wait_until_receivers(&mut sender, 1);
    // Probes are on their way until a broadcast behind them is here.
    broadcast(&mut sender, b"start");
    assert_eq!(next_broadcast(&mut receiver), b"start");
    let before = b.metric("received_total");
    // The first is too long for the log, the second for a message.
    for len in [200_000, 1 << 20] {
        broadcast(&mut sender, &vec![b'x'; len]);
    }
    broadcast(&mut sender, b"end");
    assert_eq!(next_broadcast(&mut receiver), b"end");
    assert_eq!(b.metric("lost_total"), 2);
    assert_eq!(b.metric("received_total"), before + 1);
    assert_eq!(b.server.count_lines("trying again") + b.server.count_lines("connecting again"), 0);
}
