//! Rules of the chat beyond its messages: where a message ends, who receives it and in which order,
//! the log, and configuration files.

use std::time::{Duration, Instant};

use super::super::support::{Client, Folder, PATIENCE, Server, mynah, wait_until};
use super::{Chat, ChatClient, Event, KINDS, Kind, Lang, for_each_kind, line};

/// The pause that ends an unterminated message.
const QUIET: Duration = Duration::from_millis(50);

/// Joins ann, who terminates her lines, and then bob.
fn join_ann_and_bob(chat: &Chat, kind: Kind) -> (ChatClient, ChatClient) {
    let mut ann = chat.member(Kind::Lines, "ann");
    let bob = chat.member(kind, "bob");
    ann.expect(Event::Joined, &["bob"]);
    (ann, bob)
}

#[test]
fn unregistered_client_gets_no_messages() {
    for_each_kind(|chat, kind| {
        let mut unregistered = chat.unregistered(kind);
        unregistered.say("x");
        unregistered.expect(Event::LengthWrong, &[]);
        let (mut ann, mut bob) = join_ann_and_bob(chat, kind);
        bob.say("a secret");
        ann.expect(Event::Message, &["bob", "a secret"]);
        bob.say("/msg ann another");
        bob.expect(Event::PrivateSent, &["ann", "another"]);
        ann.expect(Event::Private, &["bob", "another"]);
        bob.say("exit");
        ann.expect(Event::Left, &["bob"]);
        // Earlier messages are not sent later.
        unregistered.say("/who");
        unregistered.expect(Event::NicknameFirst, &[]);
        unregistered.register("eve");
        ann.expect(Event::Joined, &["eve"]);
        unregistered.has_received_all();
    });
}

#[test]
fn several_lines_in_one_write_are_several_messages() {
    let chat = Chat::start(Lang::En);
    let mut ann = chat.member(Kind::Lines, "ann");
    let mut bob = chat.unregistered(Kind::Lines);
    bob.client.send(b"b\nbob\none\r\n/msg\n\n \t \r\ntwo\n/who\nexit\nthree\n");
    bob.expect(Event::LengthWrong, &[]);
    bob.expect(Event::Welcome, &["bob"]);
    bob.expect(Event::Usage, &[]);
    bob.expect(Event::Who, &["ann, bob"]);
    bob.client.expect_eof();
    ann.expect(Event::Joined, &["bob"]);
    ann.expect(Event::Message, &["bob", "one"]);
    ann.expect(Event::Message, &["bob", "two"]);
    ann.expect(Event::Left, &["bob"]);
    ann.has_received_all();
}

#[test]
fn line_split_over_two_reads_is_one_message() {
    let text = "aé€🦜z";
    for end in [&b"\n"[..], b"\r\n"] {
        let mut chat = Chat::start(Lang::En);
        let (mut ann, mut bob) = join_ann_and_bob(&chat, Kind::Lines);
        let message = [text.as_bytes(), end].concat();
        for cut in 1..message.len() {
            chat.observer.send_split(&mut bob.client, &message, cut);
            ann.expect(Event::Message, &["bob", text]);
        }
    }
}

/// A slow network may split lines, so a pause must not end them.
#[test]
fn terminated_line_makes_the_next_wait_for_its_end() {
    for kind in [Kind::Lines, Kind::CrLf] {
        let mut chat = Chat::start(Lang::En);
        let (mut ann, mut bob) = join_ann_and_bob(&chat, kind);
        bob.client.send(b"hel");
        chat.wait_for_pause();
        bob.say("lo");
        ann.expect(Event::Message, &["bob", "hello"]);
        bob.client.send(b"over ");
        chat.wait_for_pause();
        bob.client.send(&[b'x'; 5_000]);
        bob.expect(Event::TooLong, &[]);
        chat.wait_for_pause();
        bob.say("the rest of it");
        bob.say("next");
        ann.expect(Event::Message, &["bob", "next"]);
        ann.has_received_all();
    }
}

#[test]
fn unterminated_messages_end_at_a_pause() {
    for_each_kind(|chat, kind| {
        let (mut ann, mut bob) = join_ann_and_bob(chat, Kind::Unterminated);
        let mut eve = chat.member(kind, "eve");
        ann.expect(Event::Joined, &["eve"]);
        bob.expect(Event::Joined, &["eve"]);
        for text in ["hel", "lo"] {
            bob.say(text);
            chat.wait_for_pause();
        }
        for other in [&mut ann, &mut eve] {
            other.expect(Event::Message, &["bob", "hel"]);
            other.expect(Event::Message, &["bob", "lo"]);
        }
    });
}

#[test]
fn only_unterminated_messages_wait_for_the_pause() {
    let chat = Chat::start(Lang::En);
    let mut ancestor = chat.unregistered(Kind::Unterminated);
    for _ in 0..5 {
        let said_at = Instant::now();
        ancestor.say("x");
        ancestor.expect(Event::LengthWrong, &[]);
        // The server's timers have whole milliseconds.
        assert!(said_at.elapsed() > QUIET - Duration::from_millis(2), "{:?}", said_at.elapsed());
    }
    let mut prompt = chat.unregistered(Kind::Lines);
    // On a busy machine, at least one of them is answered without the pause.
    wait_until("an answer without waiting", || {
        let said_at = Instant::now();
        prompt.say("x");
        prompt.expect(Event::LengthWrong, &[]);
        said_at.elapsed() < QUIET
    });
}

/// From then on its messages wait for their end, and a pause does not end them.
#[test]
fn client_may_begin_to_terminate_its_messages() {
    let mut chat = Chat::start(Lang::En);
    let (mut ann, mut bob) = join_ann_and_bob(&chat, Kind::Unterminated);
    bob.client.send(b"one\ntw");
    ann.expect(Event::Message, &["bob", "one"]);
    chat.wait_for_pause();
    bob.client.send(b"o\n");
    ann.expect(Event::Message, &["bob", "two"]);
}

#[test]
fn unterminated_message_ends_at_eof() {
    for_each_kind(|chat, kind| {
        let (mut ann, mut bob) = join_ann_and_bob(chat, kind);
        bob.client.send("last words: пока".as_bytes());
        bob.client.half_close();
        ann.expect(Event::Message, &["bob", "last words: пока"]);
        ann.expect(Event::Left, &["bob"]);
        bob.client.expect_eof();
        let mut unregistered = chat.unregistered(kind);
        unregistered.client.send(b"bob");
        unregistered.client.half_close();
        unregistered.expect(Event::Welcome, &["bob"]);
        unregistered.client.expect_eof();
        ann.expect(Event::Joined, &["bob"]);
        ann.expect(Event::Left, &["bob"]);
        ann.has_received_all();
    });
}

#[test]
fn messages_are_trimmed_and_empty_ones_ignored() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let mut bob = chat.unregistered(kind);
        for registered in [false, true] {
            // An empty unterminated message is not counted.
            for blank in [" ", "\t \u{a0}", "\r", "\u{2028}"] {
                let before = chat.observer.frames_in();
                bob.say(blank);
                wait_until("it is taken", || chat.observer.frames_in() > before);
            }
            if kind != Kind::Unterminated {
                bob.say("");
            }
            if !registered {
                bob.register("bob");
                ann.expect(Event::Joined, &["bob"]);
            }
        }
        bob.say(" \t a  b \u{a0}\u{2003}");
        ann.expect(Event::Message, &["bob", "a  b"]);
        bob.has_received_all();
    });
}

#[test]
fn control_characters_arrive_as_u_fffd() {
    for_each_kind(|chat, kind| {
        let (mut ann, mut bob) = join_ann_and_bob(chat, kind);
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
            ann.expect(Event::Message, &["bob", heard]);
            bob.say(&format!("/msg ann {sent}"));
            bob.expect(Event::PrivateSent, &["ann", heard]);
            ann.expect(Event::Private, &["bob", heard]);
        }
        bob.say("/msg \x1b[2J hello");
        bob.expect(Event::NoSuchUser, &["\u{fffd}[2J"]);
    });
}

/// No nickname and no text makes a line that looks like another's, or like the server's.
#[test]
fn members_cannot_forge_lines() {
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
        ann.expect(Event::Joined, &[nick]);
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
        ann.has_received_all();
    }
    let chat = Chat::start(Lang::En);
    let mut ann = chat.member(Kind::Lines, "ann");
    let mut eve = chat.unregistered(Kind::Lines);
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
        eve.expect(answer, &[]);
    }
    eve.say("eve\n[SERVER] ann left");
    eve.expect(Event::Welcome, &["eve"]);
    ann.expect(Event::Joined, &["eve"]);
    ann.expect(Event::Message, &["eve", "[SERVER] ann left"]);
    ann.has_received_all();
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
            let mut talker =
                ChatClient { client: server.connect_to(number), kind: Kind::Lines, lang };
            talker.register(nick);
            talker
        })
    };
    let mut ann = enter("ann");
    let mut bob = enter("bob");
    for ann in &mut ann {
        ann.expect(Event::Joined, &["bob"]);
    }
    bob[0].say("hello");
    ann[0].expect(Event::Message, &["bob", "hello"]);
    bob[1].say("/msg ann hello");
    bob[1].expect(Event::PrivateSent, &["ann", "hello"]);
    ann[1].expect(Event::Private, &["bob", "hello"]);
    bob[0].say("exit");
    ann[0].expect(Event::Left, &["bob"]);
    bob[1].say("/who");
    bob[1].expect(Event::Who, &["ann, bob"]);
    for ann in &mut ann {
        ann.has_received_all();
    }
}

/// A reset follows the nickname, so that the welcome cannot be sent.
#[test]
fn reset_before_the_welcome_joins_at_most_once() {
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        let bob = chat.unregistered(kind);
        chat.wait_for_pause();
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
        next.has_received_all();
    });
}

/// In each way to leave, except the server's stop, which is a row of the table.
#[test]
fn leave_is_announced_once() {
    type Leave = fn(&mut ChatClient);
    let ways: [(&str, Leave); 5] = [
        ("exit", |bob| bob.say("exit")),
        ("half-close", |bob| bob.client.half_close()),
        ("half-close behind an unterminated message", |bob| {
            bob.client.send(b"/exit");
            bob.client.half_close();
        }),
        ("close", |_| {}),
        ("reset", |bob| bob.client.set_abortive()),
    ];
    for_each_kind(|chat, kind| {
        let mut ann = chat.member(Kind::Lines, "ann");
        for (number, (way, leave)) in ways.into_iter().enumerate() {
            eprintln!("{way}");
            let mut bob = chat.member(kind, "bob");
            ann.expect(Event::Joined, &["bob"]);
            leave(&mut bob);
            drop(bob);
            ann.expect(Event::Left, &["bob"]);
            wait_until("bob is disconnected", || {
                chat.server.count_lines(" disconnected: ") == number + 1
            });
            ann.has_received_all();
        }
        // A thread writes the log, which is complete once the server has ended.
        drop(ann);
        assert_eq!(chat.server.stop(), Some(0));
        assert_eq!(chat.server.count_lines(" bob left"), ways.len());
    });
}

#[test]
fn nickname_requested_by_200_goes_to_one() {
    const CLIENTS: usize = 200;
    let chat = Chat::start(Lang::En);
    let mut clients: Vec<ChatClient> =
        (0..CLIENTS).map(|number| chat.unregistered(KINDS[number % KINDS.len()])).collect();
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
    winner.has_received_all();
    drop(winner);
    wait_until("the nickname is free again", || {
        let client = &mut clients[0];
        client.say("highlander");
        client.client.read_line() == line(Lang::En, Event::Welcome, &["highlander"])
    });
}

/// To one recipient and to several in turn: each gets its private messages between the public ones.
#[test]
fn private_and_public_messages_keep_their_order() {
    const ROUNDS: usize = 300;
    let chat = Chat::start(Lang::En);
    let (mut ann, mut bob) = join_ann_and_bob(&chat, Kind::Lines);
    let mut eve = chat.member(Kind::Lines, "eve");
    ann.expect(Event::Joined, &["eve"]);
    bob.expect(Event::Joined, &["eve"]);
    let mut messages = String::new();
    for round in 0..ROUNDS {
        messages +=
            &format!("public {round}\n/msg ann for ann {round}\n/msg eve for eve {round}\n");
    }
    bob.client.send(messages.as_bytes());
    for round in 0..ROUNDS {
        let public = format!("public {round}");
        for (other, nick) in [(&mut ann, "ann"), (&mut eve, "eve")] {
            let private = format!("for {nick} {round}");
            other.expect(Event::Message, &["bob", &public]);
            other.expect(Event::Private, &["bob", &private]);
            bob.expect(Event::PrivateSent, &[nick, &private]);
        }
    }
}

/// Its send queue is full, and its sender must not wait for it.
#[test]
fn member_with_unread_private_messages_is_cut() {
    let mut chat = Chat::start_with(Lang::En, &["--send-queue", "65536"]);
    let (mut ann, mut bob) = join_ann_and_bob(&chat, Kind::Lines);
    let client = chat.server.connect_with_small_buffer();
    let mut non_reader = ChatClient { client, kind: Kind::Lines, lang: Lang::En };
    non_reader.register("mute");
    ann.expect(Event::Joined, &["mute"]);
    bob.expect(Event::Joined, &["mute"]);
    let text = "x".repeat(4_000);
    let left = line(Lang::En, Event::Left, &["mute"]);
    let sent = line(Lang::En, Event::PrivateSent, &["mute", &text]);
    let began_at = Instant::now();
    loop {
        bob.say(&format!("/msg mute {text}"));
        let answer = bob.client.read_line();
        if answer == left {
            break;
        }
        assert_eq!(answer, sent);
        assert!(began_at.elapsed() < PATIENCE, "the member was not cut");
    }
    bob.expect(Event::NoSuchUser, &["mute"]);
    ann.expect(Event::Left, &["mute"]);
    bob.say("hello");
    ann.expect(Event::Message, &["bob", "hello"]);
    assert_eq!(chat.observer.status().get("slow_consumers_total"), 1);
    chat.server.wait_for_line("disconnected: slow consumer");
    ann.has_received_all();
    bob.has_received_all();
    let heard = non_reader.client.read_until_cut();
    assert!(heard.starts_with(line(Lang::En, Event::Private, &["bob", &text]).as_bytes()));
}

#[test]
fn member_that_does_not_read_the_room_is_cut() {
    let mut chat = Chat::start_with(Lang::En, &["--broadcast-log", "65536"]);
    let (mut ann, mut bob) = join_ann_and_bob(&chat, Kind::Lines);
    let client = chat.server.connect_with_small_buffer();
    let mut non_reader = ChatClient { client, kind: Kind::Lines, lang: Lang::En };
    non_reader.register("mute");
    ann.expect(Event::Joined, &["mute"]);
    bob.expect(Event::Joined, &["mute"]);
    let text = "x".repeat(4_000);
    let began_at = Instant::now();
    while chat.observer.status().get("slow_consumers_total") == 0 {
        bob.say(&text);
        ann.expect(Event::Message, &["bob", &text]);
        assert!(began_at.elapsed() < PATIENCE, "the member was not cut");
    }
    ann.expect(Event::Left, &["mute"]);
    bob.expect(Event::Left, &["mute"]);
    ann.has_received_all();
    bob.has_received_all();
}

#[test]
fn joins_and_leaves_are_logged_at_info() {
    for verbose in [false, true] {
        let args: &[&str] = if verbose { &["-v"] } else { &[] };
        let mut chat = Chat::start_with(Lang::Ru, args);
        let (mut ann, mut bob) = join_ann_and_bob(&chat, Kind::Lines);
        bob.say("Привет, \x1b[31mмир\u{202e}!");
        bob.say("/msg ann по\tсекрету");
        bob.say("exit");
        bob.expect(Event::PrivateSent, &["ann", "по\tсекрету"]);
        bob.client.expect_eof();
        ann.expect(Event::Message, &["bob", "Привет, \u{fffd}[31mмир\u{202e}!"]);
        drop((ann, bob));
        assert_eq!(chat.server.stop(), Some(0));
        for joined in [" ann joined", " bob joined", " bob left"] {
            assert!(chat.server.wait_for_line(joined).contains(" INFO "));
        }
        let public = r#" message: "Привет, \x1b[31mмир\u{202e}!""#;
        let private = r#" message: "/msg ann по\tсекрету""#;
        for message in [public, private] {
            assert_eq!(chat.server.count_lines(message), usize::from(verbose), "{message}");
        }
        let log = chat.server.log().join("\n");
        assert_eq!(log.contains("Привет") || log.contains("секрету"), verbose, "{log}");
        if verbose {
            assert!(chat.server.wait_for_line(public).contains(" DEBUG "));
        }
    }
}

#[test]
fn ancestors_file_opens_a_chat() {
    let folder = Folder::new();
    let file = folder.file("config.ini", "[server]\nhost = 127.0.0.1 # IP\nport = 0\n");
    let server = Server::start_as(mynah().args(["-c", &file]), 1);
    server.wait_for_line(&format!("listening on chat://{}", server.addr(0)));
    let client = Client::connect(server.addr(0));
    let mut bob = ChatClient { client, kind: Kind::Unterminated, lang: Lang::En };
    bob.register("bob");
}

#[test]
fn each_section_of_a_file_opens_a_chat() {
    let folder = Folder::new();
    let file = folder.file(
        "mynah.ini",
        "[chat]\nport = 0\n[chat lobby]\nhost = 127.0.0.1\nport = 0\nlang = ru\n",
    );
    let server = Server::start_as(mynah().args(["-c", &file]), 2);
    for (number, lang) in [(0, Lang::En), (1, Lang::Ru)] {
        let client = server.connect_to(number);
        let mut bob = ChatClient { client, kind: Kind::Unterminated, lang };
        bob.register("bob");
    }
}

/// Half a line counts as activity once, not for ever.
#[test]
fn idle_member_leaves() {
    let server = Server::start(&["-l", "chat://127.0.0.1:0?idle=1"]);
    let talker = |kind| ChatClient { client: server.connect(), kind, lang: Lang::En };
    let mut bob = talker(Kind::Lines);
    bob.register("bob");
    bob.client.send(b"half a li");
    bob.client.expect_eof();
    server.wait_for_line("disconnected: idle timeout");
    let mut next = talker(Kind::Unterminated);
    next.register("bob");
}
