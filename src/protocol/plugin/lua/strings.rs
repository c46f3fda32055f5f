//! Interruptible natives for functions of `string` whose running time in C depends on the pattern
//! or count: `find`, `match`, `gsub`, `rep`, and the step that `gmatch` and `gsub` with a function
//! consist of.

use std::ops::Range;
use std::rc::Rc;

use memchr::memmem;
use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};

use super::call_error::{lua_error, out_of_memory, out_of_time};
use super::pattern::{self, Captured, Matcher, PatternError, Steps};
use super::shared::{Shared, available_memory, check_memory};

/// Puts the natives into the table `native`, which the prelude wraps. The prelude has checked their
/// arguments.
pub(super) fn register(lua: &Lua, native: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    native.set("find", search(lua, shared, SearchKind::Find)?)?;
    native.set("match", search(lua, shared, SearchKind::Match)?)?;
    native.set("step", step(lua, shared)?)?;
    native.set("gsub", gsub(lua, shared)?)?;
    native.set("rep", rep(lua, shared)?)
}

/// The function that a search is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SearchKind {
    /// `find` returns where the match begins and ends, then its captures.
    Find,
    /// `match` returns the captures.
    Match,
}

/// `find(subject, pattern, from, plain)` and `match(subject, pattern, from)`; `from` counts from 0.
fn search(lua: &Lua, shared: &Rc<Shared>, kind: SearchKind) -> mlua::Result<Function> {
    let shared = Rc::clone(shared);
    lua.create_function(
        move |lua, (subject, pattern, from, plain): (LuaString, LuaString, usize, bool)| {
            let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
            if from > subject.len() {
                return Ok(MultiValue::from_iter([Value::Nil]));
            }
            if kind == SearchKind::Find && (plain || !pattern::has_specials(&pattern)) {
                return find_plain(&subject, &pattern, from, &shared);
            }
            let anchored = pattern.first() == Some(&b'^');
            let has_time = || shared.call_budget.check().is_ok();
            let steps = Steps::new(&has_time);
            let mut matcher = Matcher::new(&subject, &pattern[usize::from(anchored)..], steps);
            let found = matcher.search(from, anchored, None).map_err(raise)?;
            let Some((start, end)) = found else {
                return Ok(MultiValue::from_iter([Value::Nil]));
            };
            let mut results = MultiValue::new();
            if kind == SearchKind::Find {
                results.extend([offset(start + 1), offset(end)]);
            }
            let whole = usize::from(kind == SearchKind::Match);
            let count = matcher.captures().max(whole);
            push_captures(lua, &matcher, start..end, count, &mut results)?;
            Ok(results)
        },
    )
}

fn find_plain(
    subject: &[u8],
    pattern: &[u8],
    from: usize,
    shared: &Shared,
) -> mlua::Result<MultiValue> {
    shared.check_time_for(subject.len() - from)?;
    Ok(match memmem::find(&subject[from..], pattern) {
        Some(at) => {
            let start = from + at;
            MultiValue::from_iter([offset(start + 1), offset(start + pattern.len())])
        }
        None => MultiValue::from_iter([Value::Nil]),
    })
}

/// `step(subject, pattern, from, not_end, anchored, first_only)`: start and end of the next match,
/// counted from 0, and all captures or only the first; nothing if there is no match.
fn step(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Function> {
    type Arguments = (LuaString, LuaString, usize, Option<usize>, bool, bool);
    let shared = Rc::clone(shared);
    lua.create_function(move |lua, arguments: Arguments| {
        let (subject, pattern, from, not_end, anchored, first_only) = arguments;
        let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
        let has_time = || shared.call_budget.check().is_ok();
        let mut matcher = Matcher::new(&subject, &pattern, Steps::new(&has_time));
        let found = matcher.search(from, anchored, not_end).map_err(raise)?;
        let mut results = MultiValue::new();
        if let Some((start, end)) = found {
            results.extend([offset(start), offset(end)]);
            let count = if first_only { 1 } else { matcher.captures().max(1) };
            push_captures(lua, &matcher, start..end, count, &mut results)?;
        }
        Ok(results)
    })
}

/// `gsub(subject, pattern, replacement, times)` with a replacement string.
fn gsub(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Function> {
    type Arguments = (LuaString, LuaString, LuaString, i64);
    let shared = Rc::clone(shared);
    lua.create_function(move |lua, (subject, pattern, replacement, times): Arguments| {
        let has_time = || shared.call_budget.check().is_ok();
        let (text, count) = pattern::replace(
            &subject.as_bytes(),
            &pattern.as_bytes(),
            &replacement.as_bytes(),
            times,
            &|wanted| available_memory(lua, &shared, wanted),
            Steps::new(&has_time),
        )
        .map_err(raise)?;
        let text = match text {
            Some(text) => lua.create_string(text)?,
            None => subject,
        };
        Ok((text, count))
    })
}

/// `rep(text, times, separator)`. Lua's own copies piece by piece and cannot be interrupted.
fn rep(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Function> {
    let shared = Rc::clone(shared);
    lua.create_function(move |lua, (text, times, separator): (LuaString, usize, LuaString)| {
        let (text, separator) = (text.as_bytes(), separator.as_bytes());
        let bytes = (text.len() + separator.len()).checked_mul(times);
        let bytes = bytes.ok_or_else(out_of_memory)?;
        shared.check_time_for(bytes)?;
        check_memory(lua, &shared, bytes)?;
        let mut result = [&*text, &*separator].concat().repeat(times);
        result.truncate(result.len() - separator.len());
        lua.create_string(result)
    })
}

/// Appends the first `count` captures. The first of a match without captures is the match.
fn push_captures(
    lua: &Lua,
    matcher: &Matcher<'_, '_, '_>,
    found: Range<usize>,
    count: usize,
    results: &mut MultiValue,
) -> mlua::Result<()> {
    for index in 0..count {
        let captured = matcher.capture(index, found.start, found.end).map_err(raise)?;
        results.push_back(match captured {
            Captured::Bytes(bytes) => Value::String(lua.create_string(bytes)?),
            Captured::Position(at) => offset(at),
        });
    }
    Ok(())
}

/// A length or an index as a Lua integer. Memory limits keep it in range.
fn offset(at: usize) -> Value {
    Value::Integer(at as i64)
}

fn raise(error: PatternError) -> mlua::Error {
    match error {
        PatternError::OutOfMemory => out_of_memory(),
        PatternError::OutOfTime => out_of_time(),
        error => lua_error(error),
    }
}
