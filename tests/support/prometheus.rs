//! A strict parser of Prometheus' text format 0.0.4, for what mynah itself writes: it refuses all
//! that the format forbids, and what the format allows and a careful writer does not write.
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, and for names
//! <https://prometheus.io/docs/practices/naming/>.)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A scrape: families in the order in which they were written.
#[derive(Debug, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) families: Vec<Family>,
}

/// A metric with all its samples.
#[derive(Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One line with a value. The name of a histogram's sample has its suffix.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: f64,
}

pub(crate) type Labels = BTreeMap<String, String>;

/// The first line that breaks a rule, from 1, and the rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FormatError {
    pub(crate) line: usize,
    pub(crate) rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The text ends in a line feed.
    FinalNewline,
    /// No line is empty, and none has a carriage return or a tab.
    PlainLine,
    /// A comment is HELP or TYPE.
    Comment,
    /// HELP comes first, once, and says something.
    Help,
    /// TYPE follows HELP, once, with a type that mynah has.
    Type,
    /// A name is `[a-zA-Z_][a-zA-Z0-9_]*`; colons belong to recording rules.
    MetricName,
    /// Counters end in `_total`, and nothing else does; no name ends as a histogram's samples do.
    NameOfKind,
    /// `NAME{LABEL="VALUE",…} VALUE`, single blanks, no comma at the end, no timestamp.
    SampleSyntax,
    /// A label is named `[a-zA-Z_][a-zA-Z0-9_]*`, without `__` in front; `le` is a bucket's alone.
    LabelName,
    /// A sample has a label once.
    LabelTwice,
    /// The escapes are `\\`, `\n` and, in labels, `\"`.
    Escape,
    /// A value is a decimal number, `+Inf`, `-Inf` or `NaN`.
    Value,
    /// A counter is a finite number and not negative, and so are a histogram's samples.
    CounterValue,
    /// A sample belongs to the HELP and TYPE above it.
    Stray,
    /// All lines of a family stand together.
    Scattered,
    /// A family's samples all have the same labels.
    LabelsDiffer,
    /// No two samples have the same name and labels.
    Duplicate,
    /// A histogram's buckets rise in `le` and in value, from sample to sample.
    Buckets,
    /// A histogram has a bucket `+Inf`, which is its count, and a sum.
    BucketOfAll,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {:?}", self.line, self.rule)
    }
}

impl Metrics {
    /// Reads a whole scrape.
    pub(crate) fn parse(text: &str) -> Result<Metrics, FormatError> {
        let mut parser = Parser::default();
        parser.read(text).map_err(|rule| FormatError { line: parser.line, rule })?;
        Ok(Metrics { families: parser.families })
    }

    pub(crate) fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The sample of that name (of a histogram, with the suffix) and with exactly these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let mut samples = self.families.iter().flat_map(|family| &family.samples);
        let sample = samples.find(|sample| sample.name == name && sample.labels == labels)?;
        Some(sample.value)
    }
}

impl Family {
    /// The suffix of a sample of this family, or none if the sample is not one.
    fn suffix<'a>(&self, sample: &'a str) -> Option<&'a str> {
        let suffix = sample.strip_prefix(self.name.as_str())?;
        let known: &[&str] = match self.kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Counter | Kind::Gauge => &[""],
        };
        known.contains(&suffix).then_some(suffix)
    }

    /// Checks what only the whole family shows.
    fn check_histograms(&self) -> Result<(), Rule> {
        let mut series: BTreeMap<Labels, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.samples {
            series.entry(without_le(&sample.labels)).or_default().push(sample);
        }
        series.values().try_for_each(|samples| self.check_histogram(samples))
    }

    fn check_histogram(&self, samples: &[&Sample]) -> Result<(), Rule> {
        let mut last = (f64::NEG_INFINITY, 0.0);
        let (mut sum, mut count) = (None, None);
        for sample in samples {
            match self.suffix(&sample.name) {
                Some("_sum") => sum = Some(sample.value),
                Some("_count") => count = Some(sample.value),
                _ => {
                    let le = number(&sample.labels["le"])?;
                    if le.is_nan() || le <= last.0 || sample.value < last.1 {
                        return Err(Rule::Buckets);
                    }
                    last = (le, sample.value);
                }
            }
        }
        let is_whole = last.0 == f64::INFINITY && count == Some(last.1) && sum.is_some();
        if is_whole { Ok(()) } else { Err(Rule::BucketOfAll) }
    }
}

#[derive(Default)]
struct Parser {
    /// Number of the line that is being read.
    line: usize,
    families: Vec<Family>,
    /// A name and its HELP, until TYPE has come.
    helped: Option<(String, String)>,
    seen: BTreeSet<(String, Labels)>,
}

impl Parser {
    fn read(&mut self, text: &str) -> Result<(), Rule> {
        if text.is_empty() {
            return Err(Rule::FinalNewline);
        }
        for line in text.split_inclusive('\n') {
            self.line += 1;
            let line = line.strip_suffix('\n').ok_or(Rule::FinalNewline)?;
            if line.is_empty() || line.contains(['\r', '\t']) {
                return Err(Rule::PlainLine);
            }
            if let Some(help) = line.strip_prefix("# HELP ") {
                self.add_help(help)?;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                self.add_type(kind)?;
            } else if line.starts_with('#') {
                return Err(Rule::Comment);
            } else {
                self.add_sample(line)?;
            }
        }
        self.finish_family()
    }

    fn add_help(&mut self, line: &str) -> Result<(), Rule> {
        self.finish_family()?;
        let (name, help) = line.split_once(' ').ok_or(Rule::Help)?;
        check_name(name, Rule::MetricName)?;
        if let Some(known) = self.families.iter().position(|family| family.name == name) {
            let is_last = known + 1 == self.families.len();
            return Err(if is_last { Rule::Help } else { Rule::Scattered });
        }
        let help = unescape(help, false)?;
        if help.trim().is_empty() {
            return Err(Rule::Help);
        }
        self.helped = Some((name.to_owned(), help));
        Ok(())
    }

    fn add_type(&mut self, line: &str) -> Result<(), Rule> {
        let (name, kind) = line.split_once(' ').ok_or(Rule::Type)?;
        let kind = match kind {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            _ => return Err(Rule::Type),
        };
        let (name, help) =
            self.helped.take().filter(|helped| helped.0 == name).ok_or(Rule::Type)?;
        let ends_as_a_sample = ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        if ends_as_a_sample || name.ends_with("_total") != (kind == Kind::Counter) {
            return Err(Rule::NameOfKind);
        }
        self.families.push(Family { name, help, kind, samples: Vec::new() });
        Ok(())
    }

    fn add_sample(&mut self, line: &str) -> Result<(), Rule> {
        let sample = parse_sample(line)?;
        if self.helped.is_some() {
            return Err(Rule::Type);
        }
        let (family, others) = self.families.split_last_mut().ok_or(Rule::Stray)?;
        let Some(suffix) = family.suffix(&sample.name) else {
            let is_known = others.iter().any(|other| other.suffix(&sample.name).is_some());
            return Err(if is_known { Rule::Scattered } else { Rule::Stray });
        };
        if (suffix == "_bucket") != sample.labels.contains_key("le") {
            return Err(Rule::LabelName);
        }
        // A sum of a histogram may be negative in general; mynah has none of what is negative.
        let counts = family.kind != Kind::Gauge;
        if counts && !(sample.value.is_finite() && sample.value >= 0.0) {
            return Err(Rule::CounterValue);
        }
        if let Some(first) = family.samples.first() {
            let (first, labels) = (without_le(&first.labels), without_le(&sample.labels));
            if !first.keys().eq(labels.keys()) {
                return Err(Rule::LabelsDiffer);
            }
        }
        if !self.seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(Rule::Duplicate);
        }
        family.samples.push(sample);
        Ok(())
    }

    /// No more lines of the last family follow.
    fn finish_family(&mut self) -> Result<(), Rule> {
        if self.helped.is_some() {
            return Err(Rule::Type);
        }
        let last = self.families.last().filter(|family| family.kind == Kind::Histogram);
        last.map_or(Ok(()), Family::check_histograms)
    }
}

fn parse_sample(line: &str) -> Result<Sample, Rule> {
    let name_len = line.find(['{', ' ']).ok_or(Rule::SampleSyntax)?;
    let (name, mut rest) = line.split_at(name_len);
    check_name(name, Rule::MetricName)?;
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = parse_labels(inner, &mut labels)?;
    }
    let value = rest.strip_prefix(' ').ok_or(Rule::SampleSyntax)?;
    if value.is_empty() || value.contains(' ') {
        return Err(Rule::SampleSyntax);
    }
    Ok(Sample { name: name.to_owned(), labels, value: number(value)? })
}

/// Reads labels up to the closing brace and returns what follows it.
fn parse_labels<'a>(mut rest: &'a str, labels: &mut Labels) -> Result<&'a str, Rule> {
    loop {
        let (name, quoted) = rest.split_once("=\"").ok_or(Rule::SampleSyntax)?;
        check_name(name, Rule::LabelName)?;
        if name.starts_with("__") {
            return Err(Rule::LabelName);
        }
        let len = closing_quote(quoted).ok_or(Rule::SampleSyntax)?;
        let value = unescape(&quoted[..len], true)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(Rule::LabelTwice);
        }
        rest = &quoted[len + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.strip_prefix('}').ok_or(Rule::SampleSyntax),
        }
    }
}

/// The offset of the first quote that is not escaped.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}

fn unescape(text: &str, is_label: bool) -> Result<String, Rule> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if is_label => '"',
                _ => return Err(Rule::Escape),
            },
            char => char,
        });
    }
    Ok(plain)
}

fn check_name(name: &str, rule: Rule) -> Result<(), Rule> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let begins_well = name.starts_with(|char: char| !char.is_ascii_digit());
    if begins_well && name.chars().all(is_word) { Ok(()) } else { Err(rule) }
}

fn number(text: &str) -> Result<f64, Rule> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        // Rust also takes words such as `infinity`.
        _ if text.contains(|char: char| char.is_ascii_alphabetic() && char != 'e') => {
            Err(Rule::Value)
        }
        _ => text.parse().map_err(|_| Rule::Value),
    }
}

fn without_le(labels: &Labels) -> Labels {
    let mut labels = labels.clone();
    labels.remove("le");
    labels
}
