//! Line charts as inline SVG: scales, ticks and lines. Knows points and labels, not their meaning.

use maud::{Markup, html};

use super::format::count;

/// Size of the drawing in its own units; the page scales it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Edges of the plot within the drawing. The labels are outside.
const LEFT: f64 = 74.0;
const RIGHT: f64 = WIDTH - 32.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = HEIGHT - 52.0;

/// Most points of a line that have tooltips. With more, they lie too close to be pointed at.
const NOTED_POINTS_MAX: usize = 400;

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
    pub(super) points: Vec<(f64, f64)>,
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
        Axis::by(step(max).max(1.0), label, max, short_count)
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

/// Formats a count in at most six characters, so that it does not overlap the label of the axis:
/// `15,000`, `500 k`, `2.5 M`.
fn short_count(value: f64) -> String {
    match value {
        value if value < 1e5 => count(value.round() as u64),
        value if value < 1e6 => format!("{} k", value / 1e3),
        value if value < 1e9 => format!("{} M", (value / 1e4).round() / 1e2),
        value => format!("{} G", (value / 1e7).round() / 1e2),
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
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(self.title) {
                    (self.grid())
                    @for line in &self.lines { (self.line(line)) }
                    (self.noted_points())
                }
            }
        }
    }

    fn grid(&self) -> Markup {
        html! {
            @for (value, text) in &self.y.ticks {
                @let y = self.at_y(*value);
                line.grid x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
                text.tick x=(LEFT - 8.0) y=(y + 4.0) text-anchor="end" { (text) }
            }
            @for (value, text) in &self.x.ticks {
                @let x = self.at_x(*value);
                line.grid x1=(x) x2=(x) y1=(TOP) y2=(BOTTOM) {}
                text.tick x=(x) y=(BOTTOM + 18.0) text-anchor="middle" { (text) }
            }
            @for (value, text) in &self.marks {
                @let x = self.at_x(*value);
                line.mark x1=(x) x2=(x) y1=(TOP) y2=(BOTTOM) {}
                text.mark x=(x + 4.0) y=(TOP - 7.0) { (text) }
            }
            line.axis x1=(LEFT) x2=(RIGHT) y1=(BOTTOM) y2=(BOTTOM) {}
            text.label x=((LEFT + RIGHT) / 2.0) y=(HEIGHT - 10.0) text-anchor="middle" {
                (self.x.label)
            }
            @let middle = (TOP + BOTTOM) / 2.0;
            text.label x="14" y=(middle) text-anchor="middle"
                transform={ "rotate(-90 14 " (middle) ")" } { (self.y.label) }
        }
    }

    fn line(&self, line: &Line) -> Markup {
        let place = |(x, y): &(f64, f64)| format!("{},{}", self.at_x(*x), self.at_y(*y));
        let points: Vec<String> = line.points.iter().map(place).collect();
        let points = points.join(" ");
        let ends = line.points.first().zip(line.points.last());
        html! {
            @if let (true, Some((first, last))) = (line.filled, ends) {
                @let below = format!(
                    "{},{BOTTOM} {points} {},{BOTTOM}", self.at_x(first.0), self.at_x(last.0)
                );
                polygon.area .(line.class) points=(below) {}
            }
            polyline.line .(line.class) points=(points) {}
            // A polyline of one point is invisible.
            @if let [only] = line.points.as_slice() {
                circle.dot .(line.class) cx=(self.at_x(only.0)) cy=(self.at_y(only.1)) r="3" {}
            }
        }
    }

    /// Invisible points with tooltips.
    fn noted_points(&self) -> Markup {
        let show = |axis: &Axis, value: f64| format!("{} {}", trim(value), axis.label);
        html! {
            @for line in self.lines.iter().filter(|line| line.points.len() <= NOTED_POINTS_MAX) {
                @for (x, y) in &line.points {
                    circle.note cx=(self.at_x(*x)) cy=(self.at_y(*y)) r="7" {
                        title { (line.name) ": " (show(&self.y, *y)) }
                    }
                }
            }
        }
    }

    fn at_x(&self, value: f64) -> f64 {
        tenth(LEFT + self.x.place(value) * (RIGHT - LEFT))
    }

    fn at_y(&self, value: f64) -> f64 {
        tenth(BOTTOM - self.y.place(value) * (BOTTOM - TOP))
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
        assert_eq!(labels(1_200_000.0), ["0", "500 k", "1 M", "1.5 M"]);
        assert_eq!(short_count(2.5e9), "2.5 G");
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
    fn names_and_labels_are_escaped() {
        let chart = Chart {
            title: "<t>",
            note: "<n>".to_owned(),
            x: Axis::linear("<x>", 1.0, |_| "<tick>".to_owned()),
            y: Axis::linear("<y>", 1.0, show),
            lines: vec![Line { name: "<l>", class: "a", points: vec![(0.0, 1.0)], filled: true }],
            marks: vec![(0.5, "<m>".to_owned())],
        };
        let text = chart.render().into_string();
        for raw in ["<t>", "<n>", "<x>", "<tick>", "<y>", "<l>", "<m>"] {
            assert!(!text.contains(raw), "{raw}");
            assert!(text.contains(&raw.replace('<', "&lt;").replace('>', "&gt;")), "{raw}");
        }
    }
}
