//! `/login` and `/register`.

use super::*;

#[test]
fn login_joins_like_any_member() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut guest = join(&server, "guest");
    let mut client = server.connect_to(1);
    assert_eq!(say(&mut client, "/login BOB bob's password"), "[INFO] Welcome, bob!");
    assert_eq!(guest.read_line(), "[SERVER] bob joined");
    client.send(b"hello\n");
    assert_eq!(guest.read_line(), "[bob]: hello");
    assert_eq!(say(&mut client, "/login bob x"), "[ERROR] already logged in as bob");
    assert_eq!(say(&mut client, "/register x"), "[ERROR] already logged in as bob");
    drop(client);
    assert_eq!(guest.read_line(), "[SERVER] bob left");
}

#[test]
fn nickname_of_an_account_is_had_by_logging_in() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    server.connect().ask(REGISTER, &credentials("paypal", "password"));
    let mut client = server.connect_to(1);
    for nick in ["Bob", "ＢＯＢ", "раураl"] {
        let refusal = format!("[ERROR] {nick} is registered: /login {nick} PASSWORD");
        assert_eq!(say(&mut client, nick), refusal);
    }
    assert_eq!(say(&mut client, "bobby"), "[INFO] Welcome, bobby!");
}

#[test]
fn bad_attempt_is_answered_in_the_language_of_the_room() {
    let accounts = Accounts::new();
    for (query, lines) in [
        (
            "",
            [
                ("/login", "[ERROR] usage: /login NICK PASSWORD"),
                ("/login bob", "[ERROR] usage: /login NICK PASSWORD"),
                ("/login bo password", "[ERROR] a nickname has 3 to 16 characters"),
                ("/login b:b password", "[ERROR] a nickname has no blanks or control characters"),
                ("/login bob short", "[ERROR] a password has 8 to 128 bytes"),
                ("/login bob password", "[ERROR] login failed"),
                ("/login nobody password", "[ERROR] login failed"),
                ("/register password", "[ERROR] choose a nickname first"),
            ],
        ),
        (
            "?lang=ru",
            [
                ("/login", "[ERROR] так: /login НИК ПАРОЛЬ"),
                ("/login bob", "[ERROR] так: /login НИК ПАРОЛЬ"),
                ("/login bo password", "[ERROR] в нике должно быть от 3 до 16 символов"),
                ("/login b:b password", "[ERROR] в нике не бывает пробелов и управляющих символов"),
                ("/login bob short", "[ERROR] в пароле должно быть от 8 до 128 байт"),
                ("/login bob password", "[ERROR] неверный ник или пароль"),
                ("bob", "[ERROR] ник bob зарегистрирован: /login bob ПАРОЛЬ"),
                ("/register password", "[ERROR] сначала выберите ник"),
            ],
        ),
    ] {
        let url = format!("chat://127.0.0.1:0{query}");
        let server = Server::start(&["-l", &url, "--accounts", &accounts.path]);
        let mut client = server.connect();
        for (line, answer) in lines {
            assert_eq!(say(&mut client, line), answer, "{line}");
        }
    }
}

#[test]
fn member_registers_the_nickname_it_has() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let mut client = join(&server, "Eve");
    assert_eq!(say(&mut client, "/register"), "[ERROR] usage: /register PASSWORD");
    assert_eq!(say(&mut client, "/register short"), "[ERROR] a password has 8 to 128 bytes");
    assert_eq!(say(&mut client, "/register pass word"), "[INFO] Eve is registered");
    assert!(accounts.text().contains("\nEve:$argon2id$"));
    drop(client);
    server.wait_for_line("Eve left");
    let mut client = server.connect_to(1);
    assert_eq!(say(&mut client, "/login eve pass word"), "[INFO] Welcome, Eve!");
    let mut client = join(&server, "#hash");
    let refusal = "[ERROR] a nickname has no blanks or control characters";
    assert_eq!(say(&mut client, "/register password"), refusal);
    let too_late = "[ERROR] you have a nickname already, /login comes before it";
    assert_eq!(say(&mut client, "/login bob bob's password"), too_late);
}

#[test]
fn registration_is_closed_unless_allowed() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = join(&server, "eve");
    assert_eq!(say(&mut client, "/register password"), "[ERROR] registration is closed");
}

#[test]
fn login_takes_over_a_stale_session_in_one_step() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut stale = server.connect_to(1);
    assert_eq!(say(&mut stale, "/login bob bob's password"), "[INFO] Welcome, bob!");
    let mut guest = join(&server, "guest");
    assert_eq!(stale.read_line(), "[SERVER] guest joined");
    guest.send(b"before\n");
    let mut client = server.connect_to(1);
    client.send(b"/login bob bob's password\nhello\n/who\n");
    assert_eq!(client.read_line(), "[INFO] Welcome, bob!");
    assert_eq!(client.read_line(), "Online: bob, guest");
    for line in ["[SERVER] bob left", "[SERVER] bob joined", "[bob]: hello"] {
        assert_eq!(guest.read_line(), line);
    }
    let rest = String::from_utf8(stale.read_to_end()).unwrap();
    assert_eq!(rest, "[guest]: before\n[INFO] bob logged in elsewhere\n");
    server.wait_for_line("disconnected: logged in elsewhere");
    assert_eq!(say(&mut guest, "/msg bob psst"), "[PM to bob]: psst");
    assert_eq!(client.read_line(), "[PM] guest: psst");
}

/// Whoever had the nickname before it was registered makes way, and so do look-alikes.
#[test]
fn login_takes_over_whoever_has_the_nickname() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let (mut equal, mut alike) = (join(&server, "Zoe"), join(&server, "раураl"));
    assert_eq!(equal.read_line(), "[SERVER] раураl joined");
    for name in ["zoe", "paypal"] {
        let mut client = server.connect();
        client.send(&register(name));
        expect_welcome(&mut client, name);
    }
    let mut zoe = server.connect_to(1);
    assert_eq!(say(&mut zoe, "/login zoe zoe's password"), "[INFO] Welcome, zoe!");
    assert_eq!(equal.read_line(), "[INFO] Zoe logged in elsewhere");
    equal.expect_eof();
    assert_eq!(alike.read_line(), "[SERVER] Zoe left");
    assert_eq!(alike.read_line(), "[SERVER] zoe joined");
    let mut paypal = server.connect_to(1);
    assert_eq!(say(&mut paypal, "/login paypal paypal's password"), "[INFO] Welcome, paypal!");
    assert_eq!(alike.read_line(), "[INFO] раураl logged in elsewhere");
    alike.expect_eof();
    assert_eq!(say(&mut paypal, "/who"), "Online: paypal, zoe");
}

#[test]
fn stale_session_that_does_not_read_makes_way() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut stale = server.connect_to(1);
    assert_eq!(say(&mut stale, "/login bob bob's password"), "[INFO] Welcome, bob!");
    let mut guest = join(&server, "guest");
    let line = format!("{}\n", "x".repeat(4_000));
    for _ in 0..2_000 {
        guest.send(line.as_bytes());
    }
    let mut client = server.connect_to(1);
    assert_eq!(say(&mut client, "/login bob bob's password"), "[INFO] Welcome, bob!");
    assert_eq!(guest.read_line(), "[SERVER] bob left");
    assert_eq!(guest.read_line(), "[SERVER] bob joined");
    assert_eq!(say(&mut guest, "/who"), "Online: bob, guest");
    let rest = String::from_utf8(stale.read_to_end()).unwrap();
    assert!(rest.ends_with("xxx\n[INFO] bob logged in elsewhere\n"));
}

#[test]
fn unterminated_login_is_answered() {
    let accounts = Accounts::new();
    let url = "chat://127.0.0.1:0?lang=ru";
    let server = Server::start(&["-l", url, "--accounts", &accounts.path, "--allow-register"]);
    let mut client = server.connect();
    client.send("/login Эва Эва's password".as_bytes());
    assert_eq!(client.read_line(), "[INFO] Добро пожаловать, Эва!");
    let mut client = server.connect();
    client.send("вася".as_bytes());
    assert_eq!(client.read_line(), "[INFO] Добро пожаловать, вася!");
    client.send("/register пароль пароль".as_bytes());
    assert_eq!(client.read_line(), "[INFO] ник вася зарегистрирован");
}

#[test]
fn help_lists_the_commands_where_there_are_accounts() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &[]);
    let mut client = server.connect_to(1);
    assert_eq!(
        say(&mut client, "/help"),
        "/login NICK PASSWORD - come in under a registered nickname"
    );
    assert_eq!(client.read_line(), "/register PASSWORD - register the nickname you have");
    assert_eq!(client.read_line(), "/who - who is here");
    let server = accounts.serve("?auth=off", &[]);
    let mut client = server.connect_to(1);
    assert_eq!(say(&mut client, "/help"), "/who - who is here");
    (0..3).for_each(|_| drop(client.read_line()));
    assert_eq!(say(&mut client, "/login bob x"), "[ERROR] choose a nickname first");
    assert_eq!(say(&mut client, "bob"), "[INFO] Welcome, bob!");
    assert_eq!(say(&mut client, "/login bob x"), "[ERROR] unknown command /login, try /help");
}

#[test]
fn passwords_are_in_no_log() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register", "--log-level", "trace"]);
    let mut client = server.connect();
    let secret = "SECRET-SECRET";
    client.ask(LOGIN, &credentials("bob", secret));
    client.ask(REGISTER, &credentials("mallory", secret));
    client.ask(LOGIN, format!("bob\0{secret}\0").as_bytes());
    let off = accounts.serve("?auth=off", &["--log-level", "trace"]);
    let mut other = off.connect();
    other.ask(LOGIN, &credentials("bob", secret));
    let mut chat = off.connect_to(1);
    say(&mut chat, &format!("/login bob {secret}"));
    let mut client = server.connect_to(1);
    for line in
        ["/login bob", "/register", "/logn bob", "/LOGIN bob", "nick", "/login", "/register"]
    {
        say(&mut client, &format!("{line} {secret}"));
    }
    say(&mut client, "nick");
    for line in ["/register", "/regster", "/login nick"] {
        say(&mut client, &format!("{line} {secret}"));
    }
    server.wait_for_line("message: \"/regster\"");
    off.wait_for_line("message: \"/login\"");
    for line in server.log().iter().chain(&off.log()) {
        // What is said in place of a nickname is no password.
        assert!(!line.contains("SECRET") || line.contains("nick SECRET"), "{line}");
    }
}
