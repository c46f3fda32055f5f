//! Command lines of `--admin` that are wrong, and what would do.

use super::super::program::run_args;
use super::super::support::Folder;

#[track_caller]
fn assert_usage(args: &[&str], reason: &str) {
    let result = run_args(args);
    assert_eq!((result.code, result.stdout.len()), (Some(2), 0), "{args:?}: {result:?}");
    let expected = format!("mynah-cli: {reason}\nTry 'mynah-cli --help'.\n");
    assert_eq!(result.stderr, expected, "{args:?}");
}

#[test]
fn other_form_of_the_url_is_answered_with_the_right_one() {
    let form = "is not of the form admin://HOST:PORT, admin+tls://HOST:PORT or admin+unix:///PATH";
    for (url, instead) in [
        ("6580", "admin://127.0.0.1:6580"),
        ("localhost:6580", "admin://localhost:6580"),
        ("/run/mynah/admin.sock", "admin+unix:///run/mynah/admin.sock"),
        ("http://127.0.0.1:6580/", "admin://127.0.0.1:6580"),
    ] {
        let reason = format!("--admin: '{url}' {form}, did you mean {instead}?");
        assert_usage(&["--admin", url, "status"], &reason);
    }
    assert_usage(&["--admin", "admin://h:0", "status"], "nothing listens on port 0");
}

#[test]
fn commands_and_options_need_admin_and_the_other_way_round() {
    let url = "admin://127.0.0.1:1";
    let command = "mynah-cli --admin admin://127.0.0.1:6580 kick";
    for (args, reason) in [
        (&["kick", "7"][..], format!("kick is for an admin listener: {command}")),
        (&["h:1", "kick", "7"], format!("kick is for an admin listener: {command}")),
        (&[url, "top"], format!("{url} is for an admin listener: mynah-cli --admin {url} top")),
        (
            &["-p", "6580", "status"],
            "port 6580 is for an admin listener: mynah-cli --admin admin://127.0.0.1:6580 status"
                .to_owned(),
        ),
        (&["--token", "f", "status"], "--token belongs to --admin URL".to_owned()),
        (&["-y", "status"], "--yes belongs to --admin URL".to_owned()),
    ] {
        assert_usage(args, &reason);
    }
    for (args, reason) in [
        (&[][..], "--admin needs a command: status, clients, kick, reload, drain, undrain, top"),
        (&["clinets"], "--admin has no command 'clinets', did you mean clients?"),
        (&["kill"], "--admin has no command 'kill', did you mean kick?"),
        (&["-p", "1", "status"], "--admin names the server, so --port cannot stand beside it"),
        (&["chat://h:1", "status"], "--admin names the server, so 'chat://h:1' cannot follow it"),
        (&["drain", "now"], "drain: unexpected argument 'now'; it takes none"),
        (&["kick", "--json", "7"], "--json belongs to status and clients"),
        (&["clients", "--watch"], "--watch belongs to status"),
        (&["status", "--yes"], "--yes belongs to kick"),
        (&["clients", "nam=x"], "clients: there is no filter 'nam', did you mean name?"),
        (&["clients", "bob"], "clients: 'bob' is not a filter such as name=bob or min_idle=60"),
        (&["kick", "ban=5", "name=x"], "kick: ban needs ip, the address to refuse"),
        (
            &["kick"],
            "kick needs the number of a connection, or a filter: listener=, ip=, name=, min_idle= \
             or min_queue=",
        ),
        (&["top"], "top draws on a terminal, which this is not; use status --watch --json"),
    ] {
        // Options go before the command, and before `--admin` just as well.
        let (options, words) = match args.first() {
            Some(&"-p") => args.split_at(2),
            _ => args.split_at(0),
        };
        assert_usage(&[options, &["--admin", url], words].concat(), reason);
    }
}

#[test]
fn file_without_a_token_is_named() {
    let folder = Folder::new();
    for (text, reason) in [
        ("", "it is empty"),
        ("a\nb\n", "it has more than one line"),
        ("a\x1b[2J", "it has a character other than visible ASCII"),
    ] {
        let file = folder.file("token", text);
        let args = ["--admin", "admin://127.0.0.1:1", "--token", &file, "status"];
        assert_usage(&args, &format!("--token {file}: {reason}"));
    }
    let missing = folder.path("none");
    let args = ["--admin", "admin://127.0.0.1:1", "--token", &missing, "status"];
    assert_usage(&args, &format!("--token {missing}: no such file or directory"));
}
