//! The desk in front of the plugins: who is heard when, on a clock that goes on a millisecond each
//! time a plugin has it looked at.

use std::cell::Cell;
use std::time::Duration;

use mynah::conn_id::ConnId;
use mynah::handler::plugin::{Client, Clock, PluginHost, PluginOptions};
use mynah::handler::{Asked, CloseReason, PluginDesk};

use super::rig::{Folder, id, keep_log, logged};

/// Every hook takes some 40 ms, much more than a turn has.
const SLOW: &str = "
    local function take_long() for i = 1, 500 do local x = i end end
    return {
      client_connected = function(client) take_long() server.log('came ' .. client.id) end,
      client_disconnected = function(client) take_long() server.log('went ' .. client.id) end,
      process_client_pkg = function(data) take_long() return data end,
    }";

fn host(folder: &Folder) -> PluginHost {
    let now = Cell::new(Duration::ZERO);
    let clock: Clock = Box::new(move || {
        now.set(now.get() + Duration::from_millis(1));
        now.get()
    });
    let options = PluginOptions { budget: Duration::from_secs(1), ..folder.options() };
    PluginHost::load(&options, clock).unwrap().host
}

fn desk(folder: &Folder) -> PluginDesk {
    keep_log();
    let mut desk = PluginDesk::new(host(folder));
    desk.end_turn();
    desk
}

fn connect(desk: &mut PluginDesk, client: ConnId) {
    desk.on_connected(client, "127.0.0.1:9".parse().unwrap());
}

/// A turn in which these clients have a package each; returns who was answered.
fn turn(desk: &mut PluginDesk, asking: &[ConnId]) -> Vec<ConnId> {
    let mut out = Vec::new();
    let mut ask = |desk: &mut PluginDesk, client: ConnId| {
        desk.ask(b"x", &Client::new(client), &mut out) == Asked::Answered
    };
    let (mut answered, back): (Vec<_>, Vec<_>) =
        asking.iter().partition(|client| ask(desk, **client));
    desk.begin_resuming();
    while desk.notify_next() {}
    answered.extend(back.into_iter().filter(|client| ask(desk, *client)));
    desk.end_turn();
    answered
}

/// What the plugin has said of clients.
fn said() -> Vec<String> {
    let lines = logged().into_iter();
    lines.filter_map(|line| line.strip_prefix("INFO plugin slow: ").map(str::to_owned)).collect()
}

#[test]
fn a_coming_is_told_before_the_first_package_is_answered() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut desk = desk(&folder);
    connect(&mut desk, id(1));
    // The time of the first turn goes to telling.
    assert_eq!(turn(&mut desk, &[id(1)]), []);
    assert_eq!(said(), ["came 1"]);
    assert_eq!(turn(&mut desk, &[id(1)]), [id(1)]);
}

#[test]
fn who_goes_before_the_plugins_were_told_is_never_heard_of_and_leaves_nothing() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut desk = desk(&folder);
    for generation in 0..1000 {
        connect(&mut desk, id(generation));
        desk.on_disconnected(id(generation), CloseReason::PeerClosed);
    }
    assert!(!desk.has_work());
    turn(&mut desk, &[]);
    assert_eq!(said(), [""; 0]);
}

#[test]
fn who_was_heard_of_is_told_to_go() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut desk = desk(&folder);
    connect(&mut desk, id(1));
    turn(&mut desk, &[]);
    desk.on_disconnected(id(1), CloseReason::PeerClosed);
    assert!(desk.has_work());
    turn(&mut desk, &[]);
    assert_eq!(said(), ["came 1", "went 1"]);
    assert!(!desk.has_work());
}

#[test]
fn comings_and_packages_take_turns_however_many_of_either_there_are() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut desk = desk(&folder);
    connect(&mut desk, id(0));
    turn(&mut desk, &[]);
    let (mut came, mut answered) = (said().len(), 0);
    for generation in 1..=40 {
        connect(&mut desk, id(generation));
        answered += turn(&mut desk, &[id(0)]).len();
        came += said().len();
    }
    assert!((15..=25).contains(&answered), "{answered} answered");
    assert!((15..=25).contains(&came), "{came} told");
}

#[test]
fn new_plugins_are_told_of_the_clients_there_are() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut desk = desk(&folder);
    connect(&mut desk, id(1));
    connect(&mut desk, id(2));
    while desk.has_work() {
        turn(&mut desk, &[]);
    }
    said();
    desk.replace_host(host(&folder));
    // Before they were told of either, one of them goes.
    desk.on_disconnected(id(1), CloseReason::PeerClosed);
    while desk.has_work() {
        turn(&mut desk, &[]);
    }
    assert_eq!(said(), ["came 2"]);
    assert_eq!(turn(&mut desk, &[id(2)]), [id(2)]);
}
