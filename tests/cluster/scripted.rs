//! The engine's client against bytes that are written out.

use log::Level;
use mynah::internal::clock::Millis;
use mynah::internal::cluster::{Engine, EngineConfig, Link, Script, Want};

use crate::driver::{Event, config, keep};
use crate::support::logger;

use Link::{Commands, Subscriber};

/// A server's answers to HELLO and to loading scripts.
const HELLO: &str = "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n";
const UNKNOWN_HELLO: &str =
    "-ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `default` `secret`, \r\n";
const LOADED: &str = "$3\r\nsha\r\n$3\r\nshb\r\n$3\r\nshc\r\n";
const SUBSCRIBED: &str = ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n";

/// A client of the engine at a time of the test's choice.
struct Client {
    engine: Engine,
    now: Millis,
}

impl Client {
    fn new(config: EngineConfig) -> Client {
        logger::capture();
        let mut engine = Engine::new(config, 3);
        engine.set_channels(vec![b"a".to_vec()]);
        Client { engine, now: Millis(1000) }
    }

    /// One whose connections are ready.
    fn ready() -> Client {
        let mut client = Client::new(config());
        client.make_ready();
        logger::take_lines();
        client
    }

    #[track_caller]
    fn make_ready(&mut self) {
        self.connect(Commands);
        self.connect(Subscriber);
        let events = self.hear(Commands, &[HELLO, LOADED].concat());
        assert_eq!(events, [Event::CommandsReady]);
        let events = self.hear(Subscriber, &[HELLO, SUBSCRIBED].concat());
        assert_eq!(events, [Event::SubscriberReady]);
        self.sent(Commands);
        self.sent(Subscriber);
    }

    #[track_caller]
    fn connect(&mut self, link: Link) {
        assert_eq!(self.engine.want(link, self.now), Want::Connect);
        self.engine.on_connecting(link, self.now);
        assert_eq!(self.engine.want(link, self.now), Want::Nothing);
        self.engine.on_connected(link, self.now);
        assert_eq!(self.engine.want(link, self.now), Want::Nothing);
    }

    fn hear(&mut self, link: Link, bytes: &str) -> Vec<Event> {
        self.hear_bytes(link, bytes.as_bytes())
    }

    fn hear_bytes(&mut self, link: Link, bytes: &[u8]) -> Vec<Event> {
        self.engine.on_bytes(link, bytes, self.now);
        self.events()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.engine.next_event(self.now).map(keep)).collect()
    }

    /// What it has sent since the last call: commands, each in one line.
    fn sent(&mut self, link: Link) -> Vec<String> {
        let bytes = self.engine.unsent(link).to_vec();
        self.engine.on_sent(link, bytes.len());
        let text = String::from_utf8(bytes).unwrap();
        let mut lines = text.split_terminator("\r\n");
        let mut commands = Vec::new();
        while let Some(head) = lines.next() {
            let parts: usize = head.strip_prefix('*').unwrap().parse().unwrap();
            let mut part = || {
                let len: usize = lines.next().unwrap().strip_prefix('$').unwrap().parse().unwrap();
                // Scripts have blanks, and no \r\n.
                let part = lines.next().unwrap();
                assert_eq!(part.len(), len);
                if len > 64 { "…".to_owned() } else { part.to_owned() }
            };
            commands.push((0..parts).map(|_| part()).collect::<Vec<_>>().join(" "));
        }
        commands
    }

    /// The owner closes a connection because it is asked to; returns the pause before the next.
    #[track_caller]
    fn close(&mut self, link: Link) -> u64 {
        assert_eq!(self.engine.want(link, self.now), Want::Close);
        assert_eq!(self.engine.unsent(link), b"");
        assert!(!self.engine.may_read(link));
        self.pause(link)
    }

    /// How long it takes until the next attempt.
    #[track_caller]
    fn pause(&mut self, link: Link) -> u64 {
        let began_at = self.now;
        while self.engine.want(link, self.now) == Want::Nothing {
            self.now = self.now.after(1);
            assert!(self.now.since(began_at) <= 5_000);
        }
        assert_eq!(self.engine.want(link, self.now), Want::Connect);
        self.now.since(began_at)
    }
}

fn log() -> Vec<String> {
    let line = |(level, text): (Level, String)| format!("{level} {text}");
    logger::take_lines().into_iter().map(line).collect()
}

fn message(payload: &str) -> String {
    format!(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n{payload}\r\n", payload.len())
}

fn heard(payload: &str) -> Event {
    Event::Message("a".into(), payload.into())
}

#[test]
fn handshake_is_hello_then_select_then_scripts() {
    let mut client = Client::new(EngineConfig { database: 7, ..config() });
    client.connect(Commands);
    assert_eq!(client.sent(Commands), ["HELLO 3 SETNAME a-node"]);
    assert_eq!(client.hear(Commands, HELLO), []);
    assert_eq!(client.sent(Commands), ["SELECT 7"]);
    assert_eq!(client.hear(Commands, "+OK\r\n"), []);
    assert_eq!(client.sent(Commands), ["SCRIPT LOAD …"; 3]);
    assert!(!client.engine.is_ready(Commands));
    assert_eq!(client.hear(Commands, LOADED), [Event::CommandsReady]);
    assert!(client.engine.is_ready(Commands));
    assert!(client.engine.call(Script::Release, &[b"k"], &[b"x", b"y"], 5));
    assert_eq!(client.sent(Commands), ["EVALSHA shb 1 k x y"]);
    let answered = Event::Answer(5, Ok(vec![1, -2]));
    assert_eq!(client.hear(Commands, "*2\r\n:1\r\n:-2\r\n"), [answered]);
}

#[test]
fn login_is_part_of_hello() {
    for (username, password, hello) in [
        ("", "secret", "HELLO 3 AUTH default secret SETNAME a-node"),
        ("me", "secret", "HELLO 3 AUTH me secret SETNAME a-node"),
        ("me", "", "HELLO 3 AUTH me  SETNAME a-node"),
    ] {
        let (username, password) = (username.to_owned(), password.into());
        let mut client = Client::new(EngineConfig { username, password, ..config() });
        client.connect(Subscriber);
        assert_eq!(client.sent(Subscriber), [hello]);
        assert_eq!(client.hear(Subscriber, HELLO), []);
        assert_eq!(client.sent(Subscriber), ["SUBSCRIBE a"]);
    }
}

#[test]
fn server_without_resp3_is_spoken_to_in_resp2() {
    for unknown in
        [UNKNOWN_HELLO, "-NOPROTO unsupported protocol version\r\n", "-ERR syntax error\r\n"]
    {
        for (username, auth) in [("", "AUTH secret"), ("me", "AUTH me secret")] {
            let (username, password) = (username.to_owned(), b"secret".to_vec());
            let config = EngineConfig { username, password, database: 1, ..config() };
            let mut client = Client::new(config);
            client.connect(Subscriber);
            client.sent(Subscriber);
            assert_eq!(client.hear(Subscriber, unknown), []);
            let expected = [auth, "CLIENT SETNAME a-node", "SELECT 1"];
            assert_eq!(client.sent(Subscriber), expected);
            // Old servers know no names.
            let answers = "+OK\r\n-ERR unknown subcommand\r\n+OK\r\n";
            assert_eq!(client.hear(Subscriber, answers), []);
            assert_eq!(client.sent(Subscriber), ["SUBSCRIBE a"]);
            let confirmed = SUBSCRIBED.replace('>', "*");
            assert_eq!(client.hear(Subscriber, &confirmed), [Event::SubscriberReady]);
            let said = message("hi").replace('>', "*");
            // An answer to PING, in between.
            let pong = "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
            let events = client.hear(Subscriber, &[pong, &said, pong].concat());
            assert_eq!(events, [heard("hi")]);
            assert_eq!(log(), [""; 0], "the server's words had the password in them");
        }
    }
}

#[test]
fn resp2_knows_commands_and_absent_values() {
    let mut client = Client::new(config());
    client.connect(Commands);
    client.hear(Commands, UNKNOWN_HELLO);
    assert_eq!(client.hear(Commands, "+OK\r\n"), []);
    assert_eq!(client.hear(Commands, LOADED), [Event::CommandsReady]);
    assert!(client.engine.call(Script::Renew, &[], &[], 1));
    let failed = Err("an answer that is not integers".to_owned());
    assert_eq!(client.hear(Commands, "$-1\r\n"), [Event::Answer(1, failed)]);
}

#[test]
fn refused_handshake_is_tried_again_and_logged_once() {
    for words in [
        "NOAUTH HELLO must be called with the client already authenticated",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "LOADING Redis is loading the dataset in memory",
        "NOPERM User default has no permissions to run the 'hello' command",
        "DENIED Redis is running in protected mode",
        "ERR max number of clients reached",
    ] {
        let mut client = Client::new(EngineConfig { password: b"secret".to_vec(), ..config() });
        for _ in 0..5 {
            for link in Link::ALL {
                client.connect(link);
                assert_eq!(client.hear(link, &format!("-{words}\r\n")), []);
                client.close(link);
            }
        }
        let expected = format!("WARN cluster: redis://engine answers {words}; trying again");
        assert_eq!(log(), [expected]);
        client.make_ready();
        assert_eq!(log(), ["INFO cluster: connected to the engine"]);
    }
}

#[test]
fn refusal_after_hello_is_tried_again_too() {
    for (link, answers) in [
        (Commands, [HELLO, "-LOADING Redis is loading\r\n"].concat()),
        (Commands, [HELLO, "$3\r\nsha\r\n-NOPERM no\r\n"].concat()),
        (Commands, [HELLO, "-MASTERDOWN Link with MASTER is down\r\n"].concat()),
        (Commands, [UNKNOWN_HELLO, "-ERR invalid password\r\n"].concat()),
        (Subscriber, [HELLO, "-NOPERM no\r\n"].concat()),
        (Subscriber, [UNKNOWN_HELLO, "+OK\r\n+OK\r\n-NOPERM no\r\n"].concat()),
    ] {
        let mut client = Client::new(EngineConfig { password: b"secret".to_vec(), ..config() });
        client.connect(link);
        assert_eq!(client.hear(link, &answers), []);
        client.close(link);
        let log = log();
        assert!(log.len() == 1 && log[0].contains(" answers "), "{log:?}");
    }
}

#[test]
fn replica_takes_no_commands_and_may_be_heard() {
    let hello = |role: &str| format!("%2\r\n+proto\r\n:3\r\n$4\r\nrole\r\n+{role}\r\n");
    let mut client = Client::new(config());
    for _ in 0..3 {
        client.connect(Commands);
        assert_eq!(client.hear(Commands, &hello("replica")), []);
        client.close(Commands);
    }
    assert_eq!(log(), ["WARN cluster: redis://engine is a replica; trying again"]);
    client.connect(Subscriber);
    let subscribed = [&hello("replica"), SUBSCRIBED].concat();
    assert_eq!(client.hear(Subscriber, &subscribed), [Event::SubscriberReady]);
    client.connect(Commands);
    let loaded = [&hello("master"), LOADED].concat();
    assert_eq!(client.hear(Commands, &loaded), [Event::CommandsReady]);
}

#[test]
fn words_with_the_password_are_not_logged() {
    let mut client = Client::new(EngineConfig { password: b"secret".to_vec(), ..config() });
    client.connect(Commands);
    client.hear(Commands, "-WRONGPASS secret is wrong\r\n");
    let [line] = &log()[..] else { panic!("not one line") };
    assert!(line.contains("has the password in it") && !line.contains("secret"), "{line}");
    let shown = format!(
        "{:?} {:?}",
        client.engine,
        EngineConfig { password: b"secret".to_vec(), ..config() }
    );
    assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
}

#[test]
fn words_are_one_line_and_not_endless() {
    let mut client = Client::new(config());
    client.connect(Commands);
    client.hear(Commands, &format!("-NO\x1b[31m\u{202e}{}\r\n", "x".repeat(5000)));
    let [line] = &log()[..] else { panic!("not one line") };
    assert!(line.len() < 400 && !line.contains(['\x1b', '\u{202e}']), "{line}");
}

#[test]
fn useless_server_is_left() {
    for words in [
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica. script: 5ab",
        "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write",
        "NOAUTH Authentication required.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ] {
        let mut client = Client::ready();
        assert!(client.engine.call(Script::Renew, &[], &[], 1));
        assert!(client.engine.publish(b"a", &[b"x"]));
        let events = client.hear(Commands, &format!("-{words}\r\n"));
        assert_eq!(events, [Event::Lost(Commands)], "{words}");
        assert!(!client.engine.is_ready(Commands) && client.engine.is_ready(Subscriber));
        assert!(!client.engine.call(Script::Renew, &[], &[], 2));
        client.close(Commands);
        assert_eq!(log().len(), 1);
    }
}

#[test]
fn failing_command_fails_alone_and_is_logged_once() {
    for words in [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots, but it cannot.",
        "NOPERM this user has no permissions",
        "BUSY Redis is busy running a script.",
        "ERR Error running script (call to f_1): @user_script:1: wrong number of args",
    ] {
        let mut client = Client::ready();
        for tag in 0..5 {
            assert!(client.engine.publish(b"a", &[b"x"]));
            assert!(client.engine.call(Script::Claim, &[], &[], tag));
            let events = client.hear(Commands, &format!("-{words}\r\n-{words}\r\n"));
            assert_eq!(events, [Event::Answer(tag, Err(words.to_owned()))]);
            client.now = client.now.after(60_000);
        }
        let expected = [
            format!("WARN cluster: the engine fails PUBLISH: {words}"),
            format!("WARN cluster: the engine fails claim.lua: {words}"),
        ];
        assert_eq!(log(), expected);
        // Well again, for long enough.
        assert!(client.engine.publish(b"a", &[b"x"]));
        client.hear(Commands, ":1\r\n");
        assert!(client.engine.publish(b"a", &[b"x"]));
        client.hear(Commands, &format!("-{words}\r\n"));
        assert_eq!(log(), expected[..1]);
        assert_eq!(client.engine.want(Commands, client.now), Want::Nothing);
    }
}

#[test]
fn failures_that_alternate_are_not_a_flood() {
    let mut client = Client::ready();
    for _ in 0..1000 {
        client.now = client.now.after(100);
        assert!(client.engine.publish(b"a", &[b"x"]) && client.engine.publish(b"a", &[b"x"]));
        client.hear(Commands, ":1\r\n-OOM no\r\n");
    }
    assert_eq!(log().len(), 1);
    for number in 0..1000 {
        assert!(client.engine.publish(b"a", &[b"x"]));
        client.hear(Commands, &format!("-ERR trouble {number}\r\n"));
    }
    assert!(log().len() < 20);
}

/// No call is made twice: it would come behind what was sent meanwhile.
#[test]
fn unknown_scripts_are_loaded_again_and_their_calls_have_failed() {
    let mut client = Client::ready();
    let release = |client: &mut Client, tag: u64| {
        client.engine.call(Script::Release, &[], &[tag.to_string().as_bytes()], tag)
    };
    let no = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    let failed = |tag| {
        let words = "NOSCRIPT No matching script. Please use EVAL.";
        Event::Answer(tag, Err(words.to_owned()))
    };
    assert!(release(&mut client, 1) && release(&mut client, 2));
    client.sent(Commands);
    assert_eq!(client.hear(Commands, no), [failed(1)]);
    assert_eq!(client.sent(Commands), ["SCRIPT LOAD …"; 3]);
    assert!(release(&mut client, 3));
    assert_eq!(client.sent(Commands), ["EVALSHA shb 0 3"], "it comes behind the scripts");
    assert_eq!(client.hear(Commands, no), [failed(2)]);
    assert_eq!(client.sent(Commands), [""; 0], "they are on their way");
    let events = client.hear(Commands, &[LOADED, ":7\r\n"].concat());
    assert_eq!(events, [Event::Answer(3, Ok(vec![7]))]);
    assert!(release(&mut client, 4));
    client.sent(Commands);
    assert_eq!(client.hear(Commands, no), [failed(4)]);
    assert_eq!(client.sent(Commands), ["SCRIPT LOAD …"; 3], "forgotten once more");
}

#[test]
fn pauses_double_up_to_five_seconds_with_jitter() {
    let mut client = Client::new(config());
    let mut pauses = Vec::new();
    for attempt in 0..12 {
        assert_eq!(client.engine.want(Commands, client.now), Want::Connect);
        client.engine.on_connecting(Commands, client.now);
        client.engine.on_failed(Commands, "connection refused", client.now);
        let pause = client.pause(Commands);
        let most = (100 << attempt).min(5_000);
        assert!((100.max(most / 2)..=most).contains(&pause), "{pause} ms of {most}");
        pauses.push(pause);
    }
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 9, "{pauses:?} differ");
    let cannot = "WARN cluster: cannot reach redis://engine: connection refused; trying again";
    assert_eq!(log(), [cannot]);
}

#[test]
fn attempt_that_took_long_was_a_pause() {
    let mut client = Client::new(config());
    for _ in 0..10 {
        client.engine.on_connecting(Commands, client.now);
        client.engine.on_failed(Commands, "connection refused", client.now);
        client.pause(Commands);
    }
    client.connect(Commands);
    client.now = client.now.after(5_000);
    assert_eq!(client.engine.want(Commands, client.now), Want::Close);
    assert_eq!(client.pause(Commands), 100);
}

#[test]
fn engine_that_one_connection_reaches_is_tried_by_the_other() {
    let mut client = Client::new(config());
    for _ in 0..10 {
        client.engine.on_connecting(Subscriber, client.now);
        client.engine.on_failed(Subscriber, "connection refused", client.now);
        client.pause(Subscriber);
    }
    // It was frozen when this attempt began.
    client.connect(Subscriber);
    client.now = client.now.after(5_000);
    assert_eq!(client.engine.want(Subscriber, client.now), Want::Close);
    assert_eq!(client.engine.want(Subscriber, client.now), Want::Nothing);
    client.connect(Commands);
    client.hear(Commands, &[HELLO, LOADED].concat());
    client.connect(Subscriber);
}

#[test]
fn engine_that_ends_every_connection_is_not_asked_in_a_loop() {
    let mut client = Client::new(config());
    for _ in 0..10 {
        client.make_ready();
        for link in Link::ALL {
            client.engine.on_failed(link, "connection closed", client.now);
            assert_eq!(client.events(), [Event::Lost(link)]);
        }
        client.pause(Commands);
        client.pause(Subscriber);
    }
    client.connect(Commands);
    client.hear(Commands, &[HELLO, LOADED].concat());
    client.engine.on_failed(Commands, "connection closed", client.now);
    assert_eq!(client.events(), [Event::Lost(Commands)]);
    client.connect(Subscriber);
    client.hear(Subscriber, &[HELLO, SUBSCRIBED].concat());
    assert!(client.pause(Commands) >= 2_500, "although the other is ready");
}

#[test]
fn nodes_do_not_come_back_at_once() {
    let first_pause = |seed| {
        let mut engine = Engine::new(config(), seed);
        for _ in 0..8 {
            engine.on_connecting(Commands, Millis(0));
            engine.on_failed(Commands, "no", Millis(0));
        }
        (0..).find(|ms| engine.want(Commands, Millis(*ms)) == Want::Connect)
    };
    let pauses: std::collections::BTreeSet<_> = (0..20).map(first_pause).collect();
    assert!(pauses.len() > 15, "{pauses:?}");
}

#[test]
fn good_connection_makes_the_next_pause_short() {
    let mut client = Client::new(config());
    for _ in 0..10 {
        client.connect(Commands);
        client.engine.on_failed(Commands, "connection closed", client.now);
        client.pause(Commands);
    }
    client.connect(Commands);
    client.hear(Commands, &[HELLO, LOADED].concat());
    // Not good for long: a server that cuts each connection at once is not asked in a loop.
    client.engine.on_failed(Commands, "connection closed", client.now);
    assert_eq!(client.events(), [Event::Lost(Commands)]);
    assert!(client.pause(Commands) >= 2_500);
    client.connect(Commands);
    client.hear(Commands, &[HELLO, LOADED].concat());
    client.now = client.now.after(10_000);
    client.engine.on_failed(Commands, "connection closed", client.now);
    assert_eq!(client.events(), [Event::Lost(Commands)]);
    assert!(client.pause(Commands) <= 200);
}

/// However long the engine was not there before, and although it has passed on nothing since.
#[test]
fn deaf_subscriber_is_opened_anew_at_once() {
    for (deaf_after, pauses) in [(3_000, 100..=200), (2_999, 2_500..=5_000)] {
        let mut client = Client::new(config());
        for _ in 0..10 {
            client.connect(Subscriber);
            client.engine.on_failed(Subscriber, "connection closed", client.now);
            client.pause(Subscriber);
        }
        client.make_ready();
        client.now = client.now.after(deaf_after);
        client.engine.on_deaf(client.now);
        assert_eq!(client.events(), [Event::Lost(Subscriber)]);
        let pause = client.close(Subscriber);
        assert!(pauses.contains(&pause), "{pause} ms, deaf after {deaf_after} ms");
    }
}

#[test]
fn attempt_and_handshake_have_five_seconds_each() {
    let mut client = Client::new(config());
    assert_eq!(client.engine.next_due(), Some(Millis(0)));
    client.engine.on_connecting(Commands, client.now);
    client.engine.on_connecting(Subscriber, client.now);
    assert_eq!(client.engine.next_due(), Some(client.now.after(5_000)));
    client.now = client.now.after(4_999);
    assert_eq!(client.engine.want(Commands, client.now), Want::Nothing);
    let connected_at = client.now;
    client.engine.on_connected(Commands, connected_at);
    client.now = connected_at.after(1);
    client.close(Subscriber);
    client.now = connected_at.after(4_999);
    assert_eq!(client.engine.want(Commands, client.now), Want::Nothing);
    assert_eq!(client.hear(Commands, HELLO), []);
    client.now = connected_at.after(5_000);
    client.close(Commands);
    assert_eq!(log(), ["WARN cluster: cannot reach redis://engine: no answer; trying again"]);
}

/// A firewall has forgotten both connections: one attempt finds out for both.
#[test]
fn silent_connection_is_doubted_with_the_other() {
    for (lost, other) in [(Commands, Subscriber), (Subscriber, Commands)] {
        for is_heard in [false, true] {
            let mut client = Client::ready();
            client.engine.publish(b"p:nodes", &[b"beat"]);
            client.engine.on_failed(lost, "connection closed", client.now);
            client.events();
            client.pause(lost);
            client.connect(lost);
            client.now = client.now.after(5_000);
            if is_heard {
                client.engine.on_bytes(
                    other,
                    if other == Commands { b":1\r\n" } else { b">" },
                    client.now,
                );
                client.events();
            }
            assert_eq!(client.engine.want(lost, client.now), Want::Close);
            let expected = if is_heard { Want::Nothing } else { Want::Close };
            assert_eq!(client.engine.want(other, client.now), expected, "{other:?}");
        }
    }
}

/// Its own heartbeat waits behind what is to be sent: the subscriber that hears others stays.
#[test]
fn deafness_of_a_node_that_is_behind_is_not_its_subscribers() {
    for (is_behind, hears_others) in [(true, true), (true, false), (false, true)] {
        let mut client = Client::ready();
        client.sent(Commands);
        client.now = client.now.after(3_000);
        if hears_others {
            client.hear(Subscriber, &message("x"));
        }
        if is_behind {
            client.engine.publish(b"a", &[b"x"]);
        }
        client.engine.on_deaf(client.now);
        let stays = client.engine.want(Subscriber, client.now) == Want::Nothing;
        assert_eq!(stays, is_behind && hears_others);
    }
}

#[test]
fn ready_connections_are_due_never() {
    assert_eq!(Client::ready().engine.next_due(), None);
}

#[test]
fn flapping_connection_is_not_a_flood_in_the_log() {
    let mut client = Client::new(config());
    let began_at = client.now;
    for _ in 0..50 {
        client.make_ready();
        for link in Link::ALL {
            client.engine.on_failed(link, "connection closed", client.now);
            assert_eq!(client.events(), [Event::Lost(link)]);
        }
        client.pause(Commands);
        client.pause(Subscriber);
    }
    let expected = [
        "INFO cluster: connected to the engine",
        "WARN cluster: connection to redis://engine lost: connection closed; trying again",
    ];
    let (lines, took) = (log(), client.now.since(began_at));
    assert_eq!(lines[..2], expected);
    assert!(lines.chunks(2).all(|pair| pair == &expected[..pair.len()]), "{lines:?}");
    assert!(lines.len() as u64 <= 3 + 2 * (took / 60_000), "{lines:?} in {took} ms");
    client.make_ready();
    log();
    client.now = client.now.after(10_000);
    client.engine.on_failed(Commands, "connection closed", client.now);
    assert_eq!(log(), expected[1..2], "after it was well it is news");
}

#[test]
fn engine_that_stays_away_is_one_line() {
    let mut client = Client::ready();
    client.now = client.now.after(10_000);
    for link in Link::ALL {
        client.engine.on_failed(link, "connection closed", client.now);
        client.events();
    }
    let lost = "WARN cluster: connection to redis://engine lost: connection closed; trying again";
    assert_eq!(log(), [lost]);
    let lost_at = client.now;
    let fail = |client: &mut Client, reason: &str| {
        client.pause(Commands);
        client.engine.on_connecting(Commands, client.now);
        client.engine.on_failed(Commands, reason, client.now);
    };
    while client.now.since(lost_at) < 50_000 {
        fail(&mut client, "connection refused");
    }
    assert_eq!(log(), [""; 0], "a reason of the same trouble");
    while client.now.since(lost_at) < 200_000 {
        fail(&mut client, "connection refused");
    }
    let still =
        "WARN cluster: still: cannot reach redis://engine: connection refused; trying again";
    assert_eq!(log(), [still], "after a minute");
    // A minute later again, the next reason is told; what somebody has to end is told at once.
    for words in
        ["LOADING Redis is loading", "WRONGPASS invalid password", "WRONGPASS invalid password"]
    {
        client.pause(Commands);
        client.connect(Commands);
        client.hear(Commands, &format!("-{words}\r\n"));
        client.close(Commands);
    }
    assert_eq!(
        log(),
        [
            "WARN cluster: still: redis://engine answers LOADING Redis is loading; trying again",
            "WARN cluster: redis://engine answers WRONGPASS invalid password; trying again"
        ]
    );
    client.make_ready();
    assert_eq!(log(), ["INFO cluster: connected to the engine"]);
}

#[test]
fn publications_wait_for_the_connection_within_the_bound() {
    let mut client = Client::new(EngineConfig { unsent_bytes_max: 160, ..config() });
    for number in 0..4 {
        assert_eq!(client.engine.publish(b"a", &[b"message ", &[b'0' + number]]), number < 3);
    }
    client.connect(Commands);
    assert!(!client.engine.publish(b"a", &[b"message"]), "the handshake counts");
    client.sent(Commands);
    client.hear(Commands, HELLO);
    client.sent(Commands);
    assert!(!client.engine.publish(b"a", &[&[b'x'; 100]]));
    assert_eq!(client.hear(Commands, LOADED), [Event::CommandsReady]);
    let sent = ["PUBLISH a message 0", "PUBLISH a message 1", "PUBLISH a message 2"];
    assert_eq!(client.sent(Commands), sent);
    assert!(client.engine.publish(b"a", &[b"message 4"]));
    assert_eq!(client.hear(Commands, ":1\r\n:0\r\n:7\r\n:7\r\n"), []);
    assert_eq!(client.hear(Commands, ":1\r\n"), [Event::Lost(Commands)], "an answer to nothing");
}

#[test]
fn calls_without_answer_are_bounded_and_renewal_has_space() {
    let mut client = Client::ready();
    let mut taken = 0;
    while client.engine.call(Script::Claim, &[], &[], 0) {
        taken += 1;
    }
    assert_eq!(taken, 64);
    assert!(client.engine.call(Script::Renew, &[], &[], 1));
    assert_eq!(client.hear(Commands, ":1\r\n:1\r\n").len(), 2);
    assert!(client.engine.call(Script::Release, &[], &[], 2));
}

#[test]
fn subscriber_is_not_read_before_it_is_heard() {
    let mut client = Client::ready();
    let two = [message("one"), message("two")].concat();
    client.engine.on_bytes(Subscriber, two.as_bytes(), client.now);
    assert!(!client.engine.may_read(Subscriber), "there is something to hear");
    assert!(client.engine.may_read(Commands));
    assert_eq!(client.engine.next_event(client.now).map(keep), Some(heard("one")));
    // More bytes may move what waits.
    client.engine.on_bytes(Subscriber, message("three").as_bytes(), client.now);
    assert!(!client.engine.may_read(Subscriber));
    assert_eq!(client.events(), [heard("two"), heard("three")]);
    assert!(client.engine.may_read(Subscriber));
}

#[test]
fn what_came_before_the_end_is_heard_before_it() {
    let mut client = Client::ready();
    assert!(client.engine.call(Script::Renew, &[], &[], 1));
    assert!(client.engine.call(Script::Renew, &[], &[], 2));
    let cut = [message("one"), message("two"), message("three")].concat();
    client.engine.on_bytes(Subscriber, &cut.as_bytes()[..cut.len() - 3], client.now);
    client.engine.on_bytes(Commands, b":1\r\n:", client.now);
    for link in Link::ALL {
        client.engine.on_failed(link, "connection closed", client.now);
        client.now = client.now.after(6_000);
        assert_eq!(client.engine.want(link, client.now), Want::Nothing, "not yet");
    }
    assert_eq!(client.engine.next_due(), None);
    let expected = [
        Event::Answer(1, Ok(vec![1])),
        Event::Lost(Commands),
        heard("one"),
        heard("two"),
        Event::Lost(Subscriber),
    ];
    assert_eq!(client.events(), expected);
    client.make_ready();
    assert!(client.engine.call(Script::Renew, &[], &[], 3));
    assert_eq!(client.hear(Commands, ":0\r\n"), [Event::Answer(3, Ok(vec![0]))]);
}

#[test]
fn deaf_node_closes_the_subscriber() {
    let mut client = Client::ready();
    client.engine.on_deaf(client.now);
    assert_eq!(client.events(), [Event::Lost(Subscriber)]);
    assert_eq!(client.engine.want(Commands, client.now), Want::Nothing);
    assert_eq!(client.engine.next_due(), Some(Millis(0)));
    client.close(Subscriber);
    let deaf = "WARN cluster: redis://engine does not pass on what is published; connecting again";
    assert_eq!(log(), [deaf]);
}

#[test]
fn deaf_node_with_an_answer_outstanding_closes_both() {
    for (waited, expected) in [
        (2_999, vec![Event::Lost(Subscriber)]),
        (3_000, vec![Event::Lost(Commands), Event::Lost(Subscriber)]),
    ] {
        let mut client = Client::ready();
        client.engine.publish(b"a", &[b"x"]);
        client.engine.publish(b"a", &[b"y"]);
        client.now = client.now.after(2_000);
        assert_eq!(client.hear(Commands, ":0\r\n"), []);
        client.now = client.now.after(waited);
        client.engine.on_deaf(client.now);
        assert_eq!(client.events(), expected);
    }
}

#[test]
fn deafness_without_publishing_closes_nothing() {
    let mut client = Client::ready();
    client.engine.on_failed(Commands, "connection closed", client.now);
    assert_eq!(client.events(), [Event::Lost(Commands)]);
    client.engine.on_deaf(client.now);
    assert_eq!(client.events(), []);
    assert!(client.engine.is_ready(Subscriber));
}

#[test]
fn nonsense_closes_the_connection() {
    let deep = "*1\r\n".repeat(9);
    let wide = "*1000\r\n".repeat(2);
    let line = format!("+{}", "x".repeat(65 * 1024));
    let cases: [(&str, &str); 14] = [
        ("HTTP/1.1 400 Bad Request\r\n", "a reply of type 'H'"),
        ("\u{1}", "a reply of type '\\x01'"),
        ("$x\r\n", "a length that is not a number"),
        ("$-2\r\n", "a length that is not a number"),
        ("*+1\r\n", "a length that is not a number"),
        ("$99999999999999999999999\r\n", "a length that is not a number"),
        ("$?\r\n", "a length that is not a number"),
        ("$1\r\nabc", "a text that does not end where its length says"),
        (&deep, "lists nested over 8 deep"),
        (&wide, "a list of over 1024 elements"),
        ("%513\r\n", "a list of over 1024 elements"),
        (&line, "a line over 65536 bytes"),
        ("$9999999\r\n", "a reply that is too long"),
        (":x\r\n", "a value that is not of its type"),
    ];
    for (bytes, words) in cases {
        for link in Link::ALL {
            let mut client = Client::ready();
            assert_eq!(client.hear(link, bytes), [Event::Lost(link)], "{words}");
            client.close(link);
            let line = format!("WARN cluster: redis://engine sent {words}; connecting again");
            assert_eq!(log(), [line]);
            assert_eq!(client.hear(link, ":1\r\n"), [], "nobody hears it");
        }
    }
}

/// SPEC: what is lost is known; nothing else is lost with a message that is too long.
#[test]
fn long_message_is_skipped() {
    let long = message(&"x".repeat(4 << 20));
    let script = [&message("one"), &long, &message(""), &long, &long, &message("two")];
    let script = script.map(String::as_str).concat();
    for (step, is_resp2) in [(999, false), (1000, true), (65_536, false), (script.len(), true)] {
        let mut client = Client::new(EngineConfig { message_bytes_max: 1_000, ..config() });
        client.connect(Subscriber);
        let mut script = script.clone();
        if is_resp2 {
            client.hear(Subscriber, UNKNOWN_HELLO);
            client.hear(Subscriber, "+OK\r\n");
            client.hear(Subscriber, &SUBSCRIBED.replace('>', "*"));
            script = script.replace('>', "*");
        } else {
            client.hear(Subscriber, &[HELLO, SUBSCRIBED].concat());
        }
        let mut seen = Vec::new();
        for chunk in script.as_bytes().chunks(step) {
            assert!(client.engine.may_read(Subscriber));
            seen.extend(client.hear_bytes(Subscriber, chunk));
            let allocated = client.engine.allocated();
            assert!(step == script.len() || allocated <= 256 << 10, "{allocated} bytes");
        }
        assert_eq!(seen, [heard("one"), heard(""), heard("two")], "{step} bytes at a time");
        assert_eq!(log(), [""; 0]);
        // The rest of one goes with its connection.
        client.hear(
            Subscriber,
            &message(&"x".repeat(4 << 20)).replace('>', if is_resp2 { "*" } else { ">" })[..100],
        );
        client.engine.on_failed(Subscriber, "cut", client.now);
        assert_eq!(client.events(), [Event::Lost(Subscriber)]);
        client.pause(Subscriber);
        client.connect(Subscriber);
        let events = client.hear(Subscriber, &[HELLO, SUBSCRIBED, &message("three")].concat());
        assert_eq!(events, [Event::SubscriberReady, heard("three")]);
        log();
    }
}

#[test]
fn bounds_can_change() {
    let mut client = Client::ready();
    let long = "x".repeat(65 * 1024);
    client.engine.set_bounds(200, 10);
    assert_eq!(
        client.hear(Subscriber, &[message(&long), message("short")].concat()),
        [heard("short")]
    );
    assert!(!client.engine.publish(b"a", &[long.as_bytes()]));
    assert!(client.engine.publish(b"a", &[b"short"]));
    client.engine.set_bounds(100_000, 10_000);
    assert_eq!(client.hear(Subscriber, &message(&long)), [heard(&long)]);
    assert!(client.engine.publish(b"a", &[long.as_bytes()]));
    // What waits keeps no call from being made.
    client.engine.set_bounds(200, 10);
    assert!(!client.engine.publish(b"a", &[b"short"]));
    assert!(client.engine.call(Script::Renew, &[], &[], 1));
}

#[test]
fn lengths_reserve_no_memory() {
    let mut client = Client::new(EngineConfig { message_bytes_max: usize::MAX, ..config() });
    client.make_ready();
    let bytes = format!("${}\r\n", usize::MAX - 1000);
    assert_eq!(client.hear(Subscriber, &bytes), []);
}

#[test]
fn events_are_the_same_however_bytes_are_cut() {
    let script = [
        HELLO,
        SUBSCRIBED,
        &message("one"),
        "+PONG\r\n",
        ">2\r\n$10\r\ninvalidate\r\n_\r\n",
        ">4\r\n$8\r\npmessage\r\n+a\r\n+b\r\n+c\r\n",
        &message(""),
        ">3\r\n+message\r\n+other\r\n+x\r\n",
        &message("crlf \r\n :1\r\n"),
        "~1\r\n#t\r\n",
        ",1.5\r\n",
        "(123\r\n",
        "=7\r\ntxt:abc\r\n",
        &message("last"),
    ]
    .concat();
    let events =
        [Event::SubscriberReady, heard("one"), heard(""), heard("crlf \r\n :1\r\n"), heard("last")];
    for step in 1..script.len() {
        let mut client = Client::new(config());
        client.connect(Subscriber);
        let mut seen = Vec::new();
        for chunk in script.as_bytes().chunks(step) {
            seen.extend(client.hear_bytes(Subscriber, chunk));
        }
        assert_eq!(seen, events, "{step} bytes at a time");
    }
}

#[test]
fn channels_come_and_go() {
    let mut client = Client::ready();
    client.engine.set_channels(vec![b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(client.sent(Subscriber), ["SUBSCRIBE b"]);
    assert!(!client.engine.is_ready(Subscriber));
    assert_eq!(client.hear(Subscriber, &message("one")), [heard("one")]);
    client.engine.set_channels(vec![b"b".to_vec()]);
    assert_eq!(client.sent(Subscriber), ["UNSUBSCRIBE a"]);
    assert_eq!(client.hear(Subscriber, &message("two")), [], "it is not wanted any more");
    let confirmed = SUBSCRIBED.replace("\na", "\nb");
    assert_eq!(client.hear(Subscriber, &confirmed), [Event::SubscriberReady]);
    // Wanted again before it is left.
    client.engine.set_channels(vec![b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(client.sent(Subscriber), ["SUBSCRIBE a"]);
    let left = ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n";
    assert_eq!(client.hear(Subscriber, left), []);
    assert_eq!(client.hear(Subscriber, SUBSCRIBED), [Event::SubscriberReady]);
    client.engine.set_channels(vec![b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(client.sent(Subscriber), [""; 0]);
    assert_eq!(client.events(), []);
}

#[test]
fn subscriber_without_channels_is_ready() {
    let mut client = Client::new(config());
    client.engine.set_channels(Vec::new());
    client.connect(Subscriber);
    assert_eq!(client.hear(Subscriber, HELLO), [Event::SubscriberReady]);
}

#[test]
fn many_channels_are_asked_for_in_parts() {
    let mut client = Client::new(config());
    client.engine.set_channels((0..150).map(|n| format!("{n:03}").into_bytes()).collect());
    client.connect(Subscriber);
    client.sent(Subscriber);
    client.hear(Subscriber, HELLO);
    let parts: Vec<usize> =
        client.sent(Subscriber).iter().map(|command| command.split(' ').count() - 1).collect();
    assert_eq!(parts, [64, 64, 22]);
    let mut events = Vec::new();
    for number in 0..150 {
        assert!(events.is_empty());
        let confirmed = format!(">3\r\n+subscribe\r\n+{number:03}\r\n:1\r\n");
        events = client.hear(Subscriber, &confirmed);
    }
    assert_eq!(events, [Event::SubscriberReady]);
}

#[test]
fn names_of_scripts_are_not_trusted() {
    for bad in ["$0\r\n\r\n", ":1\r\n", "$2\r\n\r\n\r\n", &format!("+{}\r\n", "x".repeat(65))] {
        let mut client = Client::new(config());
        client.connect(Commands);
        assert_eq!(client.hear(Commands, &[HELLO, bad].concat()), []);
        client.close(Commands);
    }
}

#[test]
fn owner_that_connects_anew_unasked_loses_nothing_twice() {
    let mut client = Client::ready();
    client.engine.on_connecting(Commands, client.now);
    assert_eq!(client.events(), [Event::Lost(Commands)]);
    client.engine.on_failed(Commands, "refused", client.now);
    client.engine.on_failed(Commands, "refused", client.now);
    assert_eq!(client.events(), []);
}
