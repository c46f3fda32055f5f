//! The Grafana dashboard: its expressions ask for what the server has, and it has the shape of an
//! export.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::metrics::{METRICS, metric, metric_names};
use crate::support::{Folder, promtool::promtool};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/deploy/grafana.json");
const COLUMNS: u64 = 24;

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(PATH).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).unwrap()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Each expression with its legend.
fn expressions(dashboard: &Value) -> Vec<(&str, &str)> {
    let panels = list(dashboard, "/panels").iter().filter(|panel| text(panel, "/type") != "row");
    let targets = panels.flat_map(|panel| list(panel, "/targets"));
    let mut found: Vec<_> =
        targets.map(|target| (text(target, "/expr"), text(target, "/legendFormat"))).collect();
    let annotations = list(dashboard, "/annotations/list").iter();
    found.extend(
        annotations.map(|one| (text(one, "/expr"), "")).filter(|(expr, _)| !expr.is_empty()),
    );
    found
}

/// The labels an expression selects and groups by.
fn labels(expression: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for group in expression.split("by (").skip(1) {
        found.extend(group.split(')').next().unwrap().split(", "));
    }
    for selector in expression.split('{').skip(1) {
        let matchers = selector.split('}').next().unwrap().split(',');
        found.extend(matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap()));
    }
    found
}

#[test]
fn dashboard_asks_for_metrics_that_exist() {
    let dashboard = dashboard();
    for (expression, legend) in expressions(&dashboard) {
        let names = metric_names(expression);
        assert!(!names.is_empty(), "no metric in {expression}");
        let mut known = BTreeSet::from(["instance", "le"]);
        for name in names {
            let (_, _, labels) = metric(name).unwrap_or_else(|| panic!("{name} in {expression}"));
            known.extend(*labels);
        }
        let asked = labels(expression);
        assert!(asked.is_subset(&known), "{expression} asks for {asked:?} of {known:?}");
        // What the legend shows is left by the expression.
        for label in legend.split("{{").skip(1) {
            let label = label.split("}}").next().unwrap();
            assert!(asked.contains(label), "{legend} of {expression}");
        }
    }
}

#[test]
fn dashboard_shows_every_metric_of_mynah() {
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    let shown: BTreeSet<_> = expressions.iter().flat_map(|(expr, _)| metric_names(expr)).collect();
    for (name, _, _) in METRICS.iter().filter(|(name, _, _)| name.starts_with("mynah_")) {
        assert!(shown.iter().any(|shown| metric(shown).unwrap().0 == *name), "{name} is not shown");
    }
}

#[test]
fn dashboard_expressions_are_promql() {
    let dashboard = dashboard();
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, (expression, _)) in expressions(&dashboard).into_iter().enumerate() {
        let plain = expression.replace("$__rate_interval", "1m");
        assert!(!plain.contains("$__"), "{expression}");
        // A JSON string is one of YAML.
        let expression = serde_json::to_string(&plain).unwrap();
        rules += &format!("  - record: expression_{number}\n    expr: {expression}\n");
    }
    let folder = Folder::new();
    let path = folder.file("rules.yml", &rules);
    if let Some((is_content, said)) = promtool(&["check", "rules", &path], "") {
        assert!(is_content, "{said}");
    }
}

#[test]
fn dashboard_chooses_source_server_and_listener() {
    let dashboard = dashboard();
    let variables = list(&dashboard, "/templating/list");
    let names: Vec<_> = variables.iter().map(|variable| text(variable, "/name")).collect();
    assert_eq!(names, ["datasource", "instance", "listener"]);
    // Nothing names a data source of the machine it was made on.
    let file = fs::read_to_string(PATH).unwrap();
    for uid in file.split("\"uid\": \"").skip(1) {
        let uid = uid.split('"').next().unwrap();
        assert!(["${datasource}", "-- Grafana --", "mynah-server"].contains(&uid), "{uid}");
    }
    assert!(dashboard["id"].is_null());
}

#[test]
fn dashboard_panels_fill_the_grid_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard, "/panels") {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        assert!(w > 0 && x + w <= COLUMNS, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} overlaps", text(panel, "/title"));
        }
    }
    let rows = taken.iter().map(|(_, y)| y + 1).max().unwrap();
    assert_eq!(taken.len() as u64, rows * COLUMNS);
}

#[test]
fn dashboard_panels_have_title_and_unit() {
    let dashboard = dashboard();
    for panel in list(&dashboard, "/panels").iter().filter(|panel| text(panel, "/type") != "row") {
        assert!(!text(panel, "/title").is_empty(), "{panel}");
        assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{panel}");
    }
}
