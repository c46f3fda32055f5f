//! Plots as SVG. Knows points and names, not their meaning.

use plotters::coord::combinators::WithKeyPoints;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (860, 480);
/// Width of the margin on the right, which has the names of the lines.
const NAMES_WIDTH: u32 = 150;
const NAME_HEIGHT: i32 = 17;
const TEXT: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Colours of Okabe and Ito, distinct for colour-blind readers too.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(110, 110, 110),
];
/// Colour of mynah, whose line is thicker too.
const OURS: RGBColor = RGBColor(213, 94, 0);

/// A plot with two logarithmic axes.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    /// Quantities and units of the axes.
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Ticks of the x axis.
    pub(crate) marks: Vec<f64>,
    pub(crate) series: Vec<Series>,
}

/// A line of a plot.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// The line is mynah's.
    pub(crate) ours: bool,
    pub(crate) points: Vec<(f64, f64)>,
}

type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<WithKeyPoints<LogCoord<f64>>, LogCoord<f64>>>;

impl Plot {
    pub(crate) fn draw(&self) -> String {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            // White, so that the plot is readable on a dark page.
            area.fill(&WHITE).unwrap();
            let ((x_from, x_to), (y_from, y_to)) = self.extent();
            let x = (x_from..x_to).log_scale().with_key_points(self.marks.clone());
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 20).into_font().color(&TEXT))
                .margin(12)
                .margin_right(NAMES_WIDTH)
                .x_label_area_size(48)
                .y_label_area_size(84)
                .build_cartesian_2d(x, (y_from..y_to).log_scale())
                .unwrap();
            chart
                .configure_mesh()
                .x_desc(self.x)
                .y_desc(self.y)
                .axis_desc_style(("sans-serif", 15).into_font().color(&TEXT))
                .label_style(("sans-serif", 13).into_font().color(&TEXT))
                .bold_line_style(GRID)
                .light_line_style(TRANSPARENT)
                .axis_style(TEXT)
                .x_label_formatter(&|value| short(*value))
                .y_label_formatter(&|value| short(*value))
                .draw()
                .unwrap();
            let mut names = self.lines(&mut chart);
            separate_labels(&mut names);
            for (y, name, colour) in names {
                let x = (SIZE.0 - NAMES_WIDTH) as i32 + 8;
                let style = ("sans-serif", 14).into_font().color(&colour);
                let style = style.pos(Pos::new(HPos::Left, VPos::Center));
                area.draw(&Text::new(name, (x, y), style)).unwrap();
            }
            area.present().unwrap();
        }
        svg
    }

    /// Draws the lines. Returns the end, the name and the colour of each.
    fn lines(&self, chart: &mut Chart<'_, '_>) -> Vec<(i32, &'static str, RGBColor)> {
        let mut others = COLOURS.iter().cycle();
        let mut names = Vec::new();
        for series in &self.series {
            let (colour, width) =
                if series.ours { (OURS, 3) } else { (*others.next().unwrap(), 2) };
            let style = colour.stroke_width(width);
            let points = series.points.iter().copied();
            chart.draw_series(LineSeries::new(points.clone(), style)).unwrap();
            chart.draw_series(points.map(|at| Circle::new(at, 3, colour.filled()))).unwrap();
            if let Some(last) = series.points.last() {
                names.push((chart.backend_coord(last).1, series.name, colour));
            }
        }
        names
    }

    /// Bounds of the axes: those of the points, on the y axis extended to powers of ten.
    fn extent(&self) -> ((f64, f64), (f64, f64)) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let low = |value: fn(&(f64, f64)) -> f64| points().map(value).fold(f64::MAX, f64::min);
        let high = |value: fn(&(f64, f64)) -> f64| points().map(value).fold(f64::MIN, f64::max);
        let power = |value: f64| 10f64.powf(value);
        let y = (power(low(|at| at.1).log10().floor()), power(high(|at| at.1).log10().ceil()));
        ((low(|at| at.0), high(|at| at.0)), y)
    }
}

/// Moves names apart that would overlap.
fn separate_labels(names: &mut [(i32, &'static str, RGBColor)]) {
    names.sort_by_key(|(y, ..)| *y);
    for _ in 0..names.len() * 20 {
        for at in 1..names.len() {
            let overlap = NAME_HEIGHT - (names[at].0 - names[at - 1].0);
            if overlap > 0 {
                names[at - 1].0 -= (overlap + 1) / 2;
                names[at].0 += (overlap + 1) / 2;
            }
        }
    }
}

/// Formats the number of a tick: 300, 20k, 3M.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}
