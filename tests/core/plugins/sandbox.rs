//! Attempts to break out of the sandbox, each with its expected outcome. Every attempt is made
//! twice, and the plugin must be usable after each.

use std::time::Duration;

use mynah::internal::protocol::plugin::PluginHost;

use super::support::{Folder, Response, answer, ask, capture_log, cpu_clock, cpu_time, logged};

/// Longest time of a call, on a slow machine and in a debug build.
const CALL_TIME_MAX: Duration = Duration::from_secs(2);

/// The expected outcome of an attempt.
enum Outcome {
    /// The call runs out of time.
    Time,
    /// The call runs out of memory.
    Memory,
    /// Either, whichever is first on this machine.
    TimeOrMemory,
    /// The call fails with an error that contains this text.
    Fails(&'static str),
    /// The call answers this text.
    Answers(&'static str),
    /// The call returns nil.
    Unhandled,
}
use Outcome::{Answers, Fails, Memory, Time, TimeOrMemory, Unhandled};

const TIME: &str = "ran longer than 50 ms";
const MEMORY: &str = "needs more than the 8388608 bytes of memory it may have";

/// Has a plugin run `body` on a package, twice.
#[track_caller]
fn attempt(body: &str, outcome: &Outcome) {
    capture_log();
    let source = format!(
        "return {{ process_client_pkg = function(data)
           if data == 'probe' then return ('alive'):upper() .. table.concat({{ 1, 2 }}) end
           {body}
         end }}"
    );
    let folder = Folder::new(&[("evil.lua", &source)]);
    let mut host = folder.host_with(|options| {
        if matches!(outcome, Time | TimeOrMemory) {
            options.budget = Duration::from_millis(50);
        }
    });
    for _ in 0..2 {
        let start = cpu_time();
        let response = ask(&mut host, "attack");
        let took = cpu_time() - start;
        assert!(took < CALL_TIME_MAX, "took {took:?}");
        check(&response, outcome);
        assert_eq!(ask(&mut host, "probe"), answer("ALIVE12"), "{:?}", logged());
        logged();
    }
}

#[track_caller]
fn check(response: &Response, outcome: &Outcome) {
    let errors: Vec<String> =
        logged().into_iter().filter(|line| line.starts_with("ERROR")).collect();
    let reasons: &[&str] = match outcome {
        Answers(text) => return assert_eq!(*response, answer(text), "{errors:?}"),
        Unhandled => return assert_eq!(*response, Response::Unhandled, "{errors:?}"),
        Time => &[TIME],
        Memory => &[MEMORY],
        TimeOrMemory => &[TIME, MEMORY],
        Fails(words) => &[words],
    };
    assert_eq!(*response, Response::Failed("evil".into()));
    let [line] = errors.as_slice() else { panic!("not one line: {errors:?}") };
    let begin = "ERROR plugin evil: process_client_pkg failed: ";
    assert!(line.starts_with(begin), "{line}");
    assert!(reasons.iter().any(|reason| line.contains(reason)), "{line}");
    assert!(line.len() < 1000 && !line.contains('\n'), "{line}");
}

macro_rules! attempts {
    ($($name:ident: $body:expr => $outcome:expr;)*) => {
        $(#[test] fn $name() { attempt($body, &$outcome); })*
    };
}

// Time.
attempts! {
    a_loop: "while true do end" => Time;
    a_tail_call_loop: "local function f() return f() end return f()" => Time;
    a_loop_in_pcall: "while true do pcall(function() while true do end end) end" => Time;
    pcalls_of_c_only: "while true do pcall(pcall, pcall, pcall, error) end" => Time;
    // The handler of Lua's own xpcall runs inside the hook, where no hook fires.
    a_loop_in_a_message_handler:
        "local function loop() while true do end end xpcall(loop, loop)" => Time;
    a_loop_in_a_metamethod:
        "return setmetatable({}, { __index = function() while true do end end }).x" => Time;
    a_loop_in_an_error_object:
        "error(setmetatable({}, { __tostring = function() while true do end end }))" => Time;
    a_loop_in_a_comparison: "table.sort({ 2, 1 }, function() while true do end end)" => Time;
    a_loop_in_a_replacement: "return (('x'):gsub('x', function() while true do end end))" => Time;
    a_loop_in_a_table_of_replacements:
        "return (('x'):gsub('x', setmetatable({}, { __index = function() while true do end end })))"
        => Time;
    an_endless_iterator:
        "for _ in ipairs(setmetatable({}, { __index = function() return 1 end })) do end" => Time;
    an_endless_iterator_of_its_own:
        "for _ in pairs(setmetatable({}, { __pairs = function() return type, 1 end })) do end"
        => Time;
    a_loop_far_down_the_stack:
        "local function f(n) if n > 0 then return f(n - 1) + 1 end while true do end end f(20000)"
        => Time;
    errors_far_down_the_stack:
        "local function f(n) if n > 0 then return f(n - 1) + 1 end
         while true do pcall(string.rep) end end f(20000)" => Time;
    long_chains_of_metatables:
        "local t = {} for i = 1, 1900 do t = setmetatable({}, { __index = t }) end
         while true do local x = t.x end" => Time;
}

// Patterns.
attempts! {
    optional_items: "local n = 40 return ('a'):rep(n):find(('a?'):rep(n) .. ('a'):rep(n) .. 'b')"
        => Time;
    many_stars: "return ('a'):rep(1000):match(('.*'):rep(20) .. 'b')" => Time;
    many_stars_in_gmatch: "for _ in ('a'):rep(1000):gmatch(('.-'):rep(20) .. 'b') do end" => Time;
    many_stars_in_gsub: "return (('a'):rep(1000):gsub(('.-'):rep(20) .. 'b', 'x'))" => Time;
    many_stars_in_gsub_with_a_function:
        "return (('a'):rep(1000):gsub(('.-'):rep(20) .. 'b', print or type))" => Time;
    balances_that_never_come: "return ('('):rep(1e6):find('%b()')" => Time;
    a_set_as_long_as_the_subject:
        "return ('a'):rep(1e6):find('[' .. ('b'):rep(1e6) .. ']')" => Time;
    a_back_reference_at_every_place: "return ('a'):rep(1e6):find('(.*)%1b')" => Time;
    a_frontier_with_a_long_set:
        "return ('a'):rep(1e6):find('%f[' .. ('b'):rep(1e6) .. ']')" => Time;
    too_many_levels: "return ('a'):rep(300):find(('(a'):rep(20) .. ('a?'):rep(250))"
        => Fails("pattern too complex");
    // Lua's plain search takes the product of both lengths.
    a_plain_search_that_nearly_matches:
        "local s = ('a'):rep(2e6) return s:find(s:sub(1, 1e6) .. 'b', 1, true)" => Unhandled;
    plain_searches: "local s = ('a'):rep(4e6) while true do s:find('b', 1, true) end" => Time;
    a_result_that_grows: "return (('x'):rep(1e4):gsub('x', ('y'):rep(1e4)))" => Memory;
    captures_that_multiply: "return (('x'):rep(3e6):gsub('.*', ('%0'):rep(1000)))" => Memory;
}

// Strings.
attempts! {
    nothing_many_times: "return (''):rep(1 << 62) .. 'fine'" => Answers("fine");
    one_byte_many_times: "return ('x'):rep(1 << 40)" => Memory;
    two_gib: "return ('x'):rep(1 << 31)" => Memory;
    a_count_that_overflows: "return ('xx'):rep(math.maxinteger)" => Memory;
    a_count_that_overflows_with_a_separator:
        "return ('x'):rep(math.maxinteger, ('y'):rep(1000))" => Memory;
    long_strings_again_and_again: "while true do local s = ('x'):rep(3e6) end" => Time;
    long_strings_in_pcall: "while true do pcall(string.rep, 'x', 7e6) end" => Time;
    doubling: "local s = 'x' while true do s = s .. s end" => Memory;
    doubling_in_pcall:
        "local s = 'x' while true do pcall(function() s = s .. s end) end" => Time;
    joining_long_strings: "local s = ('x'):rep(2e6) while true do local t = s .. s end" => Time;
    comparing_long_strings:
        "local a, b = ('x'):rep(1e6) .. 'a', ('x'):rep(1e6) .. 'b' while a < b do end" => Time;
    long_strings_as_keys:
        "local s, t = ('a'):rep(2e6), {} while true do t[s .. 'x'] = nil end" => Time;
    long_strings_as_numbers: "local s = ('1'):rep(3e6) while true do local x = s + 0 end" => Time;
    long_strings_as_numbers_to_functions:
        "local s = ('1'):rep(3e6) while true do math.floor(s) end" => Time;
    changing_case: "local s = ('a'):rep(1e6) while true do s:upper() end" => Time;
    // Each argument is read as a number, all of it, and it is always the same.
    a_long_string_as_many_numbers:
        "local s, t = ('0'):rep(3e6) .. '65', {} for i = 1, 10000 do t[i] = s end
         return string.char(table.unpack(t))" => Fails("arguments to 'char' are too long");
    a_long_string_as_many_other_numbers:
        "local s, t = ('0'):rep(3e6) .. '65', {} for i = 1, 200 do t[i] = s end
         for _, f in ipairs { math.max, math.min, utf8.char } do
           if pcall(f, table.unpack(t)) then return 'read' end
         end
         if pcall(string.format, ('%d'):rep(200), table.unpack(t)) then return 'read' end
         if pcall(string.pack, ('j'):rep(200), table.unpack(t)) then return 'read' end
         return 'fine'" => Answers("fine");
    comparing_long_strings_of_zeros:
        "local s = ('\\0'):rep(3e6) while true do local x = s < s end" => Time;
    a_wide_format: "local s = ('%99999d'):format(1) return s" => Fails("invalid conversion");
    many_formats:
        "local t = {} for i = 1, 200 do t[i] = 1e308 end
         local f = ('%99.99f'):rep(200) while true do f:format(table.unpack(t)) end" => Time;
    a_format_of_more_arguments_than_can_be_written:
        "local t = {} for i = 1, 1000 do t[i] = 1e308 end
         return ('%99.99f'):rep(1000):format(table.unpack(t))" => Fails("too many arguments");
    a_long_string_quoted: "local s = ('%q'):format(('\\0'):rep(1e6)) return s"
        => Fails("too long for '%q'");
    a_long_format_to_pack: "local n = string.packsize(('i1'):rep(1e6)) return n"
        => Fails("format is too long");
    long_utf8: "local s = ('a'):rep(6e6) while true do utf8.len(s) end" => Time;
    base64_of_long_strings: "local s = ('a'):rep(2e6) while true do base64.encode(s) end" => Time;
}

// Tables.
attempts! {
    a_table_that_grows: "local t = {} while true do t[#t + 1] = {} end" => Memory;
    a_table_that_grows_in_pcall:
        "local t = {} while true do pcall(function() t[#t + 1] = {} end) end" => TimeOrMemory;
    // Every allocation collects all garbage first.
    garbage_with_next_to_no_memory_left:
        "local t = {} pcall(function() while true do t[#t + 1] = {} end end)
         for i = 1, 50 do t[#t] = nil end
         while true do local x = { {}, {} } end" => TimeOrMemory;
    moving_nothing_far: "return table.move({}, 1, 1e9, 2)" => Time;
    joining_a_table_that_lies:
        "return table.concat(setmetatable({}, { __len = function() return 1e9 end,
                                                __index = function() return '' end }))" => Time;
    // A function of C as __index runs no instruction.
    joining_a_table_that_lies_in_c:
        "return table.concat(setmetatable({}, { __len = function() return 1e9 end,
                                                __index = type }))" => TimeOrMemory;
    joining_through_itself:
        "return table.concat(setmetatable({}, { __len = function() return 1e9 end,
                                                __index = table.concat }))"
        => Fails("C stack overflow");
    unpacking_a_table_that_lies:
        "return table.unpack(setmetatable({}, { __len = function() return 9e5 end,
                                                __index = type }))" => TimeOrMemory;
    unpacking_too_much: "local a = table.unpack({}, 1, 1e9) return a"
        => Fails("too many results to unpack");
    inserting_into_a_table_that_lies:
        "table.insert(setmetatable({}, { __len = function() return 1 << 62 end,
                                         __index = type, __newindex = rawequal }), 1, 1)" => Time;
    removing_from_a_table_that_lies:
        "table.remove(setmetatable({}, { __len = function() return 1 << 62 end,
                                         __index = type, __newindex = rawequal }), 1)" => Time;
    sorting_a_table_that_lies:
        "table.sort(setmetatable({}, { __len = function() return 1e9 end, __index = type }))"
        => TimeOrMemory;
    // A border is found by doubling, so a few elements can make a length of 2^62 without any help.
    a_length_that_lies:
        "local t = {} for i = 0, 62 do t[1 << i] = 1 end t[math.maxinteger - 1] = 1
         table.insert(t, 1, 1) table.remove(t, 1) table.sort(t)" => Unhandled;
    sorting_much: "local t = {} for i = 1, 1e5 do t[i] = -i end while true do table.sort(t) end"
        => TimeOrMemory;
    sorting_long_strings:
        "local s, t = ('x'):rep(3e6), {} for i = 1, 1000 do t[i] = s end table.sort(t)" => Time;
    inserting_in_front:
        "local t = {} for i = 1, 60000 do t[i] = i end
         while true do table.insert(t, 1, 0) table.remove(t, 1) end" => Time;
    looking_for_the_next_of_nothing:
        "local t = {} for i = 1, 5e4 do t[i .. ''] = 1 end
         for k in pairs(t) do t[k] = nil end while true do next(t) end" => Time;
    unpacking_much:
        "local t = {} for i = 1, 2e4 do t[i] = i end
         while true do select('#', table.unpack(t)) end" => Time;
}

// The stack.
attempts! {
    recursion: "local function f() return f() + 1 end return f()" => TimeOrMemory;
    recursion_with_arguments: "local function f(...) return 1 + f(1, ...) end return f()"
        => TimeOrMemory;
    recursion_in_index:
        "local t = setmetatable({}, { __index = function(t, k) return t[k] end }) return t.x"
        => Fails("stack overflow");
    recursion_in_tostring:
        "local t t = setmetatable({}, { __tostring = function() return tostring(t) end })
         return tostring(t)" => Fails("stack overflow");
    recursion_in_an_error_object:
        "local m = {} m.__tostring = function(s) error(s) end error(setmetatable({}, m))"
        => Fails("error object is a table");
    recursion_in_a_message_handler:
        "local function h(e) error(e) end xpcall(error, h, 'x') return 'fine'" => Answers("fine");
    recursion_in_replacements:
        "local function f() return (('x'):gsub('x', f)) end return f()" => TimeOrMemory;
    recursion_in_comparisons:
        "local function f(a, b) table.sort({ 3, 2, 1 }, f) return a < b end
         table.sort({ 3, 2, 1 }, f)" => TimeOrMemory;
    recursion_in_pcall: "local function f() return pcall(f) end return tostring(f())"
        => Answers("true");
}

// Metatables.
attempts! {
    a_finalizer: "setmetatable({}, { __gc = function() while true do end end })"
        => Fails("evil.lua:3: __gc is not available");
    a_finalizer_added_later:
        "local m = {} local t = setmetatable({}, m) m.__gc = function() while true do end end
         t = nil for i = 1, 1e5 do local x = {} end return 'fine'" => Answers("fine");
    a_closing_function:
        "local x <close> = setmetatable({}, { __close = function() while true do end end })"
        => Fails("__close is not available");
    a_closing_function_added_later:
        "local m = {} local t = setmetatable({}, m) m.__close = function() while true do end end
         local x <close> = t" => Fails("got a non-closable value");
    weak_keys: "setmetatable({}, { __mode = 'k' })" => Fails("only 'v' is available");
    // A chain of ephemerons in random order takes the collector quadratic time, in one step.
    weak_keys_added_later:
        "local m = {} local w = setmetatable({}, m) m.__mode = 'k'
         local n, keys, order = 20000, {}, {}
         for i = 1, n do keys[i] = {} order[i] = i end
         for i = n, 2, -1 do local j = math.random(i) order[i], order[j] = order[j], order[i] end
         for i = 1, n - 1 do w[keys[order[i]]] = keys[order[i + 1]] end
         w = nil keys = nil order = nil
         for i = 1, 1e6 do local x = {} end return 'fine'" => TimeOrMemory;
    the_metatable_of_strings:
        "if getmetatable('') then return 'open' end
         return tostring(pcall(setmetatable, '', {}))" => Answers("false");
    the_metatable_of_a_function: "return tostring(getmetatable(print or type))" => Answers("nil");
    a_protected_metatable:
        "local t = setmetatable({}, { __metatable = 'mine' })
         return getmetatable(t) .. tostring(pcall(setmetatable, t, {}))" => Answers("minefalse");
    metatables_are_what_they_were_given_as:
        "local m = { __index = { x = 'fine' } } local t = setmetatable({}, m)
         m.__len = function() return 7 end
         return getmetatable(t) == m and t.x .. #setmetatable({}, m)" => Answers("fine7");
    many_metatables:
        "for i = 1, 1000 do setmetatable({}, { __index = { i } }) end return 'fine'"
        => Answers("fine");
}

// What a plugin changes is its own.
attempts! {
    functions_replaced:
        "string.rep, string.find, table.concat, math.min, utf8.len = nil
         for _, name in ipairs { 'type', 'error', 'select', 'tostring', 'pcall', 'next' } do
           rawset(string, name, nil)
         end
         type, error, select, tostring, tonumber, rawget, getmetatable, xpcall = nil
         string.rep, string.find = rep or function() return 'own' end, function() end
         table.concat = function() return '12' end
         return (('x'):gsub('x', function() return 'fine' end))" => Answers("fine");
    an_environment_of_its_own:
        "local _ENV = setmetatable({}, { __index = function() return 'no way' end }) return x"
        => Answers("no way");
    byte_code: "return tostring(string.dump)" => Answers("nil");
    nothing_of_the_host_to_be_seen:
        "local seen = {} for k in pairs(server) do seen[#seen + 1] = k end table.sort(seen)
         return table.concat(seen, ' ')" => Answers("broadcast log");
}

// Answers and errors of other kinds.
attempts! {
    a_number: "return 1" => Fails("returned a number, not a string");
    a_fraction: "return 1.5" => Fails("returned a number, not a string");
    a_boolean: "return false" => Fails("returned a boolean, not a string");
    a_table: "return {}" => Fails("returned a table, not a string");
    a_function: "return type" => Fails("returned a function, not a string");
    a_long_answer: "local s = ('x'):rep(5e6) return #s == 5e6 and 'fine'" => Answers("fine");
    error_nil: "error(nil)" => Fails("error object is a nil value");
    error_table: "error({})" => Fails("error object is a table value");
    error_with_words:
        "error(setmetatable({}, { __tostring = function() return 'told' end }))" => Fails("told");
    error_in_many_lines: "error('a\\nb\\r\\n\\27[2Jc', 0)" => Fails("a b \u{fffd}[2Jc");
    error_without_end: "error(('x'):rep(1e6))" => Fails("more bytes");
    an_error_names_its_line: "\n\nlocal x = nil + 1" => Fails("evil.lua:5: attempt to perform");
    an_error_of_ours_names_its_line:
        "\n\nlocal s = ('x'):rep({})" => Fails("evil.lua:5: bad argument #2 to 'rep'");
    errors_caught_are_strings:
        "local _, why = pcall(function() local s = ('x'):find('[') return s end)
         return type(why) .. ' ' .. why"
        => Answers("string evil.lua:3: malformed pattern (missing ']')");
    no_error_of_ours_can_be_forged_into_more:
        "pcall(error, 'not enough memory', 0) pcall(error, 'out of time', 0) return 'fine'"
        => Answers("fine");
}

// The host.
attempts! {
    logging_without_end: "while true do server.log('x') logged = true end" => Time;
    broadcasting_nothing_without_end: "while true do server.broadcast('') end"
        => Fails("server.broadcast: over 1048576 bytes in one call");
    broadcasting_too_much: "server.broadcast(('x'):rep(1 << 20))"
        => Fails("evil.lua:3: server.broadcast: over 1048576 bytes");
    broadcasts_in_pcall: "while true do pcall(server.broadcast, '') end" => Time;
    reading_the_folder_without_end: "while true do folder.list() end" => Time;
    writing_without_end: "local s = ('x'):rep(2e6) while true do folder.write('x', s) end" => Time;
    a_client_rewritten: "client = nil return 'fine'" => Answers("fine");
}

#[test]
fn other_globals_of_lua_are_nil() {
    let names = [
        "io",
        "os",
        "package",
        "require",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "debug",
        "coroutine",
        "collectgarbage",
        "print",
        "warn",
        "module",
        "setfenv",
        "getfenv",
        "newproxy",
        "unpack",
        "_G",
        "native",
        "__mlua_hooks",
    ];
    for name in names {
        attempt(&format!("return type({name})"), &Answers("nil"));
    }
}

#[test]
fn globals_and_libraries_are_as_documented() {
    let source = "
        local there = {}
        for k in pairs(_ENV) do there[#there + 1] = k end
        for _, library in ipairs { 'base64', 'folder', 'server', 'string', 'table', 'utf8' } do
          for k in pairs(_ENV[library]) do there[#there + 1] = library .. '.' .. k end
        end
        table.sort(there)
        return { process_client_pkg = function() return table.concat(there, ' ') end }";
    let folder = Folder::new(&[("all.lua", source)]);
    let expected = "_VERSION assert base64 base64.decode base64.encode error folder folder.list \
        folder.read folder.remove folder.write getmetatable ipairs math next pairs pcall rawequal \
        rawget rawlen rawset select server server.broadcast server.log setmetatable string \
        string.byte string.char string.find string.format string.gmatch string.gsub string.len \
        string.lower string.match string.pack string.packsize string.rep string.reverse string.sub \
        string.unpack string.upper table table.concat table.insert table.move table.pack \
        table.remove table.sort table.unpack tonumber tostring type utf8 utf8.char \
        utf8.charpattern utf8.codepoint utf8.codes utf8.len utf8.offset xpcall";
    assert_eq!(ask(&mut folder.host(), "x"), answer(expected));
}

#[test]
fn byte_code_is_not_loaded() {
    let code = mlua::Lua::new().load("return {}").into_function().unwrap().dump(true);
    let folder = Folder::new(&[]);
    std::fs::write(folder.path("code.lua"), code).unwrap();
    let broken = folder.load().broken;
    assert!(broken[0].reason.contains("attempt to load a binary chunk"), "{broken:?}");
}

#[test]
fn loading_is_bounded_in_time_and_memory() {
    let files = [
        ("a.lua", "while true do end"),
        ("b.lua", "local s = 'x' while true do s = s .. s end"),
        ("c.lua", "return { server_inited = function() while true do end end }"),
        ("d.lua", "return setmetatable({}, { __index = function() while true do end end })"),
        ("e.lua", &format!("return {}{}", "{".repeat(1000), "}".repeat(1000))),
        ("f.lua", &format!("return {{}} --{}", "x".repeat(1 << 20))),
    ];
    let folder = Folder::new(&files);
    let mut options = folder.options();
    // Loading at start has ten budgets.
    options.budget = Duration::from_millis(30);
    let start = cpu_time();
    let loaded = PluginHost::load(&options, cpu_clock()).unwrap();
    assert!(cpu_time() - start < 3 * CALL_TIME_MAX);
    let broken: Vec<String> = loaded.broken.iter().map(ToString::to_string).collect();
    assert_eq!(
        broken,
        [
            "plugin a.lua: ran longer than 300 ms",
            "plugin b.lua: needs more than the 8388608 bytes of memory it may have",
            "plugin c.lua: ran longer than 300 ms",
            "plugin e.lua: C stack overflow",
            "plugin f.lua: larger than 1048576 bytes",
        ]
    );
    assert_eq!(loaded.host.names().collect::<Vec<_>>(), ["d"]);
}

/// Memory may run out anywhere: in Lua, in its binding, while an error is raised.
#[test]
fn out_of_memory_is_safe_at_any_allocation() {
    let source = "
        local kept = {}
        return { server_inited = function() server.log('up') end,
          process_client_pkg = function(data, client)
          local t = setmetatable({}, { __index = function() return data end })
          for i = 1, 20 do t[i] = data:gsub('.', '%0%0') .. client.id .. tostring(client.addr) end
          pcall(error, { data })
          xpcall(string.rep, function(e) kept[#kept + 1] = e end, data, {})
          kept[#kept + 1] = table.concat(t, ',') .. base64.encode(t[1]):upper()
          server.broadcast(data)
          for word in data:gmatch('%a+') do kept[#kept + 1] = { word } end
          if #kept > 300 then kept = {} end
          return ('%s'):format(data)
        end }";
    let folder = Folder::new(&[("all.lua", source)]);
    let mut answered = 0;
    for limit in (0..400_000).step_by(1_717) {
        let mut options = folder.options();
        options.memory_bytes_max = limit;
        let mut host = PluginHost::load(&options, cpu_clock()).unwrap().host;
        for size in [1, 10, 100, 1_000, 10_000] {
            answered += usize::from(ask(&mut host, "x ".repeat(size)) == answer("x ".repeat(size)));
            host.drain_broadcasts().for_each(drop);
        }
    }
    assert!(answered > 100, "{answered}");
}
