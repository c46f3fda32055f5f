//! Who is asked, in which order, what clients look like, and what becomes of plugins that fail.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mynah::handler::plugin::{Client, Clock, PluginHost, PluginOptions};

use crate::rig::{Folder, Said, answer, ask, ask_as, id, keep_log, logged, real_clock};

/// A plugin that answers its name to packages that begin with a prefix.
fn answering(name: &str, prefix: &str, priority: &str) -> String {
    format!(
        "return {{ name = '{name}', {priority} process_client_pkg = function(data)
           if data:sub(1, {}) == '{prefix}' then return '{name}' end
         end }}",
        prefix.len()
    )
}

#[test]
fn the_first_that_returns_a_string_answers() {
    let (a, b, c) = (answering("a", "x", ""), answering("b", "xy", ""), answering("c", "", ""));
    let folder = Folder::new(&[("a.lua", &a), ("b.lua", &b), ("c.lua", &c)]);
    let mut host = folder.host();
    assert_eq!(ask(&mut host, "x"), answer("a"));
    assert_eq!(ask(&mut host, "xy"), answer("a"));
    assert_eq!(ask(&mut host, "z"), answer("c"));
}

#[test]
fn nobody_answers_where_nobody_is() {
    let mut host = Folder::new(&[]).host();
    assert_eq!(ask(&mut host, "x"), Said::Nothing);
    assert_eq!(host.names().count(), 0);
    assert!(!host.wants_clients());
    let folder = Folder::new(&[("empty.lua", "return {}"), ("a.lua", &answering("a", "x", ""))]);
    assert_eq!(ask(&mut folder.host(), "y"), Said::Nothing);
}

#[test]
fn smaller_priorities_are_asked_first_and_then_names() {
    let folder = Folder::new(&[
        ("1.lua", "return { name = 'z', priority = -5 }"),
        ("2.lua", "return { name = 'last', priority = 101 }"),
        ("3.lua", "return { name = 'b' }"),
        ("4.lua", "return { name = 'a', priority = 100 }"),
        ("c.lua", "return {}"),
    ]);
    assert_eq!(folder.host().names().collect::<Vec<_>>(), ["z", "a", "b", "c", "last"]);
}

#[test]
fn packages_and_answers_are_bytes() {
    let source = "return { process_client_pkg = function(data) return data end }";
    let folder = Folder::new(&[("echo.lua", source)]);
    let mut host = folder.host();
    let every_byte: Vec<u8> = (0..=255).collect();
    let packages: [&[u8]; 5] = [b"", b"\0", b"\xff\xfe\0\xc0\x80", &every_byte, &[0; 100_000]];
    for package in packages {
        assert_eq!(ask(&mut host, package), answer(package));
    }
}

#[test]
fn an_empty_string_is_an_answer() {
    let folder =
        Folder::new(&[("a.lua", "return { process_client_pkg = function() return '' end }")]);
    assert_eq!(ask(&mut folder.host(), "x"), answer(""));
}

#[test]
fn a_failure_ends_the_asking() {
    keep_log();
    let folder = Folder::new(&[
        ("bad.lua", "return { priority = 1, process_client_pkg = function() error('no') end }"),
        ("good.lua", &answering("good", "", "")),
    ]);
    let mut host = folder.host();
    assert_eq!(ask(&mut host, "x"), Said::Failed("bad".into()));
    assert_eq!(logged(), ["ERROR plugin bad: process_client_pkg failed: bad.lua:1: no"]);
}

#[test]
fn ten_failures_in_a_row_switch_a_plugin_off() {
    keep_log();
    let source = "return { priority = 1,
        client_connected = function() end, server_stopping = function() error('called') end,
        process_client_pkg = function(data) if data == 'bad' then error('no', 0) end end }";
    let folder = Folder::new(&[("bad.lua", source), ("good.lua", &answering("good", "", ""))]);
    let mut host = folder.host();
    for _ in 0..9 {
        assert_eq!(ask(&mut host, "bad"), Said::Failed("bad".into()));
    }
    assert_eq!(ask(&mut host, "fine"), answer("good"));
    assert_eq!(logged().len(), 9, "one call that goes well and the count begins again");
    for _ in 0..10 {
        assert!(host.wants_clients());
        assert_eq!(ask(&mut host, "bad"), Said::Failed("bad".into()));
    }
    let off = "ERROR plugin bad is switched off until it is reloaded: 10 failures in a row";
    assert_eq!(logged().last().unwrap(), off);
    assert_eq!(ask(&mut host, "bad"), answer("good"));
    assert!(!host.wants_clients());
    host.server_stopping();
    assert_eq!(logged(), [""; 0], "it is not called for anything");
    assert_eq!(host.names().collect::<Vec<_>>(), ["bad", "good"]);
}

#[test]
fn a_client_is_a_table_that_cannot_be_changed() {
    let source = "return { process_client_pkg = function(data, client)
        local seen = {}
        for key, value in pairs(client) do seen[#seen + 1] = key .. '=' .. tostring(value) end
        table.sort(seen)
        local fixed = not pcall(function() client.id = 1 end)
          and not pcall(setmetatable, client, nil) and getmetatable(client) == false
        return table.concat(seen, ' ') .. ' ' .. tostring(fixed) .. ' ' .. math.type(client.id)
      end }";
    let folder = Folder::new(&[("who.lua", source)]);
    let mut host = folder.host();
    let addr: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    let client = Client::new(id(17)).at(Some(addr)).framed(128);
    let all = answer("addr=127.0.0.1:40000 command=128 id=17 true integer");
    assert_eq!(ask_as(&mut host, "x", &client), all);
    assert_eq!(ask_as(&mut host, "x", &client), all);
    assert_eq!(
        ask_as(&mut host, "x", &client.framed(129)),
        answer("addr=127.0.0.1:40000 command=129 id=17 true integer")
    );
    assert_eq!(ask_as(&mut host, "x", &Client::new(id(17))), answer("id=17 true integer"));
    let v6: SocketAddr = "[::1]:1".parse().unwrap();
    let other = Client::new(id(u32::MAX)).at(Some(v6));
    assert_eq!(ask_as(&mut host, "x", &other), answer("addr=[::1]:1 id=4294967295 true integer"));
}

#[test]
fn every_hook_is_called_when_it_is_time() {
    keep_log();
    let source = "local function say(...) server.log(table.concat({ ... }, ' ')) end
      return {
        server_inited = function() say('inited') end,
        server_started = function(server) server.log('started') end,
        client_connected = function(client) say('connected', client.id, client.addr) end,
        client_disconnected = function(client, reason) say('gone', client.id, reason) end,
        server_stopping = function() say('stopping') end,
      }";
    let folder = Folder::new(&[("all.lua", source), ("none.lua", "return {}")]);
    let mut host = folder.host();
    let client = Client::new(id(3)).at("127.0.0.1:9".parse().ok());
    host.server_started();
    assert!(host.wants_clients());
    host.client_connected(&client);
    host.client_disconnected(&client, "idle timeout");
    host.server_stopping();
    let expected =
        ["inited", "started", "connected 3 127.0.0.1:9", "gone 3 idle timeout", "stopping"];
    assert_eq!(logged(), expected.map(|line| format!("INFO plugin all: {line}")));
}

#[test]
fn a_hook_that_fails_stops_no_other_plugin() {
    keep_log();
    let folder = Folder::new(&[
        ("a.lua", "return { server_started = function() error('no', 0) end }"),
        ("b.lua", "return { server_started = function() server.log('up') end }"),
    ]);
    folder.host().server_started();
    assert_eq!(logged(), ["ERROR plugin a: server_started failed: no", "INFO plugin b: up"]);
}

#[test]
fn what_is_broadcast_waits_to_be_fetched() {
    let source = "return { process_client_pkg = function(data)
        server.broadcast(data) server.broadcast(12)
        return tostring(pcall(server.broadcast, {}))
      end }";
    let folder = Folder::new(&[("cast.lua", source)]);
    let mut host = folder.host();
    assert_eq!(ask(&mut host, b"a\0\xff"), answer("false"));
    assert_eq!(ask(&mut host, "b"), answer("false"));
    let sent: Vec<Vec<u8>> = host.drain_broadcasts().collect();
    assert_eq!(sent, [&b"a\0\xff"[..], b"12", b"b", b"12"]);
    assert_eq!(host.drain_broadcasts().count(), 0);
}

#[test]
fn what_was_broadcast_makes_room_when_it_is_fetched() {
    let source = "return { process_client_pkg = function(data)
        server.broadcast(('x'):rep(tonumber(data))) return 'sent'
      end }";
    let folder = Folder::new(&[("cast.lua", source)]);
    let mut host = folder.host();
    for _ in 0..3 {
        assert_eq!(ask(&mut host, ((1 << 20) - 64).to_string()), answer("sent"));
        assert_eq!(ask(&mut host, "0"), Said::Failed("cast".into()));
        assert_eq!(host.drain_broadcasts().map(|sent| sent.len()).sum::<usize>(), (1 << 20) - 64);
    }
    assert_eq!(ask(&mut host, ((1 << 20) - 63).to_string()), Said::Failed("cast".into()));
}

#[test]
fn what_is_logged_is_one_line_and_not_too_many() {
    keep_log();
    let source = "return { process_client_pkg = function(data)
        if data == 'many' then for i = 1, 250 do server.log(i) end end
        server.log(data) return ''
      end }";
    let folder = Folder::new(&[("talk.lua", source)]);
    let mut host = folder.host();
    ask(&mut host, "a\nb\x1b[2J\u{2028}\0");
    assert_eq!(logged(), ["INFO plugin talk: a b\u{fffd}[2J\u{fffd}\u{fffd}"]);
    ask(&mut host, "x".repeat(5000));
    let long = format!("INFO plugin talk: {} and 3976 more bytes", "x".repeat(1024));
    assert_eq!(logged(), [long]);
    ask(&mut host, "many");
    let lines = logged();
    assert_eq!(lines.len(), 101);
    assert_eq!(lines[99..], ["INFO plugin talk: 100", "INFO plugin talk: and 151 more lines"]);
}

/// A clock that a test turns on, and one that runs by itself a little with every look.
fn fake_clock(step: Duration) -> (Rc<Cell<Duration>>, Clock) {
    let now = Rc::new(Cell::new(Duration::ZERO));
    let shown = Rc::clone(&now);
    let clock = move || {
        shown.set(shown.get() + step);
        shown.get()
    };
    (now, Box::new(clock))
}

#[test]
fn slow_calls_are_logged_and_time_is_added_up() {
    keep_log();
    let work = "return { process_client_pkg = function(data)
        for i = 1, tonumber(data) do local x = i end return ''
      end }";
    let folder = Folder::new(&[("work.lua", work)]);
    let (now, clock) = fake_clock(Duration::from_millis(1));
    let options = PluginOptions { budget: Duration::from_millis(50), ..folder.options() };
    let mut host = PluginHost::load(&options, clock).unwrap().host;
    assert_eq!(host.spent(), now.get() - Duration::from_millis(1), "loading counts, too");
    let before = host.spent();
    ask(&mut host, "0");
    assert!(host.spent() - before < Duration::from_millis(10), "{:?}", host.spent() - before);
    assert_eq!(logged(), [""; 0]);
    // A thousand instructions and more are forty looks at the clock, at 25 instructions each.
    assert_eq!(ask(&mut host, "400"), answer(""));
    let slow = logged();
    assert!(slow[0].starts_with("WARN plugin work: process_client_pkg was slow: "), "{slow:?}");
    assert_eq!(ask(&mut host, "4000"), Said::Failed("work".into()));
    assert_eq!(logged(), ["ERROR plugin work: process_client_pkg failed: ran longer than 50 ms"]);
    assert_eq!(ask(&mut host, "0"), answer(""));
}

#[test]
fn a_clock_that_stands_still_or_jumps_harms_nobody() {
    let echo = "return { process_client_pkg = function(data) return data end }";
    let folder = Folder::new(&[("echo.lua", echo)]);
    let (now, clock) = fake_clock(Duration::ZERO);
    let mut host = PluginHost::load(&folder.options(), clock).unwrap().host;
    assert_eq!(ask(&mut host, "x"), answer("x"));
    now.set(Duration::MAX);
    assert_eq!(ask(&mut host, "x"), answer("x"));
    now.set(Duration::from_secs(1));
    assert_eq!(ask(&mut host, "x"), answer("x"));
    assert_eq!(host.spent(), Duration::ZERO);
}

#[test]
fn plugins_do_not_see_each_other() {
    let sets = "shared = 1 string.mark = 1 math.mark = 1 return { priority = 1 }";
    let gets = "return { process_client_pkg = function()
        return tostring(shared) .. tostring(string.mark) .. tostring(math.mark)
      end }";
    let folder = Folder::new(&[("a.lua", sets), ("b.lua", gets)]);
    assert_eq!(ask(&mut folder.host(), "x"), answer("nilnilnil"));
}

#[test]
fn a_package_larger_than_the_memory_fails_and_harms_nothing() {
    keep_log();
    let echo = "return { process_client_pkg = function(data) return data end }";
    let folder = Folder::new(&[("echo.lua", echo)]);
    let mut host = folder.host();
    // Nor is it held against the plugin: a client can send as many as it likes.
    for _ in 0..20 {
        assert_eq!(ask(&mut host, vec![b'x'; 9 << 20]), Said::Failed("echo".into()));
    }
    let why = "process_client_pkg failed: a package of 9437184 bytes does not fit into its memory";
    assert_eq!(logged(), vec![format!("ERROR plugin echo: {why}"); 20]);
    assert_eq!(ask(&mut host, vec![b'x'; 3 << 20]), answer(vec![b'x'; 3 << 20]));
}

#[test]
fn options_without_any_bound_are_taken() {
    let echo = "return { process_client_pkg = function(data) return data end }";
    let folder = Folder::new(&[("echo.lua", echo)]);
    let options = PluginOptions {
        budget: Duration::MAX,
        memory_bytes_max: usize::MAX,
        broadcast_bytes_max: usize::MAX,
        ..folder.options()
    };
    let mut host = PluginHost::load(&options, real_clock()).unwrap().host;
    assert_eq!(ask(&mut host, "x"), answer("x"));
}

#[test]
fn a_plugin_that_does_nothing_needs_little_memory() {
    let host = Folder::new(&[("a.lua", "return {}")]).host();
    assert!((10_000..150_000).contains(&host.memory_bytes()), "{}", host.memory_bytes());
    assert_eq!(Folder::new(&[]).host().memory_bytes(), 0);
}
