//! Each row of SPEC's table, for each kind of client, in both languages.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use super::super::support::{Client, Server, crowd};
use super::{Chat, Event, KINDS, Kind, Lang, Talker, in_every_way};

#[test]
fn a_nickname_is_welcomed_and_the_others_hear_who_joined() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.stranger(kind);
        bob.say("  bob\t");
        bob.hears(Event::Welcome, &["bob"]);
        ann.hears(Event::Joined, &["bob"]);
        let mut eve = chat.member(kind, "Ева");
        for other in [&mut ann, &mut bob] {
            other.hears(Event::Joined, &["Ева"]);
            other.has_heard_all();
        }
        eve.has_heard_all();
    });
}

#[test]
fn the_server_says_nothing_first() {
    in_every_way(|chat, kind| {
        let mut bob = chat.stranger(kind);
        chat.let_quiet_pass();
        bob.register("bob");
    });
}

/// Unicode scalar values count, not bytes.
#[test]
fn a_nickname_has_3_to_16_characters() {
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
    in_every_way(|chat, kind| {
        let mut bob = chat.stranger(kind);
        for nick in &bad {
            bob.say(nick);
            bob.hears(Event::LengthWrong, &[]);
        }
        bob.register("after-all");
        for nick in &good {
            chat.member(kind, nick);
        }
    });
}

#[test]
fn a_nickname_has_no_blanks_or_control_characters_inside() {
    in_every_way(|chat, kind| {
        let mut bob = chat.stranger(kind);
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
            bob.hears(Event::Characters, &[]);
        }
        bob.register("bob");
    });
}

#[test]
fn a_nickname_is_taken_in_any_case_and_the_servers_own_names_are() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "Ann");
        let mut yan = chat.member(Kind::Lines, "Яна");
        ann.hears(Event::Joined, &["Яна"]);
        let mut bob = chat.stranger(kind);
        let servers = ["SERVER", "server", "INFO", "Info", "ERROR", "eRRor", "YOU", "you"];
        for nick in ["Ann", "aNN", "Яна", "ЯНА"].into_iter().chain(servers) {
            bob.say(nick);
            bob.hears(Event::Taken, &[nick]);
        }
        bob.register("Anna");
        for other in [&mut ann, &mut yan] {
            other.hears(Event::Joined, &["Anna"]);
            other.has_heard_all();
        }
    });
}

#[test]
fn a_nickname_is_taken_in_any_form_and_by_look_alikes_of_other_scripts() {
    in_every_way(|chat, kind| {
        let mut others: Vec<Talker> = Vec::new();
        for nick in ["Straße", "Андрей", "paypal", "BOB"] {
            let member = chat.member(Kind::Lines, nick);
            others.iter_mut().for_each(|other| other.hears(Event::Joined, &[nick]));
            others.push(member);
        }
        let mut eve = chat.stranger(kind);
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
            eve.hears(Event::Taken, &[nick]);
        }
        for other in ["paypa1", "вов", "SE\u{332}RVER"] {
            chat.member(kind, other);
        }
        eve.register("eve");
    });
}

/// What is said to a look-alike of a member's nickname must not reach the member.
#[test]
fn a_private_message_finds_its_member_in_any_form_but_not_by_a_look_alike() {
    in_every_way(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        let mut ann = chat.member(Kind::Lines, "Straße");
        bob.hears(Event::Joined, &["Straße"]);
        for form in ["STRAẞE", "strasse", "ｓｔｒａｓｓｅ"] {
            bob.say(&format!("/msg {form} hello"));
            bob.hears(Event::PrivateSent, &["Straße", "hello"]);
            ann.hears(Event::Private, &["bob", "hello"]);
        }
        for other in ["Ѕtraße", "\u{301}", "[Straße]"] {
            bob.say(&format!("/msg {other} hello"));
            bob.hears(Event::NoSuchUser, &[other]);
        }
        ann.has_heard_all();
    });
}

#[test]
fn a_message_is_heard_by_the_others_and_not_by_who_sent_it() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "Bob");
        let mut eve = chat.member(kind, "eve");
        ann.hears(Event::Joined, &["Bob"]);
        ann.hears(Event::Joined, &["eve"]);
        bob.hears(Event::Joined, &["eve"]);
        for text in ["hello", "Привет, мир 🦜", "exit now", "[SERVER] ann left", "a\tb"]
        {
            bob.say(text);
            ann.hears(Event::Message, &["Bob", text]);
            eve.hears(Event::Message, &["Bob", text]);
        }
        for talker in [&mut ann, &mut bob, &mut eve] {
            talker.has_heard_all();
        }
    });
}

#[test]
fn who_lists_everyone_sorted() {
    in_every_way(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        bob.say("/who");
        bob.hears(Event::Who, &["bob"]);
        let _stranger = chat.stranger(kind);
        let mut others: Vec<Talker> = Vec::new();
        for nick in ["eve", "яна", "dan", "ann"] {
            others.push(chat.member(kind, nick));
            bob.hears(Event::Joined, &[nick]);
        }
        bob.say("/who");
        bob.hears(Event::Who, &["ann, bob, dan, eve, яна"]);
    });
}

#[test]
fn who_names_1000_and_counts_the_rest() {
    let _guard = crowd(1_002);
    for lang in [Lang::En, Lang::Ru] {
        let chat = Chat::start(lang);
        let mut bob = chat.member(Kind::Lines, "bob");
        let mut list = "bob".to_owned();
        let mut others = Vec::new();
        for number in 0..1_001 {
            let nick = format!("m{number:04}");
            others.push(chat.member(Kind::Lines, &nick));
            bob.hears(Event::Joined, &[&nick]);
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
            bob.hears(Event::Who, &[&(list.clone() + &more)]);
        }
    }
}

#[test]
fn a_private_message_is_for_one_alone() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "bob");
        let mut eve = chat.member(Kind::Lines, "Eve");
        ann.hears(Event::Joined, &["bob"]);
        ann.hears(Event::Joined, &["Eve"]);
        bob.hears(Event::Joined, &["Eve"]);
        for (message, text) in [
            ("/msg Eve hello there", "hello there"),
            ("/msg eVE hello", "hello"),
            ("/msg  Eve \t привет  ", "привет"),
            ("/msg Eve /who", "/who"),
        ] {
            bob.say(message);
            bob.hears(Event::PrivateSent, &["Eve", text]);
            eve.hears(Event::Private, &["bob", text]);
        }
        for talker in [&mut ann, &mut bob, &mut eve] {
            talker.has_heard_all();
        }
    });
}

#[test]
fn a_private_message_to_oneself_comes_back_before_other_answers() {
    in_every_way(|chat, kind| {
        let mut bob = chat.member(kind, "Bob");
        bob.say("/msg bob note to self");
        bob.hears(Event::PrivateSent, &["Bob", "note to self"]);
        bob.hears(Event::Private, &["Bob", "note to self"]);
        bob.has_heard_all();
        bob.client.send("/msg BOB ещё\n/who\n".as_bytes());
        bob.hears(Event::PrivateSent, &["Bob", "ещё"]);
        bob.hears(Event::Private, &["Bob", "ещё"]);
        bob.hears(Event::Who, &["Bob"]);
    });
}

#[test]
fn a_private_message_to_nobody_is_refused() {
    in_every_way(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        let mut gone = chat.member(kind, "gone");
        let _stranger = chat.stranger(kind);
        bob.hears(Event::Joined, &["gone"]);
        gone.say("/exit");
        gone.client.expect_eof();
        bob.hears(Event::Left, &["gone"]);
        for user in ["ann", "bo", "gone", "SERVER", "Яна"] {
            bob.say(&format!("/msg {user} hello"));
            bob.hears(Event::NoSuchUser, &[user]);
        }
    });
}

#[test]
fn a_private_message_needs_a_text() {
    in_every_way(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        for message in ["/msg", "/msg bob", "/msg bob   ", "/msg nobody"] {
            bob.say(message);
            bob.hears(Event::Usage, &[]);
        }
    });
}

#[test]
fn help_lists_the_commands_one_a_line() {
    in_every_way(|chat, kind| {
        let mut bob = chat.member(kind, "bob");
        let mut stranger = chat.stranger(kind);
        for talker in [&mut bob, &mut stranger] {
            talker.say("/help");
            for command in ["/who ", "/msg USER TEXT ", "/help ", "/exit, /quit "] {
                let line = talker.client.read_line();
                assert!(line.starts_with(command), "{line}");
                let russian = line.chars().any(|c| ('а'..='я').contains(&c));
                assert_eq!(russian, chat.lang == Lang::Ru, "{line}");
            }
        }
        bob.has_heard_all();
        stranger.register("ann");
    });
}

#[test]
fn a_command_is_no_nickname() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.stranger(kind);
        for command in ["/who", "/msg ann hello", "/dance", "/", "/x", "/EXIT", "/привет"] {
            bob.say(command);
            bob.hears(Event::NicknameFirst, &[]);
        }
        ann.has_heard_all();
        bob.register("bob");
        ann.hears(Event::Joined, &["bob"]);
    });
}

#[test]
fn exit_leaves_with_a_slash_and_without_before_and_after_registration() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        for exit in ["exit", "/exit", " exit ", "/quit", "/quit now", "/exit now"] {
            let mut stranger = chat.stranger(kind);
            stranger.say(exit);
            stranger.client.expect_eof();
            ann.has_heard_all();
            let mut bob = chat.member(kind, "bob");
            ann.hears(Event::Joined, &["bob"]);
            bob.say(exit);
            bob.client.expect_eof();
            ann.hears(Event::Left, &["bob"]);
            ann.has_heard_all();
        }
    });
}

#[test]
fn an_unknown_command_is_named() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "bob");
        ann.hears(Event::Joined, &["bob"]);
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
            bob.hears(Event::UnknownCommand, &[command]);
        }
        ann.has_heard_all();
    });
}

#[test]
fn a_message_of_4096_bytes_is_good_and_of_one_more_is_refused_and_skipped_to_its_end() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(kind, "bob");
        ann.hears(Event::Joined, &["bob"]);
        for longest in ["x".repeat(4_096), "я".repeat(2_048)] {
            bob.say(&longest);
            ann.hears(Event::Message, &["bob", &longest]);
        }
        for len in [4_097, 4_098, 4_099, 10_000, 20_000] {
            chat.until_read(len + kind.end().len(), || bob.say(&"x".repeat(len)));
            bob.hears(Event::TooLong, &[]);
            if kind == Kind::Unterminated {
                // The answer is no sign that it is over: it comes before the rest is skipped.
                chat.let_quiet_pass();
            }
            bob.say("next");
            ann.hears(Event::Message, &["bob", "next"]);
            bob.has_heard_all();
        }
        let mut stranger = chat.stranger(kind);
        chat.until_read(5_000 + kind.end().len(), || stranger.say(&"x".repeat(5_000)));
        stranger.hears(Event::TooLong, &[]);
        chat.let_quiet_pass();
        stranger.register("eve");
    });
}

#[test]
fn a_message_that_is_not_utf_8_is_refused() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.stranger(kind);
        bob.say_bytes(b"b\xf6b");
        bob.hears(Event::NotUtf8, &[]);
        bob.register("bob");
        ann.hears(Event::Joined, &["bob"]);
        // Latin-1, a surrogate, an overlong slash, the end of a character missing.
        for bytes in [&b"gr\xfc\xdfe"[..], b"\xed\xa0\x80", b"\xc0\xaf", b"\xd1", b"/who \xff"] {
            bob.say_bytes(bytes);
            bob.hears(Event::NotUtf8, &[]);
        }
        bob.say("hello");
        ann.hears(Event::Message, &["bob", "hello"]);
    });
}

/// The error has to arrive whole, whatever the client has sent and however it would have ended it.
#[test]
fn a_client_too_many_is_told_so_in_its_language_and_closed() {
    for (url, lang) in [("chat://127.0.0.1:0", Lang::En), ("chat://127.0.0.1:0?lang=ru", Lang::Ru)]
    {
        let server = Server::start(&["-l", url, "-m", "1"]);
        let talker = |addr: SocketAddr, kind| Talker { client: Client::connect(addr), kind, lang };
        let mut first = talker(server.addr(0), Kind::Lines);
        first.register("first");
        for kind in KINDS {
            let mut second = talker(server.addr(0), kind);
            second.say("second");
            second.hears(Event::Full, &["1"]);
            second.client.expect_eof();
        }
        first.has_heard_all();
    }
}

#[test]
fn everyone_hears_that_the_server_stops_and_nobody_is_said_to_leave() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(kind, "ann");
        let mut bob = chat.member(kind, "bob");
        let mut silent = chat.stranger(kind);
        let mut stranger = chat.stranger(kind);
        ann.hears(Event::Joined, &["bob"]);
        stranger.say("x");
        stranger.hears(Event::LengthWrong, &[]);
        chat.server.signal(Signal::SIGTERM);
        for talker in [&mut silent, &mut stranger, &mut ann, &mut bob] {
            talker.hears(Event::Stopped, &[]);
            talker.client.expect_eof();
        }
        drop((silent, stranger, ann, bob));
        assert_eq!(chat.server.wait_exit().code(), Some(0));
    });
}

/// With and without its end: nobody will send that now.
#[test]
fn a_message_that_had_arrived_when_the_server_stops_is_still_heard() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(kind, "ann");
        let mut bob = chat.member(kind, "bob");
        ann.hears(Event::Joined, &["bob"]);
        chat.server.freeze();
        bob.say("goodbye");
        chat.server.wait_until_unread(&bob.client, "goodbye".len() + kind.end().len());
        chat.server.signal(Signal::SIGTERM);
        chat.server.thaw();
        ann.hears(Event::Message, &["bob", "goodbye"]);
        for talker in [&mut ann, &mut bob] {
            talker.hears(Event::Stopped, &[]);
            talker.client.expect_eof();
        }
    });
}
