//! The simulator's model of the scripts against the scripts in a real engine: the same calls by seed have
//! the same answers, publish the same notices, and leave the same keys.

use std::time::Instant;

use mynah::internal::cluster::Script;
use mynah::internal::cluster::scripts::{Claim, Keys, LEASE_MS, ScriptCall};
use mynah::internal::protocol::nickname::Nickname;

use crate::support::redis::{Redis, RedisClient, Value};
use crate::support::rng::Rng;

#[allow(dead_code, unreachable_pub, reason = "the simulation uses the rest")]
#[path = "../core/simulation/cluster/store.rs"]
mod store;

use store::{Content, Outcome, Reply, Store};

const SEEDS: u64 = 200;
const CALLS_MAX: usize = 60;
const ROOMS: [&[u8]; 2] = [b"the room", b"\xff another: {room}\n"];
/// Equal ones, and such as look alike.
const NICKS: [&str; 22] = [
    "aaa",
    "AAA",
    "ааа",
    "ААА",
    "ᎪᎪᎪ",
    "ooo",
    "οοο",
    "ооо",
    "000",
    "ОOо",
    "111",
    "lll",
    "III",
    "Ӏӏl",
    "paypal",
    "раураl",
    "Яна",
    "янa",
    "口口口",
    "ロロロ",
    "囗囗囗",
    "bob",
];
/// The first three renew their leases; the last never has one.
const INCARNATIONS: [u64; 4] = [0xa, 0xb, 0xc, 0xd];
const RENEWING: usize = 3;
/// No claim's age comes so close to another's that the order of the calls could matter.
const AGES: [u64; 5] = [0, 20_000, 40_000, 60_000, 80_000];

/// Everything there is, in one answer: keys, whether each expires, and what it holds.
const CONTENTS: &[u8] = b"local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
    local kind, values = redis.call('TYPE', key).ok, {}
    if kind == 'hash' then values = redis.call('HGETALL', key) end
    if kind == 'zset' then values = redis.call('ZRANGE', key, 0, -1) end
    if kind == 'set' then values = redis.call('SMEMBERS', key) end
    out[#out + 1] = { key, redis.call('PTTL', key), values }
end
return out";

/// Both engines, and a subscriber of the real one.
struct Both {
    client: RedisClient,
    nodes: RedisClient,
    shas: Vec<Vec<u8>>,
    model: Store,
    /// The model's time.
    now: u64,
}

impl Both {
    fn new(redis: &Redis) -> Both {
        let mut client = redis.connect();
        let load =
            |script: &Script| bytes(client.ask_bytes(&[b"SCRIPT", b"LOAD", script.source()]));
        let shas = Script::ALL.iter().map(load).collect();
        let mut nodes = redis.connect();
        nodes.ask_bytes(&[b"SUBSCRIBE", &Keys::new("p", 0).nodes_channel()]);
        Both { client, nodes, shas, model: Store::default(), now: 0 }
    }

    fn clear(&mut self) {
        self.client.ask(&["FLUSHALL"]);
        // No age goes back to before the model's time.
        (self.model, self.now) = (Store::default(), 1_000_000);
    }

    fn call(&mut self, call: &ScriptCall, rng: &mut Rng) {
        let count = call.keys.len().to_string();
        let mut parts: Vec<&[u8]> =
            vec![b"EVALSHA", &self.shas[call.script as usize], count.as_bytes()];
        parts.extend(call.keys.iter().chain(&call.args).map(Vec::as_slice));
        let real = match self.client.ask_bytes(&parts) {
            Value::Array(list) => Reply::List(list.into_iter().map(integer).collect()),
            one => Reply::One(integer(one)),
        };
        // Each call comes later than the one before it, as by a clock of microseconds.
        self.now += 1;
        let before = (call.script == Script::Renew).then(|| self.model.clone());
        let Outcome { reply, published } =
            self.model.run(call.script, &call.keys, &call.args, self.now, rng);
        assert_eq!(reply, real, "{call:?}");
        match before {
            Some(before) => self.compare_by_chance(before, call, rng),
            None if call.script == Script::Claim => self.compare_published(published),
            None => {}
        }
    }

    /// A renewal looks at another node by chance: what the real one has done is what the model does for
    /// one of its choices.
    fn compare_by_chance(&mut self, before: Store, call: &ScriptCall, rng: &mut Rng) {
        let real = self.contents();
        for _ in 0..100 {
            if contents_of(&self.model) == real {
                return;
            }
            self.model = before.clone();
            self.model.run(call.script, &call.keys, &call.args, self.now, rng);
        }
        assert_eq!(contents_of(&self.model), real, "{call:?}");
    }

    fn compare_published(&mut self, mut published: Vec<(Vec<u8>, Vec<u8>)>) {
        let channel = Keys::new("p", 0).nodes_channel();
        self.client.ask_bytes(&[b"PUBLISH", &channel, b"end"]);
        let mut real = Vec::new();
        loop {
            let Value::Array(message) = self.nodes.receive() else { panic!("no message") };
            let mut texts = message.into_iter().skip(1).map(bytes);
            let message = (texts.next().expect("a channel"), texts.next().expect("a payload"));
            if message.1 == b"end" {
                break;
            }
            real.push(message);
        }
        // Of one call, in any order.
        published.sort();
        real.sort();
        assert_eq!(published, real);
    }

    fn contents(&mut self) -> Vec<Content> {
        let Value::Array(keys) = self.client.ask_bytes(&[b"EVAL", CONTENTS, b"0"]) else {
            panic!("no list")
        };
        let content = |key: Value| {
            let Value::Array(parts) = key else { panic!("{key:?}") };
            let [key, ttl, values] = <[Value; 3]>::try_from(parts).expect("three parts");
            let Value::Array(values) = values else { panic!("{values:?}") };
            (bytes(key), integer(ttl) > 0, values.into_iter().map(bytes).collect())
        };
        in_order(keys.into_iter().map(content).collect())
    }

    /// Renews a lease that has run out when this returns.
    fn renew_for_a_moment(&mut self, keys: &Keys, rng: &mut Rng) {
        let call = keys.renew("a node", 1, &ROOMS);
        let lease = call.keys[0].clone();
        let count = call.keys.len().to_string();
        let mut parts: Vec<&[u8]> =
            vec![b"EVALSHA", &self.shas[call.script as usize], count.as_bytes()];
        parts.extend(call.keys.iter().chain(&call.args).map(Vec::as_slice));
        let real = Reply::One(integer(self.client.ask_bytes(&parts)));
        while integer(self.client.ask_bytes(&[b"EXISTS", &lease])) == 1 {}
        let before = self.model.clone();
        self.now += 1;
        let run = |model: &mut Store, now: u64, rng: &mut Rng| {
            let outcome = model.run(call.script, &call.keys, &call.args, now, rng);
            model.expire(now + 1);
            outcome.reply
        };
        assert_eq!(run(&mut self.model, self.now, rng), real);
        let real = self.contents();
        for _ in 0..100 {
            if contents_of(&self.model) == real {
                break;
            }
            self.model = before.clone();
            run(&mut self.model, self.now, rng);
        }
        assert_eq!(contents_of(&self.model), real, "{call:?}");
        self.now += 1;
    }

    fn delete(&mut self, key: &[u8]) {
        self.client.ask_bytes(&[b"DEL", key]);
        self.model.delete(key);
    }
}

fn contents_of(model: &Store) -> Vec<Content> {
    in_order(model.contents())
}

/// Keys in order; names without the time since which each is had, but in its order.
fn in_order(mut contents: Vec<Content>) -> Vec<Content> {
    contents.sort();
    for (key, _, values) in &mut contents {
        if key.starts_with(b"{p}:names:") {
            let holder = |pair: &[Vec<u8>]| {
                let mut parts: Vec<&[u8]> = pair[1].split(|byte| *byte == 0).collect();
                let since: u64 = str::from_utf8(parts.remove(1)).unwrap().parse().unwrap();
                (since, [&pair[0], &*parts.join(&0)].join(&b"; "[..]))
            };
            let mut holders: Vec<(u64, Vec<u8>)> = values.chunks(2).map(holder).collect();
            holders.sort();
            *values = holders.into_iter().map(|(_, holder)| holder).collect();
        } else if key.starts_with(b"{p}:nodes") {
            // Fields with their values.
            let mut nodes: Vec<Vec<u8>> = values.chunks(2).map(|pair| pair.concat()).collect();
            nodes.sort();
            *values = nodes;
        } else {
            values.sort();
        }
    }
    contents
}

fn bytes(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) | Value::SimpleString(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

fn integer(value: Value) -> i64 {
    match value {
        Value::Integer(n) => n,
        other => panic!("{other:?}"),
    }
}

fn random_call(both: &mut Both, rng: &mut Rng) {
    let at = rng.below(INCARNATIONS.len());
    let keys = Keys::new("p", INCARNATIONS[at]);
    let room = ROOMS[rng.below(2) * rng.below(2)];
    let nick = |rng: &mut Rng| Nickname::parse(NICKS[rng.below(NICKS.len())]).expect("a nickname");
    match rng.below(20) {
        0..3 if at < RENEWING => both.call(&keys.renew("a node", LEASE_MS, &ROOMS), rng),
        3 if at < RENEWING => both.call(&keys.renew("a node", 0, &[room]), rng),
        4 if at < RENEWING => both.renew_for_a_moment(&keys, rng),
        5 => both.delete(&keys.renew("", 0, &[]).keys[0]),
        // What a failover may lose.
        6 if rng.one_in(4) => {
            let lost = keys.claim(room, false, &[]).keys;
            both.delete(&lost[rng.between(1, 3)]);
        }
        7..10 => {
            let folded: Vec<String> =
                (0..rng.between(1, 3)).map(|_| nick(rng).folded().as_str().to_owned()).collect();
            let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
            both.call(&keys.release(room, &folded), rng);
        }
        _ => {
            let names: Vec<Claim> = (0..rng.skewed(4))
                .map(|_| Claim::new(&nick(rng), AGES[rng.below(AGES.len())]))
                .collect();
            both.call(&keys.claim(room, rng.one_in(6), &names), rng);
        }
    }
}

#[test]
fn model_does_what_the_scripts_do() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut both = Both::new(&redis);
    let (started_at, mut calls) = (Instant::now(), 0);
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        let mut rng = Rng::new(seed ^ 0x5c21_9715);
        both.clear();
        for _ in 0..rng.between(1, CALLS_MAX) {
            random_call(&mut both, &mut rng);
            calls += 1;
        }
        let real = both.contents();
        assert_eq!(contents_of(&both.model), real);
    }
    eprintln!("{SEEDS} seeds, {calls} calls: {} ms", started_at.elapsed().as_millis());
}
