//! What holds in a chat beyond the rows of the table: what a message is, who hears what and in which
//! order, what the log says, how a configuration file opens one.

use std::time::{Duration, Instant};

use super::super::support::{Client, Folder, PATIENCE, Server, mynah, wait_until};
use super::{Chat, Event, KINDS, Kind, Lang, Talker, in_every_way, line};

/// How long the server takes a client that ends no message for unfinished.
const QUIET: Duration = Duration::from_millis(50);

/// Ann, who ends her lines, and bob, of whom she has heard.
fn ann_and_bob(chat: &Chat, kind: Kind) -> (Talker, Talker) {
    let mut ann = chat.member(Kind::Lines, "ann");
    let bob = chat.member(kind, "bob");
    ann.hears(Event::Joined, &["bob"]);
    (ann, bob)
}

#[test]
fn before_it_has_a_nickname_a_client_hears_nothing_of_the_room() {
    in_every_way(|chat, kind| {
        let mut stranger = chat.stranger(kind);
        stranger.say("x");
        stranger.hears(Event::LengthWrong, &[]);
        let (mut ann, mut bob) = ann_and_bob(chat, kind);
        bob.say("a secret");
        ann.hears(Event::Message, &["bob", "a secret"]);
        bob.say("/msg ann another");
        bob.hears(Event::PrivateSent, &["ann", "another"]);
        ann.hears(Event::Private, &["bob", "another"]);
        bob.say("exit");
        ann.hears(Event::Left, &["bob"]);
        // What it was not to hear is not caught up on.
        stranger.say("/who");
        stranger.hears(Event::NicknameFirst, &[]);
        stranger.register("eve");
        ann.hears(Event::Joined, &["eve"]);
        stranger.has_heard_all();
    });
}

#[test]
fn several_lines_in_one_write_are_several_messages_in_their_order() {
    let chat = Chat::start(Lang::En);
    let mut ann = chat.member(Kind::Lines, "ann");
    let mut bob = chat.stranger(Kind::Lines);
    bob.client.send(b"b\nbob\none\r\n/msg\n\n \t \r\ntwo\n/who\nexit\nthree\n");
    bob.hears(Event::LengthWrong, &[]);
    bob.hears(Event::Welcome, &["bob"]);
    bob.hears(Event::Usage, &[]);
    bob.hears(Event::Who, &["ann, bob"]);
    bob.client.expect_eof();
    ann.hears(Event::Joined, &["bob"]);
    ann.hears(Event::Message, &["bob", "one"]);
    ann.hears(Event::Message, &["bob", "two"]);
    ann.hears(Event::Left, &["bob"]);
    ann.has_heard_all();
}

#[test]
fn a_line_split_anywhere_over_two_reads_is_one_message() {
    let text = "aé€🦜z";
    for end in [&b"\n"[..], b"\r\n"] {
        let mut chat = Chat::start(Lang::En);
        let (mut ann, mut bob) = ann_and_bob(&chat, Kind::Lines);
        let message = [text.as_bytes(), end].concat();
        for cut in 1..message.len() {
            let (first, second) = message.split_at(cut);
            chat.until_read(cut, || bob.client.send(first));
            bob.client.send(second);
            ann.hears(Event::Message, &["bob", text]);
        }
    }
}

/// A slow network may split its lines.
#[test]
fn a_client_that_has_ended_a_line_is_waited_for_until_it_ends_the_next() {
    for kind in [Kind::Lines, Kind::CrLf] {
        let mut chat = Chat::start(Lang::En);
        let (mut ann, mut bob) = ann_and_bob(&chat, kind);
        bob.client.send(b"hel");
        chat.let_quiet_pass();
        bob.say("lo");
        ann.hears(Event::Message, &["bob", "hello"]);
        bob.client.send(b"over ");
        chat.let_quiet_pass();
        bob.client.send(&[b'x'; 5_000]);
        bob.hears(Event::TooLong, &[]);
        chat.let_quiet_pass();
        bob.say("the rest of it");
        bob.say("next");
        ann.hears(Event::Message, &["bob", "next"]);
        ann.has_heard_all();
    }
}

#[test]
fn what_a_client_that_ends_no_message_sends_after_a_pause_is_another_message() {
    in_every_way(|chat, kind| {
        let (mut ann, mut bob) = ann_and_bob(chat, Kind::Unterminated);
        let mut eve = chat.member(kind, "eve");
        ann.hears(Event::Joined, &["eve"]);
        bob.hears(Event::Joined, &["eve"]);
        for text in ["hel", "lo"] {
            bob.say(text);
            chat.let_quiet_pass();
        }
        for other in [&mut ann, &mut eve] {
            other.hears(Event::Message, &["bob", "hel"]);
            other.hears(Event::Message, &["bob", "lo"]);
        }
    });
}

#[test]
fn only_a_client_that_has_never_ended_a_message_waits_for_the_quiet() {
    let chat = Chat::start(Lang::En);
    let mut ancestor = chat.stranger(Kind::Unterminated);
    for _ in 0..5 {
        let said_at = Instant::now();
        ancestor.say("x");
        ancestor.hears(Event::LengthWrong, &[]);
        // The server counts in whole milliseconds.
        assert!(said_at.elapsed() > QUIET - Duration::from_millis(2), "{:?}", said_at.elapsed());
    }
    let mut prompt = chat.stranger(Kind::Lines);
    // However busy the machine is, one of them is answered at once.
    wait_until("an answer without waiting", || {
        let said_at = Instant::now();
        prompt.say("x");
        prompt.hears(Event::LengthWrong, &[]);
        said_at.elapsed() < QUIET
    });
}

/// From then on its messages wait for their end, and its quiet means nothing.
#[test]
fn a_client_that_begins_to_end_its_messages_is_one_that_does() {
    let mut chat = Chat::start(Lang::En);
    let (mut ann, mut bob) = ann_and_bob(&chat, Kind::Unterminated);
    bob.client.send(b"one\ntw");
    ann.hears(Event::Message, &["bob", "one"]);
    chat.let_quiet_pass();
    bob.client.send(b"o\n");
    ann.hears(Event::Message, &["bob", "two"]);
}

#[test]
fn a_tail_is_delivered_when_its_client_shuts_its_side() {
    in_every_way(|chat, kind| {
        let (mut ann, mut bob) = ann_and_bob(chat, kind);
        bob.client.send("last words: пока".as_bytes());
        bob.client.half_close();
        ann.hears(Event::Message, &["bob", "last words: пока"]);
        ann.hears(Event::Left, &["bob"]);
        bob.client.expect_eof();
        let mut stranger = chat.stranger(kind);
        stranger.client.send(b"bob");
        stranger.client.half_close();
        stranger.hears(Event::Welcome, &["bob"]);
        stranger.client.expect_eof();
        ann.hears(Event::Joined, &["bob"]);
        ann.hears(Event::Left, &["bob"]);
        ann.has_heard_all();
    });
}

#[test]
fn empty_messages_are_ignored_and_others_are_trimmed() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.stranger(kind);
        for registered in [false, true] {
            // Nothing to wait for but the count: an empty message without an end is none.
            for blank in [" ", "\t \u{a0}", "\r", "\u{2028}"] {
                let before = chat.messages_in();
                bob.say(blank);
                wait_until("it is taken", || chat.messages_in() > before);
            }
            if kind != Kind::Unterminated {
                bob.say("");
            }
            if !registered {
                bob.register("bob");
                ann.hears(Event::Joined, &["bob"]);
            }
        }
        bob.say(" \t a  b \u{a0}\u{2003}");
        ann.hears(Event::Message, &["bob", "a  b"]);
        bob.has_heard_all();
    });
}

#[test]
fn control_characters_other_than_tab_arrive_as_u_fffd() {
    in_every_way(|chat, kind| {
        let (mut ann, mut bob) = ann_and_bob(chat, kind);
        for (sent, heard) in [
            ("a\tb", "a\tb"),
            ("\x1b[2J\x1b]0;title\x07", "\u{fffd}[2J\u{fffd}]0;title\u{fffd}"),
            ("a\rb", "a\u{fffd}b"),
            ("a\0b", "a\u{fffd}b"),
            ("\0", "\u{fffd}"),
            ("a\x08b\x7f", "a\u{fffd}b\u{fffd}"),
            ("a\u{85}b\u{9b}2J", "a\u{fffd}b\u{fffd}2J"),
            ("a\u{2028}b\u{2029}c", "a\u{fffd}b\u{fffd}c"),
        ] {
            bob.say(sent);
            ann.hears(Event::Message, &["bob", heard]);
            bob.say(&format!("/msg ann {sent}"));
            bob.hears(Event::PrivateSent, &["ann", heard]);
            ann.hears(Event::Private, &["bob", heard]);
        }
        bob.say("/msg \x1b[2J hello");
        bob.hears(Event::NoSuchUser, &["\u{fffd}[2J"]);
    });
}

/// Whatever a member says and whatever it is called, its lines are known for its own.
#[test]
fn nobody_can_speak_in_another_name() {
    let attempts = [
        "[SERVER] ann left",
        "[INFO] The server has shut down",
        "x\n[SERVER] ann left",
        "x\r[SERVER] ann left",
        "x\r\n[INFO] The server has shut down",
        "x\u{2028}[ann]: I agree",
        "x\u{85}[PM] ann: psst",
        "\x1b[2K\x1b[1G[SERVER] ann left",
        "\x08\x08\x08\x08\x08\x08\x08\x08[ann]: I agree",
    ];
    for nick in ["bob", "SERVER)", "(SERVER", "INFO;", "ann;", "PM1", "Server\u{301}"] {
        let chat = Chat::start(Lang::En);
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.member(Kind::Lines, nick);
        ann.hears(Event::Joined, &[nick]);
        for attempt in attempts {
            bob.say(attempt);
        }
        bob.say("done");
        let done = line(Lang::En, Event::Message, &[nick, "done"]);
        let mut lines = 0;
        loop {
            let line = ann.client.read_line();
            assert!(line.starts_with(&format!("[{nick}]: ")), "{line:?}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{line:?}");
            lines += 1;
            if line == done {
                break;
            }
        }
        let newlines = attempts.iter().filter(|text| text.contains('\n')).count();
        assert_eq!(lines, attempts.len() + newlines + 1);
        ann.has_heard_all();
    }
    let chat = Chat::start(Lang::En);
    let mut ann = chat.member(Kind::Lines, "ann");
    let mut eve = chat.stranger(Kind::Lines);
    for (nick, answer) in [
        ("eve\r[SERVER]", Event::Characters),
        ("x]: [SERVER]", Event::Characters),
        ("SERVER]", Event::Characters),
        ("[SERVER]", Event::Characters),
        ("ann]:x", Event::Characters),
        ("ann］：x", Event::Characters),
        ("bob]:\u{2800}hi", Event::Characters),
        ("eve\u{2028}x", Event::Characters),
    ] {
        eve.say(nick);
        eve.hears(answer, &[]);
    }
    eve.say("eve\n[SERVER] ann left");
    eve.hears(Event::Welcome, &["eve"]);
    ann.hears(Event::Joined, &["eve"]);
    ann.hears(Event::Message, &["eve", "[SERVER] ann left"]);
    ann.has_heard_all();
}

#[test]
fn two_listeners_are_two_rooms() {
    let server = Server::start(&[
        "-l",
        "chat://127.0.0.1:0",
        "-l",
        "chat://127.0.0.1:0?lang=ru",
        "-l",
        "command://127.0.0.1:0",
    ]);
    let rooms = [(0, Lang::En), (1, Lang::Ru)];
    let enter = |nick: &str| {
        rooms.map(|(number, lang)| {
            let mut talker = Talker { client: server.connect_to(number), kind: Kind::Lines, lang };
            talker.register(nick);
            talker
        })
    };
    let mut ann = enter("ann");
    let mut bob = enter("bob");
    for ann in &mut ann {
        ann.hears(Event::Joined, &["bob"]);
    }
    bob[0].say("hello");
    ann[0].hears(Event::Message, &["bob", "hello"]);
    bob[1].say("/msg ann hello");
    bob[1].hears(Event::PrivateSent, &["ann", "hello"]);
    ann[1].hears(Event::Private, &["bob", "hello"]);
    bob[0].say("exit");
    ann[0].hears(Event::Left, &["bob"]);
    bob[1].say("/who");
    bob[1].hears(Event::Who, &["ann, bob"]);
    for ann in &mut ann {
        ann.has_heard_all();
    }
}

/// What the nickname came with was a reset, so that the welcome cannot be sent.
#[test]
fn a_client_that_vanishes_before_its_welcome_joins_and_leaves_at_most_once() {
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let bob = chat.stranger(kind);
        chat.let_quiet_pass();
        chat.server.freeze();
        let mut bob = bob;
        bob.say("bob");
        bob.client.abort();
        chat.server.thaw();
        chat.server.wait_for_line(" disconnected: ");
        let mut next = chat.member(kind, "bob");
        let joined = line(chat.lang, Event::Joined, &["bob"]);
        let left = line(chat.lang, Event::Left, &["bob"]);
        ann.say("/who");
        let who = line(chat.lang, Event::Who, &["ann, bob"]);
        let mut heard = Vec::new();
        while heard.last() != Some(&who) {
            heard.push(ann.client.read_line());
        }
        heard.pop();
        let once = std::slice::from_ref(&joined);
        assert!(heard == once || heard == [&*joined, &*left, &*joined], "{heard:?}");
        next.has_heard_all();
    });
}

/// In every way there is of leaving but the server's own, which is a row of the table.
#[test]
fn whoever_leaves_is_said_to_leave_once() {
    type Leave = fn(&mut Talker);
    let ways: [(&str, Leave); 5] = [
        ("exit", |bob| bob.say("exit")),
        ("half-close", |bob| bob.client.half_close()),
        ("half-close behind a tail", |bob| {
            bob.client.send(b"/exit");
            bob.client.half_close();
        }),
        ("close", |_| {}),
        ("reset", |bob| bob.client.set_abortive()),
    ];
    in_every_way(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        for (number, (way, leave)) in ways.into_iter().enumerate() {
            eprintln!("{way}");
            let mut bob = chat.member(kind, "bob");
            ann.hears(Event::Joined, &["bob"]);
            leave(&mut bob);
            drop(bob);
            ann.hears(Event::Left, &["bob"]);
            wait_until("it is gone", || chat.server.count_lines(" disconnected: ") == number + 1);
            ann.has_heard_all();
        }
        // The log is written by a thread of its own: all of it is there when the server has ended.
        drop(ann);
        assert_eq!(chat.server.stop(), Some(0));
        assert_eq!(chat.server.count_lines(" bob left"), ways.len());
    });
}

#[test]
fn of_200_clients_that_ask_for_one_nickname_at_once_one_gets_it() {
    const CLIENTS: usize = 200;
    let chat = Chat::start(Lang::En);
    let mut clients: Vec<Talker> =
        (0..CLIENTS).map(|number| chat.stranger(KINDS[number % KINDS.len()])).collect();
    let nick = |number: usize| if number.is_multiple_of(2) { "Highlander" } else { "hIGHLANDER" };
    chat.server.freeze();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(nick(number));
    }
    chat.server.thaw();
    let mut welcomed = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.client.read_line();
        if answer == line(Lang::En, Event::Welcome, &[nick(number)]) {
            welcomed.push(number);
        } else {
            assert_eq!(answer, line(Lang::En, Event::Taken, &[nick(number)]));
        }
    }
    let [winner] = welcomed[..] else { panic!("{} were welcomed", welcomed.len()) };
    let mut winner = clients.swap_remove(winner);
    winner.has_heard_all();
    drop(winner);
    wait_until("the nickname is free again", || {
        let client = &mut clients[0];
        client.say("highlander");
        client.client.read_line() == line(Lang::En, Event::Welcome, &["highlander"])
    });
}

/// To one, and to several in turn: the letters of each have to fit between the public messages.
#[test]
fn a_private_message_keeps_its_place_among_the_public_ones_of_its_sender() {
    const ROUNDS: usize = 300;
    let chat = Chat::start(Lang::En);
    let (mut ann, mut bob) = ann_and_bob(&chat, Kind::Lines);
    let mut eve = chat.member(Kind::Lines, "eve");
    ann.hears(Event::Joined, &["eve"]);
    bob.hears(Event::Joined, &["eve"]);
    let mut said = String::new();
    for round in 0..ROUNDS {
        said += &format!("public {round}\n/msg ann for ann {round}\n/msg eve for eve {round}\n");
    }
    bob.client.send(said.as_bytes());
    for round in 0..ROUNDS {
        let public = format!("public {round}");
        for (other, nick) in [(&mut ann, "ann"), (&mut eve, "eve")] {
            let private = format!("for {nick} {round}");
            other.hears(Event::Message, &["bob", &public]);
            other.hears(Event::Private, &["bob", &private]);
            bob.hears(Event::PrivateSent, &[nick, &private]);
        }
    }
}

/// Its sender cannot be made to wait for it, and its queue is full.
#[test]
fn a_member_that_does_not_read_its_private_messages_is_cut_and_its_sender_goes_on() {
    let mut chat = Chat::start_with(Lang::En, &["--send-queue", "65536"]);
    let (mut ann, mut bob) = ann_and_bob(&chat, Kind::Lines);
    let client = chat.server.connect_with_small_buffer();
    let mut deaf = Talker { client, kind: Kind::Lines, lang: Lang::En };
    deaf.register("deaf");
    ann.hears(Event::Joined, &["deaf"]);
    bob.hears(Event::Joined, &["deaf"]);
    let text = "x".repeat(4_000);
    let left = line(Lang::En, Event::Left, &["deaf"]);
    let sent = line(Lang::En, Event::PrivateSent, &["deaf", &text]);
    let began_at = Instant::now();
    loop {
        bob.say(&format!("/msg deaf {text}"));
        let answer = bob.client.read_line();
        if answer == left {
            break;
        }
        assert_eq!(answer, sent);
        assert!(began_at.elapsed() < PATIENCE, "it was never cut");
    }
    bob.hears(Event::NoSuchUser, &["deaf"]);
    ann.hears(Event::Left, &["deaf"]);
    bob.say("hello");
    ann.hears(Event::Message, &["bob", "hello"]);
    assert_eq!(chat.observer.status().get("slow_consumers_total"), 1);
    chat.server.wait_for_line("disconnected: slow consumer");
    ann.has_heard_all();
    bob.has_heard_all();
    let heard = deaf.client.read_until_cut();
    assert!(heard.starts_with(line(Lang::En, Event::Private, &["bob", &text]).as_bytes()));
}

#[test]
fn a_member_that_does_not_read_the_room_is_cut_once_the_log_is_full() {
    let mut chat = Chat::start_with(Lang::En, &["--broadcast-log", "65536"]);
    let (mut ann, mut bob) = ann_and_bob(&chat, Kind::Lines);
    let client = chat.server.connect_with_small_buffer();
    let mut deaf = Talker { client, kind: Kind::Lines, lang: Lang::En };
    deaf.register("deaf");
    ann.hears(Event::Joined, &["deaf"]);
    bob.hears(Event::Joined, &["deaf"]);
    let text = "x".repeat(4_000);
    let began_at = Instant::now();
    while chat.observer.status().get("slow_consumers_total") == 0 {
        bob.say(&text);
        ann.hears(Event::Message, &["bob", &text]);
        assert!(began_at.elapsed() < PATIENCE, "it was never cut");
    }
    ann.hears(Event::Left, &["deaf"]);
    bob.hears(Event::Left, &["deaf"]);
    ann.has_heard_all();
    bob.has_heard_all();
}

#[test]
fn joins_and_leaves_are_logged_at_info_and_messages_only_at_debug() {
    for verbose in [false, true] {
        let args: &[&str] = if verbose { &["-v"] } else { &[] };
        let mut chat = Chat::start_with(Lang::Ru, args);
        let (mut ann, mut bob) = ann_and_bob(&chat, Kind::Lines);
        bob.say("Привет, \x1b[31mмир\u{202e}!");
        bob.say("/msg ann по\tсекрету");
        bob.say("exit");
        bob.hears(Event::PrivateSent, &["ann", "по\tсекрету"]);
        bob.client.expect_eof();
        ann.hears(Event::Message, &["bob", "Привет, \u{fffd}[31mмир\u{202e}!"]);
        drop((ann, bob));
        assert_eq!(chat.server.stop(), Some(0));
        for joined in [" ann joined", " bob joined", " bob left"] {
            assert!(chat.server.wait_for_line(joined).contains(" INFO "));
        }
        let said = r#" message: "Привет, \x1b[31mмир\u{202e}!""#;
        let private = r#" message: "/msg ann по\tсекрету""#;
        for message in [said, private] {
            assert_eq!(chat.server.count_lines(message), usize::from(verbose), "{message}");
        }
        let log = chat.server.log().join("\n");
        assert_eq!(log.contains("Привет") || log.contains("секрету"), verbose, "{log}");
        if verbose {
            assert!(chat.server.wait_for_line(said).contains(" DEBUG "));
        }
    }
}

#[test]
fn the_ancestors_file_opens_a_chat() {
    let folder = Folder::new();
    let file = folder.file("config.ini", "[server]\nhost = 127.0.0.1 # IP\nport = 0\n");
    let server = Server::start_as(mynah().args(["-c", &file]), 1);
    server.wait_for_line(&format!("listening on chat://{}", server.addr(0)));
    let client = Client::connect(server.addr(0));
    let mut bob = Talker { client, kind: Kind::Unterminated, lang: Lang::En };
    bob.register("bob");
}

#[test]
fn sections_of_a_file_open_as_many_chats_each_in_its_language() {
    let folder = Folder::new();
    let file = folder.file(
        "mynah.ini",
        "[chat]\nport = 0\n[chat lobby]\nhost = 127.0.0.1\nport = 0\nlang = ru\n",
    );
    let server = Server::start_as(mynah().args(["-c", &file]), 2);
    for (number, lang) in [(0, Lang::En), (1, Lang::Ru)] {
        let client = server.connect_to(number);
        let mut bob = Talker { client, kind: Kind::Unterminated, lang };
        bob.register("bob");
    }
}

/// The beginning of a line is no sign of life that lasts.
#[test]
fn a_member_that_is_idle_for_too_long_leaves() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0?idle=1"]);
    let talker = |kind| Talker { client: server.connect(), kind, lang: Lang::En };
    let mut bob = talker(Kind::Lines);
    bob.register("bob");
    bob.client.send(b"half a li");
    bob.client.expect_eof();
    server.wait_for_line("disconnected: idle timeout");
    let mut next = talker(Kind::Unterminated);
    next.register("bob");
}
