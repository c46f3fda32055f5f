//! The files of docs/deploy, as the programs they are for read them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::folder::Folder;
use super::{has, output, root};

/// A server that logs to a file of a folder.
struct Server {
    child: Child,
    log: String,
}

impl Server {
    fn start(folder: &Folder) -> Self {
        let log = folder.path("mynah.log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mynah"))
            .args(["-l", "raw://127.0.0.1:0", "--no-plugins", "--log-file", &log])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("listening on ")));
        // Whoever does not read blocks the log of the console.
        thread::spawn(move || lines.for_each(drop));
        Server { child, log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn rotated_log_goes_on_in_a_new_file() {
    if !has("logrotate") {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&folder);
    wait_until("the log is written", || fs::metadata(&server.log).is_ok_and(|log| log.len() > 0));
    let shipped = fs::read_to_string(root().join("docs/deploy/logrotate")).unwrap();
    assert!(shipped.contains("/var/log/mynah/*.log"));
    let rules = folder.file("logrotate", &shipped.replace("/var/log/mynah", &folder.path("")));
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).unwrap();
    // In place of the service manager's.
    let signal = format!(
        "#!/bin/sh\n[ \"$*\" = 'kill --signal=HUP mynah.service' ] && kill -HUP {}\n",
        server.child.id()
    );
    let systemctl = folder.file("systemctl", &signal);
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path(""), std::env::var("PATH").unwrap());
    let (_, errors) = output(
        Command::new("/usr/sbin/logrotate")
            .args(["--force", "--state", &folder.path("state"), &rules])
            .env("PATH", path),
    );
    assert_eq!(errors, "");
    let rotated = folder.path("mynah.log.1");
    wait_until("a new file is opened", || fs::metadata(&server.log).is_ok());
    wait_until("the new file says so", || {
        fs::read_to_string(&server.log).is_ok_and(|log| log.contains("opened anew"))
    });
    assert!(fs::read_to_string(rotated).unwrap().contains("listening on raw://"));
}

#[test]
fn example_configuration_passes_the_check() {
    let (said, errors) = output(
        Command::new(env!("CARGO_BIN_EXE_mynah"))
            .args(["--check", "-l", "raw://127.0.0.1:0", "-c"])
            .arg(root().join("docs/deploy/mynah.conf")),
    );
    assert!(said.contains("would listen on raw://127.0.0.1:0"), "{said}{errors}");
}

/// The manifest as it was written: in a packed crate, Cargo's own version of it stands beside that.
fn manifest() -> String {
    let original = fs::read_to_string(root().join("Cargo.toml.orig"));
    original.unwrap_or_else(|_| fs::read_to_string(root().join("Cargo.toml")).unwrap())
}

#[test]
fn package_lists_files_that_exist() {
    let manifest = manifest();
    let (_, deb) = manifest.split_once("[package.metadata.deb]").unwrap();
    let assets: Vec<&str> = deb
        .lines()
        .filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next())
        .filter(|file| !file.starts_with("target/"))
        .collect();
    assert!(assets.len() > 10, "{assets:?}");
    for file in assets {
        assert!(root().join(file).is_file(), "{file}");
    }
}

#[test]
fn package_has_the_version_of_the_crate() {
    let changelog = fs::read_to_string(root().join("docs/deploy/debian/changelog")).unwrap();
    assert!(changelog.starts_with(&format!("mynah ({}-1) ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn image_has_every_feature_of_the_server() {
    let manifest = manifest();
    let recipe = fs::read_to_string(root().join("docs/deploy/Dockerfile")).unwrap();
    let names = |text: &str, start: &str, end: &str| -> Vec<String> {
        let (_, list) = text.split_once(start).unwrap();
        let list = list.split(end).next().unwrap();
        let names = list.split([',', '"', ' ', '\n']).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    // Those of other programs, of embedders, and of a service manager, which a container does not have.
    let left_out = ["client", "load", "service", "systemd"];
    let mut expected = names(&manifest, "default = [", "]");
    expected.retain(|name| !left_out.contains(&name.as_str()));
    assert_eq!(names(&recipe, "ARG FEATURES=", "\n"), expected);
}

#[test]
fn image_is_built_with_a_rust_new_enough() {
    let manifest = manifest();
    let recipe = fs::read_to_string(root().join("docs/deploy/Dockerfile")).unwrap();
    let minor = |text: &str, before: &str| -> u32 {
        let (_, rest) = text.split_once(before).unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    assert!(minor(&recipe, "/rust:1.") >= minor(&manifest, "rust-version = \"1."));
}
