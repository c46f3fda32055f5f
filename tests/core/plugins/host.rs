//! The host: the order of calls, hooks, clients, broadcasts, budgets, and plugins that fail.

use std::net::SocketAddr;
use std::time::Duration;

use mynah::internal::protocol::plugin::{Client, Notice, PluginHost};

use super::support::{Folder, Response, Time, answer, ask, ask_as, capture_log, id, logged};

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
fn first_plugin_that_returns_a_string_answers() {
    let (a, b, c) = (answering("a", "x", ""), answering("b", "xy", ""), answering("c", "", ""));
    let folder = Folder::new(&[("a.lua", &a), ("b.lua", &b), ("c.lua", &c)]);
    let mut host = folder.host();
    assert_eq!(ask(&mut host, "x"), answer("a"));
    assert_eq!(ask(&mut host, "xy"), answer("a"));
    assert_eq!(ask(&mut host, "z"), answer("c"));
}

#[test]
fn host_without_plugins_answers_nothing() {
    let mut host = Folder::new(&[]).host();
    assert_eq!(ask(&mut host, "x"), Response::Unhandled);
    assert_eq!(host.names().count(), 0);
    assert!(!host.wants_clients());
    let folder = Folder::new(&[("empty.lua", "return {}"), ("a.lua", &answering("a", "x", ""))]);
    assert_eq!(ask(&mut folder.host(), "y"), Response::Unhandled);
}

#[test]
fn plugins_are_asked_by_priority_then_name() {
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
fn empty_string_is_an_answer() {
    let folder =
        Folder::new(&[("a.lua", "return { process_client_pkg = function() return '' end }")]);
    assert_eq!(ask(&mut folder.host(), "x"), answer(""));
}

#[test]
fn plugin_failure_stops_the_remaining_plugins() {
    capture_log();
    let folder = Folder::new(&[
        ("bad.lua", "return { priority = 1, process_client_pkg = function() error('no') end }"),
        ("good.lua", &answering("good", "", "")),
    ]);
    let mut host = folder.host();
    assert_eq!(ask(&mut host, "x"), Response::Failed("bad".into()));
    assert_eq!(logged(), ["ERROR plugin bad: process_client_pkg failed: bad.lua:1: no"]);
}

#[test]
fn ten_failures_in_a_row_disable_a_plugin() {
    capture_log();
    let source = "return { priority = 1,
        client_connected = function() end, server_stopping = function() error('called') end,
        process_client_pkg = function(data) if data == 'bad' then error('no', 0) end end }";
    let folder = Folder::new(&[("bad.lua", source), ("good.lua", &answering("good", "", ""))]);
    let mut host = folder.host();
    for _ in 0..9 {
        assert_eq!(ask(&mut host, "bad"), Response::Failed("bad".into()));
    }
    assert_eq!(ask(&mut host, "fine"), answer("good"));
    assert_eq!(logged().len(), 9, "a success resets the count");
    for _ in 0..10 {
        assert!(host.wants_clients());
        assert_eq!(ask(&mut host, "bad"), Response::Failed("bad".into()));
    }
    let off = "ERROR plugin bad is disabled until it is reloaded: 10 failures in a row";
    assert_eq!(logged().last().unwrap(), off);
    assert_eq!(ask(&mut host, "bad"), answer("good"));
    assert!(!host.wants_clients());
    host.server_stopping();
    assert_eq!(logged(), [""; 0], "no hook of it is called");
    assert_eq!(host.names().collect::<Vec<_>>(), ["bad", "good"]);
}

#[test]
fn client_is_a_table_that_cannot_be_changed() {
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
    let client = Client::new(id(17)).at(Some(addr.into())).framed(128);
    let all = answer("addr=127.0.0.1:40000 command=128 id=17 true integer");
    assert_eq!(ask_as(&mut host, "x", &client), all);
    assert_eq!(ask_as(&mut host, "x", &client), all);
    assert_eq!(
        ask_as(&mut host, "x", &client.framed(129)),
        answer("addr=127.0.0.1:40000 command=129 id=17 true integer")
    );
    assert_eq!(ask_as(&mut host, "x", &Client::new(id(17))), answer("id=17 true integer"));
    let v6: SocketAddr = "[::1]:1".parse().unwrap();
    let other = Client::new(id(u32::MAX)).at(Some(v6.into()));
    assert_eq!(ask_as(&mut host, "x", &other), answer("addr=[::1]:1 id=4294967295 true integer"));
}

#[test]
fn raw_access_reads_a_client_but_cannot_change_it() {
    let source = "return { process_client_pkg = function(data, client)
        local failed = not pcall(rawset, client, 'id', 7) and not pcall(rawset, client, 1, 7)
          and not pcall(table.insert, client, 7) and not pcall(table.move, { 7 }, 1, 1, 1, client)
        local seen, key, value = {}, next(client)
        while key do
          seen[#seen + 1] = key .. '=' .. value
          key, value = next(client, key)
        end
        return table.concat(seen, ' ') .. ' ' .. rawget(client, 'id') .. ' ' .. client.id .. ' '
          .. tostring(failed) .. ' ' .. tostring(rawget(client, 'other')) .. ' ' .. rawlen(client)
      end }";
    let folder = Folder::new(&[("who.lua", source)]);
    let mut host = folder.host();
    for _ in 0..2 {
        assert_eq!(ask(&mut host, "x"), answer("id=17 17 17 true nil 0"));
    }
}

#[test]
fn raw_access_to_plugin_tables_is_unrestricted() {
    let source = "return { process_client_pkg = function()
        local guarded = setmetatable({ a = 1 }, {
          __index = function() return 'asked' end,
          __newindex = function() error('asked') end,
        })
        local same = rawset(guarded, 'b', 2) == guarded
        rawset(server, 'mark', 3)
        local _, why = pcall(rawset, 1, 2, 3)
        local _, odd = pcall(next, {}, 'none')
        return table.concat({ rawget(guarded, 'b'), tostring(rawget(guarded, 'c')), guarded.c,
          tostring(same), next({ 5 }), server.mark, why, odd }, ' ')
      end }";
    let folder = Folder::new(&[("raw.lua", source)]);
    let text = ask(&mut folder.host(), "x").text();
    assert!(text.starts_with("2 nil asked true 1 3 "), "{text}");
    assert!(text.contains("bad argument #1 to 'rawset' (table expected, got number)"), "{text}");
    assert!(text.contains("invalid key to 'next'"), "{text}");
}

#[test]
fn every_hook_is_called() {
    capture_log();
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
    let client = Client::new(id(3)).at(Some(SocketAddr::from(([127, 0, 0, 1], 9)).into()));
    host.notify_all(&Notice::Started);
    assert!(host.wants_clients());
    host.notify_all(&Notice::Connected(&client));
    host.notify_all(&Notice::Disconnected(&client, "idle timeout"));
    host.server_stopping();
    let expected =
        ["inited", "started", "connected 3 127.0.0.1:9", "gone 3 idle timeout", "stopping"];
    assert_eq!(logged(), expected.map(|line| format!("INFO plugin all: {line}")));
}

#[test]
fn hook_that_fails_does_not_stop_others() {
    capture_log();
    let folder = Folder::new(&[
        ("a.lua", "return { server_started = function() error('no', 0) end }"),
        ("b.lua", "return { server_started = function() server.log('up') end }"),
    ]);
    folder.host().notify_all(&Notice::Started);
    assert_eq!(logged(), ["ERROR plugin a: server_started failed: no", "INFO plugin b: up"]);
}

#[test]
fn broadcasts_are_queued_until_fetched() {
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
fn fetched_broadcasts_do_not_count() {
    let source = "return { process_client_pkg = function(data)
        server.broadcast(('x'):rep(tonumber(data))) return 'sent'
      end }";
    let folder = Folder::new(&[("cast.lua", source)]);
    let mut host = folder.host();
    for _ in 0..3 {
        assert_eq!(ask(&mut host, ((1 << 20) - 64).to_string()), answer("sent"));
        assert_eq!(ask(&mut host, "0"), Response::Failed("cast".into()));
        assert_eq!(host.drain_broadcasts().map(|sent| sent.len()).sum::<usize>(), (1 << 20) - 64);
    }
    assert_eq!(ask(&mut host, ((1 << 20) - 63).to_string()), Response::Failed("cast".into()));
}

#[test]
fn server_log_writes_one_bounded_line() {
    capture_log();
    let source = "return { process_client_pkg = function(data)
        server.log(data) return ''
      end }";
    let folder = Folder::new(&[("talk.lua", source)]);
    let mut host = folder.host();
    ask(&mut host, "a\nb\x1b[2J\u{2028}\0");
    assert_eq!(logged(), ["INFO plugin talk: a b\u{fffd}[2J\u{fffd}\u{fffd}"]);
    ask(&mut host, "x".repeat(5000));
    let long = format!("INFO plugin talk: {} and 3976 more bytes", "x".repeat(1024));
    assert_eq!(logged(), [long]);
}

#[test]
fn slow_calls_are_logged() {
    capture_log();
    let work = "return { process_client_pkg = function(data)
        for i = 1, tonumber(data) do local x = i end return ''
      end }";
    let folder = Folder::new(&[("work.lua", work)]);
    let (time, mut host) = host_of_50_ms(&folder);
    assert_eq!(host.spent(), time.get() - Duration::from_millis(1), "loading counts, too");
    let before = host.spent();
    ask(&mut host, "0");
    assert!(host.spent() - before < Duration::from_millis(10), "{:?}", host.spent() - before);
    assert_eq!(logged(), [""; 0]);
    // More than a thousand instructions are forty checks of the clock, one every 25.
    assert_eq!(ask(&mut host, "400"), answer(""));
    let slow = logged();
    assert!(slow[0].starts_with("WARN plugin work: process_client_pkg was slow: "), "{slow:?}");
    assert_eq!(ask(&mut host, "4000"), Response::Failed("work".into()));
    assert_eq!(logged(), ["ERROR plugin work: process_client_pkg failed: ran longer than 50 ms"]);
    assert_eq!(ask(&mut host, "0"), answer(""));
}

/// A plugin that takes as many checks of the clock as the package says, then does what it says.
const WORK: &str = "function work(ms) for i = 1, ms * 9 do local x = i end end
    return { process_client_pkg = function(data)
      local ms, what = data:match('^(%d+) ?(.*)$')
      work(tonumber(ms))
      if what == 'fail' then error('no', 0) end
      if what == 'say' then for i = 1, 250 do server.log(i) end end
      if what == 'answer' then return data end
    end }";

/// A host with a budget of 50 ms, in a time that advances by 1 ms with each check of the clock.
fn host_of_50_ms(folder: &Folder) -> (Time, PluginHost) {
    capture_log();
    let time = Time::stepping(Duration::from_millis(1));
    let host = folder.host_on(time.clock(), |options| options.budget = Duration::from_millis(50));
    (time, host)
}

/// Asks, and returns the time of the calls by the host's clock.
fn ask_timed(host: &mut PluginHost, package: &str) -> (Response, Duration) {
    let before = host.spent();
    let response = ask(host, package);
    (response, host.spent() - before)
}

#[test]
fn plugins_share_the_budget_of_a_package() {
    let folder = Folder::numbered(20, WORK);
    let (_, mut host) = host_of_50_ms(&folder);
    // Each alone is well within the budget.
    let (response, took) = ask_timed(&mut host, "15");
    assert!(matches!(response, Response::Failed(_)), "{response:?}");
    assert!(took < Duration::from_millis(70), "{took:?}");
}

#[test]
fn time_used_by_others_does_not_disable_a_plugin() {
    let hog = "function work(ms) for i = 1, ms * 9 do local x = i end end
        return { priority = 1, process_client_pkg = function() work(40) end }";
    let folder = Folder::new(&[("hog.lua", hog), ("work.lua", WORK)]);
    let (_, mut host) = host_of_50_ms(&folder);
    for _ in 0..20 {
        assert_eq!(ask(&mut host, "30"), Response::Failed("work".into()));
    }
    let lines = logged();
    let failure = lines.iter().find(|line| line.starts_with("ERROR")).unwrap();
    let says = |text: &str| assert!(failure.contains(text), "{failure}");
    says("plugin work: process_client_pkg failed: stopped after ");
    says(" ms, since plugins asked before it had used ");
    says(" of the 50 ms a package may take; not counted as its failure");
    assert!(!lines.iter().any(|line| line.contains("disabled")), "{lines:#?}");
    assert_eq!(ask(&mut host, "0 answer"), answer("0 answer"));
}

#[test]
fn using_most_of_the_budget_disables_a_plugin() {
    let light = "function work(ms) for i = 1, ms * 9 do local x = i end end
        return { priority = 1, process_client_pkg = function() work(8) end }";
    let folder = Folder::new(&[("light.lua", light), ("work.lua", WORK)]);
    let (_, mut host) = host_of_50_ms(&folder);
    for _ in 0..10 {
        assert_eq!(ask(&mut host, "1000"), Response::Failed("work".into()));
    }
    assert!(logged().iter().any(|line| line.contains("plugin work is disabled")));
    assert_eq!(ask(&mut host, "1000"), Response::Unhandled);
}

#[test]
fn stop_takes_ten_budgets_at_most() {
    let slow = "return { server_stopping = function() server.log('bye') while true do end end }";
    let folder = Folder::numbered(30, slow);
    let (_, mut host) = host_of_50_ms(&folder);
    let before = host.spent();
    host.server_stopping();
    assert!(host.spent() - before < Duration::from_millis(600), "{:?}", host.spent() - before);
    let skipped = "WARN no time left to notify ";
    assert!(logged().iter().any(|line| line.starts_with(skipped)));
}

/// Checks the limit on lines of one kind, and the summary of those it suppresses.
#[track_caller]
fn check_limited(package: &str, packages: usize, line: &str, noun: &str) {
    let folder = Folder::new(&[("work.lua", WORK), ("heal.lua", "return {}")]);
    capture_log();
    let time = Time::stopped();
    let mut host =
        folder.host_on(time.clock(), |options| options.budget = Duration::from_millis(50));
    for _ in 0..packages {
        // A success in between, or the plugin would be disabled.
        ask(&mut host, package);
        ask(&mut host, "0");
    }
    let lines = logged();
    assert_eq!(lines.len(), 100, "{:?}", lines.last());
    assert!(lines.iter().all(|found| found.contains(line)), "{lines:#?}");
    // Nothing is due before the second is over.
    assert_eq!(host.log_due_in_ms(), Some(1000));
    host.write_due_log();
    assert_eq!(logged(), [""; 0]);
    time.set(time.get() + Duration::from_secs(1));
    assert_eq!(host.log_due_in_ms(), Some(0));
    host.write_due_log();
    let lines = logged();
    let level = line.split(' ').next().unwrap();
    assert_eq!(lines, [format!("{level} plugin work: 1,150 more {noun}s in the last second")]);
    assert_eq!(host.log_due_in_ms(), None);
    ask(&mut host, package);
    assert!(logged()[0].contains(line));
}

#[test]
fn failures_past_100_a_second_are_summed_up() {
    let line = "ERROR plugin work: process_client_pkg failed: no";
    check_limited("0 fail", 1250, line, "failure");
}

#[test]
fn server_log_past_100_a_second_is_summed_up() {
    check_limited("0 say", 5, "INFO plugin work: ", "line");
}

#[test]
fn slow_calls_past_100_a_second_are_summed_up() {
    let folder = Folder::new(&[("work.lua", WORK)]);
    capture_log();
    let time = Time::stepping(Duration::from_micros(1));
    let mut host =
        folder.host_on(time.clock(), |options| options.budget = Duration::from_micros(100));
    for _ in 0..150 {
        assert_eq!(ask(&mut host, "65"), Response::Unhandled);
    }
    let lines = logged();
    assert_eq!(lines.len(), 100, "{:?}", lines.last());
    assert!(
        lines.iter().all(|line| line.starts_with("WARN plugin work: process_client_pkg was slow"))
    );
    time.set(time.get() + Duration::from_secs(1));
    host.write_due_log();
    assert_eq!(logged(), ["WARN plugin work: 50 more slow calls in the last second"]);
}

#[test]
fn log_limits_are_shared_and_summed_up_by_plugin() {
    let bad = "return { process_client_pkg = function(data)
        if data == NAME then error('no', 0) end end }";
    let (a, b) = (bad.replace("NAME", "'a'"), bad.replace("NAME", "'b'"));
    let folder = Folder::new(&[("a.lua", &a), ("b.lua", &b)]);
    capture_log();
    let mut host = folder.host_on(Time::stopped().clock(), |_| {});
    for name in ["a", "b"] {
        for _ in 0..80 {
            assert_eq!(ask(&mut host, name), Response::Failed(name.into()));
            ask(&mut host, "");
        }
    }
    ask(&mut host, "a");
    assert_eq!(logged().len(), 100);
    host.flush_log();
    assert_eq!(
        logged(),
        [
            "ERROR plugin b: 60 more failures in the last second",
            "ERROR plugin a: 1 more failure in the last second"
        ]
    );
}

#[test]
fn broadcasts_of_a_failed_call_are_dropped() {
    let source = "return { process_client_pkg = function(data)
        server.broadcast(data)
        if data == 'error' then error('no') end
        if data == 'loop' then while true do end end
        if data == 'number' then return 1 end
        return ''
      end,
      client_connected = function() server.broadcast('connected') error('no') end }";
    let folder = Folder::new(&[("cast.lua", source)]);
    let mut host = folder.host_with(|options| options.budget = Duration::from_millis(100));
    assert_eq!(ask(&mut host, "first"), answer(""));
    for package in ["error", "loop", "number"] {
        assert_eq!(ask(&mut host, package), Response::Failed("cast".into()));
    }
    host.notify_all(&Notice::Connected(&Client::new(id(1))));
    assert_eq!(ask(&mut host, "last"), answer(""));
    let sent: Vec<Vec<u8>> = host.drain_broadcasts().collect();
    assert_eq!(sent, [b"first", &b"last"[..]]);
    // What was dropped does not count toward the bound either.
    let large = "x".repeat((1 << 20) - 64);
    let source = "return { process_client_pkg = function(data)
        server.broadcast(data) if #data > 0 then error('no') end return ''
      end }";
    let folder = Folder::new(&[("cast.lua", source)]);
    let mut host = folder.host();
    for _ in 0..3 {
        assert_eq!(ask(&mut host, &large), Response::Failed("cast".into()));
    }
    assert_eq!(ask(&mut host, ""), answer(""));
}

#[test]
fn stopped_or_jumping_clock_is_harmless() {
    let echo = "return { process_client_pkg = function(data) return data end }";
    let folder = Folder::new(&[("echo.lua", echo)]);
    let time = Time::stopped();
    let mut host = folder.host_on(time.clock(), |_| {});
    assert_eq!(ask(&mut host, "x"), answer("x"));
    time.set(Duration::MAX);
    assert_eq!(ask(&mut host, "x"), answer("x"));
    time.set(Duration::from_secs(1));
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
fn package_larger_than_the_memory_fails() {
    capture_log();
    let echo = "return { process_client_pkg = function(data) return data end }";
    let folder = Folder::new(&[("echo.lua", echo)]);
    let mut host = folder.host();
    // A client can send any number of them, so they do not count toward disabling the plugin.
    for _ in 0..20 {
        assert_eq!(ask(&mut host, vec![b'x'; 9 << 20]), Response::Failed("echo".into()));
    }
    let why = "process_client_pkg failed: a package of 9437184 bytes does not fit into its memory";
    assert_eq!(logged(), vec![format!("ERROR plugin echo: {why}"); 20]);
    assert_eq!(ask(&mut host, vec![b'x'; 3 << 20]), answer(vec![b'x'; 3 << 20]));
}

#[test]
fn unbounded_options_are_valid() {
    let echo = "return { process_client_pkg = function(data) return data end }";
    let folder = Folder::new(&[("echo.lua", echo)]);
    let mut host = folder.host_with(|options| {
        options.budget = Duration::MAX;
        options.memory_bytes_max = usize::MAX;
        options.broadcast_bytes_max = usize::MAX;
    });
    assert_eq!(ask(&mut host, "x"), answer("x"));
}

#[test]
fn empty_plugin_needs_little_memory() {
    let host = Folder::new(&[("a.lua", "return {}")]).host();
    assert!((10_000..150_000).contains(&host.memory_bytes()), "{}", host.memory_bytes());
    assert_eq!(Folder::new(&[]).host().memory_bytes(), 0);
}
