//! Natives behind `server`, `base64` and `folder`, the libraries that Lua does not have.

use std::rc::Rc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mlua::{Function, Lua, LuaString, Table};

use super::call_error::{lua_error, message_handler, out_of_memory, out_of_time};
use super::folder::{Folder, FolderError};
use super::identity::Identity;
use super::shared::{Shared, available_memory, check_memory};

/// Puts the natives into the table `native`, which the prelude wraps. The prelude has checked the
/// types of their arguments.
pub(super) fn register(
    lua: &Lua,
    native: &Table,
    identity: &Rc<Identity>,
    shared: &Rc<Shared>,
) -> mlua::Result<()> {
    native.set("message_handler", lua.create_function(message_handler)?)?;
    native.set("check", check(lua, shared)?)?;
    let (to, who) = (Rc::clone(shared), Rc::clone(identity));
    native.set(
        "log",
        lua.create_function(move |_, text: LuaString| {
            to.log_text(&who, &text.as_bytes());
            Ok(())
        })?,
    )?;
    let to = Rc::clone(shared);
    native.set(
        "broadcast",
        lua.create_function(move |_, bytes: LuaString| to.broadcast(&bytes.as_bytes()))?,
    )?;
    native.set("encode", encode(lua, shared)?)?;
    native.set("decode", decode(lua, shared)?)?;
    register_folder(lua, native, identity, shared)
}

/// `check()`: fails if the call is out of time.
fn check(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Function> {
    let shared = Rc::clone(shared);
    lua.create_function(move |_, ()| shared.call_budget.check().map_err(|_| out_of_time()))
}

fn encode(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Function> {
    let shared = Rc::clone(shared);
    lua.create_function(move |lua, bytes: LuaString| {
        let bytes = bytes.as_bytes();
        shared.check_time_for(bytes.len())?;
        check_memory(lua, &shared, bytes.len().div_ceil(3).saturating_mul(4))?;
        lua.create_string(BASE64_STANDARD.encode(bytes))
    })
}

fn decode(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<Function> {
    let shared = Rc::clone(shared);
    lua.create_function(move |lua, digits: LuaString| {
        let digits = digits.as_bytes();
        shared.check_time_for(digits.len())?;
        check_memory(lua, &shared, digits.len() / 4 * 3)?;
        match BASE64_STANDARD.decode(&*digits) {
            Ok(bytes) => lua.create_string(bytes),
            Err(error) => Err(lua_error(format_args!("base64.decode: {error}"))),
        }
    })
}

fn register_folder(
    lua: &Lua,
    native: &Table,
    identity: &Rc<Identity>,
    shared: &Rc<Shared>,
) -> mlua::Result<()> {
    let access = FolderAccess { identity: Rc::clone(identity), shared: Rc::clone(shared) };
    let to = access.clone();
    let list =
        move |_: &Lua, ()| to.folder("list")?.list().map_err(|error| folder_error("list", &error));
    native.set("list", lua.create_function(list)?)?;
    let to = access.clone();
    let read = move |lua: &Lua, file: LuaString| {
        let has_memory = |bytes| available_memory(lua, &to.shared, bytes) >= bytes;
        let bytes = to.folder("read")?.read(&file.as_bytes(), &has_memory);
        lua.create_string(bytes.map_err(|error| folder_error("read", &error))?)
    };
    native.set("read", lua.create_function(read)?)?;
    let to = access.clone();
    let write = move |_: &Lua, (file, data): (LuaString, LuaString)| {
        let written = to.folder("write")?.write(&file.as_bytes(), &data.as_bytes());
        written.map_err(|error| folder_error("write", &error))
    };
    native.set("write", lua.create_function(write)?)?;
    let remove = move |_: &Lua, file: LuaString| {
        let removed = access.folder("remove")?.remove(&file.as_bytes());
        removed.map_err(|error| folder_error("remove", &error))
    };
    native.set("remove", lua.create_function(remove)?)
}

/// Access of one plugin to its folder.
#[derive(Clone)]
struct FolderAccess {
    identity: Rc<Identity>,
    shared: Rc<Shared>,
}

impl FolderAccess {
    /// Opens the folder for one operation.
    fn folder(&self, operation: &str) -> mlua::Result<Folder<'_>> {
        self.shared.call_budget.check().map_err(|_| out_of_time())?;
        match (&self.shared.folders, self.identity.final_name()) {
            (Some(folders), Some(name)) => Ok(folders.of(name)),
            _ => Err(lua_error(format_args!("folder.{operation}: not before server_inited"))),
        }
    }
}

fn folder_error(operation: &str, error: &FolderError) -> mlua::Error {
    match error {
        FolderError::OutOfMemory => out_of_memory(),
        error => lua_error(format_args!("folder.{operation}: {error}")),
    }
}
