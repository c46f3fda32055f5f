//! What must hold of all that clients of a cluster have said and heard.

use std::collections::{BTreeMap, BTreeSet};

use mynah::internal::cluster::scripts::Claim;
use mynah::internal::protocol::nickname::Nickname;

use super::clients::{Client, Heard, Stint};
use super::store::overlap;

/// Checks everything that was heard, in the whole of a world's time.
pub fn check_all(clients: &[Client]) {
    let mut private = BTreeSet::new();
    for hearer in clients {
        check_order(hearer, clients);
        for (_, heard) in &hearer.heard {
            if let Heard::Private { nick, from, seq } = heard {
                assert!(private.insert((*from, *seq)), "{seq} of {from} came to two");
                check_private(hearer, &clients[*from], nick, *seq);
            }
        }
        for (at, stint) in hearer.stints.iter().enumerate() {
            let is_last = at + 1 == hearer.stints.len();
            for speaker in clients {
                let is_other = speaker.number != hearer.number;
                if is_other && speaker.is_chat == hearer.is_chat && hearer.is_chat {
                    check_missed(hearer, stint, is_last, speaker);
                }
            }
        }
    }
}

/// Everything comes once, and what one has said in order.
fn check_order(hearer: &Client, clients: &[Client]) {
    let mut last: BTreeMap<usize, u64> = BTreeMap::new();
    for (_, heard) in &hearer.heard {
        let Heard::Post { nick, from, seq } = heard else { continue };
        let speaker = &clients[*from];
        let (number, is_own) = (hearer.number, *from == hearer.number);
        assert!(!is_own, "{number} heard itself");
        if let Some(before) = last.insert(*from, *seq) {
            assert!(before < *seq, "{number} heard {seq} of {from} behind {before}");
        }
        assert!(speaker.said.iter().any(|said| said.seq == *seq), "{from} has not said {seq}");
        let has_nick = speaker.stints.iter().any(|stint| stint.nick == *nick);
        assert!(has_nick, "{from} was not called {nick}");
    }
}

fn check_private(hearer: &Client, speaker: &Client, nick: &str, seq: u64) {
    let (to, from) = (hearer.number, speaker.number);
    assert!(speaker.stints.iter().any(|stint| stint.nick == nick), "{from} was not called {nick}");
    let said = speaker.said.iter().find(|said| said.seq == seq);
    let meant = said.and_then(|said| said.to.as_ref()).expect("a private message");
    let is_meant = hearer.stints.iter().any(|stint| are_same(&stint.nick, meant));
    assert!(is_meant, "{to} was not called {meant} and heard {seq} of {from}");
}

/// What a member has not heard of a speaker, it was told to have missed: behind what it has heard
/// before, and before what it has heard next.
fn check_missed(hearer: &Client, stint: &Stint, is_last: bool, speaker: &Client) {
    let log = &hearer.heard[..stint.end.unwrap_or(hearer.heard.len())];
    let mut heard_at = BTreeMap::new();
    for (at, (_, heard)) in log.iter().enumerate().skip(stint.first) {
        if let Heard::Post { from, seq, .. } = heard
            && *from == speaker.number
        {
            heard_at.insert(*seq, at);
        }
    }
    let is_local = (hearer.node, hearer.life) == (speaker.node, speaker.life);
    let is_there = is_last && stint.end.is_none();
    let mut from = stint.first;
    for said in speaker.said.iter().filter(|said| said.to.is_none()) {
        if let Some(at) = heard_at.get(&said.seq) {
            from = *at;
            continue;
        }
        if said.at <= stint.since {
            continue;
        }
        let next = heard_at.range(said.seq..).next().map(|(_, at)| *at);
        // What was on its way when the node died nobody knows of.
        let until = match next {
            Some(at) => at,
            None if is_there && !speaker.is_cut => log.len(),
            None => continue,
        };
        let is_told = log[from..until].iter().any(|(_, heard)| *heard == Heard::Missed);
        assert!(
            is_told && !is_local,
            "{} missed {} of {} (said at {}) and was not told: {from}..{until} {stint:?}",
            hearer.number,
            said.seq,
            speaker.number,
            said.at
        );
    }
}

/// Who has joined, as a member has been told, is there, and who has left is not: nobody is said to
/// have left whose nickname another one has, on whatever node. To be called when all is quiet.
pub fn check_presence(clients: &[Client]) {
    let members = || clients.iter().filter(|client| client.is_chat && client.is_member());
    let there: BTreeSet<String> = members().map(|client| fold(&client.nick)).collect();
    for hearer in members() {
        // Before that, its node has been told of some who were there before it.
        let from = hearer.settled_from.unwrap_or(hearer.heard.len());
        let log = &hearer.heard[from.max(hearer.stints.last().expect("a member").first)..];
        let mut last = BTreeMap::new();
        for (_, heard) in log {
            match heard {
                Heard::Joined(nick) => last.insert(fold(nick), true),
                Heard::Left(nick) => last.insert(fold(nick), false),
                _ => None,
            };
        }
        for (nick, has_joined) in last {
            let (number, is_there) = (hearer.number, there.contains(&nick));
            assert_eq!(
                has_joined, is_there,
                "{number} was told of {nick}; who is there: {there:?}"
            );
        }
    }
}

/// A nickname as the engine has it.
pub fn fold(nick: &str) -> String {
    Nickname::parse(nick).expect("a nickname").folded().as_str().to_owned()
}

/// Whether one cannot be told from the other.
pub fn are_same(a: &str, b: &str) -> bool {
    let claim = |nick| Claim::new(&Nickname::parse(nick).expect("a nickname"), 0);
    let (a, b) = (claim(a), claim(b));
    let looks = a.skeletons.iter().any(|look| !look.is_empty() && b.skeletons.contains(look));
    a.folded == b.folded || (looks && !overlap(a.scripts.as_bytes(), b.scripts.as_bytes()))
}
