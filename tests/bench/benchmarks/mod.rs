//! The benchmarks of the suite, one a file, and what they share: servers take turns in rounds, so
//! that a disturbance of the machine affects all of them.

pub(crate) mod churn;
pub(crate) mod decode;
pub(crate) mod echo;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod reverse;
pub(crate) mod start;
pub(crate) mod syscalls;
pub(crate) mod tester;
pub(crate) mod yardstick;

use std::time::Duration;

use crate::load::Measured;
use crate::samples::Samples;
use crate::server_process::ServerProcess;
use crate::servers::{Server, Servers};
use crate::table::{Bar, CpuShare, Row, Table, Unit};

/// Rounds and times of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

impl Effort {
    pub(crate) const FULL: Effort = Effort {
        rounds: 9,
        warm_up: Duration::from_millis(300),
        time: Duration::from_millis(1500),
    };
    pub(crate) const QUICK: Effort =
        Effort { rounds: 3, warm_up: Duration::from_millis(100), time: Duration::from_millis(400) };

    pub(crate) fn is_full(self) -> bool {
        self == Effort::FULL
    }
}

/// The state that benchmarks share.
pub(crate) struct Suite {
    pub(crate) servers: Servers,
    pub(crate) table: Table,
    pub(crate) effort: Effort,
}

/// Measurements of each server under the same load, one for each round.
pub(crate) struct Results(pub(crate) Vec<(Server, Vec<Measured>)>);

impl Suite {
    /// Measures each server that is present once a round, from its start. The order is reversed
    /// every round.
    pub(crate) fn alternate(
        &mut self,
        servers: &[Server],
        mut measure: impl FnMut(&ServerProcess, Effort) -> Measured,
    ) -> Results {
        let present = self.servers.present(servers);
        let mut results: Vec<_> = present.into_iter().map(|server| (server, Vec::new())).collect();
        for round in 0..self.effort.rounds {
            let mut turns: Vec<_> = results.iter_mut().collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for (server, measured) in turns {
                let process = self.servers.start(*server);
                measured.push(measure(&process, self.effort));
            }
        }
        Results(results)
    }
}

impl Results {
    pub(crate) fn samples(&self, server: Server, value: Value) -> Option<Samples> {
        let (_, measured) = self.0.iter().find(|(of, _)| *of == server)?;
        Some(Samples(measured.iter().map(value).collect()))
    }

    /// Adds a row for each server: its values and their ratio to those of `base`. `bars` apply to
    /// the ratios.
    pub(crate) fn add_rows(
        &self,
        table: &mut Table,
        figure: Figure<'_>,
        base: Server,
        bars: &[(Server, Bar)],
    ) {
        let yardstick = self.samples(base, figure.value);
        for (server, measured) in &self.0 {
            let Some(values) = self.samples(*server, figure.value) else { continue };
            let ratio = yardstick.as_ref().filter(|_| *server != base);
            let ratio = ratio.map(|yardstick| (base.name(), values.over(yardstick)));
            let bar = bars.iter().find(|(of, _)| of == server).map(|(_, bar)| *bar);
            table.push(Row {
                figure: figure.name.to_owned(),
                server: server.name(),
                values,
                unit: figure.unit,
                // Without the yardstick there is no ratio for the bar.
                bar: bar.filter(|_| ratio.is_some()),
                ratio,
                cpu_share: Some(CpuShare::of(measured)),
                benchmark: figure.benchmark,
            });
        }
    }
}

/// A value of one measurement.
pub(crate) type Value = fn(&Measured) -> f64;

/// A figure that is computed for all servers.
pub(crate) struct Figure<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit: Unit,
    pub(crate) value: Value,
    /// Argument of the suite that repeats the measurement.
    pub(crate) benchmark: &'static str,
}

impl<'a> Figure<'a> {
    /// Answers, deliveries or connections per second.
    pub(crate) fn rate(name: &'a str, benchmark: &'static str) -> Self {
        Figure { name, unit: Unit::PerSecond, value: Measured::per_sec, benchmark }
    }

    /// Time of the server's processor for one of them.
    pub(crate) fn cpu(name: &'a str, benchmark: &'static str) -> Self {
        Figure { name, unit: Unit::Nanoseconds, value: Measured::cpu_ns_each, benchmark }
    }
}

/// A payload of letters.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(len).collect()
}
