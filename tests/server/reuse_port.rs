//! `reuse_port=yes`: one port of several servers.

use std::collections::HashSet;

use crate::support::{Ended, Server, run};

/// Most connects until each of two servers must have had one: the odds against it are 2^400.
const CONNECTS_MAX: usize = 400;

#[test]
fn servers_on_one_port_both_get_connections() {
    let first = Server::start(&["-l", "raw://127.0.0.1:0?reuse_port=yes&prefix=a", "--no-plugins"]);
    let port = first.addr(0).port();
    let url = format!("raw://127.0.0.1:{port}?reuse_port=yes&prefix=b");
    let second = Server::start(&["-l", &url, "--no-plugins"]);
    assert_eq!(second.addr(0), first.addr(0));
    let mut answers = HashSet::new();
    for _ in 0..CONNECTS_MAX {
        let mut client = first.connect();
        client.send(b"x");
        answers.insert(client.read_exactly(2)[0]);
        if answers.len() == 2 {
            break;
        }
    }
    assert_eq!(answers, HashSet::from([b'a', b'b']));
    // Of one that is gone the other gets all.
    drop(second);
    for _ in 0..20 {
        let mut client = first.connect();
        client.send(b"x");
        client.expect(b"ax");
    }
}

#[test]
fn port_is_shared_if_both_say_so() {
    let first = Server::start(&["-l", "raw://127.0.0.1:0?reuse_port=yes", "--no-plugins"]);
    let url = format!("raw://{}", first.addr(0));
    let Ended { code, stderr, .. } = run(&["-l", &url, "--no-plugins"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(&format!("cannot listen on {url}: address already in use")),
        "{stderr}"
    );
    let Ended { code, .. } = run(&["--check", "-l", &format!("{url}?reuse_port=yes")]);
    assert_eq!(code, Some(0), "--check says what a start would");
    let Ended { code, .. } = run(&["--check", "-l", &url]);
    assert_eq!(code, Some(1));
}

#[test]
fn listeners_of_one_server_share_no_port() {
    let first = Server::start(&["-l", "raw://127.0.0.1:0?reuse_port=yes", "--no-plugins"]);
    let url = format!("raw://{}", first.addr(0));
    let shared = format!("{url}?reuse_port=yes");
    let Ended { code, stderr, .. } = run(&["-l", &shared, "-l", &shared, "--no-plugins"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(&format!("cannot listen on {url}: address already in use")),
        "{stderr}"
    );
    let Ended { code, stderr, .. } = run(&["--check", "-l", &shared, "-l", &shared]);
    assert_eq!((code, stderr), (Some(2), format!("mynah: {url} and {url} are at one address")));
}
