//! The options and keys of admission.

use crate::support::{Folder, run};

#[track_caller]
fn refused(args: &[&str], why: &str) {
    let ended = run(&[args, &["--check"]].concat());
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[test]
fn bad_value_of_admission_is_named() {
    refused(&["--max-per-ip", "-1"], "--max-per-ip: '-1' is not a number from 0 to 2147483648");
    refused(&["--connect-rate", "x"], "--connect-rate: 'x' is not a number from 0 to 1000000");
    refused(
        &["--limit-exempt", "10.0.0.0/8,home"],
        "--limit-exempt: 'home' is not an address or a network such as 10.0.0.0/8",
    );
    refused(&["--message-rate", "1000001"], "--message-rate: '1000001' is not a number from 0");
    refused(&["--broadcast-rate", "1k"], "--broadcast-rate: '1k' is not a number from 0");
    refused(
        &["-l", "raw://127.0.0.1:0?proxy=10.0.0.0/33"],
        "proxy: '10.0.0.0/33' is not an address or a network such as 10.0.0.0/8",
    );
    refused(&["-l", "raw://127.0.0.1:0?proxy="], "proxy: '' is not an address or a network");
}

#[test]
fn file_has_the_settings_of_admission() {
    let folder = Folder::new();
    let text = "[server]\nmax_per_ip = 4\nconnect_rate = 10\nlimit_exempt = 10.0.0.0/8, ::1\n\
                message_rate = 100\nbroadcast_rate = 65536\n\
                [raw]\nport = 0\nproxy = 127.0.0.1, 10.0.0.0/8\n";
    let ended = run(&["-c", &folder.file("good.ini", text), "--check"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let bad = folder.file("bad.ini", "[server]\nlimit_exempt = home\n");
    let ended = run(&["-c", &bad, "--check"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("line 2"), "{}", ended.stderr);
}
