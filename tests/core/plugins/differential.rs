//! The sandbox's replacements of library functions do what Lua's do: one script makes random calls,
//! in a plugin and in plain Lua, and reports the results.

use std::time::Duration;

use mynah::internal::protocol::plugin::{Client, HookResult};

use super::support::{Folder, id};

const SCRIPT: &str = include_str!("differential.lua");
const SEEDS: u32 = 4;

#[test]
fn strings_and_tables_match_lua() {
    let folder = Folder::new(&[("differential.lua", SCRIPT)]);
    let mut host = folder.host_with(|options| {
        options.budget = Duration::from_secs(60);
        options.memory_bytes_max = 64 << 20;
    });
    let lua = mlua::Lua::new();
    let plain: mlua::Table = lua.load(SCRIPT).eval().unwrap();
    let plain: mlua::Function = plain.get("process_client_pkg").unwrap();
    for seed in 1..=SEEDS {
        let mut out = Vec::new();
        let result = host.ask(seed.to_string().as_bytes(), &Client::new(id(1)), &mut out);
        assert_eq!(result, HookResult::Answered);
        let expected: mlua::LuaString = plain.call(seed.to_string()).unwrap();
        compare(&out, &expected.as_bytes(), seed);
    }
}

/// Compares line by line, so that a failure shows the line and not a megabyte.
fn compare(ours: &[u8], theirs: &[u8], seed: u32) {
    let lines = |text: &[u8]| {
        // An error names a function called through pcall with its library.
        let mut text = String::from_utf8_lossy(text).into_owned();
        for library in ["'string.", "'table.", "'utf8."] {
            text = text.replace(library, "'");
        }
        text.split('\n').map(str::to_owned).collect::<Vec<_>>()
    };
    let (ours, theirs) = (lines(ours), lines(theirs));
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "seed {seed}, line {number}");
    }
    assert_eq!(ours.len(), theirs.len());
}
