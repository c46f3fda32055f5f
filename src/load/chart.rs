//! Line charts as inline SVG: scales, ticks and lines. Knows points and labels, not their meaning.

use maud::{Markup, html};

use super::format::count;

/// A size of the drawing, in units that are about pixels where it is shown.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Class of the page's style, which shows one of the sizes.
    class: &'static str,
    width: f64,
    height: f64,
    /// Left and right edge of the plot within the drawing. The labels are outside.
    left: f64,
    right: f64,
    /// Whether points have tooltips: a phone has nothing to point with.
    has_notes: bool,
}

/// Each chart is drawn for wide pages and for phones: scaled down, its text would not be legible.
const SIZES: [Size; 2] = [
    Size { class: "wide", width: 640.0, height: 300.0, left: 74.0, right: 608.0, has_notes: true },
    Size {
        class: "narrow",
        width: 360.0,
        height: 260.0,
        left: 70.0,
        right: 336.0,
        has_notes: false,
    },
];

/// Upper edge of the plot, and room below it.
const TOP: f64 = 22.0;
const BELOW: f64 = 52.0;

/// Width of a character of a tick's label, and least gap between two labels.
const CHAR_WIDTH: f64 = 7.0;
const LABEL_GAP: f64 = 10.0;

/// Most points of a line that have tooltips. With more, they lie too close to be pointed at, and take
/// most of the page.
const NOTED_POINTS_MAX: usize = 120;

/// Scale of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear,
    /// Logarithmic, to the base ten; the axis begins above 0.
    Log,
}

/// An axis of a chart.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Quantity and unit.
    pub(super) label: String,
    scale: Scale,
    from: f64,
    to: f64,
    /// Values that have a tick, and their labels.
    ticks: Vec<(f64, String)>,
}

/// One line of a chart.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Class of the page's style.
    pub(super) class: &'static str,
    /// Points that are joined, and gaps between those that are not.
    pub(super) segments: Vec<Vec<(f64, f64)>>,
    /// Whether the area below is tinted.
    pub(super) filled: bool,
}

/// A chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// Caption, a sentence.
    pub(super) note: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// Values on the x axis with a vertical line and a name.
    pub(super) marks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis from 0 to at least `max`, with ticks at round values, which `show` formats.
    pub(super) fn linear(label: &str, max: f64, show: impl Fn(f64) -> String) -> Self {
        Axis::by(step(max), label, max, show)
    }

    /// A linear axis of counts, without fractions.
    pub(super) fn counts(label: &str, max: f64) -> Self {
        let step = step(max).max(1.0);
        let unit = count_unit((max / step).ceil() * step);
        Axis::by(step, label, max, |value| short_count(value, unit))
    }

    fn by(step: f64, label: &str, max: f64, show: impl Fn(f64) -> String) -> Self {
        let count = (max / step).ceil().max(1.0) as u32;
        let ticks = (0..=count).map(|n| f64::from(n) * step).map(|at| (at, show(at))).collect();
        let to = f64::from(count) * step;
        Axis { label: label.to_owned(), scale: Scale::Linear, from: 0.0, to, ticks }
    }

    /// A logarithmic axis that encloses `min` and `max`, both above 0. Ticks are at powers of ten and,
    /// where these are few, at 2 and 5 times a power.
    pub(super) fn log(label: &str, min: f64, max: f64, show: impl Fn(f64) -> String) -> Self {
        let (first, last) = (min.log10().floor() as i32, max.log10().ceil() as i32);
        let steps: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all: Vec<f64> = (first..=last)
            .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
            .collect();
        let from = all.iter().copied().rfind(|at| *at <= min).unwrap_or(min);
        let to = all.iter().copied().find(|at| *at >= max && *at > from).unwrap_or(max);
        let within = all.into_iter().filter(|at| (from..=to).contains(at));
        let ticks = within.map(|at| (at, show(at))).collect();
        Axis { label: label.to_owned(), scale: Scale::Log, from, to, ticks }
    }

    /// Ends the axis at `to`, and removes the ticks beyond.
    pub(super) fn end_at(&mut self, to: f64) {
        if to > self.from {
            self.to = to;
            self.ticks.retain(|(at, _)| *at <= to);
        }
    }

    /// A linear axis from `from` to `to` with the ticks given.
    pub(super) fn marked(label: &str, from: f64, to: f64, ticks: Vec<(f64, String)>) -> Self {
        Axis { label: label.to_owned(), scale: Scale::Linear, from, to, ticks }
    }

    /// Position of `value`, from 0 at the beginning of the axis to 1 at its end.
    fn place(&self, value: f64) -> f64 {
        let at = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => {
                (value.max(self.from) / self.from).log10() / (self.to / self.from).log10()
            }
        };
        at.clamp(0.0, 1.0)
    }
}

/// The unit of all ticks of an axis of counts up to `max`, so that a label has at most six characters
/// and does not overlap that of the axis.
fn count_unit(max: f64) -> (f64, &'static str) {
    match max {
        max if max < 1e5 => (1.0, ""),
        max if max < 1e6 => (1e3, " k"),
        max if max < 1e9 => (1e6, " M"),
        _ => (1e9, " G"),
    }
}

/// Formats a count: `15,000`, `500 k`, `2.5 M`.
fn short_count(value: f64, (unit, name): (f64, &str)) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if unit == 1.0 => count(value.round() as u64),
        value => format!("{}{name}", (value / unit * 1e2).round() / 1e2),
    }
}

/// A round step for about five ticks up to `max`.
fn step(max: f64) -> f64 {
    let rough = max.max(1e-9) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    round.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough)
}

impl Chart {
    pub(super) fn render(&self) -> Markup {
        html! {
            figure {
                figcaption {
                    h2 { (self.title) }
                    p { (self.note) }
                    @if self.lines.len() > 1 {
                        ul.legend {
                            @for line in &self.lines { li class=(line.class) { (line.name) } }
                        }
                    }
                }
                @for size in SIZES { (Drawing { chart: self, size }.render()) }
            }
        }
    }
}

/// A tick of the x axis and the place of its label.
struct TickLabel<'a> {
    x: f64,
    /// Middle of the label.
    middle: f64,
    text: &'a str,
}

/// A chart in one size.
struct Drawing<'a> {
    chart: &'a Chart,
    size: Size,
}

impl Drawing<'_> {
    fn render(&self) -> Markup {
        let Size { class, width, height, .. } = self.size;
        html! {
            svg class=(class) viewBox={ "0 0 " (width) " " (height) } role="img"
                aria-label=(self.chart.title) {
                (self.grid())
                @for line in &self.chart.lines { (self.line(line)) }
                @if self.size.has_notes { (self.noted_points()) }
            }
        }
    }

    fn grid(&self) -> Markup {
        let Size { left, right, height, .. } = self.size;
        let bottom = self.bottom();
        html! {
            @for (value, text) in &self.chart.y.ticks {
                @let y = self.at_y(*value);
                line.grid x1=(left) x2=(right) y1=(y) y2=(y) {}
                text.tick x=(left - 8.0) y=(y + 4.0) text-anchor="end" { (text) }
            }
            @for TickLabel { x, middle, text } in self.fitting_ticks() {
                line.grid x1=(x) x2=(x) y1=(TOP) y2=(bottom) {}
                text.tick x=(middle) y=(bottom + 20.0) text-anchor="middle" { (text) }
            }
            @for (value, text) in &self.chart.marks {
                @let x = self.at_x(*value);
                line.mark x1=(x) x2=(x) y1=(TOP) y2=(bottom) {}
                text.mark x=(x + 4.0) y=(TOP - 7.0) { (text) }
            }
            line.axis x1=(left) x2=(right) y1=(bottom) y2=(bottom) {}
            text.label x=((left + right) / 2.0) y=(height - 10.0) text-anchor="middle" {
                (self.chart.x.label)
            }
            @let middle = (TOP + bottom) / 2.0;
            text.label x="14" y=(middle) text-anchor="middle"
                transform={ "rotate(-90 14 " (middle) ")" } { (self.chart.y.label) }
        }
    }

    /// The ticks of the x axis whose labels do not overlap one before them.
    fn fitting_ticks(&self) -> Vec<TickLabel<'_>> {
        let mut free_from = f64::NEG_INFINITY;
        let mut fitting = Vec::new();
        for (value, text) in &self.chart.x.ticks {
            let half = text.chars().count() as f64 * CHAR_WIDTH / 2.0;
            let x = self.at_x(*value);
            // The last label may be longer than there is room beside its tick.
            let middle = tenth(x.min(self.size.width - half));
            if middle - half >= free_from {
                free_from = middle + half + LABEL_GAP;
                fitting.push(TickLabel { x, middle, text });
            }
        }
        fitting
    }

    fn line(&self, line: &Line) -> Markup {
        html! { @for points in &line.segments { (self.segment(line, points)) } }
    }

    fn segment(&self, line: &Line, points: &[(f64, f64)]) -> Markup {
        let bottom = self.bottom();
        let place = |(x, y): &(f64, f64)| format!("{},{}", self.at_x(*x), self.at_y(*y));
        let places = points.iter().map(place).collect::<Vec<String>>().join(" ");
        let ends = points.first().zip(points.last());
        html! {
            @if let (true, Some((first, last))) = (line.filled, ends) {
                @let below = format!(
                    "{},{bottom} {places} {},{bottom}", self.at_x(first.0), self.at_x(last.0)
                );
                polygon.area .(line.class) points=(below) {}
            }
            polyline.line .(line.class) points=(places) {}
            // A polyline of one point is invisible.
            @if let [only] = points {
                circle.dot .(line.class) cx=(self.at_x(only.0)) cy=(self.at_y(only.1)) r="3" {}
            }
        }
    }

    /// Invisible points with tooltips.
    fn noted_points(&self) -> Markup {
        let show = |axis: &Axis, value: f64| format!("{} {}", trim(value), axis.label);
        let points = |line: &Line| line.segments.iter().map(Vec::len).sum::<usize>();
        html! {
            @for line in self.chart.lines.iter().filter(|line| points(line) <= NOTED_POINTS_MAX) {
                @for (x, y) in line.segments.iter().flatten() {
                    circle.note cx=(self.at_x(*x)) cy=(self.at_y(*y)) r="7" {
                        title { (line.name) ": " (show(&self.chart.y, *y)) }
                    }
                }
            }
        }
    }

    fn bottom(&self) -> f64 {
        self.size.height - BELOW
    }

    fn at_x(&self, value: f64) -> f64 {
        let Size { left, right, .. } = self.size;
        tenth(left + self.chart.x.place(value) * (right - left))
    }

    fn at_y(&self, value: f64) -> f64 {
        tenth(self.bottom() - self.chart.y.place(value) * (self.bottom() - TOP))
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Formats a value with two decimals, or none from 100 on.
fn trim(value: f64) -> String {
    let digits = if value.abs() >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$}")
}

/// Formats microseconds as short as a tick's label allows: `50 µs`, `2 ms`.
pub(super) fn axis_time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", (value * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(axis: &Axis) -> Vec<f64> {
        axis.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn show(value: f64) -> String {
        value.to_string()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_maximum() {
        assert_eq!(values(&Axis::linear("", 9.0, show)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let held = Axis::linear("", 19_000.0, show);
        assert_eq!(values(&held), [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]);
        assert_eq!(values(&Axis::linear("", 1.0, show)).len(), 6);
        assert!(values(&Axis::linear("", 0.0, show)).len() >= 2, "an axis of nothing is one");
    }

    #[test]
    fn counts_have_short_whole_ticks() {
        let labels = |max| -> Vec<String> {
            Axis::counts("", max).ticks.into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(labels(0.0), ["0", "1"]);
        assert_eq!(labels(2.0), ["0", "1", "2"]);
        assert_eq!(labels(19_000.0), ["0", "5,000", "10,000", "15,000", "20,000"]);
        assert_eq!(labels(90_000.0), ["0", "20 k", "40 k", "60 k", "80 k", "100 k"]);
        assert_eq!(labels(1_200_000.0), ["0", "0.5 M", "1 M", "1.5 M"]);
        assert_eq!(short_count(2.5e9, count_unit(2.5e9)), "2.5 G");
    }

    #[test]
    fn log_axis_encloses_its_values() {
        let axis = Axis::log("", 30.0, 700.0, show);
        assert_eq!(values(&axis), [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        let wide = Axis::log("", 30.0, 3e6, show);
        assert_eq!(values(&wide), [10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7]);
        let flat = Axis::log("", 100.0, 100.0, show);
        assert!(flat.from <= 100.0 && flat.to > 100.0, "one value is still on an axis");
        assert!((0.0..=1.0).contains(&flat.place(100.0)));
    }

    #[test]
    fn values_have_their_positions() {
        let linear = Axis::linear("", 10.0, show);
        assert_eq!([0.0, 5.0, 10.0, 99.0].map(|v| linear.place(v)), [0.0, 0.5, 1.0, 1.0]);
        let log = Axis::log("", 1.0, 100.0, show);
        assert_eq!([0.0, 1.0, 10.0, 100.0].map(|v| log.place(v)), [0.0, 0.0, 0.5, 1.0]);
    }

    #[test]
    fn labels_of_ticks_do_not_overlap() {
        let chart = Chart {
            title: "",
            note: String::new(),
            x: Axis::linear("", 60.0, |at| format!("{at} of sixty s")),
            y: Axis::linear("", 1.0, show),
            lines: Vec::new(),
            marks: Vec::new(),
        };
        let count = |size| Drawing { chart: &chart, size }.fitting_ticks().len();
        assert_eq!(SIZES.map(count), [4, 2], "every other one on a phone");
        let drawing = Drawing { chart: &chart, size: SIZES[0] };
        let last = drawing.fitting_ticks().pop().unwrap();
        assert_eq!(
            (last.x, last.middle),
            (608.0, 640.0 - 13.0 * CHAR_WIDTH / 2.0),
            "within the drawing"
        );
    }

    #[test]
    fn gaps_are_not_bridged() {
        let segments = vec![vec![(0.0, 1.0), (1.0, 1.0)], vec![(4.0, 1.0)]];
        let chart = Chart {
            title: "",
            note: String::new(),
            x: Axis::linear("", 4.0, show),
            y: Axis::linear("", 1.0, show),
            lines: vec![Line { name: "l", class: "a", segments, filled: false }],
            marks: Vec::new(),
        };
        let text = Drawing { chart: &chart, size: SIZES[0] }.render().into_string();
        assert_eq!(text.matches("<polyline").count(), 2);
        assert_eq!(text.matches("class=\"dot a\"").count(), 1, "one point is a dot");
    }

    #[test]
    fn names_and_labels_are_escaped() {
        let chart = Chart {
            title: "<t>",
            note: "<n>".to_owned(),
            x: Axis::linear("<x>", 1.0, |_| "<tick>".to_owned()),
            y: Axis::linear("<y>", 1.0, show),
            lines: vec![Line {
                name: "<l>",
                class: "a",
                segments: vec![vec![(0.0, 1.0)]],
                filled: true,
            }],
            marks: vec![(0.5, "<m>".to_owned())],
        };
        let text = chart.render().into_string();
        for raw in ["<t>", "<n>", "<x>", "<tick>", "<y>", "<l>", "<m>"] {
            assert!(!text.contains(raw), "{raw}");
            assert!(text.contains(&raw.replace('<', "&lt;").replace('>', "&gt;")), "{raw}");
        }
    }
}
