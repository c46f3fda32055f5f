//! The live screen in a terminal.

use std::io::{self, Write};
use std::process::Command;

use nix::sys::signal::{Signal, kill};

use super::super::program::CLIENT;
use super::super::support::{Folder, Server, frame};
use super::super::terminal::Terminal;
use super::start;

/// The screen on a terminal of 90 columns and 18 rows; `None` without tmux.
fn top(url: &str) -> Option<Terminal> {
    let args = ["--admin", url, "top"];
    let terminal = Terminal::client_args(Folder::new(), "xterm-256color", &args)?;
    terminal.tmux(&["resize-window", "-x", "90", "-y", "18"]);
    wait_for(&terminal, "ADDRESS");
    Some(terminal)
}

/// Waits until a line of the screen contains `text`.
#[track_caller]
fn wait_for(terminal: &Terminal, text: &str) {
    terminal.wait_for_screen(text, |screen| screen.iter().any(|line| line.contains(text)));
}

/// Waits until a line begins with `words`.
#[track_caller]
fn wait_for_words(terminal: &Terminal, words: &[&str]) {
    terminal.wait_for_screen(&words.join(" "), |screen| {
        let begins =
            |line: &String| line.split_whitespace().take(words.len()).eq(words.iter().copied());
        screen.iter().any(begins)
    });
}

#[test]
fn top_shows_what_changes() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let Some(top) = top(&url) else { return };
    wait_for_words(&top, &["api", "command", "0", "0"]);
    let mut client = server.connect();
    wait_for_words(&top, &["api", "command", "1", "1"]);
    // The screen asks three times a second itself.
    let burst = frame(1, b"x").repeat(5000);
    client.send(&burst);
    client.expect(&burst);
    top.wait_for_screen("the rate of the burst", |screen| {
        let rate = |figure: &str| {
            let rate = figure.strip_prefix("messages ")?.strip_suffix("/s")?;
            rate.replace(',', "").parse::<u64>().ok()
        };
        screen[0].split("   ").any(|figure| rate(figure) > Some(1000))
    });
    drop(client);
    wait_for_words(&top, &["api", "command", "0", "1"]);
}

#[test]
fn top_sorts_and_chooses_a_listener() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let _client = server.connect();
    let Some(top) = top(&url) else { return };
    wait_for(&top, "connections, longest queue first");
    top.press(&["s"]);
    wait_for(&top, "connections, longest idle first");
    wait_for(&top, "s sort: idle");
    top.press(&["l"]);
    wait_for(&top, "1 of 1 connections of api, longest idle first");
    top.press(&["?"]);
    wait_for(&top, "kick the selected one");
    top.press(&["x"]);
    wait_for(&top, "1 of 1 connections of api");
    top.press(&["p"]);
    wait_for(&top, "paused");
}

#[test]
fn top_kicks_the_selected_one_when_confirmed() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let mut client = server.connect();
    let Some(top) = top(&url) else { return };
    top.press(&["l"]);
    wait_for(&top, "1 of 1 connections of api");
    top.press(&["k"]);
    wait_for(&top, "kick? [y/N] #");
    top.press(&["n"]);
    wait_for(&top, "q quit");
    assert_eq!(client.ask(1, b"still here").1, b"still here");
    top.press(&["k"]);
    wait_for(&top, "kick? [y/N] #");
    top.press(&["y"]);
    client.expect_eof();
    wait_for(&top, " kicked");
    wait_for(&top, "0 of 0 connections of api");
}

#[test]
fn top_fits_40_columns_and_12_rows() {
    let folder = Folder::new();
    let (server, url) = start(&folder, &[]);
    let _client = server.connect();
    let Some(top) = top(&url) else { return };
    for (columns, rows) in [(40, 12), (20, 5), (100, 30), (40, 12)] {
        let size = [columns.to_string(), rows.to_string()];
        top.tmux(&["resize-window", "-x", &size[0], "-y", &size[1]]);
        top.wait_for_screen("the smaller screen", |screen| {
            screen.len() == rows
                && screen.iter().all(|line| line.chars().count() <= columns)
                && screen[rows - 1].starts_with("q quit")
        });
    }
    top.wait_for_screen("the columns that matter", |screen| {
        screen.iter().any(|line| line.contains("ADDRESS") && line.contains("QUEUE"))
            && screen.iter().any(|line| line.contains("127.0.0.1:"))
    });
}

#[test]
fn top_leaves_the_terminal_as_it_was() {
    let folder = Folder::new();
    let (_server, url) = start(&folder, &[]);
    for (key, signal, status) in [
        (Some("q"), None, "status 0"),
        (Some("C-c"), None, "status 0"),
        (None, Some(Signal::SIGTERM), "status 143"),
        (None, Some(Signal::SIGHUP), "status 129"),
    ] {
        let home = Folder::new();
        let path = home.path("");
        let script = format!(
            "cd {path} && export TERM=xterm-256color; stty -a >before; echo shell; trap : INT; \
             sh -c 'echo $$ >pid; exec \"$@\"' sh {CLIENT} --admin {url} top; \
             echo \"status $?\"; stty -a >after; cmp before after && echo same; read _"
        );
        let Some(shell) = Terminal::run(home, &["sh", "-c", &script]) else { return };
        wait_for(&shell, "ADDRESS");
        match (key, signal) {
            (Some(key), _) => shell.press(&[key]),
            (_, Some(signal)) => kill(shell.pid(), signal).unwrap(),
            _ => {}
        }
        shell.wait_for_screen("the shell's screen", |screen| {
            // The shell may report the signal between the two.
            screen.first().is_some_and(|line| line == "shell")
                && screen.iter().any(|line| line == status)
                && screen.last().is_some_and(|line| line == "same")
                && !screen.iter().any(|line| line.contains("ADDRESS"))
        });
        let cursor = shell.tmux(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"]);
        assert_eq!(cursor.trim(), "1 0");
    }
}

#[test]
fn top_goes_on_after_a_stop() {
    if !Command::new("bash").arg("-c").arg(":").status().is_ok_and(|status| status.success()) {
        let _ = writeln!(io::stderr(), "skipped: job control needs bash");
        return;
    }
    let folder = Folder::new();
    let (_server, url) = start(&folder, &[]);
    let home = Folder::new();
    let path = home.path("");
    let bash = ["env", &format!("HOME={path}"), "TERM=xterm-256color", "PS1=$ ", "bash"];
    let bash = [&bash[..], &["--norc", "--noprofile", "-i"]].concat();
    let Some(shell) = Terminal::run(home, &bash) else { return };
    shell.expect(&["$"]);
    let client = shell
        .folder
        .file("client", &format!("echo $$ >{path}/pid; exec {CLIENT} --admin {url} top\n"));
    shell.enter_line(&format!("sh {client}"));
    wait_for(&shell, "ADDRESS");
    for stop in [None, Some(Signal::SIGTSTP), Some(Signal::SIGSTOP)] {
        match stop {
            None => shell.press(&["C-z"]),
            Some(signal) => kill(shell.pid(), signal).unwrap(),
        }
        wait_for(&shell, "Stopped");
        shell.enter_line("clear; fg");
        shell.wait_for_screen("the live screen", |screen| {
            screen.iter().any(|line| line.contains("ADDRESS"))
                && screen.last().is_some_and(|line| line.starts_with("q quit"))
        });
    }
    // A key by itself: in the mode of the screen.
    shell.press(&["?"]);
    wait_for(&shell, "kick the selected one");
}

#[test]
fn top_connects_again_when_the_server_is_back() {
    let folder = Folder::new();
    let (mut server, url) = start(&folder, &[]);
    let Some(top) = top(&url) else { return };
    assert_eq!(server.stop(), Some(0));
    wait_for(&top, "trying again");
    drop(server);
    let server = Server::start(&["-l", &url, "-l", "raw://127.0.0.1:0?name=later"]);
    wait_for_words(&top, &["later", "raw", "0", "0"]);
    top.wait_for_screen("no error", |screen| {
        !screen.iter().any(|line| line.contains("trying again"))
    });
    drop(server);
}

#[test]
fn top_that_cannot_begin_says_why() {
    let args = ["--admin", "admin://127.0.0.1:1", "top"];
    let Some(top) = Terminal::client_args(Folder::new(), "xterm-256color", &args) else { return };
    assert_eq!(top.wait(), "1");
    let reason = "mynah-cli: cannot connect to admin://127.0.0.1:1: connection refused";
    top.expect(&[reason]);
    let args = ["--admin", "admin://127.0.0.1:1", "top"];
    let Some(dumb) = Terminal::client_args(Folder::new(), "dumb", &args) else { return };
    assert_eq!(dumb.wait(), "2");
}
