//! Processor time by proc(5): of a process, of the machine, and time that was waited for a processor.

use nix::unistd::{SysconfVar, sysconf};

use super::proc_file::read;
use super::usage::{CpuTime, MachineTime};

/// Processor time of process `pid`, all its threads; `None` if there is no such process.
pub(in super::super) fn process_cpu(pid: u32) -> Option<CpuTime> {
    parse_process(&read(&format!("/proc/{pid}/stat"))?, tick_ns())
}

/// Processor time of all programs.
pub(in super::super) fn machine_time() -> Option<MachineTime> {
    parse_machine(&read("/proc/stat")?, tick_ns())
}

/// Time for which a program that could run waited for a processor (Linux 4.20 and later, where PSI is
/// compiled in and on).
pub(in super::super) fn pressure_ns() -> Option<u64> {
    parse_pressure(&read("/proc/pressure/cpu")?)
}

/// Time for which this process, which has one thread, waited for a processor.
pub(in super::super) fn own_wait_ns() -> Option<u64> {
    parse_wait(&read("/proc/self/schedstat")?)
}

/// Length of a clock tick, the unit of /proc.
pub(in super::super) fn tick_ns() -> u64 {
    let known = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    let per_sec = known.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0);
    1_000_000_000 / per_sec.unwrap_or(100)
}

/// The 14th and 15th field of `1 (name) S 0 …`. The name may have blanks and parentheses.
fn parse_process(stat: &str, tick_ns: u64) -> Option<CpuTime> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let mut next_ns = || fields.next()?.parse::<u64>().ok()?.checked_mul(tick_ns);
    Some(CpuTime { user_ns: next_ns()?, system_ns: next_ns()? })
}

/// The line `cpu  USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL GUEST GUEST_NICE`. Guests are in
/// USER and NICE already.
fn parse_machine(stat: &str, tick_ns: u64) -> Option<MachineTime> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks.as_slice() else {
        return None;
    };
    let ns = |ticks: &[u64]| {
        ticks.iter().fold(0u64, |sum, t| sum.saturating_add(*t)).saturating_mul(tick_ns)
    };
    Some(MachineTime {
        programs_ns: ns(&[user, nice, system]),
        steal_ns: ns(&[steal]),
        total_ns: ns(&[user, nice, system, idle, iowait, irq, softirq, steal]),
    })
}

/// The microseconds in `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`.
fn parse_pressure(pressure: &str) -> Option<u64> {
    let line = pressure.lines().find(|line| line.starts_with("some "))?;
    let total = line.split_whitespace().find_map(|field| field.strip_prefix("total="))?;
    total.parse::<u64>().ok()?.checked_mul(1_000)
}

/// The second number of `RUN_NS WAIT_NS SLICES`.
fn parse_wait(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 10_000_000;

    #[test]
    fn process_name_may_have_parentheses() {
        let stat = "7 (a) S (b) 9) R 1 7 7 0 -1 4194560 1 2 3 4 150 25 8 9 20 0 1 0 5\n";
        let expected = CpuTime { user_ns: 150 * TICK, system_ns: 25 * TICK };
        assert_eq!(parse_process(stat, TICK), Some(expected));
        for bad in ["", "7 (a) S", "7 (a) S 1 2 3 4 5 6 7 8 9 10 x y", &stat.replace("150", "-1")] {
            assert_eq!(parse_process(bad, TICK), None, "{bad}");
        }
    }

    #[test]
    fn interrupts_are_nobodys_time() {
        let stat = "cpu  100 10 50 800 5 3 17 15 40 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let expected =
            MachineTime { programs_ns: 160 * TICK, steal_ns: 15 * TICK, total_ns: 1_000 * TICK };
        assert_eq!(parse_machine(stat, TICK), Some(expected));
        assert_eq!(parse_machine("cpu  1 2 3\n", TICK), None);
        assert_eq!(parse_machine("cpu0 1 1 1 1 1 1 1 1\n", TICK), None);
        let huge = format!("cpu  {0} {0} 1 1 1 1 1 1\n", u64::MAX);
        assert!(parse_machine(&huge, TICK).is_some(), "no overflow");
    }

    #[test]
    fn waits_are_found_in_their_lines() {
        let pressure = "some avg10=97.18 avg60=98.20 avg300=94.90 total=36143371501\n\
                        full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(parse_pressure(pressure), Some(36_143_371_501_000));
        assert_eq!(parse_pressure("full total=1\n"), None);
        assert_eq!(parse_wait("535405 701700 2\n"), Some(701_700));
        assert_eq!(parse_wait("535405"), None);
    }

    #[test]
    fn own_time_is_readable() {
        let time = process_cpu(std::process::id());
        assert!(time.is_some() && machine_time().is_some_and(|time| time.total_ns > 0));
        assert_eq!(process_cpu(u32::MAX), None);
    }
}
