//! How far the figures of a run can be trusted: what was busy all the time, whether the tester was
//! late, and whether others used the machine. Judges a record; measures nothing.

use super::format::duration;
use super::record::{Limit, Record};

/// Share of one processor from which a program of one thread had nothing left.
const BUSY: f64 = 0.95;

/// Share of the machine's processors that others may use. A desktop at rest uses less than 2 %.
const OTHERS_MAX: f64 = 0.1;

/// Share of the time in which a program may have waited for a processor, where it is not known which
/// programs: tester and server alone, on two processors, wait for up to a third of it.
const PRESSURE_MAX: f64 = 0.5;

/// Share of the time in which the tester may have waited for a processor.
const WAIT_MAX: f64 = 0.1;

/// Share of the processors that the hypervisor may have withheld.
const STEAL_MAX: f64 = 0.02;

/// Shortest phase whose shares mean something, in seconds: they are counted in hundredths.
const SECS_MIN: f64 = 0.5;

/// The side that was busy all the time; `None` if neither is known to be.
pub(super) fn limit(record: &Record) -> Option<Limit> {
    if record.measured_secs < SECS_MIN {
        return None;
    }
    let (tester, server) = (&record.tester, &record.server);
    let is_busy = |share: Option<f64>| share.is_some_and(|share| share >= BUSY);
    match (is_busy(tester.busy_share), is_busy(server.busy_share)) {
        (true, true) => Some(Limit::Both),
        (true, false) => Some(Limit::Tester),
        (false, true) => Some(Limit::Server),
        (false, false) => {
            let wait = tester.wait_share.filter(|wait| *wait >= WAIT_MAX);
            let both = tester.busy_share.zip(wait).map(|(busy, wait)| busy + wait);
            is_busy(both).then_some(Limit::Processors)
        }
    }
}

/// The sentence for a limit, as the verdict has it. None for the server's: that is what a closed loop
/// is to find.
pub(super) fn limit_sentence(record: &Record) -> Option<String> {
    let percent_of = |share: Option<f64>| percent(share.unwrap_or_default());
    let tester = percent_of(record.tester.busy_share);
    let jobs = record.settings.jobs.saturating_add(1).max(2);
    match record.verdict.limit? {
        // Where the server's time is unknown, it may have been as busy.
        Limit::Tester if record.server.busy_share.is_none() => Some(format!(
            "the tester was busy for {tester} of the time: its limit was measured, perhaps not the \
             target's; try --jobs {jobs}, or --server-pid to know"
        )),
        Limit::Tester => Some(format!(
            "the tester was busy for {tester} of the time: its limit was measured, not the \
             target's; try --jobs {jobs}"
        )),
        Limit::Both => Some(format!(
            "the tester was busy for {tester} of the time, and the server for {}: either may be the \
             limit; try --jobs {jobs}",
            percent_of(record.server.busy_share)
        )),
        Limit::Server => Some(format!(
            "the server was busy for {} of the time: its limit was measured",
            percent_of(record.server.busy_share)
        )),
        Limit::Processors => Some(format!(
            "the tester ran for {tester} of the time and waited for a processor for {}: the \
             machine's limit was measured",
            percent_of(record.tester.wait_share)
        )),
    }
}

/// Sentences that say how far the figures can be trusted. On a quiet machine a closed loop may have one:
/// that a turn of the tester is a good part of each latency.
pub(super) fn warnings(record: &Record) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(late_tester(record));
    if record.measured_secs < SECS_MIN {
        return warnings;
    }
    let machine = &record.machine;
    let over = |share: Option<f64>, max: f64| share.filter(|share| *share >= max);
    if let Some(others) = over(machine.busy_by_others_share, OTHERS_MAX) {
        let percent = percent(others);
        warnings.push(format!("other programs used {percent} of this machine's processors"));
    } else if machine.busy_by_others_share.is_none()
        && let Some(pressure) = over(machine.pressure_share, PRESSURE_MAX)
    {
        let percent = percent(pressure);
        warnings.push(format!(
            "for {percent} of the time a program of this machine waited for a processor"
        ));
    }
    if let Some(wait) = over(record.tester.wait_share, WAIT_MAX) {
        let percent = percent(wait);
        warnings.push(format!("the tester waited for a processor for {percent} of the time"));
    }
    if let Some(steal) = over(machine.steal_share, STEAL_MAX) {
        let percent = percent(steal);
        warnings.push(format!("the hypervisor withheld {percent} of the processors' time"));
    }
    warnings
}

/// The tester was late by a good part of the latencies.
fn late_tester(record: &Record) -> Option<String> {
    if !record.is_tester_late() {
        return None;
    }
    let (lag, left_late) = (record.tester_lag_us.p99, record.left_late_us.p99);
    let (what, late) = if left_late >= lag {
        ("requests left late", left_late)
    } else {
        ("the tester's loop ran late", lag)
    };
    let late = duration(late);
    Some(format!("{what} (p99 {late}): the latencies are the tester's as much as the target's"))
}

/// Formats a share: `98 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = usize::from(percent < 10.0);
    format!("{percent:.digits$} %")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{run, with_record};
    use super::super::sysinfo::{CpuTime, MachineTime};
    use super::super::usage::CpuUsage;
    use super::*;

    const MS: u64 = 1_000_000;

    /// Processor time of a phase of two seconds on two processors, nearly idle.
    fn quiet() -> CpuUsage {
        let time = |ms| Some(CpuTime { user_ns: ms * MS, system_ns: ms * MS });
        CpuUsage {
            tester: time(100),
            tester_wait_ns: Some(10 * MS),
            server: time(100),
            machine: Some(MachineTime {
                programs_ns: 450 * MS,
                steal_ns: 5 * MS,
                total_ns: 4_000 * MS,
            }),
            pressure_ns: Some(30 * MS),
        }
    }

    fn judge(args: &str, cpu: CpuUsage) -> (Option<Limit>, Option<String>, Vec<String>) {
        let mut run = run();
        run.usage.cpu = cpu;
        let mut result = Default::default();
        with_record(args, run, |record| {
            let Verdict { limit, warnings, .. } = record.verdict.clone();
            result = (limit, limit_sentence(record), warnings);
        });
        result
    }
    use super::super::record::Verdict;

    const ECHO: &str = "echo command://h:1 -c 10 -d 2 --server-pid 1";

    fn time(ms: u64) -> Option<CpuTime> {
        Some(CpuTime { user_ns: ms * MS / 2, system_ns: ms * MS / 2 })
    }

    #[test]
    fn quiet_machine_has_no_warning() {
        assert_eq!(judge(ECHO, quiet()), (None, None, Vec::new()));
        let unwatched = CpuUsage { server: None, ..quiet() };
        assert_eq!(judge("echo command://h:1 -c 10 -d 2", unwatched), (None, None, Vec::new()));
        let unknown = CpuUsage::default();
        assert_eq!(judge(ECHO, unknown), (None, None, Vec::new()), "what is not known is left out");
    }

    #[test]
    fn limit_is_what_was_busy_all_the_time() {
        let programs_ns = 3_900 * MS;
        let machine = quiet().machine.map(|machine| MachineTime { programs_ns, ..machine });
        let cpu = |tester, server| CpuUsage { tester, server, machine, ..quiet() };
        let (limit, sentence, warnings) = judge(ECHO, cpu(time(1_960), time(1_800)));
        assert_eq!((limit, warnings), (Some(Limit::Tester), Vec::new()));
        let expected = "the tester was busy for 98 % of the time: its limit was measured, not the \
                        target's; try --jobs 2";
        assert_eq!(sentence.as_deref(), Some(expected));
        let (limit, sentence, _) = judge(ECHO, cpu(time(1_800), time(1_960)));
        let expected = "the server was busy for 98 % of the time: its limit was measured";
        assert_eq!((limit, sentence.as_deref()), (Some(Limit::Server), Some(expected)));
        assert_eq!(judge(ECHO, cpu(time(1_960), time(1_960))).0, Some(Limit::Both));
        let (limit, sentence, _) = judge(ECHO, cpu(time(1_960), None));
        assert_eq!(limit, Some(Limit::Tester));
        assert!(sentence.unwrap().contains("perhaps not the target's"));
        let waiting = CpuUsage { tester_wait_ns: Some(900 * MS), ..cpu(time(1_050), time(1_050)) };
        let (limit, _, warnings) = judge(ECHO, waiting);
        assert_eq!(limit, Some(Limit::Processors));
        assert!(
            warnings.contains(&"the tester waited for a processor for 45 % of the time".into())
        );
    }

    #[test]
    fn machine_that_is_busy_with_others_is_named() {
        let machine = |programs, steal| {
            Some(MachineTime {
                programs_ns: programs * MS,
                steal_ns: steal * MS,
                total_ns: 4_000 * MS,
            })
        };
        let busy = CpuUsage { machine: machine(1_600, 5), ..quiet() };
        let warnings = judge(ECHO, busy).2;
        assert_eq!(warnings, ["other programs used 30 % of this machine's processors"]);
        let stolen = CpuUsage { machine: machine(450, 200), ..quiet() };
        assert_eq!(
            judge(ECHO, stolen).2,
            ["the hypervisor withheld 5.0 % of the processors' time"]
        );
        // A server that is here and not named may be what was busy.
        let pressed = CpuUsage { server: None, pressure_ns: Some(1_200 * MS), ..busy };
        let warnings = judge("echo command://h:1 -c 10 -d 2", pressed).2;
        assert_eq!(
            warnings,
            ["for 60 % of the time a program of this machine waited for a processor"]
        );
    }

    #[test]
    fn late_requests_are_the_testers() {
        let mut late = run();
        late.stats.record_left_late(90_000_000);
        with_record("echo command://h:1 --rate 50 -d 2", late, |record| {
            let expected = "requests left late (p99 90.05 ms): the latencies are the tester's as \
                            much as the target's";
            assert_eq!(record.verdict.warnings, [expected]);
        });
    }
}
