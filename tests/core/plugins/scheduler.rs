//! The scheduler: the order of packages, notices and reloads, and the length of turns, in a time
//! that advances by 1 ms with each check of the clock.

use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mynah::internal::conn_id::ConnId;
use mynah::internal::protocol::plugin::{Client, PluginHost, PluginOptions, Reload};
use mynah::internal::protocol::{AskResult, CloseReason, PluginScheduler};

use super::support::{Folder, Time, capture_log, id, logged};

/// Every hook takes some 40 ms, much more than a turn has.
const SLOW: &str = "
    local function take_long() for i = 1, 500 do local x = i end end
    return {
      client_connected = function(client) take_long() server.log('connected ' .. client.id) end,
      client_disconnected = function(client) take_long() server.log('disconnected ' .. client.id) end,
      process_client_pkg = function(data) take_long() return data end,
    }";

fn new_time() -> Time {
    Time::stepping(Duration::from_millis(1))
}

fn host(folder: &Folder) -> PluginHost {
    folder.host_on(new_time().clock(), |_| {})
}

fn scheduler(folder: &Folder) -> PluginScheduler {
    scheduler_of(host(folder))
}

/// A scheduler of a host, in its second turn.
fn scheduler_of(host: PluginHost) -> PluginScheduler {
    capture_log();
    let mut scheduler = PluginScheduler::new(host);
    scheduler.end_turn();
    scheduler
}

fn connect(scheduler: &mut PluginScheduler, client: ConnId) {
    scheduler.on_connected(client, SocketAddr::from(([127, 0, 0, 1], 9)).into());
}

/// A turn in which each of these clients has a package. Returns the clients that were answered.
fn turn(scheduler: &mut PluginScheduler, asking: &[ConnId]) -> Vec<ConnId> {
    let mut out = Vec::new();
    let mut ask = |scheduler: &mut PluginScheduler, client: ConnId| {
        scheduler.ask(b"x", &Client::new(client), &mut out) == AskResult::Answered
    };
    let (mut answered, deferred): (Vec<_>, Vec<_>) =
        asking.iter().partition(|client| ask(scheduler, **client));
    scheduler.begin_resuming();
    while scheduler.notify_next() {}
    answered.extend(deferred.into_iter().filter(|client| ask(scheduler, *client)));
    scheduler.end_turn();
    answered
}

/// The lines that the plugin has logged.
fn plugin_log() -> Vec<String> {
    let lines = logged().into_iter();
    lines.filter_map(|line| line.strip_prefix("INFO plugin slow: ").map(str::to_owned)).collect()
}

#[test]
fn connect_is_notified_before_its_first_package() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(1));
    // The notice takes the time of the first turn.
    assert_eq!(turn(&mut scheduler, &[id(1)]), []);
    assert_eq!(plugin_log(), ["connected 1"]);
    assert_eq!(turn(&mut scheduler, &[id(1)]), [id(1)]);
}

#[test]
fn disconnect_removes_its_pending_connect() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    for generation in 0..1000 {
        connect(&mut scheduler, id(generation));
        scheduler.on_disconnected(id(generation), CloseReason::PeerClosed);
    }
    assert!(!scheduler.has_work());
    turn(&mut scheduler, &[]);
    assert_eq!(plugin_log(), [""; 0]);
}

#[test]
fn notified_connect_is_followed_by_a_disconnect() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(1));
    turn(&mut scheduler, &[]);
    scheduler.on_disconnected(id(1), CloseReason::PeerClosed);
    assert!(scheduler.has_work());
    turn(&mut scheduler, &[]);
    assert_eq!(plugin_log(), ["connected 1", "disconnected 1"]);
    assert!(!scheduler.has_work());
}

#[test]
fn notices_and_packages_alternate() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(0));
    turn(&mut scheduler, &[]);
    let (mut connected, mut answered) = (plugin_log().len(), 0);
    for generation in 1..=40 {
        connect(&mut scheduler, id(generation));
        answered += turn(&mut scheduler, &[id(0)]).len();
        connected += plugin_log().len();
    }
    assert!((15..=25).contains(&answered), "{answered} answered");
    assert!((15..=25).contains(&connected), "{connected} connects");
}

#[test]
fn new_plugins_are_notified_of_all_clients() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    (1..=8).for_each(|n| connect(&mut scheduler, id(n)));
    while scheduler.has_work() {
        turn(&mut scheduler, &[]);
    }
    plugin_log();
    scheduler.replace_host(host(&folder));
    // One of them disconnects before the plugins are notified.
    scheduler.on_disconnected(id(1), CloseReason::PeerClosed);
    while scheduler.has_work() {
        turn(&mut scheduler, &[]);
    }
    let others: Vec<String> = (2..=8).map(|n| format!("connected {n}")).collect();
    assert_eq!(plugin_log(), others);
    assert_eq!(turn(&mut scheduler, &[id(2)]), [id(2)]);
}

#[test]
fn reload_keeps_connects_apart_from_later_ones() {
    let folder = Folder::new(&[("slow.lua", SLOW)]);
    let mut scheduler = scheduler(&folder);
    connect(&mut scheduler, id(1));
    while scheduler.has_work() {
        turn(&mut scheduler, &[]);
    }
    plugin_log();
    scheduler.replace_host(host(&folder));
    connect(&mut scheduler, id(2));
    while scheduler.has_work() {
        turn(&mut scheduler, &[]);
    }
    assert_eq!(plugin_log(), ["connected 1", "connected 2"]);
}

#[test]
fn turn_gives_1024_notices_and_credits_them() {
    const CLIENTS: u32 = 1_500;
    let hook = "return { client_connected = function() end }";
    let folder = Folder::new(&[("quick.lua", hook)]);
    // Time stands still, so that only the count ends the turn.
    let clock = Time::stepping(Duration::ZERO).clock();
    let mut scheduler = scheduler_of(folder.host_on(clock, |_| {}));
    for generation in 0..CLIENTS {
        connect(&mut scheduler, id(generation));
    }
    let before = scheduler.cost();
    turn(&mut scheduler, &[]);
    assert_eq!(before - scheduler.cost(), 1_024 * 64);
    turn(&mut scheduler, &[]);
    assert_eq!(before - scheduler.cost(), CLIENTS as usize * 64);
    assert!(!scheduler.has_work());
}

/// A scheduler of plugins, and their time.
fn timed_scheduler(folder: &Folder) -> (PluginScheduler, Time) {
    let time = new_time();
    (scheduler_of(folder.host_on(time.clock(), |_| {})), time)
}

/// Longest turn with plugins whose calls take some 40 ms: 5 ms, and a call.
const TURN_MAX: Duration = Duration::from_millis(5 + 60);

/// A turn, which must not take longer than [`TURN_MAX`].
#[track_caller]
fn short_turn(scheduler: &mut PluginScheduler, time: &Time, asking: &[ConnId]) -> Vec<ConnId> {
    let before = time.get();
    let answered = turn(scheduler, asking);
    let took = time.get() - before;
    assert!(took <= TURN_MAX, "{took:?}");
    answered
}

#[test]
fn slow_notice_goes_to_one_plugin_a_turn() {
    let folder = Folder::numbered(20, &SLOW.replace("'connected '", "'NAME connected '"));
    let (mut scheduler, time) = timed_scheduler(&folder);
    connect(&mut scheduler, id(1));
    let (mut turns, mut known, mut new) = (0, 0, 0);
    // A client of another listener is answered meanwhile, the new one after all were notified of
    // it.
    while new == 0 {
        let answered = short_turn(&mut scheduler, &time, &[id(1), id(0)]);
        known += answered.iter().filter(|client| **client == id(0)).count();
        new += answered.iter().filter(|client| **client == id(1)).count();
        turns += 1;
        assert!(turns < 60, "the new client is answered");
    }
    let lines = logged();
    let notified = lines.iter().filter(|line| line.contains(" connected 1")).count();
    assert_eq!(notified, 20, "{lines:#?}");
    assert!((15..25).contains(&known), "{known} in {turns} turns");
}

#[test]
fn disconnect_goes_to_plugins_that_had_the_connect() {
    let folder = Folder::numbered(5, SLOW);
    let (mut scheduler, time) = timed_scheduler(&folder);
    connect(&mut scheduler, id(1));
    for _ in 0..2 {
        short_turn(&mut scheduler, &time, &[]);
    }
    scheduler.on_disconnected(id(1), CloseReason::PeerClosed);
    while scheduler.has_work() {
        short_turn(&mut scheduler, &time, &[]);
    }
    let expected =
        ["p00: connected 1", "p01: connected 1", "p00: disconnected 1", "p01: disconnected 1"];
    assert_eq!(logged(), expected.map(|text| format!("INFO plugin {text}")));
}

#[test]
fn server_started_comes_before_anything_else() {
    let text = SLOW.replace(
        "return {",
        "return { server_started = function() take_long() server.log('started') end,",
    );
    let folder = Folder::numbered(3, &text);
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
    let texts: Vec<String> =
        logged().iter().map(|line| line.rsplit(": ").next().unwrap().to_owned()).collect();
    assert_eq!(
        texts,
        ["started", "started", "started", "connected 1", "connected 1", "connected 1"]
    );
}

/// Begins a reload. It wakes the receiver.
fn reload(scheduler: &mut PluginScheduler, time: &Time, options: PluginOptions) -> Receiver<()> {
    let (wake, woken) = channel();
    scheduler.reload(Reload::new(options, time.clock(), move || _ = wake.send(()))).unwrap();
    woken
}

/// Takes turns until nothing is left to do. Waits where the scheduler has no work, as the loop
/// does.
#[track_caller]
fn finish(scheduler: &mut PluginScheduler, time: &Time, woken: &Receiver<()>) -> u32 {
    for turns in 0..1000 {
        short_turn(scheduler, time, &[]);
        // Fails once the thread has ended.
        if !scheduler.has_work() && woken.recv_timeout(Duration::from_secs(20)).is_err() {
            return turns;
        }
    }
    panic!("the reload does not end");
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
fn reload_takes_a_step_a_turn_then_swaps_all() {
    let (old, new) = (Folder::numbered(3, SLOW), Folder::numbered(20, SLOW_TO_LOAD));
    let (mut scheduler, time) = timed_scheduler(&old);
    scheduler.on_started();
    let woken = reload(&mut scheduler, &time, new.options());
    let (mut answered, mut turns) = (0, 0);
    let loaded = loop {
        if let Some(reloaded) = scheduler.take_reloaded() {
            break reloaded.unwrap();
        }
        if !scheduler.has_work() {
            woken.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        answered += short_turn(&mut scheduler, &time, &[id(0)]).len();
        turns += 1;
        assert!(turns < 1000, "the reload ends");
    };
    scheduler.replace_host(loaded);
    assert!(turns >= 40, "20 files and 20 server_inited are {turns} turns");
    assert!(answered >= turns / 3, "{answered} answered in {turns} turns");
    finish(&mut scheduler, &time, &woken);
    let lines = logged();
    let notified = lines.iter().filter(|line| line.ends_with(": started")).count();
    assert_eq!(notified, 20, "{lines:#?}");
}

#[test]
fn reload_with_a_broken_file_changes_nothing() {
    let old = Folder::numbered(1, SLOW);
    let (mut scheduler, time) = timed_scheduler(&old);
    let new = Folder::numbered(3, SLOW_TO_LOAD);
    fs::write(new.path("p01.lua"), "while true do end").unwrap();
    fs::write(new.path("p02.lua"), "return 1").unwrap();
    let options = PluginOptions { budget: Duration::from_millis(50), ..new.options() };
    let woken = reload(&mut scheduler, &time, options);
    finish(&mut scheduler, &time, &woken);
    assert_eq!(
        scheduler.take_reloaded().unwrap().unwrap_err(),
        [
            "plugin p01.lua: ran longer than 50 ms",
            "plugin p02.lua: the file returned a number, not a table",
        ]
    );
    let mut out = Vec::new();
    scheduler.ask(b"x", &Client::new(id(0)), &mut out);
    assert_eq!(out, b"x", "the old plugin answers");
}

#[test]
fn reload_of_a_missing_folder_changes_nothing() {
    let old = Folder::numbered(1, SLOW);
    let (mut scheduler, time) = timed_scheduler(&old);
    let gone = Folder::new(&[]);
    fs::remove_dir(&gone.0).unwrap();
    let woken = reload(&mut scheduler, &time, gone.options());
    finish(&mut scheduler, &time, &woken);
    let reasons = scheduler.take_reloaded().unwrap().unwrap_err();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].starts_with("cannot load plugins: /"), "{reasons:?}");
}

#[test]
fn replaced_plugins_are_freed_one_a_turn() {
    let folder = Folder::numbered(10, "return {}");
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
fn package_takes_one_budget_of_a_turn() {
    let nil = "return { process_client_pkg = function() for i = 1, 500 do local x = i end end }";
    let folder = Folder::numbered(20, nil);
    let time = new_time();
    let mut scheduler = scheduler_of(
        folder.host_on(time.clock(), |options| options.budget = Duration::from_millis(50)),
    );
    short_turn(&mut scheduler, &time, &[id(0), id(1), id(2)]);
}

/// Answers and broadcasts are charged by their bytes.
#[test]
fn long_answers_and_broadcasts_use_up_a_turn() {
    for (body, answered) in [
        ("return 'x'", vec![id(0), id(1)]),
        ("return ('x'):rep(2000000)", vec![id(0)]),
        (
            "server.broadcast(('x'):rep(1000000)) server.broadcast(('x'):rep(1000000)) return 'x'",
            vec![id(0)],
        ),
    ] {
        let text = format!("return {{ process_client_pkg = function() {body} end }}");
        let folder = Folder::new(&[("says.lua", &text)]);
        let mut scheduler = scheduler_of(
            folder.host_on(new_time().clock(), |options| options.broadcast_bytes_max = 4 << 20),
        );
        let mut asked = Vec::new();
        for client in [id(0), id(1)] {
            if scheduler.ask(b"x", &Client::new(client), &mut Vec::new()) == AskResult::Answered {
                asked.push(client);
            }
            scheduler.take_broadcasts();
        }
        assert_eq!(asked, answered, "{body}");
    }
}
