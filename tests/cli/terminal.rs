//! A real terminal for the client, by way of tmux. Knows nothing of what the screen should show.
//!
//! Without tmux a test that asks for a terminal prints so and passes.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::program::CLIENT;
use super::support::{Folder, PATIENCE, wait_until};

/// A terminal of 60 columns and 16 rows that runs one program.
pub(crate) struct Terminal {
    socket: PathBuf,
    /// The program's home; tmux's configuration, the client's process ID and status.
    pub(crate) folder: Folder,
}

impl Terminal {
    /// Runs the client with the server `addr` and the arguments `args`; `None` without tmux.
    pub(crate) fn client(addr: SocketAddr, args: &[&str]) -> Option<Terminal> {
        Terminal::client_with(Folder::new(), "xterm-256color", addr, args)
    }

    pub(crate) fn client_with(
        folder: Folder,
        term: &str,
        addr: SocketAddr,
        args: &[&str],
    ) -> Option<Terminal> {
        let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
        Terminal::client_args(folder, term, &[&["-H", &ip, "-p", &port], args].concat())
    }

    /// Runs the client with the arguments `args` alone.
    pub(crate) fn client_args(folder: Folder, term: &str, args: &[&str]) -> Option<Terminal> {
        let (home, term) = (format!("HOME={}", folder.path("")), format!("TERM={term}"));
        // tmux may lose the status and the last output of a program that ends, so a shell writes the
        // status to a file and stays. The inner shell writes its process ID, which the client keeps.
        let (pid, status) = (folder.path("pid"), folder.path("status"));
        let script = format!(
            "trap : INT; sh -c 'echo $$ >{pid}; exec \"$@\"' sh \"$@\"; echo $? >{status}; read _"
        );
        let shell = ["env", &home, &term, "sh", "-c", &script, "sh"];
        Terminal::run(folder, &[&shell[..], &[CLIENT], args].concat())
    }

    /// Runs `command`, of at least two words, in a terminal.
    pub(crate) fn run(folder: Folder, command: &[&str]) -> Option<Terminal> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let found = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            // Not `eprintln!`: the output of a passing test is captured.
            let _ = writeln!(io::stderr(), "skipped: a terminal test needs tmux");
            return None;
        }
        // Not in the folder: the path of a Unix socket is at most 107 bytes (unix(7)).
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mynah-cli-{}-{number}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let config = folder.file("tmux.conf", "set -g status off\n");
        let terminal = Terminal { socket, folder };
        let new = ["-u", "-f", &config, "new-session", "-d", "-x", "60", "-y", "16", "--"];
        terminal.tmux(&[&new, command].concat());
        Some(terminal)
    }

    pub(crate) fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        let output = tmux.arg("-S").arg(&self.socket).args(args).env_remove("TMUX").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    /// Types `text`.
    pub(crate) fn enter(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys by their names in tmux.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types `text` and presses Enter.
    pub(crate) fn enter_line(&self, text: &str) {
        self.enter(text);
        self.press(&["Enter"]);
    }

    /// The lines of the screen and those that have scrolled off; a wrapped line is one.
    pub(crate) fn screen(&self) -> Vec<String> {
        let text = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]);
        text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The cursor's row, counted from 0.
    pub(crate) fn cursor_row(&self) -> usize {
        self.tmux(&["display-message", "-p", "#{cursor_y}"]).trim().parse().unwrap()
    }

    /// Waits until the last lines of the screen are `lines`.
    #[track_caller]
    pub(crate) fn expect(&self, lines: &[&str]) {
        self.wait_for_screen(&format!("{lines:#?}"), |screen| {
            screen.len() >= lines.len()
                && screen[screen.len() - lines.len()..].iter().eq(lines.iter().copied())
        });
    }

    /// Waits until `is_expected` is true of the screen's lines.
    #[track_caller]
    pub(crate) fn wait_for_screen(&self, what: &str, is_expected: impl Fn(&[String]) -> bool) {
        if let Err(screen) = self.screen_within(PATIENCE, is_expected) {
            panic!("waited for {what}, and the screen is {screen:#?}");
        }
    }

    /// Waits for `patience` at most until `is_expected` is true of the screen's lines. Else returns
    /// these.
    pub(crate) fn screen_within(
        &self,
        patience: Duration,
        is_expected: impl Fn(&[String]) -> bool,
    ) -> Result<(), Vec<String>> {
        let started_at = Instant::now();
        loop {
            let screen = self.screen();
            if is_expected(&screen) {
                return Ok(());
            }
            if started_at.elapsed() >= patience {
                return Err(screen);
            }
        }
    }

    /// Waits for the client to end and returns its status.
    #[track_caller]
    pub(crate) fn wait(&self) -> String {
        self.wait_for_line("status")
    }

    /// The process ID of the client.
    #[track_caller]
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.wait_for_line("pid").parse().unwrap())
    }

    /// Waits until the shell has written a line to `file`, and returns it.
    #[track_caller]
    fn wait_for_line(&self, file: &str) -> String {
        let path = self.folder.path(file);
        let mut text = String::new();
        wait_until(file, || {
            text = fs::read_to_string(&path).unwrap_or_default();
            text.ends_with('\n')
        });
        text.trim_end().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
        let _ = fs::remove_file(&self.socket);
    }
}

/// Runs the client in a terminal; returns from the test if there is none.
macro_rules! terminal {
    ($($argument:expr),+) => {
        match Terminal::client($($argument),+) {
            Some(terminal) => terminal,
            None => return,
        }
    };
}
pub(crate) use terminal;
