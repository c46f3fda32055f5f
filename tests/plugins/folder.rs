//! A plugin's folder, and the ways out of it that there are not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use mynah::protocol::plugin::PluginHost;

use crate::support::{Folder, Response, answer, ask, entries};

/// Answers `OPERATION FILE DATA` with what the operation returns, or what it says.
const KEEPER: &str = "return { name = 'keeper', process_client_pkg = function(package)
    local operation, file, data = package:match('^(%a+) ?([^ ]*) ?(.*)$')
    local ok, result = pcall(folder[operation], file, data)
    if type(result) == 'table' then return table.concat(result, ',') end
    return tostring(result)
  end }";

struct Kept {
    folder: Folder,
    host: PluginHost,
}

impl Kept {
    fn new() -> Self {
        let folder = Folder::new(&[("file.lua", KEEPER)]);
        let mut options = folder.options();
        options.budget = std::time::Duration::from_secs(10);
        options.memory_bytes_max = 32 << 20;
        let host = PluginHost::load(&options, crate::support::real_clock()).unwrap().host;
        Kept { folder, host }
    }

    #[track_caller]
    fn check(&mut self, package: &str, expected: &str) {
        let Response::Answer(said) = ask(&mut self.host, package) else { panic!("{package}") };
        let said = String::from_utf8(said).unwrap();
        let place = if expected.starts_with("folder.") { PLACE } else { "" };
        assert_eq!(said, format!("{place}{expected}"), "{package:.60}");
    }

    fn inside(&self) -> PathBuf {
        self.folder.path("keeper")
    }
}

/// What the keeper's errors begin with.
const PLACE: &str = "file.lua:3: ";

const BAD_NAME: &str = "a file's name has 1 to 128 bytes of UTF-8, does not begin with a dot, and \
                        has no slash, backslash or control character";

#[test]
fn files_are_written_read_listed_and_removed() {
    let mut kept = Kept::new();
    kept.check("list", "");
    kept.check("read a", "folder.read: there is no a");
    kept.check("remove a", "folder.remove: there is no a");
    assert_eq!(entries(&kept.folder.0), ["file.lua"], "made when first written to, not before");
    kept.check("write b two\0\r\n", "nil");
    kept.check("write a one", "nil");
    kept.check("list", "a,b");
    kept.check("read b", "two\0\r\n");
    kept.check("write b", "nil");
    kept.check("read b", "");
    kept.check("remove a", "nil");
    kept.check("list", "b");
    assert_eq!(entries(&kept.inside()), ["b"]);
}

#[test]
fn bytes_are_kept_as_they_are() {
    let source = "return { process_client_pkg = function(data)
        folder.write('x', data) return folder.read('x')
      end }";
    let folder = Folder::new(&[("k.lua", source)]);
    let every_byte: Vec<u8> = (0..=255).collect();
    assert_eq!(ask(&mut folder.host(), &every_byte), answer(&every_byte));
    assert_eq!(fs::read(folder.path("k/x")).unwrap(), every_byte);
}

#[test]
fn a_name_leads_nowhere_else() {
    let mut kept = Kept::new();
    kept.check("write a x", "nil");
    let long = "x".repeat(129);
    for name in
        ["", "..", ".", "../file.lua", "/etc/passwd", "a/b", "a\\b", ".a", "a\0b", "a\nb", &long]
    {
        for operation in ["read", "write", "remove"] {
            // A pattern would not take the line break or the zero out of the package.
            let expected = format!("folder.{operation}: {BAD_NAME}");
            kept.check(&format!("{operation} {name}"), &expected);
        }
    }
    assert_eq!(entries(&kept.folder.0), ["file.lua", "keeper"]);
    assert_eq!(entries(&kept.inside()), ["a"]);
}

#[test]
fn names_that_are_no_utf8_are_refused() {
    let source = "return { process_client_pkg = function(data)
        return select(2, pcall(folder.write, '\\xff', data))
      end }";
    let folder = Folder::new(&[("k.lua", source)]);
    assert_eq!(ask(&mut folder.host(), "x"), answer(format!("k.lua:2: folder.write: {BAD_NAME}")));
}

#[test]
fn links_lead_nowhere_else() {
    let mut kept = Kept::new();
    kept.check("write a one", "nil");
    let outside = Folder::new(&[("secret", "secret")]);
    symlink(outside.path("secret"), kept.inside().join("absolute")).unwrap();
    symlink("../file.lua", kept.inside().join("up")).unwrap();
    symlink("a", kept.inside().join("beside")).unwrap();
    symlink("loop", kept.inside().join("loop")).unwrap();
    for name in ["absolute", "up", "loop"] {
        let Response::Answer(said) = ask(&mut kept.host, format!("read {name}")) else { panic!() };
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with("file.lua:3: folder.read: "), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    kept.check("read beside", "one");
    // A link is replaced, not followed.
    kept.check("write absolute mine", "nil");
    kept.check("read absolute", "mine");
    kept.check("write up mine", "nil");
    assert_eq!(fs::read(outside.path("secret")).unwrap(), b"secret");
    assert_eq!(fs::read(kept.folder.path("file.lua")).unwrap(), KEEPER.as_bytes());
    symlink("../file.lua", kept.inside().join("again")).unwrap();
    kept.check("remove again", "nil");
    assert!(kept.folder.path("file.lua").exists());
}

#[test]
fn a_trap_laid_where_files_are_made_is_not_stepped_into() {
    let mut kept = Kept::new();
    kept.check("write a one", "nil");
    symlink("../file.lua", kept.inside().join(".unfinished")).unwrap();
    kept.check("write b two", "nil");
    assert_eq!(fs::read(kept.folder.path("file.lua")).unwrap(), KEEPER.as_bytes());
    assert_eq!(entries(&kept.inside()), ["a", "b"]);
}

#[test]
fn the_folder_itself_may_not_be_a_link_out() {
    let outside = Folder::new(&[("secret", "secret")]);
    let mut kept = Kept::new();
    symlink(&outside.0, kept.inside()).unwrap();
    for package in ["read secret", "write x y", "remove secret", "list"] {
        let Response::Answer(said) = ask(&mut kept.host, package) else { panic!() };
        assert!(String::from_utf8(said).unwrap().contains(": folder."), "{package}");
    }
    assert_eq!(entries(&outside.0), ["secret"]);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let mut kept = Kept::new();
    kept.check("write a one", "nil");
    fs::create_dir(kept.inside().join("d")).unwrap();
    nix::unistd::mkfifo(&kept.inside().join("p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    kept.check("list", "a");
    kept.check("read d", "folder.read: d is not a file");
    kept.check("write d x", "folder.write: d is not a file");
    kept.check("remove d", "folder.remove: d is not a file");
    kept.check("read p", "folder.read: p is not a file");
    kept.check("write p x", "folder.write: p is not a file");
}

#[test]
fn sizes_are_bounded() {
    let mut kept = Kept::new();
    let most = "x".repeat(4 << 20);
    kept.check(&format!("write big {most}y"), "folder.write: a file may have 4194304 bytes");
    for number in 0..16 {
        kept.check(&format!("write big{number} {most}"), "nil");
    }
    kept.check("write one x", "folder.write: a folder may have 67108864 bytes in all");
    kept.check("write one", "nil");
    kept.check(&format!("write big0 {most}"), "nil");
    kept.check("write big1 x", "nil");
    kept.check("write one x", "nil");
    fs::write(kept.inside().join("larger"), [&most, "y"].concat()).unwrap();
    kept.check("read larger", "folder.read: a file may have 4194304 bytes");
}

#[test]
fn numbers_are_bounded() {
    let mut kept = Kept::new();
    kept.check("write 0 x", "nil");
    for number in 1..1000 {
        fs::write(kept.inside().join(number.to_string()), "").unwrap();
    }
    kept.check("write 5 x", "nil");
    kept.check("write 1000 x", "folder.write: a folder may have 1000 files");
    kept.check("remove 7", "nil");
    kept.check("write 1000 x", "nil");
}

#[test]
fn a_file_needs_the_memory_to_hold_it() {
    let source =
        "return { process_client_pkg = function(data) return #folder.read('f') .. '' end }";
    let folder = Folder::new(&[("k.lua", source)]);
    fs::create_dir(folder.path("k")).unwrap();
    fs::write(folder.path("k/f"), vec![b'x'; 3 << 20]).unwrap();
    let mut options = folder.options();
    options.memory_bytes_max = 2 << 20;
    let mut host = PluginHost::load(&options, crate::support::real_clock()).unwrap().host;
    assert_eq!(ask(&mut host, "x"), Response::Failed("k".into()));
    assert_eq!(ask(&mut folder.host(), "x"), answer((3 << 20).to_string()));
}

#[test]
fn the_folder_is_there_from_server_inited_on() {
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
