//! The parser of metrics, a test for each of its rules.

use crate::support::prometheus::{FormatError, Kind, Metrics, Rule};
use crate::support::promtool;

const GOOD: &str = r#"# HELP mynah_build_info Version of the server.
# TYPE mynah_build_info gauge
mynah_build_info{version="0.1.0"} 1
# HELP mynah_refused_total Connections refused,\nby reason (\\).
# TYPE mynah_refused_total counter
mynah_refused_total{listener="a \"b\" \\ c\nd",reason="full"} 17
mynah_refused_total{listener="ü",reason="full"} 1.5e3
# HELP mynah_turn_seconds Time of a turn.
# TYPE mynah_turn_seconds histogram
mynah_turn_seconds_bucket{le="0.001"} 3
mynah_turn_seconds_bucket{le="0.5"} 3
mynah_turn_seconds_bucket{le="+Inf"} 4
mynah_turn_seconds_sum 1.25
mynah_turn_seconds_count 4
# HELP mynah_idle_ratio Time without anything to do.
# TYPE mynah_idle_ratio gauge
mynah_idle_ratio NaN
"#;

/// Head of a counter and of a gauge, two lines each.
const COUNTER: &str = "# HELP a_total A.\n# TYPE a_total counter\n";
const GAUGE: &str = "# HELP a A.\n# TYPE a gauge\n";
const HISTOGRAM: &str = "# HELP a A.\n# TYPE a histogram\n";

/// The line and the rule that a text breaks.
#[track_caller]
fn broken(text: &str) -> (usize, Rule) {
    let FormatError { line, rule } = Metrics::parse(text).expect_err(text);
    (line, rule)
}

/// Fails unless each line breaks `rule` below `head`, which has two lines.
#[track_caller]
fn each_breaks(rule: Rule, head: &str, lines: &[&str]) {
    for line in lines {
        assert_eq!(broken(&format!("{head}{line}\n")), (3, rule), "{line}");
    }
}

#[test]
fn metrics_are_read_with_their_escapes() {
    let metrics = Metrics::parse(GOOD).unwrap();
    let refused = metrics.family("mynah_refused_total").unwrap();
    assert_eq!((refused.kind, refused.samples.len()), (Kind::Counter, 2));
    assert_eq!(refused.help, "Connections refused,\nby reason (\\).");
    let labels = [("listener", "a \"b\" \\ c\nd"), ("reason", "full")];
    assert_eq!(metrics.value("mynah_refused_total", &labels), Some(17.0));
    let labels = [("listener", "ü"), ("reason", "full")];
    assert_eq!(metrics.value("mynah_refused_total", &labels), Some(1500.0));
    assert_eq!(metrics.value("mynah_turn_seconds_sum", &[]), Some(1.25));
    assert_eq!(metrics.value("mynah_turn_seconds_bucket", &[("le", "+Inf")]), Some(4.0));
    assert!(metrics.value("mynah_idle_ratio", &[]).unwrap().is_nan());
    assert_eq!(metrics.value("mynah_refused_total", &[]), None);
    assert_eq!(metrics.families.len(), 4);
}

#[test]
fn promtool_agrees_with_what_is_read() {
    promtool::check_metrics(GOOD);
}

#[test]
fn family_without_samples_is_allowed() {
    assert!(Metrics::parse(GAUGE).unwrap().families[0].samples.is_empty());
    assert!(Metrics::parse(HISTOGRAM).is_ok());
}

#[test]
fn text_ends_in_a_line_feed() {
    assert_eq!(broken(&format!("{GAUGE}a 1")), (3, Rule::FinalNewline));
    assert_eq!(broken(""), (0, Rule::FinalNewline));
}

#[test]
fn lines_are_not_empty_and_plain() {
    each_breaks(Rule::PlainLine, GAUGE, &["", "a 1\r", "a\t1"]);
}

#[test]
fn comments_are_help_or_type() {
    each_breaks(Rule::Comment, GAUGE, &["# a comment", "#", "#HELP b B.", "# help b B.", "# EOF"]);
}

#[test]
fn help_comes_once_and_says_something() {
    each_breaks(Rule::Help, GAUGE, &["# HELP a A.", "# HELP b", "# HELP b ", "# HELP b  "]);
    assert_eq!(broken(&format!("{GAUGE}a 1\n# HELP a A.\n")), (4, Rule::Help));
}

#[test]
fn type_follows_its_help_once() {
    each_breaks(Rule::Type, GAUGE, &["# TYPE a gauge", "# TYPE b gauge"]);
    assert_eq!(broken("# HELP a A.\na 1\n"), (2, Rule::Type));
    assert_eq!(broken("# HELP a A.\n# TYPE b gauge\n"), (2, Rule::Type));
    assert_eq!(broken("# HELP a A.\n# HELP b B.\n"), (2, Rule::Type));
    assert_eq!(broken("# HELP a A.\n"), (1, Rule::Type));
    for kind in ["summary", "untyped", "Counter", "gauge ", ""] {
        assert_eq!(broken(&format!("# HELP a A.\n# TYPE a {kind}\n")), (2, Rule::Type));
    }
}

#[test]
fn metric_names_are_words() {
    let lines = ["1a 1", "a-b 1", "a:b 1", "ä 1", " 1", "{x=\"y\"} 1"];
    each_breaks(Rule::MetricName, GAUGE, &lines);
    assert_eq!(broken("# HELP a.b A.\n"), (1, Rule::MetricName));
}

#[test]
fn names_end_by_their_type() {
    let bad = [
        ("a", "counter"),
        ("a_total", "gauge"),
        ("a_total", "histogram"),
        ("a_count", "gauge"),
        ("a_sum", "gauge"),
        ("a_bucket", "histogram"),
    ];
    for (name, kind) in bad {
        let text = format!("# HELP {name} A.\n# TYPE {name} {kind}\n");
        assert_eq!(broken(&text), (2, Rule::NameOfKind), "{text}");
    }
}

#[test]
fn samples_have_one_form() {
    let lines = [
        "a",
        "a ",
        "a  1",
        "a 1 ",
        "a 1 1700000000000",
        "a{} 1",
        "a{x=\"y\",} 1",
        "a{x=\"y\" } 1",
        "a{x=y} 1",
        "a{x} 1",
        "a{x=\"y\"1",
        "a{x=\"y\"}1",
        "a{x=\"y} 1",
        "a{x=\"y\\\"} 1",
        "a {x=\"y\"} 1",
    ];
    each_breaks(Rule::SampleSyntax, GAUGE, &lines);
}

#[test]
fn label_names_are_words_and_not_reserved() {
    let lines =
        ["1x", "x-y", "", "x:y", " x", "__x", "le"].map(|name| format!("a{{{name}=\"\"}} 1"));
    each_breaks(Rule::LabelName, GAUGE, &lines.each_ref().map(String::as_str));
    each_breaks(
        Rule::LabelName,
        HISTOGRAM,
        &["a_bucket 1", "a_sum{le=\"1\"} 1", "a_count{le=\"1\"} 1"],
    );
}

#[test]
fn label_stands_once_in_a_sample() {
    each_breaks(Rule::LabelTwice, GAUGE, &["a{x=\"1\",x=\"1\"} 1", "a{x=\"1\",y=\"\",x=\"2\"} 1"]);
}

#[test]
fn escapes_are_those_of_the_format() {
    each_breaks(Rule::Escape, GAUGE, &[r#"a{x="\t"} 1"#, r#"a{x="\'"} 1"#, r#"a{x="\u00e4"} 1"#]);
    each_breaks(Rule::Escape, GAUGE, &[r#"# HELP b a \"word\"."#, r"# HELP b B\"]);
}

#[test]
fn values_are_numbers() {
    let lines = [
        "a inf",
        "a +inf",
        "a Inf",
        "a nan",
        "a infinity",
        "a 1_000",
        "a 0x10",
        "a 1,5",
        "a 1E3",
        "a e",
    ];
    each_breaks(Rule::Value, GAUGE, &lines);
    each_breaks(Rule::Value, GAUGE, &["a true", "a --1"]);
    for value in ["0", "-1", "+1", "1.5", "1e-9", "+Inf", "-Inf", "NaN", "18446744073709551615"] {
        assert!(Metrics::parse(&format!("{GAUGE}a {value}\n")).is_ok(), "{value}");
    }
}

#[test]
fn counters_are_finite_and_not_negative() {
    each_breaks(Rule::CounterValue, COUNTER, &["a_total -1", "a_total NaN", "a_total +Inf"]);
    each_breaks(
        Rule::CounterValue,
        HISTOGRAM,
        &["a_sum NaN", "a_count -1", "a_bucket{le=\"1\"} +Inf"],
    );
}

#[test]
fn samples_belong_to_the_family_above() {
    each_breaks(Rule::Stray, GAUGE, &["b 1", "a_total 1", "a_sum 1", "ab 1"]);
    each_breaks(Rule::Stray, HISTOGRAM, &["a 1", "a_max 1"]);
    assert_eq!(broken("a 1\n"), (1, Rule::Stray));
}

#[test]
fn family_stands_together() {
    let two = format!("{GAUGE}a 1\n# HELP b B.\n# TYPE b gauge\nb 1\n");
    assert_eq!(broken(&format!("{two}a{{x=\"\"}} 1\n")), (7, Rule::Scattered));
    assert_eq!(broken(&format!("{two}# HELP a A.\n")), (7, Rule::Scattered));
}

#[test]
fn samples_of_a_family_have_the_same_labels() {
    for second in ["a 1", "a{y=\"1\"} 1", "a{x=\"1\",y=\"1\"} 1"] {
        let text = format!("{GAUGE}a{{x=\"1\"}} 1\n{second}\n");
        assert_eq!(broken(&text), (4, Rule::LabelsDiffer), "{second}");
    }
}

#[test]
fn samples_differ_in_name_or_labels() {
    assert_eq!(broken(&format!("{GAUGE}a 1\na 2\n")), (4, Rule::Duplicate));
    let text = format!("{GAUGE}a{{x=\"1\",y=\"2\"}} 1\na{{y=\"2\",x=\"1\"}} 2\n");
    assert_eq!(broken(&text), (4, Rule::Duplicate));
}

#[test]
fn buckets_are_cumulative_and_in_order() {
    let ends = "a_sum 1\na_count 5\n";
    for (first, second) in
        [(("1", 3), ("2", 2)), (("2", 3), ("1", 5)), (("1", 3), ("1.0", 5)), (("1", 3), ("NaN", 5))]
    {
        let text = format!(
            "{HISTOGRAM}a_bucket{{le=\"{}\"}} {}\na_bucket{{le=\"{}\"}} {}\na_bucket{{le=\"+Inf\"}} 5\n{ends}",
            first.0, first.1, second.0, second.1
        );
        assert_eq!(broken(&text), (7, Rule::Buckets), "{text}");
    }
    let text = format!("{HISTOGRAM}a_bucket{{le=\"one\"}} 1\na_bucket{{le=\"+Inf\"}} 5\n{ends}");
    assert_eq!(broken(&text), (6, Rule::Value));
}

#[test]
fn histogram_has_a_bucket_of_all_and_a_sum() {
    let (bucket, sum, count) = ("a_bucket{le=\"+Inf\"} 5\n", "a_sum 1\n", "a_count 5\n");
    let finite = "a_bucket{le=\"1\"} 5\n";
    for parts in [
        [sum, count, ""],
        [finite, sum, count],
        [bucket, count, ""],
        [bucket, sum, ""],
        [bucket, sum, "a_count 4\n"],
    ] {
        let text = format!("{HISTOGRAM}{}", parts.concat());
        let lines = text.lines().count();
        assert_eq!(broken(&text), (lines, Rule::BucketOfAll), "{text}");
        // The next family does not hide it.
        assert_eq!(broken(&format!("{text}# HELP b B.\n")).1, Rule::BucketOfAll);
    }
}

#[test]
fn histogram_of_each_label_is_whole() {
    let of = |listener: &str, count: u32| {
        format!(
            "a_bucket{{l=\"{listener}\",le=\"+Inf\"}} 2\na_sum{{l=\"{listener}\"}} 1\na_count{{l=\"{listener}\"}} {count}\n"
        )
    };
    assert!(Metrics::parse(&format!("{HISTOGRAM}{}{}", of("x", 2), of("y", 2))).is_ok());
    assert_eq!(broken(&format!("{HISTOGRAM}{}{}", of("x", 2), of("y", 3))), (8, Rule::BucketOfAll));
}
