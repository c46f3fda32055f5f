//! `/metrics`: the counters in Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{self, Write};

use super::super::Server;
use super::super::transport::Transport;
use super::super::turn_times::TurnTimes;
use super::process::ProcessSample;
use crate::close_reason::{CloseReason, Refusal};
use crate::protocol::admin::Answer;
use crate::stats::ListenerStats;

/// A metric of each listener: its name, its help, and its value.
type ListenerMetric = (&'static str, &'static str, &'static str, fn(&ListenerStats) -> u64);

const LISTENER_METRICS: [ListenerMetric; 7] = [
    ("connections", "gauge", "Connections open now.", |s| s.connections.get()),
    ("accepted_total", "counter", "Connections accepted as clients.", |s| s.accepted.get()),
    ("messages_received_total", "counter", "Whole messages received, bad ones included.", |s| {
        s.frames_in.get()
    }),
    ("broadcasts_total", "counter", "Broadcasts accepted for delivery.", |s| s.broadcasts.get()),
    ("received_bytes_total", "counter", "Bytes read from sockets.", |s| s.bytes_in.get()),
    ("sent_bytes_total", "counter", "Bytes written to sockets.", |s| s.bytes_out.get()),
    (
        "slow_consumers_total",
        "counter",
        "Subscribers cut because they fell behind the broadcast log.",
        |s| s.slow_consumers.get(),
    ),
];

impl<T: Transport> Server<T> {
    pub(super) fn metrics_answer(&self) -> Answer {
        let mut text = String::with_capacity(16 * 1024);
        match self.write_metrics(&mut text) {
            Ok(()) => Answer {
                status: 200,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                body: text.into_bytes(),
            },
            Err(fmt::Error) => Answer::text(500, "the metrics cannot be written\n"),
        }
    }

    fn write_metrics(&self, out: &mut String) -> fmt::Result {
        let shared = &self.shared;
        family(out, "mynah_build_info", "gauge", "Version of the program, as a label.")?;
        writeln!(out, "mynah_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
        self.write_listeners(out)?;
        single(
            out,
            "mynah_buffered_bytes",
            "gauge",
            "Bytes that wait: unfinished input, unsent replies, broadcast logs, the table.",
            shared.memory.used(),
        )?;
        let limit = shared.memory.limit();
        single(out, "mynah_memory_limit_bytes", "gauge", "Most bytes that may wait.", limit)?;
        write_turns(out, self.schedule.budget.turns())?;
        let process = self.admin.process.as_ref().map(|process| process.sample());
        let sample = process.unwrap_or_default();
        single(
            out,
            "mynah_log_lines_dropped_total",
            "counter",
            "Lines of the log dropped because they came faster than they were written.",
            sample.log_lines_dropped,
        )?;
        self.write_results(out)?;
        #[cfg(feature = "plugins")]
        if let Some(plugins) = &shared.plugins {
            write_plugins(out, &plugins.metrics())?;
        }
        #[cfg(feature = "cluster")]
        self.write_cluster_metrics(out)?;
        write_process(out, &sample)
    }

    /// Metrics by listener, and by listener and reason.
    fn write_listeners(&self, out: &mut String) -> fmt::Result {
        let listeners = || self.listeners.iter().filter(|listener| listener.is_in_service());
        for (name, kind, help, value) in LISTENER_METRICS {
            family(out, &format!("mynah_{name}"), kind, help)?;
            for listener in listeners() {
                let value = value(&listener.room.stats);
                writeln!(
                    out,
                    "mynah_{name}{{listener=\"{}\"}} {value}",
                    Label(&listener.identity.name)
                )?;
            }
        }
        family(out, "mynah_refused_total", "counter", "Connections refused, by reason.")?;
        for listener in listeners() {
            for reason in Refusal::ALL {
                let (name, label) = (Label(&listener.identity.name), reason.label());
                let count = listener.room.stats.refused(reason);
                writeln!(
                    out,
                    "mynah_refused_total{{listener=\"{name}\",reason=\"{label}\"}} {count}"
                )?;
            }
        }
        family(out, "mynah_closed_total", "counter", "Connections of clients ended, by reason.")?;
        for listener in listeners() {
            for reason in CloseReason::ALL {
                let (name, label) = (Label(&listener.identity.name), reason.label());
                let count = listener.room.stats.closed(reason);
                writeln!(
                    out,
                    "mynah_closed_total{{listener=\"{name}\",reason=\"{label}\"}} {count}"
                )?;
            }
        }
        Ok(())
    }

    /// Handshakes and logins, by result.
    fn write_results(&self, out: &mut String) -> fmt::Result {
        let stats = &self.shared.stats.server;
        let handshakes = [
            ("ok", stats.handshakes_total - stats.resumptions_total),
            ("resumed", stats.resumptions_total),
            ("failed", stats.handshake_failures_total),
        ];
        let name = "mynah_tls_handshakes_total";
        family(out, name, "counter", "TLS handshakes, by result.")?;
        write_by(out, name, "result", &handshakes)?;
        #[cfg(feature = "accounts")]
        {
            let logins = [
                ("ok", stats.logins_total),
                ("failed", stats.login_failures_total),
                ("refused", stats.logins_refused_total),
            ];
            let name = "mynah_logins_total";
            family(out, name, "counter", "Attempts to log in or to register, by result.")?;
            write_by(out, name, "result", &logins)?;
        }
        Ok(())
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

pub(super) fn single(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    value: impl fmt::Display,
) -> fmt::Result {
    family(out, name, kind, help)?;
    writeln!(out, "{name} {value}")
}

fn write_by(out: &mut String, name: &str, label: &str, values: &[(&str, u64)]) -> fmt::Result {
    values
        .iter()
        .try_for_each(|(of, value)| writeln!(out, "{name}{{{label}=\"{}\"}} {value}", Label(of)))
}

fn write_turns(out: &mut String, turns: &TurnTimes) -> fmt::Result {
    single(out, "mynah_loop_turns_total", "counter", "Turns of the loop.", turns.count())?;
    let name = "mynah_loop_turn_seconds";
    family(out, name, "histogram", "Time of a turn of the loop, without waiting for events.")?;
    for (bound, count) in turns.cumulative() {
        writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {count}")?;
    }
    writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", turns.count())?;
    let sum = turns.sum_micros() as f64 / 1e6;
    writeln!(out, "{name}_sum {sum}\n{name}_count {}", turns.count())
}

#[cfg(feature = "plugins")]
fn write_plugins(
    out: &mut String,
    plugins: &[crate::protocol::plugin::PluginMetrics],
) -> fmt::Result {
    use crate::protocol::plugin::PluginMetrics;
    type Metric = (&'static str, &'static str, &'static str, fn(&PluginMetrics) -> f64);
    let metrics: [Metric; 4] = [
        ("calls_total", "counter", "Calls of hooks.", |p| p.calls as f64),
        ("failures_total", "counter", "Calls that failed.", |p| p.failures as f64),
        ("seconds_total", "counter", "Time spent in calls.", |p| p.time.as_secs_f64()),
        ("memory_bytes", "gauge", "Memory of its Lua state.", |p| p.memory_bytes as f64),
    ];
    for (name, kind, help, value) in metrics {
        family(out, &format!("mynah_plugin_{name}"), kind, help)?;
        for plugin in plugins {
            let value = value(plugin);
            writeln!(out, "mynah_plugin_{name}{{plugin=\"{}\"}} {value}", Label(&plugin.name))?;
        }
    }
    Ok(())
}

/// The metrics that every client library has.
fn write_process(out: &mut String, sample: &ProcessSample) -> fmt::Result {
    let ProcessSample {
        cpu_secs,
        resident_bytes,
        virtual_bytes,
        open_fds,
        max_fds,
        threads,
        started_at_secs,
        log_lines_dropped: _,
    } = *sample;
    let number = |value: Option<u64>| value.map(|value| value as f64);
    let metrics = [
        ("cpu_seconds_total", "counter", "Processor time, user and system.", cpu_secs),
        ("resident_memory_bytes", "gauge", "Resident memory.", number(resident_bytes)),
        ("virtual_memory_bytes", "gauge", "Address space.", number(virtual_bytes)),
        ("open_fds", "gauge", "Open files.", number(open_fds)),
        ("max_fds", "gauge", "Most open files.", number(max_fds)),
        ("threads", "gauge", "Threads.", number(threads)),
        ("start_time_seconds", "gauge", "Start, in seconds since 1970.", started_at_secs),
    ];
    metrics.iter().try_for_each(|(name, kind, help, value)| match value {
        Some(value) => single(out, &format!("process_{name}"), kind, help, value),
        None => Ok(()),
    })
}

/// The value of a label, escaped.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In pieces, because names with such characters are rare, and there are hundreds of labels.
        let mut rest = self.0;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
            let (plain, special) = rest.split_at(at);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes() {
                [b'\\', ..] => "\\\\",
                [b'"', ..] => "\\\"",
                _ => "\\n",
            })?;
            rest = &special[1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_value_is_escaped() {
        for (value, written) in [
            ("", ""),
            ("chat-2", "chat-2"),
            ("a\"b\\c\nd", "a\\\"b\\\\c\\nd"),
            ("\"\"чат\n", "\\\"\\\"чат\\n"),
        ] {
            assert_eq!(Label(value).to_string(), written);
        }
    }
}
