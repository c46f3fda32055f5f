//! Another file of accounts, or none, and `auth=` of a listener that stays.

use super::Reloading;
use crate::accounts::{LOGIN, credentials, expect_welcome, line, line_with, login, slow};
use crate::support::{Client, error, frame};

const CHEAP: &str = "m=8,t=1,p=1";

/// A `command` and a `chat` listener, `settings` for the server and `keys` for both.
fn file(settings: &str, keys: &str) -> String {
    format!("[server]\n{settings}\n[command]\nport = 0\n{keys}\n[chat]\nport = 0\n{keys}\n")
}

/// A server with the accounts `ann`, `bob` and `slow` in one file and, in another, `ann` with
/// another password, `eve`, and `slow` as it was.
fn start(settings: &str, keys: &str) -> Reloading {
    let server = Reloading::start("[raw]\nport = 0\n", &[]);
    let slow = slow();
    let accounts = line("ann", CHEAP) + &line("bob", CHEAP) + &slow;
    server.folder.file("accounts", &accounts);
    let others = line_with("ann", "another password", CHEAP) + &line("eve", CHEAP) + &slow;
    server.folder.file("others", &others);
    server.reload(&file(settings, keys));
    server
}

#[track_caller]
fn logged_in(server: &Reloading, name: &str) -> Client {
    let mut client = server.connect("command");
    client.send(&login(name));
    expect_welcome(&mut client, name);
    client
}

const ACCOUNTS: &str = "accounts = DIR/accounts";
const OTHERS: &str = "accounts = DIR/others";

#[test]
fn another_file_closes_the_accounts_it_lacks() {
    let server = start(ACCOUNTS, "");
    let (mut ann, mut bob) = (logged_in(&server, "ann"), logged_in(&server, "bob"));
    let mut guest = server.connect("command");
    guest.expect_alive();
    let mut member = server.connect("chat");
    member.send(b"/login bob bob's password\n");
    assert_eq!(member.read_line(), "[INFO] Welcome, bob!");
    let dir = server.folder.path("");
    let lines = server.reload(&file(OTHERS, ""));
    let expected = [
        format!("accounts {dir}/accounts -> {dir}/others"),
        format!("accounts loaded from {dir}/others: 3"),
        "reloaded".to_owned(),
    ];
    assert_eq!(lines[1..4], expected);
    bob.expect_eof();
    member.expect_eof();
    server.server.wait_for_line("disconnected: account deleted");
    ann.expect_alive();
    guest.expect_alive();
    guest.send(&login("ann"));
    guest.expect_frame(255, "login failed");
    guest.send(&frame(LOGIN, &credentials("ann", "another password")));
    expect_welcome(&mut guest, "ann");
    logged_in(&server, "eve").expect_alive();
    assert_eq!(server.server.count_lines("account deleted"), 2);
}

#[test]
fn accounts_come_and_go() {
    let server = start("", "");
    let mut guest = server.connect("command");
    assert_eq!(guest.ask(LOGIN, &credentials("bob", "x")).1, b"unknown command 5");
    server.reload(&file(ACCOUNTS, ""));
    guest.send(&login("bob"));
    expect_welcome(&mut guest, "bob");
    let mut other = server.connect("command");
    other.expect_alive();
    server.reload(&file("", ""));
    guest.expect_eof();
    server.server.wait_for_line("disconnected: account deleted");
    assert_eq!(other.ask(LOGIN, &credentials("bob", "x")).1, b"unknown command 5");
    let mut member = server.connect("chat");
    member.send(b"bob\n");
    assert_eq!(member.read_line(), "[INFO] Welcome, bob!", "nicknames are free again");
    server.reload(&file(ACCOUNTS, ""));
    logged_in(&server, "bob").expect_alive();
}

/// The attempt is tried again with the other file.
#[test]
fn login_under_way_goes_by_the_other_file() {
    let server = start(ACCOUNTS, "");
    let (mut slow, mut other) = (server.connect("command"), server.connect("command"));
    slow.send(&[login("slow"), frame(1, b"x")].concat());
    // The server has read what came before.
    other.expect_alive();
    server.reload(&file(OTHERS, ""));
    expect_welcome(&mut slow, "slow");
    slow.expect(&frame(1, b"x"));
}

/// Those who did not have to log in are as they were, and broadcasts count them.
#[test]
fn login_is_required_of_those_who_come_later() {
    let server = start(ACCOUNTS, "auth = optional");
    let (mut guest, mut other) = (server.connect("command"), server.connect("command"));
    guest.expect_alive();
    other.expect_alive();
    server.reload(&file(ACCOUNTS, "auth = required"));
    let mut late = server.connect("command");
    assert_eq!(late.ask(1, b"x"), (255, b"login required".to_vec()));
    assert_eq!(guest.ask(4, b"one"), (1, b"1".to_vec()), "the late one does not hear it");
    other.expect(&frame(4, b"one"));
    let mut bob = logged_in(&server, "bob");
    assert_eq!(guest.ask(4, b"two"), (1, b"2".to_vec()));
    other.expect(&frame(4, b"two"));
    bob.expect(&frame(4, b"two"));
    server.reload(&file(ACCOUNTS, "auth = optional"));
    assert_eq!(guest.ask(4, b"three"), (1, b"2".to_vec()), "the late one does not hear it yet");
    bob.expect(&frame(4, b"three"));
    late.send(&login("ann"));
    expect_welcome(&mut late, "ann");
    assert_eq!(guest.ask(4, b"four"), (1, b"3".to_vec()));
    late.expect(&frame(4, b"four"));
}

#[test]
fn login_that_has_begun_ends_after_auth_is_off() {
    let server = start(ACCOUNTS, "auth = required");
    let (mut late, mut slow) = (server.connect("command"), server.connect("command"));
    let mut member = server.connect("chat");
    assert_eq!(late.ask(1, b"x"), (255, b"login required".to_vec()));
    slow.send(&login("slow"));
    member.send(b"nick\n");
    assert!(member.read_line().starts_with("[ERROR] this room needs an account"));
    let url = format!("command://{}", server.addr("command"));
    let lines = server.reload(&file(ACCOUNTS, "auth = off"));
    assert!(lines.contains(&format!("auth of {url} required -> off")), "{lines:?}");
    expect_welcome(&mut slow, "slow");
    assert_eq!(slow.ask(LOGIN, &credentials("slow", "x")).1, b"unknown command 5");
    late.send(&login("bob"));
    expect_welcome(&mut late, "bob");
    late.expect_alive();
    member.send(b"/login ann ann's password\n");
    assert_eq!(member.read_line(), "[INFO] Welcome, ann!");
    let mut guest = server.connect("command");
    guest.send(&[login("bob"), frame(1, b"x")].concat());
    guest.expect(&[error("unknown command 5"), frame(1, b"x")].concat());
}
