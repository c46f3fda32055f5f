//! Plugins over real sockets: each sentence of what `plugin` listeners and the codes 128 to 254 of
//! `command` listeners promise.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::support::{
    Client, Folder, Observer, PATIENCE, Server, error, frame, mynah, run, wait_until,
};

/// Longer than what `gather=` says in these tests, and the loop's own hesitation.
const QUIET: Duration = Duration::from_millis(400);

const SHOUT: &str = r#"
local P = { name = "shout", priority = 10 }
function P.process_client_pkg(data, client)
  if data:sub(1, 6) == "SHOUT " then return data:sub(7):upper() end
end
return P
"#;

/// A folder with these plugins in it.
fn folder(plugins: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    for (file, text) in plugins {
        folder.file(file, text);
    }
    folder
}

/// A server with a plugin listener, a command listener, and the plugins of `folder`.
fn start(folder: &Folder, args: &[&str]) -> Server {
    let dir = folder.path("");
    let listeners = ["-l", "plugin://127.0.0.1:0", "-l", "command://127.0.0.1:0"];
    Server::start(&[&["--plugin-dir", &dir], args, &listeners].concat())
}

/// For tests whose plugins are not slow: more time than any machine is ever busy elsewhere.
const PATIENT: [&str; 2] = ["--plugin-budget", "5000"];

/// A plugin whose `process_client_pkg` has this body.
fn plugin(body: &str) -> String {
    format!("return {{ process_client_pkg = function(data, client)\n{body}\nend }}")
}

/// A client of the plugin listener.
fn connect(server: &Server) -> Client {
    server.connect_to(0)
}

#[test]
fn plugin_that_returns_a_string_first_answers() {
    let first = plugin("if data == 'both' then return 'first' end");
    let second = plugin("if data ~= '?' then return data:reverse() .. '\\0\\xff' end");
    let folder = folder(&[("a.lua", &first), ("b.lua", &second)]);
    let server = start(&folder, &[]);
    let mut client = connect(&server);
    client.send(b"both");
    client.expect(b"first");
    client.send(b"\xff\0a");
    client.expect(b"a\0\xff\0\xff");
    client.send(b"?");
    client.expect(b"None");
}

#[test]
fn plugins_are_asked_by_priority_then_name() {
    let named = |name: &str, priority: &str| {
        format!(
            "return {{ name = '{name}'{priority},\n process_client_pkg = function(data)\n\
             if data == '{name}' or data == 'any' then return '{name}' end\nend }}"
        )
    };
    let texts = [
        ("1.lua", named("late", ", priority = 900")),
        ("2.lua", named("beta", "")),
        ("3.lua", named("alpha", "")),
        ("4.lua", named("early", ", priority = -5")),
    ];
    let plugins: Vec<(&str, &str)> = texts.iter().map(|(f, t)| (*f, t.as_str())).collect();
    let folder = folder(&plugins);
    let server = start(&folder, &[]);
    let line = server.wait_for_line("plugins: ");
    assert!(line.ends_with("plugins: early, alpha, beta, late"), "{line}");
    let mut client = connect(&server);
    client.send(b"any");
    client.expect(b"early");
}

#[test]
fn listener_without_plugins_answers_none() {
    let server = Server::start(&["-l", "plugin://127.0.0.1:0"]);
    let mut client = connect(&server);
    client.send(b"anybody?");
    client.expect(b"None");
}

#[test]
fn failing_plugin_is_named_in_the_log() {
    let folder = folder(&[("bad.lua", &plugin("error('boom\\n\\27[2J')"))]);
    let server = start(&folder, &[]);
    let mut client = connect(&server);
    for _ in 0..2 {
        client.send(b"x");
        client.expect(b"Error occurred while processing data");
    }
    let line = server.wait_for_line("plugin bad");
    assert!(line.contains("ERROR") && line.contains("bad.lua:2: boom"), "{line}");
    assert!(!line.contains('\x1b'), "{line}");
}

#[test]
fn values_other_than_strings_and_nil_are_failures() {
    for value in ["42", "{}", "true", "print", "function() end"] {
        let folder = folder(&[("odd.lua", &plugin(&format!("return {value}")))]);
        let server = start(&folder, &[]);
        let mut client = connect(&server);
        client.send(b"x");
        // There is no `print`, so that one is nil.
        let expected: &[u8] =
            if value == "print" { b"None" } else { b"Error occurred while processing data" };
        client.expect(expected);
    }
}

#[test]
fn commands_128_to_254_go_to_the_plugins() {
    let body = "if data == 'fail' then error('no') end\n\
                if data == 'mine' then return client.command .. ':' .. client.addr end";
    let folder = folder(&[("cmd.lua", &plugin(body))]);
    let server = start(&folder, &[]);
    let mut client = server.connect_to(1);
    let addr = format!("127.0.0.1:{}", client.local_port());
    for code in [128, 200, 254] {
        client.send(&frame(code, b"mine"));
        client.expect(&frame(code, format!("{code}:{addr}").as_bytes()));
        client.send(&frame(code, b"?"));
        client.expect(&error(&format!("unknown command {code}")));
    }
    client.send(&frame(128, b"fail"));
    client.expect(&error("plugin cmd failed"));
    for code in [0, 8, 127, 255] {
        client.send(&frame(code, b"mine"));
        client.expect(&error(&format!("unknown command {code}")));
    }
}

#[test]
fn framed_packages_may_be_pipelined() {
    let folder = folder(&[("echo.lua", &plugin("return data"))]);
    let server = start(&folder, &PATIENT);
    let mut client = server.connect_to(1);
    let mut writer = client.twin();
    let round = [frame(130, b"plug"), frame(1, b"plain"), frame(131, b"")].concat();
    thread::scope(|scope| {
        scope.spawn(|| writer.send(&round.repeat(2_000)));
        client.expect(&round.repeat(2_000));
    });
}

#[test]
fn package_is_what_can_be_read_without_waiting() {
    let folder = folder(&[("len.lua", &plugin("return #data .. ' '"))]);
    let server = start(&folder, &[]);
    let mut client = connect(&server);
    // More than one read's worth, all of it there before the server looks.
    server.freeze();
    client.send(&[b'x'; 100_000]);
    server.wait_until_unread(&client, 100_000);
    server.thaw();
    client.expect(b"100000 ");
}

#[test]
fn gather_collects_until_the_client_is_quiet() {
    let folder = folder(&[("len.lua", &plugin("return '<' .. data .. '>'"))]);
    let dir = folder.path("");
    let url = "plugin://127.0.0.1:0?gather=300";
    let server = Server::start(&["--plugin-dir", &dir, "-l", url, "-l", "command://127.0.0.1:0"]);
    let (mut client, mut observer) = (connect(&server), Observer::new(server.connect_to(1)));
    for piece in [&b"one "[..], b"two ", b"three"] {
        observer.until_read(piece.len(), || client.send(piece));
    }
    client.expect(b"<one two three>");
    // What is unfinished when the client shuts its side is a package too.
    client.send(b"last");
    client.half_close();
    client.expect(b"<last>");
    client.expect_eof();
}

#[test]
fn package_over_max_frame_fails_alone() {
    let folder = folder(&[("len.lua", &plugin("return '<' .. #data .. '>'"))]);
    let dir = folder.path("");
    let url = "plugin://127.0.0.1:0?gather=200";
    let server = Server::start(&["--plugin-dir", &dir, "-l", url, "--max-frame", "1000"]);
    let mut client = connect(&server);
    client.send(&[b'x'; 1_000]);
    client.expect(b"<1000>");
    client.send(&[b'x'; 5_000]);
    client.expect(b"Error occurred while processing data");
    server.wait_for_line("too large");
    // The rest is skipped until the client is quiet: time is the subject.
    thread::sleep(QUIET);
    client.send(b"next");
    client.expect(b"<4>");
}

#[test]
fn hooks_are_called_for_server_and_clients() {
    let text = r#"
        local P = { name = "hooks" }
        function P.server_inited() server.log("inited") end
        function P.server_started(server) server.log("started") end
        function P.client_connected(client)
          server.log("came " .. client.id .. " " .. client.addr)
        end
        function P.client_disconnected(client, reason)
          server.log("went " .. client.id .. " " .. client.addr .. " " .. reason)
        end
        function P.server_stopping() server.log("stopping now") end
        return P
    "#;
    let folder = folder(&[("hooks.lua", text)]);
    let mut server = start(&folder, &[]);
    let client = connect(&server);
    let addr = format!("127.0.0.1:{}", client.local_port());
    let line = server.wait_for_line("plugin hooks: came");
    assert!(line.ends_with(&format!("came 1 {addr}")), "{line}");
    client.abort();
    let line = server.wait_for_line("plugin hooks: went");
    assert!(line.contains(&format!("went 1 {addr} connection failed")), "{line}");
    // A client of another listener is no business of theirs.
    server.connect_to(1).expect_alive();
    assert_eq!(server.stop(), Some(0));
    let log = server.log();
    let at = |text: &str| {
        let found = log.iter().position(|line| line.ends_with(text));
        found.unwrap_or_else(|| panic!("no {text:?} in {log:#?}"))
    };
    let listening = log.iter().position(|line| line.contains(" listening on ")).unwrap();
    assert!(at("plugin hooks: inited") < listening);
    assert!(listening < at("plugin hooks: started"));
    assert!(at("plugin hooks: stopping now") < at("stopped"));
    assert_eq!(server.count_lines("plugin hooks: came"), 1);
}

#[test]
fn plugin_broadcast_reaches_every_plugin_client() {
    let body = "server.broadcast('news: ' .. data .. '\\n') return 'sent\\n'";
    let bye = "function P.server_stopping() server.broadcast('bye\\n') end";
    let text = format!("local P = {}\n{bye}\nreturn P", plugin(body).replacen("return ", "", 1));
    let folder = folder(&[("cast.lua", &text)]);
    let dir = folder.path("");
    let listeners = ["-l", "plugin://127.0.0.1:0", "-l", "plugin://127.0.0.1:0?gather=10"];
    let mut server = Server::start(&[&["--plugin-dir", &dir][..], &listeners].concat());
    let mut clients = [connect(&server), connect(&server), server.connect_to(1)];
    wait_until("all are in", || server.count_lines(" connected to ") == 3);
    clients[0].send(b"x");
    clients[0].expect(b"sent\nnews: x\n");
    clients[1].expect(b"news: x\n");
    clients[2].expect(b"news: x\n");
    server.signal(Signal::SIGTERM);
    for client in &mut clients {
        client.expect(b"bye\n");
        client.expect_eof();
    }
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn plugin_over_its_time_or_memory_fails() {
    let loops = plugin("if data == 'loop' then pcall(function() while true do end end) end");
    let eats = plugin("if data == 'eat' then local t = {} while true do t[#t + 1] = #t end end");
    let folder = folder(&[("loops.lua", &loops), ("eats.lua", &eats)]);
    let server = start(&folder, &["--plugin-memory", "1048576", "--plugin-budget", "100"]);
    let mut client = connect(&server);
    for package in [b"loop".as_slice(), b"eat"] {
        client.send(package);
        client.expect(b"Error occurred while processing data");
    }
    client.send(b"still there?");
    client.expect(b"None");
}

#[test]
fn failures_switch_a_plugin_off_until_a_reload() {
    let folder = folder(&[("bad.lua", &plugin("error('no')"))]);
    let server = start(&folder, &PATIENT);
    let mut client = connect(&server);
    for _ in 0..10 {
        client.send(b"x");
        client.expect(b"Error occurred while processing data");
    }
    client.send(b"x");
    client.expect(b"None");
    server.signal(Signal::SIGHUP);
    wait_until("it is loaded again", || server.count_lines("plugins: bad") == 2);
    client.send(b"x");
    client.expect(b"Error occurred while processing data");
}

#[test]
fn reload_swaps_all_plugins_or_none() {
    let folder = folder(&[("a.lua", &plugin("return 'old'"))]);
    let server = start(&folder, &PATIENT);
    let mut client = connect(&server);
    let mut expect = |answer: &[u8]| {
        client.send(b"x");
        client.expect(answer);
    };
    expect(b"old");
    folder.file("a.lua", &plugin("return 'new'"));
    folder.file("b.lua", "return 1 +");
    server.signal(Signal::SIGHUP);
    server.wait_for("b.lua", |line| line.contains("b.lua") && line.contains("ERROR"));
    server.wait_for_line("reload failed: nothing was changed");
    expect(b"old");
    folder.file("b.lua", "return {}");
    server.signal(Signal::SIGHUP);
    server.wait_for_line("plugins: a, b");
    expect(b"new");
}

#[test]
fn broken_files_are_named_with_their_line() {
    let folder = folder(&[
        ("shout.lua", SHOUT),
        ("syntax.lua", "local x =\n\nreturn {"),
        ("runtime.lua", "\nerror('at load')"),
        ("number.lua", "return 7"),
        ("again.lua", "return { name = 'shout' }"),
    ]);
    let server = start(&folder, &[]);
    for (file, why) in [
        ("syntax.lua", "syntax.lua:3:"),
        ("runtime.lua", "runtime.lua:2: at load"),
        ("number.lua", "number"),
    ] {
        let line = server.wait_for(file, |line| line.contains("ERROR") && line.contains(file));
        assert!(line.contains(why), "{line}");
    }
    let mut client = connect(&server);
    client.send(b"SHOUT hi");
    let answer = client.read_exactly(2);
    // Of two of one name the first to load stays, and `again.lua` comes first.
    assert!(answer == b"HI" || answer == b"No", "{answer:?}");

    let ended = run(&["--check", "--plugin-dir", &folder.path("")]);
    assert_eq!(ended.code, Some(2));
    for file in ["syntax.lua:3:", "runtime.lua:2:", "number.lua", "shout"] {
        assert!(ended.stderr.contains(file), "{file} in {}", ended.stderr);
    }
}

#[test]
fn unreadable_folder_is_an_error() {
    let folder = folder(&[("file.lua", SHOUT)]);
    for dir in [folder.path("none"), folder.path("file.lua")] {
        let ended = run(&["--plugin-dir", &dir, "-l", "command://127.0.0.1:0"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&dir), "{}", ended.stderr);
        assert_eq!(run(&["--check", "--plugin-dir", &dir]).code, Some(2));
    }
}

#[test]
fn plugins_are_found_in_the_working_folder() {
    let outer = Folder::new();
    std::fs::create_dir(outer.path("plugins")).unwrap();
    outer.file("plugins/shout.lua", SHOUT);
    let mut command = mynah();
    command.args(["-l", "command://127.0.0.1:0"]).current_dir(outer.path(""));
    let server = Server::start_as(&mut command, 1);
    let mut client = server.connect();
    client.send(&frame(128, b"SHOUT hello"));
    client.expect(&frame(128, b"HELLO"));
}

#[test]
fn client_that_leaves_before_its_answer_is_forgotten() {
    let body = "local n = 0 for i = 1, 200000 do n = n + i end return data";
    let folder = folder(&[("slow.lua", &plugin(body))]);
    let server = start(&folder, &["--plugin-budget", "2000"]);
    for _ in 0..20 {
        let mut hasty = connect(&server);
        hasty.send(b"bye");
        hasty.abort();
    }
    let mut client = connect(&server);
    client.send(b"hello");
    client.expect(b"hello");
}

#[test]
fn client_that_leaves_frees_its_queued_answer() {
    let text = plugin("return data:rep(1 << 20)").replacen(
        "return {",
        "return { client_disconnected = function(client) server.log('went ' .. client.id) end,",
        1,
    );
    let folder = folder(&[("long.lua", &text)]);
    let server = start(&folder, &PATIENT);
    let mut hasty = connect(&server);
    // More than sockets take, so that most of it waits in the server.
    hasty.send(&[b'x'; 6]);
    assert_eq!(hasty.read_exactly(1000), [b'x'; 1000]);
    hasty.abort();
    server.wait_for_line("plugin long: went 1");
    let mut client = connect(&server);
    client.send(b"y");
    client.expect(&[b'y'; 1 << 20]);
}

#[test]
fn reload_during_a_broadcast_cuts_nothing_off() {
    let body = "for i = 1, 3 do server.broadcast(data:rep(1 << 20)) end return ''";
    let folder = folder(&[("cast.lua", &plugin(body))]);
    // Who lags is still read from.
    let server = start(&folder, &[&PATIENT[..], &["--send-queue", "67108864"]].concat());
    // None of them reads until the plugins are new ones.
    let mut clients = [connect(&server), connect(&server)];
    wait_until("all are in", || server.count_lines(" connected to ") == 2);
    let mut watcher = server.connect_to(1);
    for (packages, letter) in (1..).zip(b"abcd") {
        clients[0].send(&[*letter]);
        wait_until("it is broadcast", || watcher.status().get("broadcasts_total") == 3 * packages);
    }
    folder.file("cast.lua", &plugin("server.broadcast('new') return ''"));
    server.signal(Signal::SIGHUP);
    wait_until("they are reloaded", || server.count_lines("plugins: cast") == 2);
    clients[0].send(b"x");
    for client in &mut clients {
        for letter in b"abcd" {
            client.expect(&vec![*letter; 3 << 20]);
        }
        client.expect(b"new");
    }
}

/// Echoes until `done`; the longest anyone waited for one.
#[track_caller]
fn worst_echo_until(client: &mut Client, mut done: impl FnMut() -> bool) -> Duration {
    let (started_at, mut worst) = (Instant::now(), Duration::ZERO);
    while !done() {
        let asked_at = Instant::now();
        client.expect_alive();
        worst = worst.max(asked_at.elapsed());
        assert!(started_at.elapsed() < PATIENCE, "waited in vain");
    }
    worst
}

#[test]
fn reload_of_endless_plugins_holds_up_no_client() {
    let folder = folder(&[("a.lua", &plugin("return 'old'"))]);
    let server = start(&folder, &[]);
    for number in 0..5 {
        folder.file(&format!("loop{number}.lua"), "while true do end");
    }
    let mut client = server.connect_to(1);
    client.expect_alive();
    server.signal(Signal::SIGHUP);
    let failed = || server.count_lines("ran longer than 50 ms");
    // At start each may take half a second, during which nobody is served.
    let worst = worst_echo_until(&mut client, || failed() == 5);
    println!("echo beside a reload of five endless plugins: worst {worst:?}");
    assert!(worst < Duration::from_millis(400), "{worst:?}");
    client.send(&frame(128, b"x"));
    client.expect(&frame(128, b"old"));
}

#[test]
fn reload_during_a_reload_comes_after_it() {
    let folder = folder(&[("a.lua", &plugin("return 'old'"))]);
    let server = start(&folder, &PATIENT);
    let mut client = server.connect_to(1);
    client.expect_alive();
    let burn = "for i = 1, 100000 do local x = i end\nreturn {}";
    for number in 0..10 {
        folder.file(&format!("burn{number}.lua"), burn);
    }
    for _ in 0..20 {
        server.signal(Signal::SIGHUP);
        client.expect_alive();
    }
    folder.file("a.lua", &plugin("return 'new'"));
    server.signal(Signal::SIGHUP);
    wait_until("the new plugin answers", || client.ask(128, b"x") == (128, b"new".to_vec()));
}

#[test]
fn stop_does_not_wait_for_a_reload() {
    let folder = folder(&[("a.lua", &plugin("return 'old'"))]);
    let mut server = start(&folder, &["--plugin-budget", "500"]);
    for number in 0..100 {
        folder.file(&format!("loop{number}.lua"), "while true do end");
    }
    folder.file("loop.lua", "server.log('begun') return {}");
    let began_at = Instant::now();
    server.signal(Signal::SIGHUP);
    server.wait_for_line("plugin loop: begun");
    assert_eq!(server.stop(), Some(0));
    assert!(began_at.elapsed() < Duration::from_secs(10), "{:?}", began_at.elapsed());
}

#[test]
fn failures_by_clients_are_summed_up_when_many() {
    let body = "if data == 'fail' then error('no') end return data";
    let folder = folder(&[("bad.lua", &plugin(body))]);
    let server = start(&folder, &PATIENT);
    let mut client = server.connect_to(1);
    let began_at = Instant::now();
    // A success in between, or it would be switched off.
    for _ in 0..1_000 {
        client.send(&[frame(128, b"fail"), frame(128, b"ok")].concat());
        client.expect(&[error("plugin bad failed"), frame(128, b"ok")].concat());
    }
    // Nobody does anything any more: the summary comes by itself.
    let line = server.wait_for_line(" more failures in the last second");
    assert!(line.contains("ERROR") && line.contains("plugin bad: "), "{line}");
    let seconds = began_at.elapsed().as_secs() as usize + 1;
    let lines = server.count_lines("plugin bad: ");
    assert!(lines <= 101 * seconds, "{lines} in {seconds} s");
}

#[test]
fn stop_sums_up_what_was_not_logged() {
    let body = "for i = 1, 150 do server.log(i) end return data";
    let folder = folder(&[("talk.lua", &plugin(body))]);
    let mut server = start(&folder, &[]);
    let mut client = server.connect_to(1);
    client.send(&frame(128, b"x"));
    client.expect(&frame(128, b"x"));
    // The stop is over before the second is.
    drop(client);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(server.count_lines("plugin talk: 50 more lines in the last second"), 1);
}

#[test]
fn broadcasts_of_a_failed_call_are_dropped() {
    let body = "server.broadcast(data) if data == 'fail' then error('no') end return ''";
    let folder = folder(&[("cast.lua", &plugin(body))]);
    let server = start(&folder, &[]);
    let (mut hearer, mut client) = (connect(&server), server.connect_to(1));
    wait_until("both are in", || server.count_lines(" connected to ") == 2);
    client.send(&frame(128, b"fail"));
    client.expect(&error("plugin cast failed"));
    client.send(&frame(128, b"good"));
    client.expect(&frame(128, b""));
    hearer.expect(b"good");
}

/// Each call burns its whole budget; with six clients that ask all the time the loop is never free.
#[test]
fn calls_that_use_their_budget_leave_time_for_others() {
    let folder = folder(&[("burn.lua", &plugin("while true do end"))]);
    // Switched off after ten failures, it would burn nothing; a success between them is cheap.
    let healer = plugin("if data == 'ok' then return 'ok' end while true do end");
    folder.file("burn.lua", &healer);
    let server = start(&folder, &["--plugin-budget", "50"]);
    let mut burners: Vec<Client> = (0..6).map(|_| server.connect_to(1)).collect();
    let burst = [frame(128, b"burn"), frame(128, b"ok")].concat().repeat(20);
    burners.iter_mut().for_each(|client| client.send(&burst));
    let mut client = server.connect_to(1);
    let mut waits: Vec<Duration> = (0..40)
        .map(|_| {
            let start = Instant::now();
            client.expect_alive();
            start.elapsed()
        })
        .collect();
    waits.sort();
    let median = waits[waits.len() / 2];
    println!("echo beside burning plugins: median {median:?}, worst {:?}", waits[39]);
    assert!(median < Duration::from_millis(200), "{median:?}");
    assert!(waits[39] < Duration::from_secs(2), "{:?}", waits[39]);
}

#[test]
fn examples_answer_as_the_documentation_says() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/plugins");
    let folder = Folder::new();
    for name in ["echo.lua", "file_transfer.lua", "calculator.lua"] {
        folder.file(name, &std::fs::read_to_string(format!("{examples}/{name}")).unwrap());
    }
    let server = start(&folder, &[]);
    let mut client = connect(&server);
    let mut expect = |package: &str, answer: &str| {
        client.send(package.as_bytes());
        client.expect(answer.as_bytes());
    };
    expect("ECHO hello", "hello");
    expect("zt_UPLOAD notes.txt aGVsbG8=", "OK");
    expect("zt_DOWNLOAD notes.txt", "aGVsbG8=");
    expect("zt_LIST", "notes.txt");
    expect("who?", "None");
    assert_eq!(std::fs::read(folder.path("file_transfer/notes.txt")).unwrap(), b"hello");
    // Out of the folder leads no way, and the answer says so.
    client.send(b"zt_UPLOAD ../../x aGVsbG8=");
    let answer = client.read_exactly(5);
    assert_ne!(answer, b"OK", "{answer:?}");
    let mut calculator = server.connect_to(1);
    calculator.send(&frame(128, b"(1 + 2) * 3"));
    calculator.expect(&frame(128, b"9"));
    assert!(!std::path::Path::new(&folder.path("../../x")).exists());
}

/// The time is told as the plugins', and not as that of the events that their packages came with.
#[cfg(feature = "admin")]
#[test]
fn slow_package_is_a_slow_turn_of_plugins() {
    let slow = "local x = 0 for i = 1, 20000000 do x = x + i end return 'done'";
    let folder = folder(&[("slow.lua", &plugin(slow))]);
    let server = start(&folder, &["--plugin-budget", "60000"]);
    let mut client = server.connect_to(1);
    assert_eq!(client.ask(128, b"x"), (128, b"done".to_vec()));
    let line = server.wait_for_line("slow turn: ");
    assert!(line.contains(" ms: plugins "), "{line}");
}
