//! Options, keys, and files that cannot be used.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::support::run;

#[track_caller]
fn refused(args: &[&str], reason: &str) {
    for more in [&["--check"][..], &[]] {
        let ended = run(&[args, more].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{reason}: {}", ended.stderr);
    }
}

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8";

#[test]
fn file_that_cannot_be_used_ends_the_start() {
    let folder = Folder::new();
    let absurd = HASH.replace("m=8", "m=4194304");
    for (text, reason) in [
        ("bob\n".to_owned(), "line 1: is not of the form name:$argon2id$…"),
        (format!("# x\nbob:{HASH}\nbob:{HASH}\n"), "line 3: bob is in line 2 already"),
        (format!("bob:{HASH}\nBOB:{HASH}\n"), "line 2: BOB is the same name as bob in line 1"),
        ("bob:$2b$12$abc\n".to_owned(), "line 1: bob: the hash is 2b, not argon2id"),
        (format!("bob:{absurd}\n"), "line 1: bob: the hash takes 4194304 KiB of memory"),
        (format!("b b:{HASH}\n"), "line 1: a name has no blanks or control characters"),
    ] {
        let path = folder.file("accounts", &text);
        refused(&["-l", "raw://127.0.0.1:0", "--accounts", &path], reason);
    }
    let path = folder.path("bytes");
    fs::write(&path, b"bob\xff:x\n").unwrap();
    refused(&["--accounts", &path], "line 1: is not UTF-8");
    refused(&["--accounts", &folder.path("")], "is a folder");
    refused(&["--accounts", &folder.path("none")], "no such file or directory");
    let path = folder.file("unreadable", "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_err() {
        refused(&["--accounts", &path], "permission denied");
    }
}

#[test]
fn required_login_needs_accounts() {
    let url = "command://127.0.0.1:0?auth=required";
    refused(
        &["-l", url],
        "command://127.0.0.1:0 with auth=required needs accounts: --accounts FILE",
    );
    refused(&["--allow-register"], "--allow-register needs --accounts FILE");
    let raw = "raw://127.0.0.1:0?auth=off";
    refused(&["-l", raw], "a raw listener has no key 'auth'");
    let bad = "chat://127.0.0.1:0?auth=yes";
    refused(&["-l", bad], "auth: 'yes' is not off, optional or required");
}

#[test]
fn configuration_file_has_the_keys() {
    let accounts = Accounts::new();
    let text = format!(
        "[server]\naccounts = {}\nallow_register = yes\nhandshake_timeout = 7\n\
         [command]\nport = 0\nauth = required\n[chat]\nport = 0\nauth = off\n",
        accounts.path
    );
    let config = accounts.folder.file("mynah.conf", &text);
    let server = Server::start_as(crate::support::mynah().args(["-c", &config]), 2);
    let mut client = server.connect();
    client.send(&[frame(1, b"x"), register("eve")].concat());
    client.expect_frame(255, "login required");
    expect_welcome(&mut client, "eve");
    join(&server, "bob");
    let checked = run(&["-c", &config, "--check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn accounts_that_nobody_can_use_are_noted() {
    let accounts = Accounts::new();
    let args = ["-l", "raw://127.0.0.1:0", "--accounts", &accounts.path, "--check"];
    let checked = run(&args);
    assert_eq!(checked.code, Some(0));
    assert!(checked.stdout.contains("--accounts is not used"), "{}", checked.stdout);
}
