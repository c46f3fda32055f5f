//! The engine's client against a real server, and all that a server may do to it.

use std::fs;
use std::time::{Duration, Instant};

use log::Level;
use mynah::internal::cluster::scripts::{Claim, Keys, LEASE_MS};
use mynah::internal::cluster::{EngineConfig, Link};
use mynah::internal::protocol::nickname::Nickname;

use crate::driver::{Driver, Event, config};
use crate::support::logger;
use crate::support::redis::{Redis, Value};

/// What the issue asks for: healed so long after the engine is back.
const HEALED: Duration = Duration::from_secs(6);

fn connected(redis: &Redis) -> Driver {
    let mut driver = Driver::new(&redis.socket(), config(), &["a", "b"]);
    driver.wait_until_ready();
    driver
}

fn keys() -> Keys {
    Keys::new("p", 0xa)
}

/// Calls the script that renews the lease.
#[track_caller]
fn renew(driver: &mut Driver) -> Result<Vec<i64>, String> {
    driver.call(&keys().renew("a node", LEASE_MS, &[]))
}

#[test]
fn messages_are_heard_in_order() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    for number in 0..1000 {
        let text = number.to_string();
        assert!(driver.engine.publish(b"a", &[b"number ", text.as_bytes()]));
    }
    driver.run_until("1,000 messages", |driver| driver.events.len() == 1000);
    for (number, event) in driver.events.iter().enumerate() {
        assert_eq!(*event, Event::Message("a".into(), format!("number {number}").into()));
    }
}

#[test]
fn scripts_are_called_with_any_bytes() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    assert_eq!(renew(&mut driver), Ok(vec![1]));
    let claims = ["яна", "bob"].map(|name| Claim::new(&Nickname::parse(name).unwrap(), 5));
    assert_eq!(driver.call(&keys().claim(b"\xff\r\n", false, &claims)), Ok(vec![1, 1]));
    assert_eq!(driver.call(&keys().release(b"\xff\r\n", &["bob", "ann"])), Ok(vec![1, 0]));
}

#[test]
fn server_without_hello_is_spoken_to_in_resp2() {
    let Some(redis) = Redis::start(&["--rename-command", "HELLO", ""]) else { return };
    redis.set(&["CONFIG", "SET", "requirepass", "secret"]);
    let config = EngineConfig { password: b"secret".to_vec(), database: 3, ..config() };
    let mut driver = Driver::new(&redis.socket(), config, &["a"]);
    driver.wait_until_ready();
    driver.hears_itself("a", "hello");
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    let mut client = redis.connect();
    client.ask(&["AUTH", "secret"]);
    let Value::BulkString(list) = client.ask(&["CLIENT", "LIST"]) else { panic!("no list") };
    let list = String::from_utf8(list).unwrap();
    assert_eq!(list.matches("name=a-node").count(), 2, "{list}");
    assert_eq!(client.ask(&["SELECT", "3"]), Value::SimpleString(b"OK".to_vec()));
    assert_eq!(client.ask(&["DBSIZE"]), Value::Integer(2));
}

#[test]
fn user_of_an_access_control_list_logs_in() {
    let Some(redis) = Redis::start(&[]) else { return };
    redis.set(&["ACL", "SETUSER", "node", "on", ">secret", "~*", "&*", "+@all"]);
    redis.set(&["ACL", "SETUSER", "default", "off"]);
    let config =
        EngineConfig { username: "node".to_owned(), password: b"secret".to_vec(), ..config() };
    let mut driver = Driver::new(&redis.socket(), config, &["a"]);
    driver.wait_until_ready();
    driver.hears_itself("a", "hello");
}

#[test]
fn password_that_is_set_right_heals() {
    logger::capture();
    let Some(redis) = Redis::start(&["--requirepass", "secret"]) else { return };
    let mut driver = Driver::new(&redis.socket(), config(), &["a"]);
    driver.run_until("it is refused", |_| !logger_lines().is_empty());
    driver.engine.set_login(String::new(), b"wrong".to_vec());
    driver.run_until("it is refused again", |_| logger_lines().len() == 2);
    driver.engine.set_login(String::new(), b"secret".to_vec());
    driver.run_within(HEALED, "it is ready", |driver| driver.is_ready());
    let lines = logger_lines();
    assert!(lines[0].contains("answers NOAUTH"), "{lines:?}");
    assert!(lines[1].contains("answers WRONGPASS"), "{lines:?}");
    assert_eq!(lines[2..], ["INFO cluster: connected to the engine"], "{lines:?}");
    assert!(!lines.concat().contains("secret"));
}

/// All lines so far.
fn logger_lines() -> Vec<String> {
    thread_local! {
        static SEEN: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    SEEN.with_borrow_mut(|seen| {
        seen.extend(
            logger::take_lines()
                .into_iter()
                .map(|(level, text): (Level, _)| format!("{level} {text}")),
        );
        seen.clone()
    })
}

#[test]
fn restarted_server_is_connected_to_again() {
    logger::capture();
    let Some(mut redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    redis.kill();
    // Whichever is seen first.
    driver.run_until("both are lost", |driver| driver.events.len() == 2);
    assert!(driver.events.contains(&Event::Lost(Link::Commands)), "{:?}", driver.events);
    assert!(driver.events.contains(&Event::Lost(Link::Subscriber)), "{:?}", driver.events);
    // Attempts fail meanwhile, and what is published waits.
    let since = driver.now();
    driver.run_until("attempts fail", |driver| driver.now().since(since) > 500);
    assert!(driver.engine.publish(b"b", &[b"waited"]));
    redis.restart();
    let back_at = Instant::now();
    driver.wait_for(&Event::CommandsReady);
    driver.wait_for(&Event::SubscriberReady);
    assert!(back_at.elapsed() < HEALED, "{:?}", back_at.elapsed());
    driver.hears_itself("a", "hello");
    assert_eq!(renew(&mut driver), Ok(vec![0]), "it came back empty");
    let lines = logger_lines();
    let expected = [
        "INFO cluster: connected to the engine",
        "WARN cluster: connection to redis://engine lost: connection closed; trying again",
        "INFO cluster: connected to the engine",
    ];
    assert_eq!(lines, expected, "once, whatever the reasons of the attempts");
}

#[test]
fn frozen_server_is_given_up_and_found_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    redis.freeze();
    driver.engine.publish(b"a", &[b"unheard"]);
    let since = driver.now();
    driver.run_until("3 s pass", |driver| driver.now().since(since) > 3_000);
    let now = driver.now();
    driver.engine.on_deaf(now);
    driver.run_until("both are lost", |driver| driver.events.len() == 2);
    redis.thaw();
    driver.wait_for(&Event::CommandsReady);
    driver.wait_for(&Event::SubscriberReady);
    driver.hears_itself("a", "hello");
}

#[test]
fn subscriber_that_is_cut_comes_back_alone() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    driver.wait_for(&Event::Lost(Link::Subscriber));
    driver.wait_for(&Event::SubscriberReady);
    assert_eq!(driver.events, []);
    driver.hears_itself("b", "hello");
}

#[test]
fn slow_subscriber_is_cut_and_hears_what_came_before() {
    let Some(redis) = Redis::start(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]) else {
        return;
    };
    let mut driver = connected(&redis);
    driver.reads_subscriber = false;
    let payload = vec![b'x'; 64 * 1024];
    let count = Value::Integer(0);
    let mut sent = 0;
    let mut client = redis.connect();
    driver.run_until("it is cut", |driver| {
        driver.engine.publish(b"a", &[&payload]);
        sent += 1;
        client.ask(&["PUBLISH", "a", ""]) == count
    });
    driver.reads_subscriber = true;
    driver.wait_for(&Event::Lost(Link::Subscriber));
    let heard = |event: &&Event| matches!(event, Event::Message(..));
    let heard = driver.events.iter().filter(heard).count();
    assert!((1..2 * sent).contains(&heard), "{heard} of {sent}");
    driver.wait_for(&Event::SubscriberReady);
    driver.hears_itself("a", "hello");
}

#[test]
fn paused_server_answers_late() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    redis.set(&["CLIENT", "PAUSE", "1500"]);
    driver.hears_itself("a", "late");
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    assert_eq!(driver.events, [], "no connection was lost");
}

#[test]
fn forgotten_scripts_are_loaded_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    redis.set(&["SCRIPT", "FLUSH"]);
    let claim = Claim::new(&Nickname::parse("bob").unwrap(), 5);
    let claim = keys().claim(b"room", false, std::slice::from_ref(&claim));
    assert!(driver.start_call(&claim, 1) && driver.start_call(&claim, 2));
    driver.run_until("two answers", |driver| driver.events.len() == 2);
    let has_failed = |(event, tag): (&Event, u64)| {
        matches!(event, Event::Answer(answered, Err(words))
            if *answered == tag && words.starts_with("NOSCRIPT"))
    };
    assert!(driver.events.iter().zip(1..).all(has_failed), "{:?}", driver.events);
    driver.events.clear();
    assert!(driver.start_call(&claim, 3));
    assert!(driver.start_call(&keys().release(b"room", &["bob"]), 4));
    driver.run_until("two more answers", |driver| driver.events.len() == 2);
    assert_eq!(driver.events, [3, 4].map(|tag| Event::Answer(tag, Ok(vec![1]))));
}

#[test]
fn full_memory_fails_claims_alone() {
    logger::capture();
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    redis.set(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..3 {
        let answer = renew(&mut driver);
        assert!(answer.as_ref().is_err_and(|words| words.contains("OOM")), "{answer:?}");
    }
    driver.hears_itself("a", "hello");
    redis.set(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    assert_eq!(driver.events, [], "no connection was lost");
    let lines = logger_lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("WARN cluster: the engine fails renew.lua: "), "{lines:?}");
}

#[test]
fn failing_snapshot_fails_claims_alone() {
    let Some(redis) = Redis::start(&["--save", "3600 1"]) else { return };
    let mut driver = connected(&redis);
    // A folder where the file should be.
    fs::create_dir(redis.folder().path("dump.rdb")).unwrap();
    redis.ask(&["BGSAVE"]);
    let mut answer = Ok(Vec::new());
    driver.run_until("a call fails", |driver| {
        answer = renew(driver);
        answer.is_err()
    });
    assert!(answer.as_ref().is_err_and(|words| words.contains("MISCONF")), "{answer:?}");
    driver.hears_itself("a", "hello");
    redis.set(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    assert!(renew(&mut driver).is_ok());
    assert_eq!(driver.events, [], "no connection was lost");
}

#[test]
fn user_without_rights_heals_when_it_has_them() {
    logger::capture();
    let Some(redis) = Redis::start(&[]) else { return };
    redis.set(&["ACL", "SETUSER", "node", "on", ">secret", "~*", "&*", "+@all", "-subscribe"]);
    let config =
        EngineConfig { username: "node".to_owned(), password: b"secret".to_vec(), ..config() };
    let mut driver = Driver::new(&redis.socket(), config, &["a"]);
    driver.wait_for(&Event::CommandsReady);
    driver.run_until("it is refused", |_| !logger_lines().is_empty());
    redis.set(&["ACL", "SETUSER", "node", "+subscribe", "-publish"]);
    driver.run_within(HEALED, "it is ready", |driver| driver.is_ready());
    driver.engine.publish(b"a", &[b"refused"]);
    driver.run_until("a publication fails", |_| logger_lines().len() == 3);
    redis.set(&["ACL", "SETUSER", "node", "+publish"]);
    driver.hears_itself("a", "hello");
    let lines = logger_lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("answers NOPERM"), "{lines:?}");
    assert!(lines[2].contains("the engine fails PUBLISH: NOPERM"), "{lines:?}");
}

#[test]
fn loading_server_is_waited_for() {
    let saves = ["--save", "3600 1", "--enable-debug-command", "yes"];
    let Some(mut redis) = Redis::start(&saves) else {
        return;
    };
    redis.set(&["DEBUG", "POPULATE", "20000", "key", "100"]);
    redis.set(&["SAVE"]);
    let mut driver = connected(&redis);
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    redis.kill();
    // 100 µs a key, and it answers every few keys.
    let slowly = ["--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"];
    redis.restart_with(&slowly);
    let mut client = redis.connect();
    let Value::Error(answer) = client.ask(&["DBSIZE"]) else { panic!("it is not loading") };
    assert!(answer.starts_with("LOADING"), "{answer}");
    driver.wait_for(&Event::Lost(Link::Commands));
    driver.wait_for(&Event::CommandsReady);
    driver.wait_for(&Event::SubscriberReady);
    assert_eq!(renew(&mut driver), Ok(vec![0]));
}

#[test]
fn server_that_becomes_a_replica_is_left() {
    logger::capture();
    let (Some(first), Some(second)) = (Redis::start_tcp(&[]), Redis::start_tcp(&[])) else {
        return;
    };
    let replicate = |replica: &Redis, master: &Redis| {
        replica.set(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    };
    replicate(&second, &first);
    let mut driver = connected(&first);
    assert_eq!(renew(&mut driver), Ok(vec![0]));
    // A failover by hand.
    second.set(&["REPLICAOF", "NO", "ONE"]);
    replicate(&first, &second);
    assert!(driver.start_call(&keys().renew("a node", LEASE_MS, &[]), 1));
    driver.wait_for(&Event::Lost(Link::Commands));
    assert!(logger_lines().iter().any(|line| line.contains("READONLY")), "{:?}", logger_lines());
    // The subscriber of the old one is deaf to what the new one has.
    driver.set_path(&second.socket());
    driver.wait_for(&Event::CommandsReady);
    let now = driver.now();
    driver.engine.on_deaf(now);
    driver.wait_for(&Event::Lost(Link::Subscriber));
    driver.wait_for(&Event::SubscriberReady);
    driver.hears_itself("a", "hello");
}

#[test]
fn backlog_of_64_mib_is_heard_in_time() {
    let Some(redis) = Redis::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]) else {
        return;
    };
    let mut driver = connected(&redis);
    driver.reads_subscriber = false;
    let payload = vec![b'x'; 16 * 1024];
    for _ in 0..4096 {
        assert!(driver.engine.publish(b"a", &[&payload]));
    }
    driver.run_until("all is sent", |driver| driver.engine.unsent(Link::Commands).is_empty());
    driver.reads_subscriber = true;
    let started_at = Instant::now();
    driver.run_until("all is heard", |driver| driver.events.len() == 4096);
    eprintln!("64 MiB in {} ms", started_at.elapsed().as_millis());
}

#[test]
fn channels_change_on_a_connection_that_is_there() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut driver = connected(&redis);
    driver.engine.set_channels(vec![b"b".to_vec(), b"c".to_vec()]);
    assert!(!driver.engine.is_ready(Link::Subscriber));
    driver.wait_for(&Event::SubscriberReady);
    driver.hears_itself("c", "hello");
    driver.hears_itself("b", "hello");
    driver.run_until("the old one is left", |_| {
        redis.ask(&["PUBLISH", "a", "unheard"]) == Value::Integer(0)
    });
    assert_eq!(driver.events, []);
}
