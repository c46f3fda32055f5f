//! A plugin's folder: its operations, its bounds, and attempts to get out of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use mynah::internal::protocol::plugin::PluginHost;

use super::support::{Folder, Response, answer, ask, entries};

/// A plugin that answers `OPERATION FILE DATA` with the operation's result or error.
const FILER: &str = "return { name = 'filer', process_client_pkg = function(package)
    local operation, file, data = package:match('^(%a+) ?([^ ]*) ?(.*)$')
    local ok, result = pcall(folder[operation], file, data)
    if type(result) == 'table' then return table.concat(result, ',') end
    return tostring(result)
  end }";

struct Filer {
    folder: Folder,
    host: PluginHost,
}

impl Filer {
    fn new() -> Self {
        let folder = Folder::new(&[("file.lua", FILER)]);
        let host = folder.host_with(|options| {
            options.budget = Duration::from_secs(10);
            options.memory_bytes_max = 32 << 20;
        });
        Filer { folder, host }
    }

    #[track_caller]
    fn check(&mut self, package: &str, expected: &str) {
        let position = if expected.starts_with("folder.") { POSITION } else { "" };
        let text = ask(&mut self.host, package).text();
        assert_eq!(text, format!("{position}{expected}"), "{package:.60}");
    }

    fn inside(&self) -> PathBuf {
        self.folder.path("filer")
    }
}

/// The position in front of the plugin's errors.
const POSITION: &str = "file.lua:3: ";

const BAD_NAME: &str = "a file's name has 1 to 128 bytes of UTF-8, does not begin with a dot, and \
                        has no slash, backslash or control character";

#[test]
fn files_are_written_read_listed_and_removed() {
    let mut filer = Filer::new();
    filer.check("list", "");
    filer.check("read a", "folder.read: there is no a");
    filer.check("remove a", "folder.remove: there is no a");
    assert_eq!(entries(&filer.folder.0), ["file.lua"], "the folder is created by the first write");
    filer.check("write b two\0\r\n", "nil");
    filer.check("write a one", "nil");
    filer.check("list", "a,b");
    filer.check("read b", "two\0\r\n");
    filer.check("write b", "nil");
    filer.check("read b", "");
    filer.check("remove a", "nil");
    filer.check("list", "b");
    assert_eq!(entries(&filer.inside()), ["b"]);
}

#[test]
fn files_keep_every_byte() {
    let source = "return { process_client_pkg = function(data)
        folder.write('x', data) return folder.read('x')
      end }";
    let folder = Folder::new(&[("k.lua", source)]);
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(ask(&mut folder.host(), &every_byte), answer(&every_byte));
    assert_eq!(fs::read(folder.path("k/x")).unwrap(), every_byte);
}

#[test]
fn names_that_lead_out_of_the_folder_are_refused() {
    let mut filer = Filer::new();
    filer.check("write a x", "nil");
    let long = "x".repeat(129);
    for name in
        ["", "..", ".", "../file.lua", "/etc/passwd", "a/b", "a\\b", ".a", "a\0b", "a\nb", &long]
    {
        for operation in ["read", "write", "remove"] {
            // A pattern would not take the line break or the zero out of the package.
            let expected = format!("folder.{operation}: {BAD_NAME}");
            filer.check(&format!("{operation} {name}"), &expected);
        }
    }
    assert_eq!(entries(&filer.folder.0), ["file.lua", "filer"]);
    assert_eq!(entries(&filer.inside()), ["a"]);
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let source = "return { process_client_pkg = function(data)
        return select(2, pcall(folder.write, '\\xff', data))
      end }";
    let folder = Folder::new(&[("k.lua", source)]);
    assert_eq!(ask(&mut folder.host(), "x"), answer(format!("k.lua:2: folder.write: {BAD_NAME}")));
}

#[test]
fn links_out_of_the_folder_are_not_followed() {
    let mut filer = Filer::new();
    filer.check("write a one", "nil");
    let outside = Folder::new(&[("secret", "secret")]);
    symlink(outside.path("secret"), filer.inside().join("absolute")).unwrap();
    symlink("../file.lua", filer.inside().join("up")).unwrap();
    symlink("a", filer.inside().join("beside")).unwrap();
    symlink("loop", filer.inside().join("loop")).unwrap();
    for name in ["absolute", "up", "loop"] {
        let text = ask(&mut filer.host, format!("read {name}")).text();
        assert!(text.starts_with("file.lua:3: folder.read: "), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    filer.check("read beside", "one");
    // A link is replaced, not followed.
    filer.check("write absolute mine", "nil");
    filer.check("read absolute", "mine");
    filer.check("write up mine", "nil");
    assert_eq!(fs::read(outside.path("secret")).unwrap(), b"secret");
    assert_eq!(fs::read(filer.folder.path("file.lua")).unwrap(), FILER.as_bytes());
    symlink("../file.lua", filer.inside().join("again")).unwrap();
    filer.check("remove again", "nil");
    assert!(filer.folder.path("file.lua").exists());
}

#[test]
fn link_as_temporary_file_is_replaced() {
    let mut filer = Filer::new();
    filer.check("write a one", "nil");
    symlink("../file.lua", filer.inside().join(".unfinished")).unwrap();
    filer.check("write b two", "nil");
    assert_eq!(fs::read(filer.folder.path("file.lua")).unwrap(), FILER.as_bytes());
    assert_eq!(entries(&filer.inside()), ["a", "b"]);
}

#[test]
fn folder_that_is_a_link_out_is_not_followed() {
    let outside = Folder::new(&[("secret", "secret")]);
    let mut filer = Filer::new();
    symlink(&outside.0, filer.inside()).unwrap();
    for package in ["read secret", "write x y", "remove secret", "list"] {
        let text = ask(&mut filer.host, package).text();
        assert!(text.contains(": folder."), "{package}: {text}");
    }
    assert_eq!(entries(&outside.0), ["secret"]);
}

#[test]
fn folders_and_pipes_are_not_files() {
    let mut filer = Filer::new();
    filer.check("write a one", "nil");
    fs::create_dir(filer.inside().join("d")).unwrap();
    nix::unistd::mkfifo(&filer.inside().join("p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    filer.check("list", "a");
    filer.check("read d", "folder.read: d is not a file");
    filer.check("write d x", "folder.write: d is not a file");
    filer.check("remove d", "folder.remove: d is not a file");
    filer.check("read p", "folder.read: p is not a file");
    filer.check("write p x", "folder.write: p is not a file");
}

#[test]
fn file_and_folder_sizes_are_bounded() {
    let mut filer = Filer::new();
    let most = "x".repeat(4 << 20);
    filer.check(&format!("write big {most}y"), "folder.write: a file may have 4194304 bytes");
    for number in 0..16 {
        filer.check(&format!("write big{number} {most}"), "nil");
    }
    filer.check("write one x", "folder.write: a folder may have 67108864 bytes in all");
    filer.check("write one", "nil");
    filer.check(&format!("write big0 {most}"), "nil");
    filer.check("write big1 x", "nil");
    filer.check("write one x", "nil");
    fs::write(filer.inside().join("larger"), [&most, "y"].concat()).unwrap();
    filer.check("read larger", "folder.read: a file may have 4194304 bytes");
}

#[test]
fn number_of_files_is_bounded() {
    let mut filer = Filer::new();
    filer.check("write 0 x", "nil");
    for number in 1..1000 {
        fs::write(filer.inside().join(number.to_string()), "").unwrap();
    }
    filer.check("write 5 x", "nil");
    filer.check("write 1000 x", "folder.write: a folder may have 1000 files");
    filer.check("remove 7", "nil");
    filer.check("write 1000 x", "nil");
}

#[test]
fn file_larger_than_the_memory_is_not_read() {
    let source =
        "return { process_client_pkg = function(data) return #folder.read('f') .. '' end }";
    let folder = Folder::new(&[("k.lua", source)]);
    fs::create_dir(folder.path("k")).unwrap();
    fs::write(folder.path("k/f"), vec![b'x'; 3 << 20]).unwrap();
    let mut host = folder.host_with(|options| options.memory_bytes_max = 2 << 20);
    assert_eq!(ask(&mut host, "x"), Response::Failed("k".into()));
    assert_eq!(ask(&mut folder.host(), "x"), answer((3 << 20).to_string()));
}

#[test]
fn folder_is_usable_from_server_inited_on() {
    let early = "local ok, why = pcall(folder.list)
        return { process_client_pkg = function() return why end }";
    let later = "return { server_inited = function() folder.write('x', 'y') end }";
    let folder = Folder::new(&[("early.lua", early), ("later.lua", later)]);
    assert_eq!(
        ask(&mut folder.host(), "x"),
        answer("early.lua:1: folder.list: not before server_inited")
    );
    assert_eq!(fs::read(folder.path("later/x")).unwrap(), b"y");
}
