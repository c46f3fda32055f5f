//! Configuration files, listener URLs and options. Nothing panics; accepted values are in range and
//! mean the same however they are written; errors are one line that names the culprit.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mynah::internal::app::{Config, ConfigFile, Invocation, Settings};
use mynah::internal::cli::ListenerSpec;
use mynah::internal::escape::is_unprintable;
use mynah::internal::limits::{
    FRAME_LEN_LIMIT, KEEPALIVE_SECS_LIMIT, QUEUE_BYTES_FLOOR, QUEUE_BYTES_LIMIT, TIMEOUT_SECS_LIMIT,
};
use mynah::internal::protocol::chat::Lang;
use mynah::internal::protocol::{
    CommandProtocol, Protocol, ProtocolDefaults, ProtocolName, RawProtocol,
};

/// Name of the file in errors.
const FILE: &str = "mynah.ini";

/// Checks one input. Its first byte tells what follows: `f` a file, `u` a URL, `o` options, one a
/// line, anything else settings as `name=value`, one a line.
///
/// # Panics
///
/// When the verdict or an error's text is wrong.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind {
        b'f' => check_file(&text),
        b'u' => check_url(&text),
        b'o' => check_options(rest),
        _ => check_spellings(&text),
    }
}

fn check_file(text: &str) {
    let parsed = ConfigFile::parse(text, Path::new(FILE));
    match &parsed {
        Ok(file) => {
            check_ranges(&file.settings);
            file.listeners.iter().for_each(check_listener);
        }
        Err(why) => check_error_text(&why.to_string(), &format!("{FILE}: ")),
    }
    match (parsed, read_reference(text)) {
        (Ok(file), Ok(plain)) => assert_eq!(file, plain, "{text:?}"),
        (Err(why), Err(place)) => {
            let why = why.to_string();
            assert!(why.starts_with(&format!("{FILE}: {place}")), "{why:?} is not at {place:?}");
        }
        (file, plain) => panic!("{file:?}\nand not\n{plain:?}\nfrom\n{text:?}"),
    }
}

/// A reference reader. An error is the place that the reader's should name.
fn read_reference(text: &str) -> Result<ConfigFile, String> {
    let mut file = ConfigFile::default();
    let mut seen = Vec::new();
    // Host and port of a section: of [server], and those that [chat] has itself.
    let (mut server, mut server_at, mut chat) = (Vec::new(), 0, None);
    for Section { line, name: section, keys } in sections(text)? {
        let protocol = match section.split_whitespace().next() {
            Some("command") => Some(ProtocolName::Command),
            Some("prefixed") => Some(ProtocolName::Prefixed),
            Some("raw") => Some(ProtocolName::Raw),
            Some("chat") => Some(ProtocolName::Chat),
            Some("plugin") => ProtocolName::parse("plugin"),
            _ => None,
        };
        let mut spec = protocol.map(ListenerSpec::new);
        if seen.contains(&section) || (spec.is_none() && section != "server") {
            return Err(format!("line {line}: [{}]", shown(&section)));
        }
        let mut keys_seen = Vec::new();
        for (line, key, value) in keys {
            let known = match &mut spec {
                None if matches!(&*key, "host" | "port") => {
                    let set = ListenerSpec::new(ProtocolName::Chat).set(&key, &value);
                    server.push((key.clone(), value));
                    server_at = file.listeners.len();
                    set.is_ok()
                }
                Some(spec) => spec.set(&key, &value).is_ok(),
                None => {
                    !key.contains('-') && file.settings.set(&key.replace('_', "-"), &value).is_ok()
                }
            };
            if !known || keys_seen.contains(&key) {
                return Err(format!("line {line}: [{}] {}: ", shown(&section), shown(&key)));
            }
            keys_seen.push(key);
        }
        if section == "chat" {
            chat = Some((file.listeners.len(), keys_seen));
        }
        file.listeners.extend(spec);
        seen.push(section);
    }
    if chat.is_none() && !server.is_empty() {
        file.listeners.insert(server_at, ListenerSpec::new(ProtocolName::Chat));
        file.server_chat = Some(server_at);
        chat = Some((server_at, Vec::new()));
    }
    if let Some((at, own)) = chat {
        for (key, value) in server.iter().filter(|(key, _)| !own.contains(key)) {
            file.listeners[at].set(key, value).unwrap();
        }
    }
    Ok(file)
}

struct Section {
    line: usize,
    name: String,
    /// Line, key and value.
    keys: Vec<(usize, String, String)>,
}

/// Sections with their keys and values, read character by character. An error is the place that
/// the reader's should name.
fn sections(text: &str) -> Result<Vec<Section>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sections: Vec<Section> = Vec::new();
    for (at, content) in text.split('\n').enumerate() {
        let line = at + 1;
        let mut chars = content.chars().peekable();
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        while chars.next_if_eq(&'[').is_some() {
            let mut name: Vec<char> = Vec::new();
            loop {
                match chars.next() {
                    Some(']') => break,
                    Some(c) => name.push(c),
                    None => {
                        let start = format!("[{}", String::from_iter(name));
                        return Err(format!("line {line}: {}: ", shown(start.trim_end())));
                    }
                }
            }
            let name = String::from_iter(name).trim().to_owned();
            sections.push(Section { line, name, keys: Vec::new() });
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
        }
        if matches!(chars.peek(), None | Some('#' | ';')) {
            continue;
        }
        let mut key = String::new();
        loop {
            match chars.next() {
                Some('=' | ':') => break,
                Some(c) => key.push(c),
                None => return Err(format!("line {line}: not of the form ")),
            }
        }
        let key = key.trim().to_owned();
        let value = value(chars.collect::<String>().trim());
        let (false, Some(value)) = (key.is_empty(), value) else {
            return Err(format!("line {line}: "));
        };
        match sections.last_mut() {
            Some(section) => section.keys.push((line, key, value)),
            None => return Err(format!("line {line}: key '{}' ", shown(&key))),
        }
    }
    Ok(sections)
}

/// The value between the quotes or before the comment.
fn value(text: &str) -> Option<String> {
    let comes_to_nothing =
        |text: &str| matches!(text.trim().chars().next(), None | Some('#' | ';'));
    if text.starts_with(['"', '\'']) {
        let mut pieces = text.splitn(3, &text[..1]).skip(1);
        let value = pieces.next()?;
        return pieces.next().filter(|rest| comes_to_nothing(rest)).map(|_| value.to_owned());
    }
    let words = text.split_inclusive(char::is_whitespace);
    Some(words.take_while(|word| !word.starts_with(['#', ';'])).collect::<String>().trim().into())
}

/// Escapes as errors do: what does not print, and the characters that stand for bytes.
fn shown(text: &str) -> String {
    let show = |c: char| match u32::from(c) {
        c @ 0x10_ff00.. => format!("\\x{:02x}", c & 0xff),
        _ if is_unprintable(c) => c.escape_default().collect(),
        _ => c.to_string(),
    };
    text.chars().map(show).collect()
}

fn check_url(url: &str) {
    match ListenerSpec::parse_url(url) {
        Ok(spec) => {
            check_listener(&spec);
            // With its keys behind it the name is the same listener again.
            let query = url.find('?').map_or("", |at| &url[at..]);
            assert_eq!(ListenerSpec::parse_url(&format!("{spec}{query}")), Ok(spec));
        }
        Err(why) => check_error_text(&why.to_string(), ""),
    }
}

/// Checks that an accepted listener is in range, and that it displays as a URL of the same listener
/// without its keys.
fn check_listener(spec: &ListenerSpec) {
    let ListenerSpec { protocol, ref host, port, idle_secs, ref keys, .. } = *spec;
    #[cfg(feature = "tls")]
    assert!(spec.is_tls || (spec.cert.is_none() && spec.key.is_none()));
    assert!(idle_secs.is_none_or(|secs| secs <= TIMEOUT_SECS_LIMIT));
    let has_key = |name| keys.iter().any(|(key, _)| key == name);
    match spec.protocol(&ProtocolDefaults::default()) {
        Protocol::Command(CommandProtocol { payload_len_max }) => {
            assert!(payload_len_max <= FRAME_LEN_LIMIT);
            assert!(has_key("max_frame") || payload_len_max == 1 << 20);
        }
        Protocol::Raw(RawProtocol { prefix }) => {
            assert!(prefix.len() <= 1024);
            assert!(has_key("prefix") || prefix == b"Echo: ");
        }
        Protocol::Chat(chat) => assert!(has_key("lang") || chat.lang == Lang::En),
        _ => {}
    }
    let new = ListenerSpec::new(protocol);
    let without_keys = ListenerSpec {
        host: host.clone(),
        port,
        #[cfg(feature = "tls")]
        is_tls: spec.is_tls,
        ..new
    };
    assert_eq!(ListenerSpec::parse_url(&spec.to_string()), Ok(without_keys));
}

/// Checks the ranges of `--help` and docs/operations.md.
fn check_ranges(settings: &Settings) {
    let in_range = |value: Option<u64>, min: u64, max: u64| {
        assert!(value.is_none_or(|value| (min..=max).contains(&value)), "{settings:?}");
    };
    let bytes = |value: Option<usize>| value.map(|bytes| bytes as u64);
    let (queue_min, queue_max) = (QUEUE_BYTES_FLOOR as u64, QUEUE_BYTES_LIMIT as u64);
    in_range(bytes(settings.max_clients), 1, 1 << 31);
    in_range(settings.max_frame.map(u64::from), 0, u64::from(FRAME_LEN_LIMIT));
    in_range(settings.idle_timeout, 0, TIMEOUT_SECS_LIMIT);
    in_range(settings.tcp_keepalive, 0, KEEPALIVE_SECS_LIMIT);
    #[cfg(feature = "tls")]
    in_range(settings.handshake_timeout, 1, TIMEOUT_SECS_LIMIT);
    in_range(settings.frame_timeout, 1, TIMEOUT_SECS_LIMIT);
    in_range(bytes(settings.send_queue), queue_min, queue_max);
    in_range(bytes(settings.broadcast_log), queue_min, queue_max);
    in_range(settings.drain_timeout, 0, TIMEOUT_SECS_LIMIT);
    assert!(settings.log_file.as_ref().is_none_or(|file| !file.as_os_str().is_empty()));
}

/// Checks a command line, one argument a line. Arguments that could name a file to read are left
/// out.
fn check_options(text: &[u8]) {
    let args: Vec<&OsStr> = text
        .split(|byte| *byte == b'\n')
        .filter(|arg| is_harmless(arg))
        .map(OsStr::from_bytes)
        .collect();
    match Invocation::from_args(&args) {
        Ok(Invocation::Run(config)) => check_config(&config),
        Ok(Invocation::Help(text)) => assert!(text.contains("--listen")),
        Ok(Invocation::Version) => {}
        Ok(Invocation::Check(config)) => check_config(&config),
        Err(why) => check_error_text(&why.to_string(), ""),
    }
}

/// True if no `-c FILE` can hide in an argument.
fn is_harmless(arg: &[u8]) -> bool {
    match arg {
        [b'-', b'-', name @ ..] => name.starts_with(b"check") || !name.starts_with(b"c"),
        [b'-', cluster @ ..] => !cluster.contains(&b'c'),
        _ => true,
    }
}

/// Checks that limits and listeners made of settings in range are in range.
fn check_config(config: &Config) {
    check_ranges(&config.settings);
    assert!(!config.listeners.is_empty());
    for files in [0, 1, 40, 1024, 1 << 20, usize::MAX] {
        let (limits, lowered_from) = config.limits(files, 1 << 32);
        let wanted = config.settings.max_clients;
        assert!((1..=files.max(1)).contains(&limits.clients_max));
        assert_eq!(lowered_from, wanted.filter(|wanted| *wanted > limits.clients_max));
        assert!((8..=16).contains(&limits.lingering_max));
        assert!(limits.frame_timeout_ms >= 1000);
        assert!(limits.send_queue_high_water() > 0 && limits.broadcast_len_max() > 0);
        // A broadcast that is let in fits the log.
        assert!(limits.broadcast_len_max() + 5 <= limits.broadcast_log_bytes_max);
    }
    for spec in &config.listeners {
        check_listener(spec);
        let listener = config.listener(spec, spec.to_string());
        assert!(listener.idle_ms <= TIMEOUT_SECS_LIMIT * 1000);
        if let Protocol::Command(CommandProtocol { payload_len_max }) = listener.protocol {
            assert!(payload_len_max <= FRAME_LEN_LIMIT);
        }
    }
}

/// Checks that a setting means the same, and has the same error, on the command line and in a file.
fn check_spellings(text: &str) {
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else { continue };
        let mut settings = Settings::default();
        let set = settings.set(name, value);
        match &set {
            Ok(()) => check_ranges(&settings),
            Err(why) => check_error_text(&why.to_string(), ""),
        }
        // Only values that both can express: an INI value is trimmed, and may be quoted.
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        // These open a chat.
        let is_chat = matches!(name, "host" | "port");
        // The one is a flag on the command line, `yes` or `no` in a file; the other takes it back.
        let is_flag = matches!(name, "no-plugins" | "plugin-dir");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "+-./:_".contains(c);
        if !is_name || is_chat || is_flag || name.starts_with("c") || !value.chars().all(is_plain) {
            continue;
        }
        let key = name.replace('-', "_");
        let file = ConfigFile::parse(&format!("[server]\n{key} = {value}\n"), Path::new(FILE));
        let option = Invocation::from_args(&[format!("--{name}={value}")]);
        match set {
            Ok(()) => {
                assert_eq!(file.map(|file| file.settings), Ok(settings.clone()));
                let Ok(Invocation::Run(config)) = option else { panic!("{line}: {option:?}") };
                assert_eq!(config.settings, settings);
            }
            Err(why) => {
                let file = file.map_err(|why| why.to_string());
                let at = format!("{FILE}: line 2: [server] {key}: ");
                assert!(file.as_ref().is_err_and(|why| why.starts_with(&at)), "{line}: {file:?}");
                if SETTINGS.contains(&name) {
                    assert_eq!(file, Err(format!("{at}{why}")));
                    let option = option.map_err(|why| why.to_string());
                    assert_eq!(option, Err(format!("--{name}: {why}")));
                }
            }
        }
    }
}

/// Settings that options and file have in common.
const SETTINGS: [&str; 11] = [
    "max-clients",
    "max-frame",
    "idle-timeout",
    "tcp-keepalive",
    "frame-timeout",
    "send-queue",
    "broadcast-log",
    "drain-timeout",
    "plugin-dir",
    "log-level",
    "log-file",
];

/// Checks that an error is one line without control characters, and has a text behind `at`.
fn check_error_text(text: &str, at: &str) {
    assert!(text.len() > at.len() && text.starts_with(at), "{text:?}");
    assert!(!text.contains(char::is_control), "{text:?} is not one line");
}
