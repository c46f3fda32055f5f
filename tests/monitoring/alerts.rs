//! The alerting rules: `alerts_test.yml` has series under which each fires, or does not.

use std::fs;

use crate::metrics::{metric, metric_names};
use crate::support::promtool::promtool;

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/deploy/alerts.yml");
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/monitoring/alerts_test.yml");

#[test]
fn alerts_ask_for_metrics_that_exist() {
    let rules = fs::read_to_string(RULES).unwrap();
    for name in metric_names(&rules) {
        assert!(metric(name).is_some(), "{name}");
    }
}

#[test]
fn alerts_fire_when_they_should() {
    let rules = fs::read_to_string(RULES).unwrap();
    let cases = fs::read_to_string(CASES).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        assert!(cases.contains(&fires), "{alert} fires in no case");
    }
    for args in [["check", "rules", RULES], ["test", "rules", CASES]] {
        if let Some((is_content, said)) = promtool(&args, "") {
            assert!(is_content, "{said}");
        }
    }
}
