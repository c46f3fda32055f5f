//! Draws a plot as SVG. Knows points and names, not what they mean.

use plotters::coord::combinators::WithKeyPoints;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (860, 480);
/// Room on the right for the names of the lines.
const NAMES_WIDTH: u32 = 150;
const NAME_HEIGHT: i32 = 17;
const TEXT: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Okabe and Ito's colours, which people who see few of them can tell apart.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(110, 110, 110),
];
/// Ours, thicker too.
const OURS: RGBColor = RGBColor(213, 94, 0);

/// Lines over two axes by powers of ten.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    /// What the axes show, with the unit.
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Where the x axis has marks.
    pub(crate) marks: Vec<f64>,
    pub(crate) series: Vec<Series>,
}

/// One line.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// The one the plot is about.
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
            // White whatever the page is, so that it can be read on a dark one.
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

    /// Draws them; where each ends, its name, and its colour.
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

    /// Where the axes begin and end: the points, and on the y axis whole powers of ten around them.
    fn extent(&self) -> ((f64, f64), (f64, f64)) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let low = |value: fn(&(f64, f64)) -> f64| points().map(value).fold(f64::MAX, f64::min);
        let high = |value: fn(&(f64, f64)) -> f64| points().map(value).fold(f64::MIN, f64::max);
        let power = |value: f64| 10f64.powf(value);
        let y = (power(low(|at| at.1).log10().floor()), power(high(|at| at.1).log10().ceil()));
        ((low(|at| at.0), high(|at| at.0)), y)
    }
}

/// Moves names apart that would lie on each other.
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

/// A number as a mark has it: 300, 20k, 3M.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}
