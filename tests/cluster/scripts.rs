//! The scripts that keep names, in a real engine: whose a name is, whatever it looks like.

use std::time::Instant;

use mynah::internal::cluster::Script;
use mynah::internal::cluster::scripts::{
    Claim, Keys, LEASE_MS, Loss, NAMES_MAX, Notice, ScriptCall,
};
use mynah::internal::protocol::nickname::Nickname;

use crate::support::redis::{Redis, RedisClient, Value};

const ROOM: &[u8] = b"the room";
const A: u64 = 0xa;
const B: u64 = 0xb;

/// A server, and a connection that calls scripts.
struct Names {
    redis: Redis,
    client: RedisClient,
    shas: Vec<String>,
}

impl Names {
    fn new() -> Option<Names> {
        let redis = Redis::start(&[])?;
        let mut client = redis.connect();
        let load = |script: &Script| {
            let Value::BulkString(sha) = client.ask_bytes(&[b"SCRIPT", b"LOAD", script.source()])
            else {
                panic!("{script:?} is not loaded")
            };
            String::from_utf8(sha).unwrap()
        };
        let shas = Script::ALL.iter().map(load).collect();
        Some(Names { redis, client, shas })
    }

    #[track_caller]
    fn call(&mut self, call: &ScriptCall) -> Vec<i64> {
        let count = call.keys.len().to_string();
        let mut parts: Vec<&[u8]> =
            vec![b"EVALSHA", self.shas[call.script as usize].as_bytes(), count.as_bytes()];
        parts.extend(call.keys.iter().chain(&call.args).map(Vec::as_slice));
        let integer = |value: &Value| match value {
            Value::Integer(n) => *n,
            other => panic!("{other:?}"),
        };
        match self.client.ask_bytes(&parts) {
            Value::Array(list) => list.iter().map(integer).collect(),
            one => vec![integer(&one)],
        }
    }

    /// Renews the lease of a node.
    fn renew(&mut self, node: u64) -> bool {
        self.call(&keys(node).renew("a node", LEASE_MS, &[ROOM])) == [1]
    }

    /// Claims a nickname for a node, for a member of so many milliseconds.
    #[track_caller]
    fn claim(&mut self, node: u64, nickname: &str, age_ms: u64) -> bool {
        self.call(&keys(node).claim(ROOM, false, &[claim(nickname, age_ms)])) == [1]
    }

    #[track_caller]
    fn force(&mut self, node: u64, nickname: &str) -> bool {
        self.call(&keys(node).claim(ROOM, true, &[claim(nickname, 0)])) == [1]
    }

    #[track_caller]
    fn release(&mut self, node: u64, nickname: &str) -> bool {
        let folded = claim(nickname, 0).folded;
        self.call(&keys(node).release(ROOM, &[&folded])) == [1]
    }

    /// Ends the lease of a node.
    fn expire(&mut self, node: u64) {
        self.client.ask(&["DEL", &format!("{{p}}:lease:{node:016x}")]);
    }

    /// How many names and looks of the room, and claims of the nodes, there are.
    fn sizes(&mut self) -> [i64; 4] {
        let claims = |node| format!("{{p}}:claims:{node:016x}");
        [
            &["HLEN", "{p}:names:the room"],
            &["ZCARD", "{p}:looks:the room"],
            &["SCARD", &*claims(A)],
            &["SCARD", &*claims(B)],
        ]
        .map(|question| match self.client.ask(question) {
            Value::Integer(n) => n,
            other => panic!("{other:?}"),
        })
    }
}

fn keys(node: u64) -> Keys {
    Keys::new("p", node)
}

#[track_caller]
fn claim(nickname: &str, age_ms: u64) -> Claim {
    Claim::new(&Nickname::parse(nickname).unwrap(), age_ms)
}

/// Both nodes alive.
fn two_nodes() -> Option<Names> {
    let mut names = Names::new()?;
    assert!(!names.renew(A));
    assert!(!names.renew(B));
    Some(names)
}

#[test]
fn equal_name_is_refused_on_another_node() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "Bob", 0));
    assert!(!names.claim(B, "bOB", 0));
    assert!(names.claim(B, "bob1", 0));
    assert!(names.claim(B, "Яна", 0));
    assert!(!names.claim(A, "яНА", 0));
}

#[test]
fn rooms_have_names_of_their_own() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "bob", 0));
    let elsewhere = keys(B).claim(b"\xff another: {room}\n", false, &[claim("bob", 0)]);
    assert_eq!(names.call(&elsewhere), [1]);
}

#[test]
fn look_alikes_are_refused_across_scripts_only() {
    let Some(mut names) = two_nodes() else { return };
    let pairs = [
        ("paypal", "раураl"),
        ("Bob", "ВОВ"),
        ("barn", "bam"),
        ("bob1", "bobl"),
        ("яна", "янa"),
        ("力力力", "カカカ"),
        ("ᏀᏀᏀ", "GGG"),
        ("111", "lll"),
        ("ооо", "ooo"),
        ("οοο", "ооо"),
        ("քքք", "ppp"),
        ("ᎪᎪᎪ", "AAA"),
    ];
    for (first, second) in pairs {
        names.client.ask(&["FLUSHALL"]);
        names.renew(A);
        names.renew(B);
        let (one, other) = (Nickname::parse(first).unwrap(), Nickname::parse(second).unwrap());
        assert!(names.claim(A, first, 0));
        assert_eq!(names.claim(B, second, 0), !one.is_same(&other), "{first} {second}");
    }
}

/// The scripts judge as [`Nickname::is_same`] does, for every pair of these.
#[test]
fn scripts_agree_with_the_rules_of_nicknames() {
    let Some(mut names) = two_nodes() else { return };
    let all = [
        "aaa",
        "ааа",
        "ᎪᎪᎪ",
        "ОоО",
        "ooo",
        "οοο",
        "ооо",
        "०००",
        "000",
        "ОOо",
        "111",
        "lll",
        "III",
        "Ӏӏl",
        "ⵏⵏⵏ",
        "ввв",
        "ВВВ",
        "bbb",
        "BBB",
        "ьЬь",
        "ррр",
        "ppp",
        "ρρρ",
        "ⲣⲣⲣ",
        "ꓑꓑꓑ",
        "口口口",
        "ロロロ",
        "囗囗囗",
        "ㅁㅁㅁ",
        "工工工",
        "エエエ",
        "ㅣㅣㅣ",
        "三三三",
        "ミミミ",
        "ᄏᄏᄏ",
        "ナナナ",
        "メメメ",
        "ᗅᗅᗅ",
        "ꓮꓮꓮ",
        "ᛖᛖᛖ",
        "ꓧꓧꓧ",
        "ΗΗΗ",
        "ннн",
        "HHH",
        "ННН",
        "ᎻᎻᎻ",
    ];
    let mut same = 0;
    for first in all {
        // A lease lasts 5 s.
        assert!(names.renew(A) && names.renew(B));
        for second in all {
            let (one, other) = (Nickname::parse(first).unwrap(), Nickname::parse(second).unwrap());
            assert!(names.claim(A, first, 0), "{first}");
            assert_eq!(names.claim(B, second, 0), !one.is_same(&other), "{first} {second}");
            same += usize::from(one.is_same(&other));
            names.release(A, first);
            names.release(B, second);
            assert_eq!(names.sizes(), [0; 4]);
        }
    }
    assert!(same > 2 * all.len(), "{same} pairs are the same");
}

#[test]
fn claim_is_renewed_by_its_node() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "bob", 5000));
    assert!(names.claim(A, "Bob", 0));
    assert!(!names.claim(B, "bob", 4000), "since is still the older one");
    assert_eq!(names.sizes(), [1, 1, 1, 0]);
    // Another text of the same folded name has other skeletons.
    assert!(names.claim(A, "вор", 0));
    assert!(names.claim(A, "ВОР", 0));
    assert_eq!(names.sizes(), [2, 3, 2, 0]);
    assert!(names.claim(A, "вор", 0));
    assert_eq!(names.sizes(), [2, 2, 2, 0]);
}

#[test]
fn older_member_takes_the_name_and_the_loser_is_told() {
    let Some(mut names) = two_nodes() else { return };
    let mut nodes = names.redis.connect();
    nodes.ask(&["SUBSCRIBE", "{p}:nodes"]);
    assert_eq!(keys(A).nodes_channel(), b"{p}:nodes");
    assert!(names.claim(A, "paypal", 1000));
    assert!(!names.claim(B, "раураl", 900));
    assert!(names.claim(B, "раураl", 60_000));
    assert_eq!(names.sizes(), [1, 1, 0, 1]);
    assert!(!names.claim(A, "paypal", 2000));
    let Value::Array(message) = nodes.receive() else { panic!("no message") };
    let Some(Value::BulkString(payload)) = message.get(2) else { panic!("{message:?}") };
    let notice = Notice { loser: A, loss: Loss::Older, room: ROOM, folded: "paypal" };
    assert_eq!(Notice::parse(payload), Some(notice));
}

#[test]
fn account_takes_the_name_whoever_has_it() {
    let Some(mut names) = two_nodes() else { return };
    let mut nodes = names.redis.connect();
    nodes.ask(&["SUBSCRIBE", "{p}:nodes"]);
    assert!(names.claim(A, "яна", 60_000));
    assert!(names.force(B, "яна"));
    assert_eq!(names.sizes(), [1, 1, 0, 1]);
    let Value::Array(message) = nodes.receive() else { panic!("no message") };
    let Some(Value::BulkString(payload)) = message.get(2) else { panic!("{message:?}") };
    let notice = Notice { loser: A, loss: Loss::LoggedIn, room: ROOM, folded: "яна" };
    assert_eq!(Notice::parse(payload), Some(notice));
}

#[test]
fn smaller_incarnation_wins_a_tie() {
    let Some(mut names) = two_nodes() else { return };
    // Older than the clock: both since 0.
    assert!(names.claim(B, "bob", u64::MAX));
    assert!(names.claim(A, "bob", u64::MAX));
    assert!(!names.claim(B, "bob", u64::MAX));
}

#[test]
fn newcomer_takes_nothing_from_another() {
    let Some(mut names) = two_nodes() else { return };
    for number in 0..500 {
        assert!(names.claim(B, &format!("name{number}"), 0));
        assert!(!names.claim(A, &format!("name{number}"), 0), "though it would win a tie");
    }
}

#[test]
fn node_without_a_lease_has_no_names() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "bob", 60_000));
    assert!(names.claim(A, "раураl", 60_000));
    names.expire(A);
    assert!(names.claim(B, "bob", 0));
    assert!(names.claim(B, "paypal", 0));
    assert_eq!(names.sizes(), [2, 2, 0, 2]);
    assert!(!names.renew(A), "it is told that it had no lease");
    assert!(names.renew(A));
}

#[test]
fn name_of_another_node_is_not_released() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "bob", 0));
    assert!(!names.release(B, "bob"));
    assert!(!names.claim(B, "bob", 0));
    assert!(names.release(A, "bob"));
    assert!(!names.release(A, "bob"));
    assert!(names.claim(B, "bob", 0));
}

#[test]
fn claims_of_dead_nodes_are_removed_by_the_living() {
    let Some(mut names) = two_nodes() else { return };
    for number in 0..450 {
        assert!(names.claim(A, &format!("name{number}"), 0));
    }
    assert!(names.claim(B, "bob", 0));
    names.renew(B);
    assert_eq!(names.sizes(), [451, 451, 450, 1], "who is alive keeps all");
    names.expire(A);
    for left in [250, 50, 0] {
        names.renew(B);
        assert_eq!(names.sizes(), [left + 1, left + 1, left, 1]);
    }
    let nodes = names.client.ask(&["HKEYS", "{p}:nodes"]);
    assert_eq!(nodes, Value::Array(vec![Value::BulkString(format!("{B:016x}").into())]));
    names.renew(B);
    assert_eq!(names.sizes(), [1, 1, 0, 1]);
}

#[test]
fn claim_that_has_another_holder_is_not_removed() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "bob", 0));
    // A failover may lose the removal of the claim alone.
    names.client.ask_bytes(&[b"SADD", b"{p}:claims:000000000000000b", b"the room\0bob"]);
    names.expire(B);
    names.renew(A);
    assert_eq!(names.sizes(), [1, 1, 1, 0]);
}

#[test]
fn look_without_a_name_is_removed() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "раураl", 0));
    names.client.ask(&["DEL", "{p}:names:the room"]);
    assert!(names.claim(B, "paypal", 0));
    assert_eq!(names.sizes()[..2], [1, 1]);
}

#[test]
fn crowd_of_look_alikes_keeps_its_names() {
    let Some(mut names) = two_nodes() else { return };
    // One skeleton, all Latin, so they differ; and its look-alike in Cyrillic.
    let look_alike = |number: usize| -> String {
        (0..5).map(|bit| if number >> bit & 1 == 1 { '1' } else { 'l' }).chain(['o']).collect()
    };
    let claimant = "ӏӏӏӏӏо";
    for (crowd, is_granted) in [(16, true), (17, false), (32, false)] {
        names.client.ask(&["FLUSHALL"]);
        names.renew(A);
        names.renew(B);
        (0..crowd).for_each(|number| assert!(names.claim(A, &look_alike(number), 0)));
        assert_eq!(names.claim(B, claimant, 60_000), is_granted, "{crowd}");
        let left = if is_granted { 1 } else { crowd as i64 };
        assert_eq!(names.sizes()[..2], [left, left]);
    }
    // Those of the dead are no crowd.
    names.expire(A);
    assert!(names.claim(B, claimant, 0));
    assert_eq!(names.sizes(), [1, 1, 0, 1]);
}

#[test]
fn batch_is_answered_name_by_name() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "bob", 0));
    let batch = [claim("ann", 0), claim("bob", 0), claim("раураl", 0), claim("paypal", 0)];
    let answer = names.call(&keys(B).claim(ROOM, false, &batch));
    assert_eq!(answer, [1, 0, 1, 0]);
    let folded: Vec<&str> = batch.iter().map(|claim| &*claim.folded).collect();
    assert_eq!(names.call(&keys(B).release(ROOM, &folded)), [1, 0, 1, 0]);
}

#[test]
fn keys_of_names_expire_unless_renewed() {
    let Some(mut names) = two_nodes() else { return };
    assert!(names.claim(A, "bob", 0));
    let Value::Array(keys) = names.client.ask(&["KEYS", "*"]) else { panic!("no list") };
    assert_eq!(keys.len(), 6);
    for key in keys {
        let Value::BulkString(key) = key else { panic!("{key:?}") };
        let Value::Integer(ttl) = names.client.ask_bytes(&[b"TTL", &key]) else { panic!("no TTL") };
        assert!((1..=3600).contains(&ttl), "{}: {ttl} s", key.escape_ascii());
    }
}

#[test]
fn ten_thousand_names_are_claimed_in_time() {
    let Some(mut names) = two_nodes() else { return };
    let all: Vec<Claim> = (0..10_000).map(|n| claim(&format!("name{n}"), 0)).collect();
    let started_at = Instant::now();
    let mut longest = 0;
    for batch in all.chunks(NAMES_MAX) {
        let before = Instant::now();
        let answer = names.call(&keys(A).claim(ROOM, false, batch));
        assert!(answer.iter().all(|granted| *granted == 1));
        longest = longest.max(before.elapsed().as_micros());
        assert!(names.renew(A));
    }
    let whole = started_at.elapsed();
    eprintln!("10,000 names: {} ms; longest batch of {NAMES_MAX}: {longest} µs", whole.as_millis());
    assert!(whole.as_secs() < 10, "{whole:?}");
    assert_eq!(names.sizes(), [10_000, 10_000, 10_000, 0]);
}
