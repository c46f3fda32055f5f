//! Accounts, over real sockets: `command` and `chat` logins, listeners that require one, what costs
//! whom, and what a reload, a stop or a crash leaves behind.

mod chat;
mod command;
mod durability;
mod options;
mod reload;
mod required;
mod throttle;

use std::fs;

use mynah::internal::accounts::{Hasher, Password, PasswordHash};

use super::support::{Client, Folder, Server, frame};

pub(crate) const LOGIN: u8 = 5;
pub(crate) const REGISTER: u8 = 6;

/// Accounts `ann`, `bob` and `Эва`, whose passwords are their names and `'s password`, and `slow`,
/// whose hash takes as long as any may.
struct Accounts {
    folder: Folder,
    path: String,
}

impl Accounts {
    fn new() -> Accounts {
        let folder = Folder::new();
        let cheap = ["ann", "bob", "Эва"].map(|name| line(name, "m=8,t=1,p=1"));
        let path = folder.file("accounts", &[&*cheap.concat(), &*slow()].concat());
        Accounts { folder, path }
    }

    /// A server with a `command` and a `chat` listener, whose URLs end in `query`.
    #[track_caller]
    fn serve(&self, query: &str, args: &[&str]) -> Server {
        let urls = ["command", "chat"].map(|name| format!("{name}://127.0.0.1:0{query}"));
        let own = ["-l", &urls[0], "-l", &urls[1], "--accounts", &self.path];
        Server::start(&[&own, args].concat())
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }

    /// Takes the account of `name` out of the file.
    fn delete(&self, name: &str) {
        let prefix = format!("{name}:");
        let text = self.text();
        let kept = text.split_inclusive('\n').filter(|line| !line.starts_with(&prefix));
        fs::write(&self.path, kept.collect::<String>()).unwrap();
    }
}

fn password(name: &str) -> String {
    format!("{name}'s password")
}

/// The line of an account with a hash of these parameters.
pub(crate) fn line(name: &str, params: &str) -> String {
    line_with(name, &password(name), params)
}

pub(crate) fn line_with(name: &str, password: &str, params: &str) -> String {
    let like = format!("$argon2id$v=19${params}$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8");
    let cost = PasswordHash::parse(&like).unwrap().cost();
    let password = Password::new(password.into()).unwrap();
    format!("{name}:{}\n", Hasher::new(cost).hash(&password).unwrap())
}

pub(crate) fn slow() -> String {
    line("slow", "m=65536,t=10,p=1")
}

/// The payload of LOGIN or REGISTER.
pub(crate) fn credentials(name: &str, password: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0", password.as_bytes()].concat()
}

/// A LOGIN with the right password.
pub(crate) fn login(name: &str) -> Vec<u8> {
    frame(LOGIN, &credentials(name, &password(name)))
}

fn register(name: &str) -> Vec<u8> {
    frame(REGISTER, &credentials(name, &password(name)))
}

/// A LOGIN with a wrong one.
fn wrong(name: &str) -> Vec<u8> {
    frame(LOGIN, &credentials(name, "not the password"))
}

#[track_caller]
pub(crate) fn expect_welcome(client: &mut Client, name: &str) {
    client.expect_frame(1, &format!("welcome {name}"));
}

/// A member that has come in with a plain nickname.
#[track_caller]
fn join(server: &Server, nick: &str) -> Client {
    let mut client = server.connect_to(1);
    client.send(format!("{nick}\n").as_bytes());
    assert_eq!(client.read_line(), format!("[INFO] Welcome, {nick}!"));
    client
}

/// Sends a line and reads one.
#[track_caller]
fn say(client: &mut Client, line: &str) -> String {
    client.send(format!("{line}\n").as_bytes());
    client.read_line()
}
