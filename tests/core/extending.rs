//! docs/extending.md, run: its blocks are applied to a copy of the tree, which is built and talked
//! to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::PATIENCE;

/// The parts of the tree that a build takes.
const BUILT: [&str; 6] = ["Cargo.toml", "Cargo.lock", "README.md", "docs", "src", "tests"];

#[test]
fn command_and_protocol_of_the_page_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("extending");
    // What was built stays beside it.
    let tree = copy.join("tree");
    let _ = fs::remove_dir_all(&tree);
    fs::create_dir_all(&tree).unwrap();
    BUILT.iter().for_each(|part| copy_all(&root.join(part), &tree.join(part)));
    let page = fs::read_to_string(root.join("docs/extending.md")).unwrap();
    let blocks = blocks(&page);
    assert_eq!(blocks.len(), 6, "blocks of the page");
    for block in &blocks {
        block.apply(&tree);
    }

    let mut server = Server::build_and_start(&tree, &copy.join("target"));
    let mut client = server.connect("command://");
    client.write_all(b"\x09\0\0\0\x05hello").unwrap();
    assert_eq!(read(&mut client, 6), b"\x01\0\0\0\x015");
    for (listener, quote) in
        [("qotd://", "festina lente\r\n"), ("qotd://", "Make haste slowly.\r\n")]
    {
        let mut client = server.connect(listener);
        client.write_all(b"thrown away").unwrap();
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        assert_eq!(received, quote);
    }
}

/// A fenced block whose first line names a file.
struct Block<'a> {
    is_diff: bool,
    file: &'a str,
    lines: Vec<&'a str>,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some((kind, file)) = line.strip_prefix("```").and_then(|info| info.split_once(' ')) {
            let lines = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(Block { is_diff: kind == "diff", file, lines });
        }
    }
    blocks
}

impl Block<'_> {
    /// Makes the file, or adds the lines marked `+` to it, behind those that stand before them in
    /// the block and once in the file.
    fn apply(&self, tree: &Path) {
        let file = tree.join(self.file);
        if !self.is_diff {
            return fs::write(&file, self.lines.join("\n") + "\n").unwrap();
        }
        let text = fs::read_to_string(&file).unwrap();
        let side = |left_out: char| -> String {
            let kept = self.lines.iter().filter(|line| !line.starts_with(left_out));
            kept.map(|line| line.get(1..).unwrap_or_default().to_owned() + "\n").collect()
        };
        let (before, after) = (side('+'), side('-'));
        assert_eq!(text.matches(&before).count(), 1, "{before:?} in {}", self.file);
        fs::write(&file, text.replace(&before, &after)).unwrap();
    }
}

fn copy_all(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        copy_all(&path, &to.join(path.file_name().unwrap()));
    }
}

/// The server of the copy; ends with the test.
struct Server {
    child: Child,
    /// Listeners that nobody has connected to, as they were announced.
    listeners: Vec<String>,
}

impl Server {
    fn build_and_start(tree: &Path, target: &PathBuf) -> Self {
        let cargo = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--no-default-features", "--bin", "mynah"])
            // It answers three clients.
            .args(["--config", "profile.dev.package.mynah.opt-level=0"])
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", target)
            .output()
            .unwrap();
        assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
        let mut child = Command::new(target.join("debug/mynah"))
            .args(["-l", "command://127.0.0.1:0"])
            .args(["-l", "qotd://127.0.0.1:0?quote=festina%20lente", "-l", "qotd://127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut server = Server { child, listeners: Vec::new() };
        for line in log.lines().map(Result::unwrap) {
            if let Some((_, url)) = line.split_once("listening on ") {
                server.listeners.push(url.to_owned());
            }
            if server.listeners.len() == 3 {
                break;
            }
        }
        assert_eq!(server.listeners.len(), 3, "the server did not start");
        server
    }

    /// Connects to the first listener of that protocol that nobody has connected to.
    fn connect(&mut self, protocol: &str) -> TcpStream {
        let at = self.listeners.iter().position(|url| url.starts_with(protocol)).unwrap();
        let url = self.listeners.remove(at);
        let stream = TcpStream::connect(&url[protocol.len()..]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(client: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes).unwrap();
    bytes
}
