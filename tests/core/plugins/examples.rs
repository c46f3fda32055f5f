//! The example plugins of docs/plugins.

use std::path::Path;

use mynah::internal::protocol::plugin::{Client, Notice, PluginHost};

use super::support::{Folder, Response, answer, ask, ask_as, entries, id};

/// A folder with copies of the examples, as they write files beside themselves.
fn examples() -> (Folder, PluginHost) {
    let folder = Folder::new(&[]);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plugins");
    for file in entries(&from).iter().filter(|file| file.ends_with(".lua")) {
        std::fs::copy(from.join(file), folder.path(file)).unwrap();
    }
    let host = folder.host();
    (folder, host)
}

#[test]
fn all_examples_load() {
    let (_folder, host) = examples();
    assert_eq!(host.names().collect::<Vec<_>>(), ["calculator", "echo", "file_transfer"]);
}

#[test]
fn echo_answers_the_text_after_its_command() {
    let (_folder, mut host) = examples();
    assert_eq!(ask(&mut host, "ECHO Hello"), answer("Hello"));
    assert_eq!(ask(&mut host, b"ECHO \0\xff\n"), answer(b"\0\xff\n"));
    assert_eq!(ask(&mut host, "ECHO "), answer(""));
    for other in ["", "ECHO", "echo x", " ECHO x", "ECHOx"] {
        assert_eq!(ask(&mut host, other), Response::Unhandled, "{other}");
    }
}

#[test]
fn file_transfer_uploads_lists_and_downloads() {
    let (folder, mut host) = examples();
    assert_eq!(ask(&mut host, "zt_LIST"), answer("[]"));
    assert_eq!(ask(&mut host, "zt_UPLOAD b.txt SGVsbG8="), answer("OK"));
    assert_eq!(ask(&mut host, "zt_UPLOAD a.bin AP8=\n"), answer("OK"));
    assert_eq!(ask(&mut host, "zt_LIST\r\n"), answer("a.bin\nb.txt"));
    assert_eq!(ask(&mut host, "zt_DOWNLOAD b.txt"), answer("SGVsbG8="));
    assert_eq!(ask(&mut host, "zt_DOWNLOAD a.bin\n"), answer("AP8="));
    assert_eq!(std::fs::read(folder.path("file_transfer/b.txt")).unwrap(), b"Hello");
}

#[test]
fn file_transfer_answers_errors() {
    let (folder, mut host) = examples();
    let name = "a file's name has 1 to 128 bytes of UTF-8, does not begin with a dot, and has no \
                slash, backslash or control character";
    for (package, why) in [
        ("zt_UPLOAD", "usage: zt_UPLOAD name base64"),
        ("zt_UPLOAD a", "usage: zt_UPLOAD name base64"),
        ("zt_UPLOAD a b c", "usage: zt_UPLOAD name base64"),
        ("zt_UPLOAD a !", "base64.decode: Invalid symbol 33, offset 0."),
        ("zt_UPLOAD ../../x eA==", &format!("folder.write: {name}")),
        ("zt_UPLOAD /etc/x eA==", &format!("folder.write: {name}")),
        ("zt_UPLOAD .x eA==", &format!("folder.write: {name}")),
        ("zt_DOWNLOAD", "usage: zt_DOWNLOAD name"),
        ("zt_DOWNLOAD ../echo.lua", &format!("folder.read: {name}")),
        ("zt_DOWNLOAD x", "folder.read: there is no x"),
        ("zt_LIST x", "usage: zt_LIST"),
    ] {
        assert_eq!(ask(&mut host, package), answer(format!("ERROR {why}")), "{package}");
    }
    // Takes little time, however long the blanks are.
    let blanks = " ".repeat(1 << 20);
    assert_eq!(ask(&mut host, format!("zt_LIST{blanks}")), answer("[]"));
    let usage = answer("ERROR usage: zt_UPLOAD name base64");
    assert_eq!(ask(&mut host, format!("zt_UPLOAD{blanks}x{blanks}")), usage);
    for other in ["zt_", "zt_NONE", "ZT_LIST", "", "zt_LISTx", "\0zt_LIST"] {
        let response = ask(&mut host, other);
        assert_ne!(response, Response::Failed("file_transfer".into()), "{other}");
    }
    assert_eq!(ask(&mut host, "zt_NONE"), Response::Unhandled);
    assert!(!folder.path("file_transfer").exists());
}

/// The Lua of docs/plugins.md.
#[test]
fn plugins_shown_in_the_manual_work() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plugins.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let shown: Vec<&str> =
        manual.split("```lua\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [shout, notes] = shown.as_slice() else { panic!("{} plugins", shown.len()) };
    assert!(shout.lines().filter(|line| !line.is_empty()).count() <= 10);
    let folder = Folder::new(&[("shout.lua", shout), ("notes.lua", notes)]);
    let mut host = folder.host();
    host.notify_all(&Notice::Started);
    assert_eq!(host.names().collect::<Vec<_>>(), ["Notes", "shout"]);
    assert_eq!(ask(&mut host, "SHOUT hey"), answer("HEY"));
    assert_eq!(ask(&mut host, "NOTE one"), answer("1"));
    assert_eq!(ask(&mut host, "NOTE two"), answer("2"));
    assert_eq!(ask(&mut host, "other"), Response::Unhandled);
    assert_eq!(std::fs::read(folder.path("Notes/2")).unwrap(), b"two");
}

#[track_caller]
fn calculates(host: &mut PluginHost, expression: &str, result: &str) {
    let client = Client::new(id(1)).framed(128);
    assert_eq!(ask_as(host, expression, &client), answer(result), "{expression}");
}

#[test]
fn calculator_evaluates_expressions() {
    let (_folder, mut host) = examples();
    for (expression, result) in [
        ("1", "1"),
        (" 2 + 3 * 4 ", "14"),
        ("(2 + 3) * 4", "20"),
        ("2 - 3 - 4", "-5"),
        ("2 ^ 3 ^ 2", "512"),
        ("-2 ^ 2", "-4"),
        ("2 ^ -1", "0.5"),
        ("--3", "3"),
        ("+-+3", "-3"),
        ("7 % 4 / 2", "1.5"),
        ("-7 % 4", "1"),
        ("1 / 3", "0.33333333333333331"),
        ("0.1 + 0.2", "0.30000000000000004"),
        (".5 + 1. + 2e3 + 1E-1", "2001.6"),
        ("1e308 * 10", "inf"),
        ("9007199254740993 * 1", "9007199254740992"),
        ("9223372036854775807 + 1", "9.2233720368547758e+18"),
        ("1/0", "inf"),
        ("\t1\n+\r\n1", "2"),
    ] {
        calculates(&mut host, expression, result);
    }
}

#[test]
fn calculator_answers_errors_with_a_position() {
    let (_folder, mut host) = examples();
    let deep = format!("{}1{}", "(".repeat(200), ")".repeat(200));
    let powers = "2^".repeat(300) + "1";
    let signs = "-".repeat(500) + "1";
    for (expression, why) in [
        ("", "a number is missing at character 1"),
        ("1 +", "a number is missing at character 4"),
        ("(1", "a ) is missing at character 3"),
        ("1)", "an operator is missing at character 2"),
        ("1 2", "an operator is missing at character 3"),
        ("x", "a number is missing at character 1"),
        ("os.exit()", "a number is missing at character 1"),
        ("0x10", "an operator is missing at character 2"),
        ("1\0", "an operator is missing at character 2"),
        ("é", "a number is missing at character 1"),
        (&deep, "too deep at character 102"),
        (&powers, "too deep at character 203"),
        (&signs, "too deep at character 102"),
        (&"1+".repeat(501), "longer than 1000 characters"),
    ] {
        calculates(&mut host, expression, &format!("ERROR {why}"));
    }
}

#[test]
fn calculator_ignores_other_commands() {
    let (_folder, mut host) = examples();
    assert_eq!(ask(&mut host, "1 + 1"), Response::Unhandled);
    assert_eq!(ask_as(&mut host, "1 + 1", &Client::new(id(1)).framed(129)), Response::Unhandled);
}
