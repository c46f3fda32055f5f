//! The machine of the measurement.

use std::{env, fs, thread};

use serde_json::{Value, json};

/// Kernel and processors of the machine.
pub(crate) struct Host {
    kernel: String,
    processor: String,
    processors: usize,
    load_before: String,
}

impl Host {
    pub(crate) fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.and_then(|rest| rest.split_once(':')).map_or("unknown", |(_, name)| name);
        Host {
            // The vendor's suffix is left out.
            kernel: release.split('-').next().unwrap_or_default().trim().to_owned(),
            processor: model.trim().to_owned(),
            processors: thread::available_parallelism().map_or(0, usize::from),
            load_before: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "kernel": self.kernel,
            "architecture": env::consts::ARCH,
            "processor": self.processor,
            "processors": self.processors,
            "load_before": self.load_before,
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Host { kernel, processor, processors, load_before } = self;
        let arch = env::consts::ARCH;
        write!(f, "Linux {kernel}, {arch}, {processors} processors ({processor})")?;
        write!(f, ", load before {load_before}")
    }
}
