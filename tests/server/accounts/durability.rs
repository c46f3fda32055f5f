//! Accounts that were confirmed are on disk.

#[cfg(feature = "client")]
use std::io::Write as _;
#[cfg(feature = "client")]
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::*;
use crate::support::mynah_under;

#[test]
fn kill_loses_no_confirmed_account() {
    let accounts = Accounts::new();
    for round in 0..5 {
        let mut confirmed = Vec::new();
        let mut server = accounts.serve("", &["--allow-register"]);
        for n in 0..5 {
            let name = format!("r{round}n{n}");
            let mut client = server.connect();
            client.send(&register(&name));
            expect_welcome(&mut client, &name);
            confirmed.push(name);
        }
        // This one is hashed, or written, when the end comes.
        server.connect().send(&register("unconfirmed"));
        server.signal(Signal::SIGKILL);
        server.wait_exit();
        let text = accounts.text();
        for name in confirmed {
            assert!(text.contains(&format!("\n{name}:$argon2id$")), "{name}: {text}");
        }
        accounts.delete("unconfirmed");
    }
    accounts.serve("", &[]);
}

#[test]
fn full_disk_fails_the_registration_and_tears_nothing() {
    let accounts = Accounts::new();
    let before = accounts.text();
    let urls = ["-l", "command://127.0.0.1:0", "--accounts", &accounts.path, "--allow-register"];
    // Blocks of 512 bytes; what is written beyond fails with EFBIG.
    let blocks = before.len() / 512;
    let mut command = mynah_under(&format!("ulimit -f {blocks}"));
    let server = Server::start_as(command.args(urls), 1);
    let mut client = server.connect();
    let mut last = String::new();
    for n in 0..8 {
        let (_, answer) = client.ask(REGISTER, &credentials(&format!("name{n}"), "password"));
        last = String::from_utf8(answer).unwrap();
        client = server.connect();
        if last == "registration failed" {
            break;
        }
    }
    assert_eq!(last, "registration failed");
    server.wait_for_line("registration failed: cannot ");
    assert!(accounts.text().starts_with(&before));
    client.send(&login("bob"));
    expect_welcome(&mut client, "bob");
    drop(server);
    accounts.serve("", &[]);
}

#[cfg(feature = "client")]
#[test]
fn passwd_and_register_take_turns() {
    let accounts = Accounts::new();
    let server = accounts.serve("", &["--allow-register"]);
    let path = accounts.path.clone();
    let passwd = std::thread::spawn(move || {
        for n in 0..4 {
            let mut child = Command::new(env!("CARGO_BIN_EXE_mynah-cli"))
                .args(["passwd", &path, &format!("cli{n}"), "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(b"password\n").unwrap();
            assert!(child.wait().unwrap().success());
        }
    });
    for n in 0..8 {
        let mut client = server.connect();
        client.send(&register(&format!("net{n}")));
        expect_welcome(&mut client, &format!("net{n}"));
    }
    passwd.join().unwrap();
    let text = accounts.text();
    let names = (0..4).map(|n| format!("cli{n}")).chain((0..8).map(|n| format!("net{n}")));
    for name in names {
        assert_eq!(text.matches(&format!("{name}:$argon2id$")).count(), 1, "{name}: {text}");
    }
    server.signal(Signal::SIGHUP);
    server.wait_for_line("accounts reloaded: 16");
}
