//! `mynah-cli passwd`: a change of an accounts file, with a password from a pipe or a terminal.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};

use super::program::{CLIENT, ExitResult, RunningClient, run_args};
use super::support::Folder;
use super::terminal::Terminal;

#[track_caller]
fn passwd(file: &str, name: &str, password: &str) -> ExitResult {
    let mut command = Command::new(CLIENT);
    let mut running = RunningClient::spawn(command.args(["passwd", file, name, "-"]));
    running.write_input(password.as_bytes());
    running.close_input();
    running.wait()
}

#[test]
fn password_of_a_pipe_is_hashed_into_the_file() {
    let folder = Folder::new();
    let file = folder.file("accounts", "# people\n");
    passwd(&file, "bob", "bob's password\n").assert_reply("bob added\n");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# people\nbob:$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    passwd(&file, "яна", "пароль").assert_reply("яна added\n");
    passwd(&file, "BOB", "another one").assert_reply("bob has a new password\n");
    let changed = fs::read_to_string(&file).unwrap();
    assert_eq!(changed.lines().count(), 3);
    assert_ne!(changed.lines().nth(1), text.lines().nth(1));
    run_args(&["passwd", "--delete", &file, "bob"]).assert_reply("bob deleted\n");
    let deleted = fs::read_to_string(&file).unwrap();
    assert_eq!(
        deleted,
        changed
            .lines()
            .filter(|line| !line.starts_with("bob"))
            .fold(String::new(), |text, line| text + line + "\n",)
    );
    run_args(&["passwd", "--delete", &file, "bob"]).assert_error("there is no account bob");
}

#[test]
fn bad_password_or_file_changes_nothing() {
    let folder = Folder::new();
    let file = folder.path("accounts");
    passwd(&file, "bob", "1234567\n").assert_error("a password has 8 to 128 bytes");
    passwd(&file, "bob", &"x".repeat(129)).assert_error("a password has 8 to 128 bytes");
    passwd(&file, "bob", "12345678\0").assert_error("a password has no NUL");
    let missing = format!("{file}: no such file or directory");
    run_args(&["passwd", "--delete", &file, "bob"]).assert_error(&missing);
    assert!(!fs::exists(&file).unwrap());
    folder.file("accounts", "bob:secret\n");
    let bad = "line 1: bob: the hash is not of the form $argon2id$v=19$m=…,t=…,p=…$SALT$HASH";
    passwd(&file, "ann", "12345678").assert_error(&format!("{file}: {bad}"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "bob:secret\n");
}

#[test]
fn bad_usage_of_passwd_has_status_2() {
    let result = run_args(&["passwd", "/nonexistent/f", "bo"]);
    assert_eq!(result.code, Some(2), "{result:?}");
    assert!(result.stderr.contains("a name has 3 to 16 characters"), "{}", result.stderr);
}

/// `passwd` in a terminal, then its status and whether the terminal echoes.
fn terminal(folder: Folder, file: &str) -> Option<Terminal> {
    let script = "trap : INT; \"$0\" passwd \"$1\" bob; echo status $?; \
                  stty -a | grep -ow -e '-*echo'; read _";
    Terminal::run(folder, &["sh", "-c", script, CLIENT, file])
}

#[test]
fn password_is_typed_twice_without_echo() {
    let folder = Folder::new();
    let file = folder.path("accounts");
    let Some(terminal) = terminal(folder, &file) else { return };
    terminal.expect(&["New password for bob:"]);
    terminal.enter_line("bob's password");
    terminal.expect(&["New password for bob:", "Once more:"]);
    terminal.enter_line("bob's password");
    let all = ["New password for bob:", "Once more:", "bob added", "status 0", "echo"];
    terminal.expect(&all);
    assert_eq!(terminal.screen().len(), all.len());
    assert!(fs::read_to_string(&file).unwrap().starts_with("bob:$argon2id$"));
}

#[test]
fn passwords_that_differ_change_nothing() {
    let folder = Folder::new();
    let file = folder.path("accounts");
    let Some(terminal) = terminal(folder, &file) else { return };
    terminal.expect(&["New password for bob:"]);
    terminal.enter_line("bob's password");
    terminal.expect(&["Once more:"]);
    terminal.enter_line("bobs password");
    terminal.wait_for_screen("the error", |screen| {
        let screen = screen.concat();
        screen.contains("the passwords differ, nothing is changed")
            && screen.ends_with("status 1echo")
    });
    assert!(!fs::exists(&file).unwrap());
}

#[test]
fn sigterm_turns_the_echo_on_again() {
    let folder = Folder::new();
    let (file, pid) = (folder.path("accounts"), folder.path("pid"));
    let script = "sh -c 'echo $$ >\"$2\"; exec \"$0\" passwd \"$1\" bob' \"$0\" \"$1\" \"$2\"; \
                  echo status $?; stty -a | grep -ow -e '-*echo'; read _";
    let Some(terminal) = Terminal::run(folder, &["sh", "-c", script, CLIENT, &file, &pid]) else {
        return;
    };
    terminal.expect(&["New password for bob:"]);
    kill(terminal.pid(), Signal::SIGTERM).unwrap();
    terminal.wait_for_screen("the echo", |screen| {
        let screen = screen.concat();
        screen.contains("status 143") && screen.ends_with("143echo")
    });
}

#[test]
fn interrupt_turns_the_echo_on_again() {
    let folder = Folder::new();
    let file = folder.path("accounts");
    let Some(terminal) = terminal(folder, &file) else { return };
    terminal.expect(&["New password for bob:"]);
    terminal.enter("bob's");
    terminal.press(&["C-c"]);
    terminal.expect(&["status 130", "echo"]);
    assert!(!terminal.screen().concat().contains("bob's"));
}
