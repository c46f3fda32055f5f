//! The scheduler in front of the plugins: who is heard when, on a clock that goes on a millisecond each
//! time a plugin has it looked at.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mynah::conn_id::ConnId;
use mynah::protocol::plugin::{Client, Clock, PluginHost, PluginOptions, Reload};
use mynah::protocol::{AskResult, CloseReason, PluginScheduler};

use super::support::{Folder, id, keep_log, logged};

/// Every hook takes some 40 ms, much more than a turn has.
const SLOW: &str = "
    local function take_long() for i = 1, 500 do local x = i end end
    return {
      client_connected = function(client) take_long() server.log('came ' .. client.id) end,
      client_disconnected = function(client) take_long() server.log('went ' .. client.id) end,
      process_client_pkg = function(data) take_long() return data end,
    }";

/// The time by the clocks of [`clock`], which goes on a millisecond with each look.
type Time = Rc<Cell<Duration>>;

fn clock(time: &Time) -> Clock {
    let now = Rc::clone(time);
    Box::new(move || {
        now.set(now.get() + Duration::from_millis(1));
        now.get()
    })
}

fn options(folder: &Folder) -> PluginOptions {
    PluginOptions { budget: Duration::from_secs(1), ..folder.options() }
}

fn host(folder: &Folder) -> PluginHost {
    PluginHost::load(&options(folder), clock(&Time::default())).unwrap().host
}

fn scheduler(folder: &Folder) -> PluginScheduler {
    keep_log();
    let mut scheduler = PluginScheduler::new(host(folder));
    scheduler.end_turn();
    scheduler
}

fn connect(scheduler: &mut PluginScheduler, client: ConnId) {
    scheduler.on_connected(client, "127.0.0.1:9".parse().unwrap());
}

/// A turn in which these clients have a package each; returns who was answered.
fn turn(scheduler: &mut PluginScheduler, asking: &[ConnId]) -> Vec<ConnId> {
    let mut out = Vec::new();
    let mut ask = |scheduler: &mut PluginScheduler, client: ConnId| {
        scheduler.ask(b"x", &Client::new(client), &mut out) == AskResult::Answered
    };
    let (mut answered, back): (Vec<_>, Vec<_>) =
        asking.iter().partition(|client| ask(scheduler, **client));
    scheduler.begin_resuming();
    while scheduler.notify_next() {}
    answered.extend(back.into_iter().filter(|client| ask(scheduler, *client)));
    scheduler.end_turn();
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
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(1));
    // The time of the first turn goes to telling.
    assert_eq!(turn(&mut scheduler, &[id(1)]), []);
    assert_eq!(said(), ["came 1"]);
    assert_eq!(turn(&mut scheduler, &[id(1)]), [id(1)]);
}

#[test]
fn who_goes_before_the_plugins_were_told_is_never_heard_of_and_leaves_nothing() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    for generation in 0..1000 {
        connect(&mut scheduler, id(generation));
        scheduler.on_disconnected(id(generation), CloseReason::PeerClosed);
    }
    assert!(!scheduler.has_work());
    turn(&mut scheduler, &[]);
    assert_eq!(said(), [""; 0]);
}

#[test]
fn who_was_heard_of_is_told_to_go() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(1));
    turn(&mut scheduler, &[]);
    scheduler.on_disconnected(id(1), CloseReason::PeerClosed);
    assert!(scheduler.has_work());
    turn(&mut scheduler, &[]);
    assert_eq!(said(), ["came 1", "went 1"]);
    assert!(!scheduler.has_work());
}

#[test]
fn comings_and_packages_take_turns_however_many_of_either_there_are() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(0));
    turn(&mut scheduler, &[]);
    let (mut came, mut answered) = (said().len(), 0);
    for generation in 1..=40 {
        connect(&mut scheduler, id(generation));
        answered += turn(&mut scheduler, &[id(0)]).len();
        came += said().len();
    }
    assert!((15..=25).contains(&answered), "{answered} answered");
    assert!((15..=25).contains(&came), "{came} told");
}

#[test]
fn new_plugins_are_told_of_the_clients_there_are() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(1));
    connect(&mut scheduler, id(2));
    while scheduler.has_work() {
        turn(&mut scheduler, &[]);
    }
    said();
    scheduler.replace_host(host(&folder));
    // Before they were told of either, one of them goes.
    scheduler.on_disconnected(id(1), CloseReason::PeerClosed);
    while scheduler.has_work() {
        turn(&mut scheduler, &[]);
    }
    assert_eq!(said(), ["came 2"]);
    assert_eq!(turn(&mut scheduler, &[id(2)]), [id(2)]);
}

/// As many plugins as that, each with this text, in which NAME stands for the plugin's.
fn many(count: usize, text: &str) -> Folder {
    let names: Vec<String> = (0..count).map(|number| format!("p{number:02}")).collect();
    let files: Vec<(String, String)> =
        names.iter().map(|name| (format!("{name}.lua"), text.replace("NAME", name))).collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    Folder::new(&files)
}

/// A scheduler of plugins, and the time in which they live.
fn timed_scheduler(folder: &Folder) -> (PluginScheduler, Time) {
    keep_log();
    let time = Time::default();
    let host = PluginHost::load(&options(folder), clock(&time)).unwrap().host;
    let mut scheduler = PluginScheduler::new(host);
    scheduler.end_turn();
    (scheduler, time)
}

/// Longest turn it may be with plugins whose calls take some 40 ms: what fits before it, and a call.
const TURN_MAX: Duration = Duration::from_millis(5 + 60);

/// A turn that is not too long.
#[track_caller]
fn short_turn(scheduler: &mut PluginScheduler, time: &Time, asking: &[ConnId]) -> Vec<ConnId> {
    let before = time.get();
    let answered = turn(scheduler, asking);
    let took = time.get() - before;
    assert!(took <= TURN_MAX, "{took:?}");
    answered
}

#[test]
fn a_notice_goes_to_one_slow_plugin_a_turn_and_packages_have_every_other() {
    let folder = many(20, &SLOW.replace("'came '", "'NAME came '"));
    let (mut scheduler, time) = timed_scheduler(&folder);
    connect(&mut scheduler, id(1));
    let (mut turns, mut known, mut new) = (0, 0, 0);
    // A client of another listener is answered meanwhile; the new one when all have heard of it.
    while new == 0 {
        let answered = short_turn(&mut scheduler, &time, &[id(1), id(0)]);
        known += answered.iter().filter(|client| **client == id(0)).count();
        new += answered.iter().filter(|client| **client == id(1)).count();
        turns += 1;
        assert!(turns < 60, "the new client is answered at last");
    }
    let lines = logged();
    let heard = lines.iter().filter(|line| line.contains(" came 1")).count();
    assert_eq!(heard, 20, "{lines:#?}");
    assert!((15..25).contains(&known), "{known} in {turns} turns");
}

#[test]
fn who_goes_while_plugins_are_told_of_it_is_said_to_have_gone_to_those_who_were_told() {
    let folder = many(5, SLOW);
    let (mut scheduler, time) = timed_scheduler(&folder);
    connect(&mut scheduler, id(1));
    for _ in 0..2 {
        short_turn(&mut scheduler, &time, &[]);
    }
    scheduler.on_disconnected(id(1), CloseReason::PeerClosed);
    while scheduler.has_work() {
        short_turn(&mut scheduler, &time, &[]);
    }
    let said = ["p00: came 1", "p01: came 1", "p00: went 1", "p01: went 1"];
    assert_eq!(logged(), said.map(|text| format!("INFO plugin {text}")));
}

#[test]
fn plugins_hear_that_the_listeners_are_open_before_anything_else() {
    let text = SLOW.replace(
        "return {",
        "return { server_started = function() take_long() server.log('started') end,",
    );
    let folder = many(3, &text);
    let (mut scheduler, time) = timed_scheduler(&folder);
    scheduler.on_started();
    scheduler.on_started();
    connect(&mut scheduler, id(1));
    for _ in 0..3 {
        assert_eq!(short_turn(&mut scheduler, &time, &[id(0)]), []);
    }
    assert_eq!(short_turn(&mut scheduler, &time, &[id(0)]), [id(0)]);
    while scheduler.has_work() {
        short_turn(&mut scheduler, &time, &[]);
    }
    let said: Vec<String> =
        logged().iter().map(|line| line.rsplit(": ").next().unwrap().to_owned()).collect();
    assert_eq!(said, ["started", "started", "started", "came 1", "came 1", "came 1"]);
}

/// Asks so many times for a reload; what it returns is woken by their threads.
fn reload(
    scheduler: &mut PluginScheduler,
    time: &Time,
    folder: &Folder,
    times: usize,
) -> Receiver<()> {
    let (wake, woken) = channel();
    for _ in 0..times {
        let wake = wake.clone();
        scheduler.reload(Reload::new(options(folder), clock(time), move || _ = wake.send(())));
    }
    woken
}

/// Takes turns until nothing is left to do, as the loop does: it waits where it has no work.
#[track_caller]
fn finish(scheduler: &mut PluginScheduler, time: &Time, woken: &Receiver<()>) -> u32 {
    for turns in 0..1000 {
        short_turn(scheduler, time, &[]);
        // Once its thread has ended there is nothing to wait for.
        if !scheduler.has_work() && woken.recv_timeout(Duration::from_secs(20)).is_err() {
            return turns;
        }
    }
    panic!("it never ends");
}

const SLOW_TO_LOAD: &str = "
    local function take_long() for i = 1, 500 do local x = i end end
    take_long()
    return {
      server_inited = function() take_long() end,
      server_started = function() server.log('started') end,
      process_client_pkg = function(data) return 'new' end,
    }";

#[test]
fn a_reload_takes_a_step_a_turn_and_swaps_all_plugins_at_once() {
    let (old, new) = (many(3, SLOW), many(20, SLOW_TO_LOAD));
    let (mut scheduler, time) = timed_scheduler(&old);
    scheduler.on_started();
    let woken = reload(&mut scheduler, &time, &new, 1);
    let (mut answered, mut turns, mut lines) = (0, 0, Vec::new());
    while !lines.iter().any(|line: &String| line.starts_with("INFO plugins: p00, p01, ")) {
        if !scheduler.has_work() {
            woken.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        answered += short_turn(&mut scheduler, &time, &[id(0)]).len();
        lines.extend(logged());
        turns += 1;
        assert!(turns < 1000, "it comes to an end");
    }
    assert!(turns >= 40, "20 files and 20 server_inited are {turns} turns");
    assert!(answered >= turns / 3, "{answered} answered in {turns} turns");
    finish(&mut scheduler, &time, &woken);
    lines.extend(logged());
    let heard = lines.iter().filter(|line| line.ends_with(": started")).count();
    assert_eq!(heard, 20, "{lines:#?}");
}

#[test]
fn a_reload_in_which_a_file_is_broken_changes_nothing() {
    let old = many(1, SLOW);
    let (mut scheduler, time) = timed_scheduler(&old);
    let new = many(3, SLOW_TO_LOAD);
    fs::write(new.path("p01.lua"), "while true do end").unwrap();
    fs::write(new.path("p02.lua"), "return 1").unwrap();
    let options = PluginOptions { budget: Duration::from_millis(50), ..options(&new) };
    let (wake, woken) = channel();
    scheduler.reload(Reload::new(options, clock(&time), move || _ = wake.send(())));
    finish(&mut scheduler, &time, &woken);
    let stay = "the plugins stay as they are";
    assert_eq!(
        logged(),
        [
            format!("ERROR plugin p01.lua: ran longer than 50 ms; {stay}"),
            format!("ERROR plugin p02.lua: the file returned a number, not a table; {stay}"),
        ]
    );
    let mut out = Vec::new();
    scheduler.ask(b"x", &Client::new(id(0)), &mut out);
    assert_eq!(out, b"x", "the old plugin answers");
}

#[test]
fn a_folder_that_has_gone_changes_nothing() {
    let old = many(1, SLOW);
    let (mut scheduler, time) = timed_scheduler(&old);
    let gone = Folder::new(&[]);
    fs::remove_dir(&gone.0).unwrap();
    let woken = reload(&mut scheduler, &time, &gone, 1);
    finish(&mut scheduler, &time, &woken);
    let lines = logged();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("ERROR cannot load plugins: /"), "{lines:?}");
    assert!(lines[0].ends_with("; the plugins stay as they are"), "{lines:?}");
}

#[test]
fn however_often_a_reload_is_asked_for_while_one_runs_one_more_comes_after_it() {
    let folder = many(2, SLOW_TO_LOAD);
    let (mut scheduler, time) = timed_scheduler(&folder);
    let woken = reload(&mut scheduler, &time, &folder, 101);
    finish(&mut scheduler, &time, &woken);
    let lines = logged();
    let loaded = lines.iter().filter(|line| line.starts_with("INFO plugins: ")).count();
    assert_eq!(loaded, 2, "{lines:#?}");
    let said = lines.iter().filter(|line| line.contains("will be loaded once more")).count();
    assert_eq!(said, 1, "{lines:#?}");
}

#[test]
fn plugins_that_were_replaced_are_freed_one_a_turn() {
    let folder = many(10, "return {}");
    let (mut scheduler, time) = timed_scheduler(&folder);
    scheduler.replace_host(host(&folder));
    let mut turns = 0;
    while scheduler.has_work() {
        short_turn(&mut scheduler, &time, &[]);
        turns += 1;
    }
    assert_eq!(turns, 11);
}

#[test]
fn a_package_holds_a_turn_for_one_budget_however_many_plugins_are_asked() {
    let nil = "return { process_client_pkg = function() for i = 1, 500 do local x = i end end }";
    let folder = many(20, nil);
    keep_log();
    let time = Time::default();
    let options = PluginOptions { budget: Duration::from_millis(50), ..options(&folder) };
    let mut scheduler =
        PluginScheduler::new(PluginHost::load(&options, clock(&time)).unwrap().host);
    scheduler.end_turn();
    short_turn(&mut scheduler, &time, &[id(0), id(1), id(2)]);
}

/// To carry what a plugin says takes time as well, whoever's it is counted as.
#[test]
fn a_plugin_that_says_much_takes_a_turns_time() {
    for (says, answered) in [
        ("return 'x'", vec![id(0), id(1)]),
        ("return ('x'):rep(2000000)", vec![id(0)]),
        (
            "server.broadcast(('x'):rep(1000000)) server.broadcast(('x'):rep(1000000)) return 'x'",
            vec![id(0)],
        ),
    ] {
        let text = format!("return {{ process_client_pkg = function() {says} end }}");
        let folder = Folder::new(&[("says.lua", &text)]);
        keep_log();
        let options = PluginOptions { broadcast_bytes_max: 4 << 20, ..options(&folder) };
        let host = PluginHost::load(&options, clock(&Time::default())).unwrap().host;
        let mut scheduler = PluginScheduler::new(host);
        scheduler.end_turn();
        let mut asked = Vec::new();
        for client in [id(0), id(1)] {
            if scheduler.ask(b"x", &Client::new(client), &mut Vec::new()) == AskResult::Answered {
                asked.push(client);
            }
            scheduler.take_broadcasts();
        }
        assert_eq!(asked, answered, "{says}");
    }
}
