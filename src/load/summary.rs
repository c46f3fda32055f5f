//! The summary: a run in some dozen lines, to be pasted into a ticket.

use std::fmt::{self, Write};
use std::time::Duration;

use serde_json::Number;

use super::format::{bytes, count, duration, plural, rate, seconds, time};
use super::record::{
    Connections, LoadModel, ModeName, Part, Record, Settings, TargetRecord, Verdict,
};
use super::resources::{State, TICKS_MIN};
use super::stage_summary;
use super::stats::{Percentiles, TlsStats};
use super::summary_line::{EscapedText, SummaryLine};
use super::warnings::{self, percent};

/// Text for a server whose memory did not grow.
const NOT_MEASURED: &str = "not measured: the server's memory did not grow";

/// Most characters of a request or an answer that are shown.
const SETTING_CHARS_MAX: usize = 60;

/// Most parts with a line of their own.
const PARTS_MAX: usize = 16;

/// Width of the labels.
const LABEL: usize = 12;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title())?;
        for SummaryLine { label, text } in self.lines() {
            writeln!(f, "  {label:LABEL$} {text}")?;
        }
        Ok(())
    }
}

impl Record {
    pub(super) fn title(&self) -> String {
        let (mode, version) = (self.mode.as_str(), EscapedText(&self.host.version));
        format!("mynah-load {version}: {mode} against {}", self.urls())
    }

    /// URLs of all targets.
    pub(super) fn urls(&self) -> String {
        EscapedText(&self.target_urls().join(", ")).to_string()
    }

    /// All lines below the title.
    pub(super) fn lines(&self) -> Vec<SummaryLine> {
        let mut lines = vec![line("load", self.load_line() + &self.processes())];
        lines.extend(self.exchange_line());
        lines.push(line("connections", self.connections_line()));
        lines.push(line("connect", percentiles(self.connect_us)));
        lines.extend(self.tls.as_ref().map(|tls| line("TLS", tls_line(tls))));
        lines.extend(stage_summary::lines(self));
        if self.settings.load != LoadModel::None {
            lines.push(line("requests", self.requests_line()));
            lines.extend(self.target_lines());
            lines.push(line("latency", percentiles(self.latency_us)));
            lines.push(line("", self.how_measured()));
            lines.extend(self.left_late_line());
        }
        let (sent, received) = (bytes(self.bytes.sent), bytes(self.bytes.received));
        lines.push(line("bytes", format!("{sent} sent, {received} received")));
        if let Some(pid) = self.settings.server_pid {
            lines.push(line("server", self.server_line(pid)));
            lines.extend(self.server_cpu_line());
        }
        lines.extend(self.kernel_lines());
        lines.extend(self.part_lines());
        lines.extend(self.tester_line());
        lines.extend(self.lag_line());
        lines.extend(self.machine_line());
        lines.extend(self.error_lines());
        lines.push(line("host", self.host_line()));
        let warnings = &self.verdict.warnings;
        lines.extend(warnings.iter().map(|text| line("warning", EscapedText(text).to_string())));
        let mut verdict = match &self.verdict {
            Verdict { met: true, .. } => "met".to_owned(),
            Verdict { misses, .. } => {
                EscapedText(&format!("MISSED: {}", misses.join("; "))).to_string()
            }
        };
        if let Some(limit) = warnings::limit_sentence(self) {
            verdict = format!("{verdict}; {limit}");
        }
        lines.push(line("verdict", verdict));
        lines
    }

    fn load_line(&self) -> String {
        let settings = &self.settings;
        let number = |n: Option<u32>| count(n.unwrap_or_default().into());
        let connections = count(settings.connections.into());
        let hold = set_time(&settings.hold_secs);
        let duration = set_time(&settings.duration_secs);
        let size = settings.size.unwrap_or_default();
        let per_sec = settings.requests_per_sec.map(count);
        match self.mode {
            ModeName::Idle => {
                let probes = match per_sec {
                    Some(rate) => format!("{rate} probes/s"),
                    None => "no probes".to_owned(),
                };
                format!("{connections} connections held for {hold}, {probes}")
            }
            ModeName::Echo => {
                let rate = match per_sec {
                    Some(rate) => format!("{rate} requests/s"),
                    None => "as fast as answers come".to_owned(),
                };
                let depth = settings.depth.unwrap_or_default();
                format!(
                    "{connections} connections, depth {depth}, {size} bytes, {duration}, {rate}"
                )
            }
            ModeName::Fanout => {
                let (subscribers, batch) =
                    (number(settings.subscribers), settings.batch.unwrap_or_default());
                format!("{subscribers} subscribers, {size} bytes, {batch} a batch, {duration}")
            }
            ModeName::Storm => self.storm_load(),
            ModeName::Wake => {
                let sample = number(settings.sample);
                format!("{connections} connections asleep for up to {hold}, {sample} of them woken")
            }
        }
    }

    fn storm_load(&self) -> String {
        let settings = &self.settings;
        let bystanders = settings.bystanders.unwrap_or_default();
        let connections = count(settings.connections.saturating_sub(bystanders).into());
        let how = if settings.orderly == Some(true) { "in order" } else { "by reset" };
        let times = match settings.times.unwrap_or_default() {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            times => format!("{} times", count(times.into())),
        };
        let back = if stage_summary::is_spread(self) {
            format!("over {}", set_time(&settings.spread_secs))
        } else {
            "at once".to_owned()
        };
        let retried = match settings.backoff {
            Some(false) => "at once",
            _ => "after a backoff",
        };
        let asked = settings.requests_per_sec.map(|rate| format!(", {} requests/s", count(rate)));
        format!(
            "{connections} connections dropped {how} {times}, back {back}, retried {retried}; {}{}",
            plural(bystanders.into(), "bystander"),
            asked.unwrap_or_default()
        )
    }

    /// The request and the answer that were given.
    fn exchange_line(&self) -> Option<SummaryLine> {
        let Settings { send, expect, expect_bytes, greeting, .. } = &self.settings;
        let mut parts = Vec::new();
        parts.extend(greeting.as_deref().map(|text| format!("greeting up to {}", quote(text))));
        parts.extend(send.as_deref().map(quote));
        parts.extend(expect.as_deref().map(|text| format!("answered by {}", quote(text))));
        parts.extend(expect_bytes.map(|len| format!("answered by {} bytes", count(len.into()))));
        (!parts.is_empty()).then(|| line("exchange", parts.join(", ")))
    }

    fn connections_line(&self) -> String {
        let Connections { wanted, opened, failed, dropped, held } = self.connections;
        let idle = self.mode == ModeName::Idle;
        let speed = if idle { format!(" ({}/s)", rate(self.rate_per_sec)) } else { String::new() };
        let mut text = format!(
            "{} wanted, {} opened in {}{speed}, {} failed, {} dropped",
            count(wanted),
            count(opened),
            seconds(self.ramp_secs),
            count(failed),
            count(dropped),
        );
        if idle && self.measured_secs > 0.0 {
            let (held, time) = (count(held), seconds(self.measured_secs));
            // Writing to a string cannot fail.
            let _ = write!(text, "; {held} open after {time} of hold");
        }
        text
    }

    fn requests_line(&self) -> String {
        let (sent, answered) = (count(self.requests.sent), count(self.requests.answered));
        let per_sec = rate(self.rate_per_sec);
        let mut text = match self.mode {
            ModeName::Echo => format!("{sent} sent, {answered} answered ({per_sec}/s)"),
            ModeName::Fanout => {
                let deliveries = count(self.deliveries);
                format!("{sent} published, {deliveries} deliveries ({per_sec}/s)")
            }
            _ => format!("{sent} sent, {answered} answered"),
        };
        if self.requests.unanswered > 0 {
            let _ = write!(text, ", {} without an answer", count(self.requests.unanswered));
        }
        text
    }

    /// Figures of each of several targets; the first has the publisher.
    fn target_lines(&self) -> Vec<SummaryLine> {
        let text = |target: &TargetRecord| {
            let subscribers = plural(target.opened, "subscriber");
            let (deliveries, lost) = (count(target.deliveries), count(target.lost));
            let url = EscapedText(&target.target);
            format!("{url}: {deliveries} delivered to {subscribers}, {lost} lost")
        };
        let subscribers_at = self.targets.iter().flatten().skip(1);
        subscribers_at.map(|target| line("target", text(target))).collect()
    }

    /// The load model, and the time from which latencies are measured.
    fn how_measured(&self) -> String {
        match self.settings.load {
            LoadModel::Open => match self.mode {
                ModeName::Wake => "first requests after a sleep: from when each left".to_owned(),
                ModeName::Storm => {
                    "of the bystanders, open loop: from the time each was meant to leave".to_owned()
                }
                _ => "open loop: from the time each was meant to leave".to_owned(),
            },
            _ if self.targets.is_some() => "closed loop: from when a batch left to each delivery; \
                 the next leaves when all have it, or none came for 5 s"
                .to_owned(),
            _ if self.mode == ModeName::Fanout => {
                "closed loop: from when a batch left to each delivery; \
                 the next leaves when all have it"
                    .to_owned()
            }
            _ => "closed loop: a request leaves when one is answered, \
                  so a stall delays those behind it unseen"
                .to_owned(),
        }
    }

    fn server_line(&self, pid: u32) -> String {
        let server = &self.server;
        let (Some(before), Some(held)) = (server.rss_bytes_before, server.rss_bytes_held) else {
            return format!("process {pid} could not be watched to the end");
        };
        let (was, is, number) = (bytes(before), bytes(held), count(self.connections.held));
        let each = match server.bytes_per_connection {
            Some(each) => format!("{each} bytes a connection"),
            None => NOT_MEASURED.to_owned(),
        };
        let mut text = format!("process {pid}: {was} before, ");
        // The requests of the phase may have taken as much as the connections.
        if let Some(opened) = server.rss_bytes_opened.filter(|opened| *opened != held) {
            let _ = write!(text, "{} once all were open, ", bytes(opened));
        }
        let _ = write!(text, "{is} with {number} connections, {each}");
        if let Some(closed) = server.rss_bytes_closed {
            let _ = write!(text, "; {} once they were closed", bytes(closed));
        }
        text
    }

    /// `, 3 processes`; empty of one.
    fn processes(&self) -> String {
        let jobs = self.settings.jobs;
        if jobs > 1 { format!(", {} processes", count(jobs.into())) } else { String::new() }
    }

    /// Figures of each part of a run, by which one that differs is found.
    fn part_lines(&self) -> Vec<SummaryLine> {
        let parts = self.parts.as_deref().unwrap_or_default();
        let text = |part: &Part| {
            let mut text = EscapedText(&part.name).to_string();
            let _ = write!(text, ": {}", plural(part.connections.opened, "connection"));
            if self.mode == ModeName::Fanout {
                let _ = write!(text, ", {} deliveries", count(part.deliveries));
            } else if self.settings.load != LoadModel::None {
                let _ = write!(text, ", {} answered", count(part.requests.answered));
            }
            if part.latency_us.p99.is_some() {
                let _ = write!(text, ", p99 {}", duration(part.latency_us.p99));
            }
            if part.errors > 0 {
                let _ = write!(text, ", {}", plural(part.errors, "error"));
            }
            line("part", text)
        };
        let mut lines: Vec<SummaryLine> = parts.iter().take(PARTS_MAX).map(text).collect();
        if let Some(more) = parts.len().checked_sub(PARTS_MAX + 1) {
            lines.push(line("", format!("and {} more", count(more as u64 + 1))));
        }
        lines
    }

    /// Processor time of the server.
    fn server_cpu_line(&self) -> Option<SummaryLine> {
        let server = &self.server;
        let (user, all, busy) = (server.cpu_user_secs?, server.cpu_secs()?, server.busy_share?);
        let user_share = if all > 0.0 { user / all } else { 0.0 };
        let per = |us: f64, what: &str| {
            let (user, system) = (us * user_share, us * (1.0 - user_share));
            let [us, user, system] = [us, user, system].map(|us| duration(Some(us)));
            format!("{us} of CPU a {what} ({user} user, {system} system)")
        };
        let is_fanout = self.mode == ModeName::Fanout;
        let figure = match (server.cpu_us_per_request, server.cpu_us_per_connection_sec) {
            (Some(us), _) => per(us, if is_fanout { "delivery" } else { "request" }),
            (None, Some(us)) => per(us, "connection and second"),
            (None, None) if !server.has_enough_ticks() => {
                let ticks = server.cpu_tick_secs.map(|tick| seconds(tick * TICKS_MIN));
                let least = ticks.unwrap_or_default();
                format!("CPU a request not measured: it used {}, less than {least}", seconds(all))
            }
            (None, None) => format!("{} of CPU", seconds(all)),
        };
        Some(line("", format!("{figure}; busy for {} of the time", percent(busy))))
    }

    /// The kernel's part, where it is known. Few connections without a process to watch have none.
    fn kernel_lines(&self) -> Vec<SummaryLine> {
        let kernel = &self.kernel;
        let is_asked = self.mode == ModeName::Idle || self.settings.server_pid.is_some();
        if let Some(reason) = &kernel.not_measured {
            let text = format!("not measured: {}", EscapedText(reason));
            return if is_asked { vec![line("kernel", text)] } else { Vec::new() };
        }
        let ends = if kernel.ends == 2 { "both ends" } else { "this end" };
        let all = kernel.unreclaimable_bytes_per_connection;
        let mut known = Vec::new();
        match (kernel.slab_bytes_per_connection, all) {
            (Some(slab), _) => known.push(format!("{slab} bytes of slabs a connection ({ends})")),
            (None, Some(all)) => known.push(format!(
                "{all} bytes of slabs a connection ({ends}), by the growth of all that the machine has"
            )),
            (None, None) => {}
        }
        known.extend(self.buffers_text(State::Held).map(|text| format!("{text} of buffers")));
        let data = self.buffers_text(State::Data).filter(|_| self.settings.load != LoadModel::None);
        known.extend(data.map(|text| format!("{text} with most data under way")));
        if known.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![line("kernel", known.join(", "))];
        lines.extend(self.connecting_line());
        lines.extend(self.sockets_line());
        lines
    }

    /// Memory in buffers a connection in one state: `under 110 bytes` where it is less than the
    /// kernel's own reserve.
    pub(super) fn buffers_text(&self, state: State) -> Option<String> {
        let kernel = &self.kernel;
        let found = kernel.state(state).filter(|found| found.connections > 0)?;
        let growth = found.buffer_bytes?.saturating_sub(kernel.buffer_bytes_before?);
        let each = |bytes: u64| count(bytes.div_ceil(found.connections));
        let reserve = kernel.buffer_reserve_bytes.unwrap_or(0);
        let is_known = growth > reserve;
        Some(if is_known { each(growth) } else { format!("under {}", each(reserve)) } + " bytes")
    }

    fn connecting_line(&self) -> Option<SummaryLine> {
        let found = self.kernel.state(State::Connecting)?;
        let (number, each) = (count(found.connections), found.slab_bytes_per_connection?);
        Some(line("", format!("{each} bytes of slabs a connect, with {number} pending")))
    }

    /// Numbers of sockets, as an independent count of what was held, and what is left of them.
    fn sockets_line(&self) -> Option<SummaryLine> {
        let before = self.kernel.sockets_before?;
        let held = self.kernel.state(State::Held)?.sockets?;
        let closed = self.kernel.state(State::Closed)?.sockets?;
        let more = |now: u64, before: u64| count(now.saturating_sub(before));
        Some(line(
            "",
            format!(
                "{} sockets more than before; after the end {}, {} orphans, {} in TIME_WAIT",
                more(held.in_use, before.in_use),
                more(closed.in_use, before.in_use),
                more(closed.orphans, before.orphans),
                more(closed.time_wait, before.time_wait),
            ),
        ))
    }

    /// Processor time and memory of the tester.
    fn tester_line(&self) -> Option<SummaryLine> {
        let tester = &self.tester;
        let mut known = Vec::new();
        if let (Some(busy), Some(user), Some(system)) =
            (tester.busy_share, tester.cpu_user_secs, tester.cpu_system_secs)
        {
            let (user, system) = (seconds(user), seconds(system));
            let busy = percent(busy);
            known.push(format!("busy for {busy} of the time ({user} user, {system} system)"));
        }
        known.extend(tester.bytes_per_connection.map(|each| format!("{each} bytes a connection")));
        (!known.is_empty()).then(|| line("tester", known.join(", ")))
    }

    /// How late the tester's own loop was: latencies include it.
    fn lag_line(&self) -> Option<SummaryLine> {
        late_text(self.tester_lag_us).map(|text| line("tester lag", text))
    }

    /// How late due requests left.
    fn left_late_line(&self) -> Option<SummaryLine> {
        late_text(self.left_late_us).map(|text| line("left late by", text))
    }

    /// Load of the machine by others.
    fn machine_line(&self) -> Option<SummaryLine> {
        let machine = &self.machine;
        let shares = [
            (machine.busy_by_others_share, "of the processors used by other programs"),
            (machine.pressure_share, "of the time a program waited for one"),
            // A machine of its own has none.
            (machine.steal_share.filter(|share| *share >= 0.001), "withheld by the hypervisor"),
        ];
        let known: Vec<String> = shares
            .into_iter()
            .filter_map(|(share, what)| Some(format!("{} {what}", percent(share?))))
            .collect();
        (!known.is_empty()).then(|| line("machine", known.join(", ")))
    }

    fn error_lines(&self) -> Vec<SummaryLine> {
        let mut lines = Vec::new();
        for (name, number) in &self.errors {
            let times = self.error_times.get(name);
            let when = times.map_or_else(String::new, |(first, last)| {
                let (first, last) = (seconds(*first), seconds(*last));
                if first == last {
                    format!(", at {first}")
                } else {
                    format!(", from {first} to {last}")
                }
            });
            let name = EscapedText(name);
            let text = format!("{name} {} times{when}", count(*number));
            lines.push(line("error", text.replace(" 1 times", " once")));
        }
        if lines.is_empty() {
            lines.push(line("errors", "none".to_owned()));
        }
        if let Some(reason) = &self.reason {
            lines.push(line("", EscapedText(reason).to_string()));
        }
        if let Some(refusal) = &self.refusal {
            lines.push(line("", format!("the target said: {}", EscapedText(refusal))));
        }
        lines
    }

    fn host_line(&self) -> String {
        let kernel = self.host.kernel.as_deref().unwrap_or("unknown kernel");
        let processors = plural(self.host.processors as u64, "processor");
        let model = self.host.processor_model.as_deref().unwrap_or("unknown model");
        let (kernel, arch, model) =
            (EscapedText(kernel), EscapedText(&self.host.arch), EscapedText(model));
        format!("{kernel}, {arch}, {processors} ({model})")
    }
}

/// Formats a time that was set, in seconds.
fn set_time(secs: &Option<Number>) -> String {
    let secs = secs.as_ref().and_then(Number::as_f64).unwrap_or_default();
    time(Duration::try_from_secs_f64(secs).unwrap_or_default())
}

/// The beginning of a setting that is escaped, quoted.
fn quote(text: &str) -> String {
    match text.char_indices().nth(SETTING_CHARS_MAX) {
        Some((end, _)) => format!("\"{}\"…", EscapedText(&text[..end])),
        None => format!("\"{}\"", EscapedText(text)),
    }
}

fn line(label: &'static str, text: String) -> SummaryLine {
    SummaryLine { label, text }
}

fn tls_line(tls: &TlsStats) -> String {
    let (handshakes, resumed) = (count(tls.handshakes), count(tls.resumed));
    let mut text = format!("{handshakes} handshakes, {resumed} of them resumed");
    for agreed in [&tls.version, &tls.cipher_suite].into_iter().flatten() {
        text.push_str(", ");
        text.push_str(&EscapedText(agreed).to_string());
    }
    text
}

fn late_text(p: Percentiles) -> Option<String> {
    let [p50, p99, max] = [p.p50?, p.p99?, p.max?].map(|us| duration(Some(us)));
    Some(format!("p50 {p50}, p99 {p99}, max {max}"))
}

fn percentiles(p: Percentiles) -> String {
    let Percentiles { p50, p90, p99, p999, max } = p;
    let [p50, p90, p99, p999, max] = [p50, p90, p99, p999, max].map(duration);
    format!("p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}")
}

#[cfg(test)]
mod tests {
    use super::super::engine::Run;
    use super::super::fixtures::{run, with_record};
    use super::super::stats::TargetCounts;

    fn summary(args: &str, run: Run) -> Vec<String> {
        let mut lines = Vec::new();
        with_record(args, run, |record| {
            lines = record.to_string().lines().map(str::to_owned).collect()
        });
        lines
    }

    #[test]
    fn idle_summary_has_all_its_lines() {
        let args = "idle --target command://h:1 --connections 10 --probe 5 --server-pid 42";
        let lines = summary(args, run());
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(lines[0], format!("mynah-load {version}: idle against command://h:1"));
        assert_eq!(lines[1], "  load         10 connections held for 10 s, 5 probes/s");
        assert_eq!(
            lines[2],
            "  connections  10 wanted, 9 opened in 0.50 s (18/s), 1 failed, 1 dropped; \
             8 open after 2.00 s of hold"
        );
        assert!(lines[3].starts_with("  connect      p50 50.0 µs, p90 50.0 µs"), "{}", lines[3]);
        assert_eq!(lines[4], "  requests     101 sent, 100 answered, 1 without an answer");
        assert!(lines[5].starts_with("  latency      p50 50."), "{}", lines[5]);
        assert!(lines[6].contains("open loop: from the time each was meant to leave"));
        assert_eq!(lines[7], "  bytes        1000 B sent, 1.95 KiB received");
        assert_eq!(
            lines[8],
            "  server       process 42: 976.56 KiB before, 1.03 MiB with 8 connections, \
             10000 bytes a connection"
        );
        assert_eq!(lines[9], "  kernel       not measured: fewer than 500 sockets");
        assert_eq!(lines[10], "  tester lag   p50 200.1 µs, p99 200.1 µs, max 200.1 µs");
        assert_eq!(lines[11], "  error        ECONNREFUSED once, at 0.00 s");
        assert_eq!(lines[12], "  error        EOF once, at 2.00 s");
        assert!(lines[13].starts_with("  host         "), "{}", lines[13]);
        assert_eq!(lines[14], "  verdict      MISSED: 2 errors, --max-errors allows 0");
        assert_eq!(lines.len(), 15);
    }

    #[test]
    fn given_exchange_has_a_line() {
        let line = |options: &str| {
            let lines = summary(&format!("echo tcp://h:1 -c 10 {options}"), run());
            lines.into_iter().find(|line| line.starts_with("  exchange     "))
        };
        let ping = line(r"--send PING\r\n --expect +PONG\r\n --greeting \n").unwrap();
        let text = r#"greeting up to "\n", "PING\r\n", answered by "+PONG\r\n""#;
        assert_eq!(ping, format!("  exchange     {text}"));
        let long = line(&format!("--send {} --expect-bytes 4Ki", "x".repeat(100))).unwrap();
        let text = format!("\"{}\"…, answered by 4,096 bytes", "x".repeat(60));
        assert_eq!(long, format!("  exchange     {text}"));
        let lines = summary("echo command://h:1", run()).join("\n");
        assert!(!lines.contains("exchange"), "{lines}");
    }

    #[test]
    fn warm_server_has_no_figure() {
        let warm = Run { rss_held: Some(1_000_100), ..run() };
        let args = "idle --target command://h:1 --connections 10 --server-pid 42";
        let text = summary(args, warm).join("\n");
        assert!(text.contains("8 connections, not measured: the server's memory did not grow\n"));
    }

    #[test]
    fn late_tester_is_named() {
        let mut late = run();
        late.stats.record_timer_lag(1_500_000_000, 10_000_000);
        let text = summary("idle command://h:1 --probe 5", late).join("\n");
        let expected = "the latencies are the tester's as much as the target's\n  verdict ";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn errors_have_their_times() {
        let mut run = run();
        run.stats.record_error("EOF", 2_001_000_000);
        run.stats.record_error("ECONNREFUSED", 3_000_000_000);
        let text = summary("idle --target tcp://h:1 --connections 10", run).join("\n");
        assert!(text.contains("ECONNREFUSED 2 times, from 0.00 s to 3.00 s\n"), "{text}");
        assert!(text.contains("EOF 2 times, at 2.00 s\n"), "{text}");
    }

    #[test]
    fn several_targets_have_a_line_each() {
        let counts = |lost| TargetCounts { opened: 1, deliveries: 2_000, lost };
        let run = Run { targets: vec![counts(0), counts(0), counts(3)], ..run() };
        let lines = summary("fanout chat://h:1 chat://h:2 chat://h:3", run);
        let (version, urls) = (env!("CARGO_PKG_VERSION"), "chat://h:1, chat://h:2, chat://h:3");
        assert_eq!(lines[0], format!("mynah-load {version}: fanout against {urls}"));
        assert_eq!(lines[5], "  target       chat://h:2: 2,000 delivered to 1 subscriber, 0 lost");
        assert_eq!(lines[6], "  target       chat://h:3: 2,000 delivered to 1 subscriber, 3 lost");
    }

    #[test]
    fn closed_loop_is_named() {
        let args = "echo --target raw://h:1 --connections 10 --depth 1 --size 3 --duration 2";
        let text = summary(args, run()).join("\n");
        assert!(text.contains("closed loop: a request leaves when one is answered"), "{text}");
        assert!(text.contains("100 answered (50/s)"), "{text}");
    }

    #[test]
    fn target_text_is_escaped() {
        let mut run = run();
        run.stats.refusal = Some("no\x1b[2J\nway".to_owned());
        let args = "idle --target chat://h:1 --connections 10";
        let text = summary(args, run).join("\n");
        assert!(text.contains(r"the target said: no\u{1b}[2J\nway"), "{text}");
    }
}
