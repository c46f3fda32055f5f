//! The example configuration, `docs/deploy/mynah.conf`: every key, commented out, with its meaning and
//! its default.

use std::fmt::Write;

use super::keys::{self, ListenerKey, Of, listener_keys};
use super::man::capital;
use crate::cli::options::OptionSpec;
use crate::cli::server_options;
use crate::protocol::ProtocolName;

/// Columns of a comment.
const COLUMNS: usize = 80;

const HEAD: &str = "\
# Configuration of mynah(1); mynah.conf(5) says more, and
#     mynah -c FILE --check
# says what is wrong with it, or what would open.
#
# A line that begins with # and a blank explains. One that begins with # alone is
# a setting, not in force: it shows the default, or an example where the text
# names another default. Remove the # to set it. Behind a value a blank and # begin
# a comment.

";

const LISTENERS: &str = "
# Listeners
#
# A section each, named by its protocol. One of the same kind needs a name of its
# own behind that, as in [chat lobby]. Without any, the first four below are
# open on loopback, and [plugin] where there are plugins; with any, only those
# that stand here: to add one, name those you want to keep.
";

/// The file.
pub(super) fn text() -> String {
    let mut text = format!("{HEAD}[server]\n");
    for (title, specs) in server_options::GROUPS {
        let is_setting = |spec: &&OptionSpec| {
            server_options::settings().iter().any(|known| known.name == spec.name)
        };
        let specs: Vec<&OptionSpec> = specs.iter().filter(is_setting).collect();
        if !specs.is_empty() {
            let _ = write!(text, "\n# {title}\n");
        }
        for spec in specs {
            text.push('\n');
            add_setting(&mut text, spec);
        }
    }
    text.push_str(LISTENERS);
    let mut explained = Vec::new();
    for protocol in ProtocolName::ALL {
        let _ = write!(text, "\n#[{protocol}]\n");
        let (name, port) = (protocol.as_str(), protocol.default_port());
        add_keys(&mut text, *protocol, (name, port), &[Of::Tcp, Of::TcpOption], &mut explained);
    }
    text.push_str("\n# Over TLS.\n#[chat+tls public]\n");
    add_keys(&mut text, ProtocolName::Chat, ("public", 5443), &[Of::Tcp, Of::Tls], &mut explained);
    text.push_str("\n# On a Unix socket.\n#[chat+unix local]\n");
    add_keys(
        &mut text,
        ProtocolName::Chat,
        ("local", 0),
        &[Of::UnixPath, Of::Unix],
        &mut explained,
    );
    text
}

fn add_setting(text: &mut String, spec: &OptionSpec) {
    let unit = match spec.value {
        "BYTES" if spec.name.ends_with("-rate") => " In bytes a second.",
        "BYTES" => " In bytes.",
        "SECS" => " In seconds.",
        "MS" => " In milliseconds.",
        "" => " yes or no.",
        _ => "",
    };
    comment(text, &format!("{}.{unit}", capital(&spec.help_text())));
    if let Some(shown) = keys::setting(spec.name) {
        let _ = writeln!(text, "#{} = {}", spec.name.replace('-', "_"), shown.value());
    }
}

/// Adds the keys of a listener: those of its transport, those of all, and its protocol's. A key is
/// explained once.
fn add_keys(
    text: &mut String,
    protocol: ProtocolName,
    (name, port): (&str, u16),
    transport: &[Of],
    explained: &mut Vec<&'static str>,
) {
    let has = |key: &&ListenerKey| match key.of {
        Of::All => true,
        Of::Protocols(names) => names.contains(&protocol.as_str()),
        of => transport.contains(&of),
    };
    for key in listener_keys().filter(has) {
        if !explained.contains(&key.name) {
            explained.push(key.name);
            comment(text, &format!("{}.", capital(key.help)));
        }
        let value = match key.name {
            "port" => port.to_string(),
            "name" => name.to_owned(),
            "idle" => protocol.idle_secs().to_string(),
            "proxy" if transport.contains(&Of::Unix) => "unix".to_owned(),
            _ => key.shown.to_owned(),
        };
        let _ = writeln!(text, "#{} = {value}", key.name);
    }
}

/// Appends `words` as comment lines.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::app::{Config, ConfigFile, Invocation};
    use crate::cli::ListenerSpec;

    /// The file with every setting in force.
    fn uncommented() -> String {
        let is_setting = |line: &str| !line.is_empty() && !line.starts_with(' ');
        let line = |line: &str| match line.strip_prefix('#') {
            Some(rest) if is_setting(rest) => rest.to_owned(),
            _ => line.to_owned(),
        };
        text().lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn parse(text: &str) -> ConfigFile {
        ConfigFile::parse(text, Path::new("mynah.conf")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn config(file: ConfigFile) -> Config {
        let Ok(Invocation::Run(mut config)) = Invocation::from_args::<&str>(&[]) else { panic!() };
        config.settings = file.settings;
        config
    }

    #[test]
    fn example_as_shipped_sets_nothing() {
        assert_eq!(parse(&text()), ConfigFile::default());
    }

    #[test]
    fn example_has_every_key_and_each_is_valid() {
        let text = uncommented();
        let file = parse(&text);
        let server = text.split("\n[command]").next().unwrap();
        for spec in server_options::settings() {
            let line = format!("\n{} = ", spec.name.replace('-', "_"));
            assert_eq!(server.matches(&line).count(), 1, "{}", spec.name);
        }
        for key in listener_keys() {
            assert!(text.contains(&format!("\n{} = ", key.name)), "{}", key.name);
        }
        let urls: Vec<String> = file.listeners.iter().map(ToString::to_string).collect();
        let mut expected: Vec<String> =
            ProtocolName::ALL.iter().map(|name| ListenerSpec::new(*name).to_string()).collect();
        expected.push("chat+tls://127.0.0.1:5443".to_owned());
        expected.push("chat+unix:///run/mynah/chat.sock".to_owned());
        assert_eq!(urls, expected);
    }

    #[test]
    fn defaults_of_the_example_change_nothing() {
        let text = uncommented();
        let shown = |name: &str| keys::setting(name).unwrap();
        let is_example = |line: &&str| {
            let key = line.split(" = ").next().unwrap().replace('_', "-");
            let known = server_options::settings().iter().any(|spec| spec.name == key);
            known && matches!(shown(&key), keys::Shown::Example(_))
        };
        let server = text.split("\n[command]").next().unwrap();
        let defaults: Vec<&str> = server.lines().filter(|line| !is_example(line)).collect();
        let config_of = |text: &str| config(parse(text));
        let (with, without) = (config_of(&defaults.join("\n")), config_of(""));
        assert_eq!(with.limits(1 << 20, 1 << 40), without.limits(1 << 20, 1 << 40));
        assert_eq!(with.keepalive(), without.keepalive());
        assert_eq!(with.log_level(), without.log_level());
        assert_eq!(with.settings.admission, without.settings.admission);
        let listener = |config: &Config| {
            let spec = ListenerSpec::new(ProtocolName::Command);
            format!("{:?}", config.listener(&spec, String::new()))
        };
        assert_eq!(listener(&with), listener(&without));
    }
}
