//! Loading of plugin files, and the errors of those that do not load.

use std::fs;

use mynah::internal::protocol::plugin::{LoadError, PluginHost, PluginOptions};

use super::support::{Folder, answer, ask, capture_log, cpu_clock, logged};

#[track_caller]
fn assert_broken(source: &str, why: &str) {
    let folder = Folder::new(&[("bad.lua", source), ("good.lua", "return {}")]);
    let loaded = folder.load();
    let broken: Vec<String> = loaded.broken.iter().map(ToString::to_string).collect();
    assert_eq!(broken, [why]);
    assert_eq!(loaded.host.names().collect::<Vec<_>>(), ["good"], "the others are loaded");
}

#[test]
fn broken_file_is_named_with_its_line() {
    assert_broken("return {\n  x = = 1\n}", "plugin bad.lua:2: unexpected symbol near '='");
    assert_broken("return {", "plugin bad.lua:1: unexpected symbol near <eof>");
    assert_broken("\n\nerror('no')", "plugin bad.lua:3: no");
    assert_broken(
        "\nlocal x = nil\nx.y = 1",
        "plugin bad.lua:3: attempt to index a nil value (local 'x')",
    );
    assert_broken(
        "\nrequire 'socket'",
        "plugin bad.lua:2: attempt to call a nil value (global 'require')",
    );
    assert_broken(
        "\n('x'):rep({})",
        "plugin bad.lua:2: bad argument #2 to 'rep' (number expected, got table)",
    );
    assert_broken(
        "return { server_inited = function()\n error('no') end }",
        "plugin bad.lua:2: no",
    );
}

#[test]
fn file_returns_a_table_of_the_right_types() {
    assert_broken("", "plugin bad.lua: the file returned a nil, not a table");
    assert_broken("return 1", "plugin bad.lua: the file returned a number, not a table");
    assert_broken("return { name = 1 }", "plugin bad.lua: name is a number, not a string");
    assert_broken(
        "return { priority = '1' }",
        "plugin bad.lua: priority is a string, not an integer",
    );
    assert_broken(
        "return { priority = 1.5 }",
        "plugin bad.lua: priority is a number, not an integer",
    );
    for hook in [
        "server_inited",
        "server_started",
        "process_client_pkg",
        "client_connected",
        "client_disconnected",
        "server_stopping",
    ] {
        assert_broken(
            &format!("return {{ {hook} = true }}"),
            &format!("plugin bad.lua: {hook} is a boolean, not a function"),
        );
    }
}

#[test]
fn name_is_plain_and_unique() {
    assert_broken("return { name = 'good' }", "plugin good.lua: the name good is taken by bad.lua");
    for name in ["", "..", "a/b", "a\\\\b", "a.b", "a b", "\\0", "é", &"x".repeat(65)] {
        let folder = Folder::new(&[("bad.lua", &format!("return {{ name = '{name}' }}"))]);
        let broken = folder.load().broken;
        assert!(
            broken[0].reason.starts_with("a plugin's name has 1 to 64 ASCII letters"),
            "{name}"
        );
        assert!(broken[0].reason.len() < 300);
    }
    let folder = Folder::new(&[("a b.lua", "return {}"), ("c d.lua", "return { name = 'c_d-1' }")]);
    let loaded = folder.load();
    assert_eq!(loaded.broken[0].file, "a b.lua");
    assert_eq!(loaded.host.names().collect::<Vec<_>>(), ["c_d-1"]);
}

#[test]
fn only_plain_lua_files_are_plugins() {
    let folder = Folder::new(&[
        ("a.lua", "return {}"),
        (".b.lua", "error()"),
        ("c.lua~", "error()"),
        ("d.txt", "error()"),
        ("lua", "error()"),
    ]);
    fs::create_dir(folder.path("e.lua")).unwrap();
    fs::create_dir(folder.path("f")).unwrap();
    let loaded = folder.load();
    let broken: Vec<String> = loaded.broken.iter().map(ToString::to_string).collect();
    assert_eq!(broken, ["plugin e.lua: not a file"]);
    assert_eq!(loaded.host.names().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn link_to_a_file_is_a_plugin() {
    let elsewhere =
        Folder::new(&[("x.txt", "return { process_client_pkg = function() return 'x' end }")]);
    let folder = Folder::new(&[]);
    std::os::unix::fs::symlink(elsewhere.path("x.txt"), folder.path("x.lua")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path("y.lua")).unwrap();
    let mut loaded = folder.load();
    assert_eq!(ask(&mut loaded.host, ""), answer("x"));
    assert_eq!(loaded.broken[0].file, "y.lua");
}

#[test]
fn byte_order_mark_and_a_shebang_are_skipped() {
    let body = "return { process_client_pkg = function() return 'here' end }";
    for (preamble, line) in [
        ("\u{feff}", 1),
        ("#!/usr/bin/env lua\n", 2),
        ("#\n", 2),
        ("# x\r\n", 2),
        ("\u{feff}#!lua\n", 2),
    ] {
        let folder = Folder::new(&[("a.lua", &format!("{preamble}{body}"))]);
        assert_eq!(ask(&mut folder.host(), "x"), answer("here"), "{preamble:?}");
        assert_broken(&format!("{preamble}error('no')"), &format!("plugin bad.lua:{line}: no"));
    }
    assert_broken("#!lua", "plugin bad.lua: the file returned a nil, not a table");
    assert_broken("#!lua\n#!lua\n", "plugin bad.lua:2: unexpected symbol near '#'");
    assert_broken(
        "\u{feff}\u{feff}return {}",
        "plugin bad.lua:1: unexpected symbol near '<\\239>'",
    );
    assert_broken("#!lua\n\u{1b}Lua", "plugin bad.lua:2: unexpected symbol near '<\\27>'");
}

#[test]
fn too_many_plugin_files_are_an_error() {
    let folder = Folder::new(&[]);
    for number in 0..=1000 {
        fs::write(folder.path(&format!("{number}.lua")), "return {}").unwrap();
    }
    let error = PluginHost::load(&folder.options(), cpu_clock()).unwrap_err();
    assert!(error.to_string().ends_with(": more than 1000 plugin files"), "{error}");
}

#[test]
fn broadcasts_of_a_broken_file_are_dropped() {
    let folder = Folder::new(&[
        ("a.lua", "server.broadcast('good') return {}"),
        ("b.lua", "server.broadcast('run') error('no')"),
        ("c.lua", "server.broadcast('run') return { server_inited = function() error('no') end }"),
        ("d.lua", "server.broadcast('run') return { name = 'a' }"),
    ]);
    let mut loaded = folder.load();
    assert_eq!(loaded.broken.len(), 3);
    assert_eq!(loaded.host.drain_broadcasts().collect::<Vec<_>>(), [b"good"]);
}

#[test]
fn fields_ignore_the_metatable() {
    let source = "return setmetatable({}, { __index = function() error('asked') end })";
    let folder = Folder::new(&[("a.lua", source)]);
    assert_eq!(folder.host().names().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn missing_folder_is_an_error() {
    let folder = Folder::new(&[("file", "")]);
    let load = |name: &str| {
        let options = PluginOptions { dir: folder.path(name), ..folder.options() };
        PluginHost::load(&options, cpu_clock()).unwrap_err()
    };
    let missing = load("missing");
    assert!(matches!(missing, LoadError::Missing { .. }));
    assert!(missing.to_string().ends_with("/missing: no such directory"), "{missing}");
    let file = load("file");
    assert!(matches!(file, LoadError::NotADirectory { .. }));
    assert!(file.to_string().ends_with("/file: not a directory"), "{file}");
}

#[test]
fn unreadable_folder_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new(&[]);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o000)).unwrap();
    let result = PluginHost::load(&folder.options(), cpu_clock());
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).unwrap();
    // The superuser may read it.
    if let Err(error) = result {
        assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
    }
}

#[test]
fn file_names_are_sanitized() {
    capture_log();
    let folder = Folder::new(&[("a\x1b[2J\n.lua", "server.log('x') error('no')")]);
    let shown = "plugin a\u{fffd}[2J\u{fffd}.lua:1: no";
    assert_eq!(folder.load().broken[0].to_string(), shown);
    assert_eq!(logged(), ["INFO plugin a\u{fffd}[2J\u{fffd}: x"]);
}
