//! Each row of the message table, for each kind of client, in both languages.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use super::super::support::{Client, Server, crowd};
use super::{Chat, ChatClient, Event, KINDS, Kind, Lang, for_each_kind};

#[test]
fn nickname_is_welcomed_and_its_join_announced() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.unregistered(kind);
        bob.say("  bob\t");
        bob.expect(Event::Welcome, &["bob"]);
        ann.expect(Event::Joined, &["bob"]);
        let mut eve = chat.member(kind, "Ева");
        for other in [&mut ann, &mut bob] {
            other.expect(Event::Joined, &["Ева"]);
            other.has_received_all();
        }
        eve.has_received_all();
    });
}

#[test]
fn server_sends_nothing_first() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.unregistered(kind);
        chat.wait_for_pause();
        bob.register("bob");
    });
}

/// Unicode scalar values are counted, not bytes.
#[test]
fn nickname_has_3_to_16_characters() {
    let bad = [
        "x".to_owned(),
        "xy".to_owned(),
        "x".repeat(17),
        "яя".to_owned(),
        "я".repeat(17),
        "e\u{301}".to_owned(),
        "🦜🦜".to_owned(),
    ];
    let good = [
        "bob".to_owned(),
        "x".repeat(16),
        "яна".to_owned(),
        "я".repeat(16),
        "e\u{301}e\u{301}".to_owned(),
        "שלום".to_owned(),
        "🦜".repeat(16),
    ];
    for_each_kind(|chat, kind| {
        let mut bob = chat.unregistered(kind);
        for nick in &bad {
            bob.say(nick);
            bob.expect(Event::LengthWrong, &[]);
        }
        bob.register("after-all");
        for nick in &good {
            chat.member(kind, nick);
        }
    });
}

#[test]
fn nickname_with_blanks_or_controls_is_refused() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.unregistered(kind);
        for nick in [
            "bob bob",
            "bob\tbob",
            "bob\u{a0}bob",
            "bob\rbob",
            "bob\0bob",
            "bob\x1b[31m",
            "bob\x7fbob",
            "bob\u{85}bob",
            "bob\u{200b}",
            "\u{202e}bob",
            "bob\u{2028}bob",
            "bob\u{2800}",
            "bob\u{3164}",
            "bob\u{600}",
            "bob\u{e000}",
            "bob\u{e1000}",
            "bob\u{a8}",
            "\u{301}bob",
            "[bob",
            "bob]",
            "bob:",
            "bob：",
        ] {
            bob.say(nick);
            bob.expect(Event::Characters, &[]);
        }
        bob.register("bob");
    });
}

#[test]
fn nickname_is_taken_in_any_case() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "Ann");
        let mut yan = chat.member(Kind::Lines, "Яна");
        ann.expect(Event::Joined, &["Яна"]);
        let mut bob = chat.unregistered(kind);
        let servers = ["SERVER", "server", "INFO", "Info", "ERROR", "eRRor", "YOU", "you"];
        for nick in ["Ann", "aNN", "Яна", "ЯНА"].into_iter().chain(servers) {
            bob.say(nick);
            bob.expect(Event::Taken, &[nick]);
        }
        bob.register("Anna");
        for other in [&mut ann, &mut yan] {
            other.expect(Event::Joined, &["Anna"]);
            other.has_received_all();
        }
    });
}

#[test]
fn nickname_is_taken_by_look_alikes() {
    for_each_kind(|chat, kind| {
        let mut others: Vec<ChatClient> = Vec::new();
        for nick in ["Straße", "Андрей", "paypal", "BOB"] {
            let member = chat.member(Kind::Lines, nick);
            others.iter_mut().for_each(|other| other.expect(Event::Joined, &[nick]));
            others.push(member);
        }
        let mut eve = chat.unregistered(kind);
        for nick in [
            "STRAẞE",
            "strasse",
            "Андреи\u{306}",
            "ｐａｙｐａｌ",
            "раураl",
            "bοb",
            "ВОВ",
            "ѕERVER",
            "INF\u{41e}",
        ] {
            eve.say(nick);
            eve.expect(Event::Taken, &[nick]);
        }
        for other in ["paypa1", "вов", "SE\u{332}RVER"] {
            chat.member(kind, other);
        }
        eve.register("eve");
    });
}

/// A message to a look-alike of a member's nickname must not reach the member.
#[test]
fn private_message_does_not_go_to_a_look_alike() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        let mut ann = chat.member(Kind::Lines, "Straße");
        bob.expect(Event::Joined, &["Straße"]);
        for form in ["STRAẞE", "strasse", "ｓｔｒａｓｓｅ"] {
            bob.say(&format!("/msg {form} hello"));
            bob.expect(Event::PrivateSent, &["Straße", "hello"]);
            ann.expect(Event::Private, &["bob", "hello"]);
        }
        for other in ["Ѕtraße", "\u{301}", "[Straße]"] {
            bob.say(&format!("/msg {other} hello"));
            bob.expect(Event::NoSuchUser, &[other]);
        }
        ann.has_received_all();
    });
}

#[test]
fn message_goes_to_all_but_its_sender() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "Bob");
        let mut eve = chat.member(kind, "eve");
        ann.expect(Event::Joined, &["Bob"]);
        ann.expect(Event::Joined, &["eve"]);
        bob.expect(Event::Joined, &["eve"]);
        for text in ["hello", "Привет, мир 🦜", "exit now", "[SERVER] ann left", "a\tb"]
        {
            bob.say(text);
            ann.expect(Event::Message, &["Bob", text]);
            eve.expect(Event::Message, &["Bob", text]);
        }
        for talker in [&mut ann, &mut bob, &mut eve] {
            talker.has_received_all();
        }
    });
}

#[test]
fn who_lists_all_members_sorted() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        bob.say("/who");
        bob.expect(Event::Who, &["bob"]);
        let _stranger = chat.unregistered(kind);
        let mut others: Vec<ChatClient> = Vec::new();
        for nick in ["eve", "яна", "dan", "ann"] {
            others.push(chat.member(kind, nick));
            bob.expect(Event::Joined, &[nick]);
        }
        bob.say("/who");
        bob.expect(Event::Who, &["ann, bob, dan, eve, яна"]);
    });
}

#[test]
fn who_lists_1000_and_counts_the_rest() {
    let _guard = crowd(1_002);
    for lang in [Lang::En, Lang::Ru] {
        let chat = Chat::start(lang);
        let mut bob = chat.member(Kind::Lines, "bob");
        let mut list = "bob".to_owned();
        let mut others = Vec::new();
        for number in 0..1_001 {
            let nick = format!("m{number:04}");
            others.push(chat.member(Kind::Lines, &nick));
            bob.expect(Event::Joined, &[&nick]);
            if number < 999 {
                list += &format!(", {nick}");
            }
            let more = match (number, lang) {
                (998, _) => String::new(),
                (999, Lang::En) => ", … and 1 more".to_owned(),
                (1_000, Lang::En) => ", … and 2 more".to_owned(),
                (999, Lang::Ru) => ", … и ещё 1".to_owned(),
                (1_000, Lang::Ru) => ", … и ещё 2".to_owned(),
                _ => continue,
            };
            bob.say("/who");
            bob.expect(Event::Who, &[&(list.clone() + &more)]);
        }
    }
}

#[test]
fn private_message_goes_to_one_member() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "bob");
        let mut eve = chat.member(Kind::Lines, "Eve");
        ann.expect(Event::Joined, &["bob"]);
        ann.expect(Event::Joined, &["Eve"]);
        bob.expect(Event::Joined, &["Eve"]);
        for (message, text) in [
            ("/msg Eve hello there", "hello there"),
            ("/msg eVE hello", "hello"),
            ("/msg  Eve \t привет  ", "привет"),
            ("/msg Eve /who", "/who"),
        ] {
            bob.say(message);
            bob.expect(Event::PrivateSent, &["Eve", text]);
            eve.expect(Event::Private, &["bob", text]);
        }
        for talker in [&mut ann, &mut bob, &mut eve] {
            talker.has_received_all();
        }
    });
}

#[test]
fn private_message_to_oneself_comes_back_first() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.member(kind, "Bob");
        bob.say("/msg bob note to self");
        bob.expect(Event::PrivateSent, &["Bob", "note to self"]);
        bob.expect(Event::Private, &["Bob", "note to self"]);
        bob.has_received_all();
        bob.client.send("/msg BOB ещё\n/who\n".as_bytes());
        bob.expect(Event::PrivateSent, &["Bob", "ещё"]);
        bob.expect(Event::Private, &["Bob", "ещё"]);
        bob.expect(Event::Who, &["Bob"]);
    });
}

#[test]
fn private_message_to_no_member_is_refused() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        let mut gone = chat.member(kind, "gone");
        let _stranger = chat.unregistered(kind);
        bob.expect(Event::Joined, &["gone"]);
        gone.say("/exit");
        gone.client.expect_eof();
        bob.expect(Event::Left, &["gone"]);
        for user in ["ann", "bo", "gone", "SERVER", "Яна"] {
            bob.say(&format!("/msg {user} hello"));
            bob.expect(Event::NoSuchUser, &[user]);
        }
    });
}

#[test]
fn private_message_needs_a_text() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        for message in ["/msg", "/msg bob", "/msg bob   ", "/msg nobody"] {
            bob.say(message);
            bob.expect(Event::Usage, &[]);
        }
    });
}

#[test]
fn help_lists_the_commands_one_a_line() {
    for_each_kind(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        let mut unregistered = chat.unregistered(kind);
        for talker in [&mut bob, &mut unregistered] {
            talker.say("/help");
            for command in ["/who ", "/msg USER TEXT ", "/help ", "/exit, /quit "] {
                let line = talker.client.read_line();
                assert!(line.starts_with(command), "{line}");
                let russian = line.chars().any(|c| ('а'..='я').contains(&c));
                assert_eq!(russian, chat.lang == Lang::Ru, "{line}");
            }
        }
        bob.has_received_all();
        unregistered.register("ann");
    });
}

#[test]
fn command_is_not_a_nickname() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.unregistered(kind);
        for command in ["/who", "/msg ann hello", "/dance", "/", "/x", "/EXIT", "/привет"] {
            bob.say(command);
            bob.expect(Event::NicknameFirst, &[]);
        }
        ann.has_received_all();
        bob.register("bob");
        ann.expect(Event::Joined, &["bob"]);
    });
}

#[test]
fn exit_leaves_with_and_without_a_slash() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        for exit in ["exit", "/exit", " exit ", "/quit", "/quit now", "/exit now"] {
            let mut unregistered = chat.unregistered(kind);
            unregistered.say(exit);
            unregistered.client.expect_eof();
            ann.has_received_all();
            let mut bob = chat.member(kind, "bob");
            ann.expect(Event::Joined, &["bob"]);
            bob.say(exit);
            bob.client.expect_eof();
            ann.expect(Event::Left, &["bob"]);
            ann.has_received_all();
        }
    });
}

#[test]
fn unknown_command_is_named() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "bob");
        ann.expect(Event::Joined, &["bob"]);
        for (message, command) in [
            ("/x", "/x"),
            ("/quiet now please", "/quiet"),
            ("/whom", "/whom"),
            ("/WHO", "/WHO"),
            ("/", "/"),
            ("/привет", "/привет"),
            ("/\x1b[2J", "/\u{fffd}[2J"),
        ] {
            bob.say(message);
            bob.expect(Event::UnknownCommand, &[command]);
        }
        ann.has_received_all();
    });
}

#[test]
fn message_over_4096_bytes_is_refused_and_skipped() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "bob");
        ann.expect(Event::Joined, &["bob"]);
        for longest in ["x".repeat(4_096), "я".repeat(2_048)] {
            bob.say(&longest);
            ann.expect(Event::Message, &["bob", &longest]);
        }
        for len in [4_097, 4_098, 4_099, 10_000, 20_000] {
            chat.observer.until_read(len + kind.end().len(), || bob.say(&"x".repeat(len)));
            bob.expect(Event::TooLong, &[]);
            if kind == Kind::Unterminated {
                // The error comes before the rest of the message has been skipped.
                chat.wait_for_pause();
            }
            bob.say("next");
            ann.expect(Event::Message, &["bob", "next"]);
            bob.has_received_all();
        }
        let mut unregistered = chat.unregistered(kind);
        chat.observer.until_read(5_000 + kind.end().len(), || unregistered.say(&"x".repeat(5_000)));
        unregistered.expect(Event::TooLong, &[]);
        chat.wait_for_pause();
        unregistered.register("eve");
    });
}

#[test]
fn message_that_is_not_utf_8_is_refused() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.unregistered(kind);
        bob.say_bytes(b"b\xf6b");
        bob.expect(Event::NotUtf8, &[]);
        bob.register("bob");
        ann.expect(Event::Joined, &["bob"]);
        // Latin-1, a surrogate, an overlong slash, a truncated character.
        for bytes in [&b"gr\xfc\xdfe"[..], b"\xed\xa0\x80", b"\xc0\xaf", b"\xd1", b"/who \xff"] {
            bob.say_bytes(bytes);
            bob.expect(Event::NotUtf8, &[]);
        }
        bob.say("hello");
        ann.expect(Event::Message, &["bob", "hello"]);
    });
}

/// The error arrives whole, whatever the client has sent and however it ends it.
#[test]
fn client_too_many_gets_an_error_and_is_closed() {
    for (url, lang) in [("chat://127.0.0.1:0", Lang::En), ("chat://127.0.0.1:0?lang=ru", Lang::Ru)]
    {
        let server = Server::start(&["-l", url, "-m", "1"]);
        let talker =
            |addr: SocketAddr, kind| ChatClient { client: Client::connect(addr), kind, lang };
        let mut first = talker(server.addr(0), Kind::Lines);
        first.register("first");
        for kind in KINDS {
            let mut second = talker(server.addr(0), kind);
            second.say("second");
            second.expect(Event::Full, &["1"]);
            second.client.expect_eof();
        }
        first.has_received_all();
    }
}

#[test]
fn stop_is_announced_and_no_leaves_are() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(kind, "ann");
        let mut bob = chat.member(kind, "bob");
        let mut silent = chat.unregistered(kind);
        let mut unregistered = chat.unregistered(kind);
        ann.expect(Event::Joined, &["bob"]);
        unregistered.say("x");
        unregistered.expect(Event::LengthWrong, &[]);
        chat.server.signal(Signal::SIGTERM);
        for talker in [&mut silent, &mut unregistered, &mut ann, &mut bob] {
            talker.expect(Event::Stopped, &[]);
            talker.client.expect_eof();
        }
        drop((silent, unregistered, ann, bob));
        assert_eq!(chat.server.wait_exit().code(), Some(0));
    });
}

/// Terminated or not: after the stop no client can terminate it.
#[test]
fn messages_that_arrived_before_a_stop_are_delivered() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(kind, "ann");
        let mut bob = chat.member(kind, "bob");
        ann.expect(Event::Joined, &["bob"]);
        chat.server.freeze();
        bob.say("goodbye");
        chat.server.wait_until_unread(&bob.client, "goodbye".len() + kind.end().len());
        chat.server.signal(Signal::SIGTERM);
        chat.server.thaw();
        ann.expect(Event::Message, &["bob", "goodbye"]);
        for talker in [&mut ann, &mut bob] {
            talker.expect(Event::Stopped, &[]);
            talker.client.expect_eof();
        }
    });
}
