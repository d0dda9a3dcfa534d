//! Plots as SVG: bars that lie beside their names, and lines.

use std::path::Path;

use anyhow::anyhow;
use plotters::{
    chart::{ChartBuilder, SeriesLabelPosition},
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement, Rectangle, Text},
    prelude::SVGBackend,
    series::LineSeries,
    style::{BLACK, Color, IntoFont, RGBColor, ShapeStyle, TextStyle, WHITE},
};

const WIDTH: u32 = 760;
const LINES_HEIGHT: u32 = 360;
/// Of a bar with the room around it.
const BAR: i32 = 24;
/// Room for the names of bars.
const NAMES: i32 = 230;
/// Room for what stands behind a bar.
const VALUES: i32 = 150;
const TITLE: i32 = 44;
/// One after the other; readable by those who do not see red and green apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// Something to look at.
#[derive(Clone, Debug)]
pub(crate) enum Plot {
    Bars(Bars),
    Lines(Lines),
}

#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// With its unit.
    pub(crate) title: String,
    pub(crate) all: Vec<Bar>,
    /// A line across: where it lies, and what it is.
    pub(crate) mark: Option<(f64, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// From the least to the most that was seen.
    pub(crate) range: Option<(f64, f64)>,
    /// Bars of one kind have one colour.
    pub(crate) kind: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) across: String,
    pub(crate) series: Vec<(String, Vec<(f64, f64)>)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Plot {
    /// Writes it to a file.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let height = match self {
            Self::Bars(bars) => TITLE as u32 + bars.all.len() as u32 * BAR as u32 + 40,
            Self::Lines(_) => LINES_HEIGHT,
        };
        let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
        // The backend's errors hold what they failed on and do not travel.
        let drawn = || -> Result<(), Box<dyn std::error::Error>> {
            area.fill(&WHITE)?;
            match self {
                Self::Bars(bars) => bars.draw(&area)?,
                Self::Lines(lines) => lines.draw(&area)?,
            }
            area.present()?;
            Ok(())
        };
        drawn().map_err(|error| anyhow!("{}: {error}", file.display()))
    }
}

impl Bars {
    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
        let small = text(12);
        area.draw(&Text::new(self.title.clone(), (12, 14), text(16)))?;
        let highest = self
            .all
            .iter()
            .map(|bar| bar.range.map_or(bar.value, |(_, max)| max.max(bar.value)))
            .chain(self.mark.iter().map(|(at, _)| *at))
            .fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(WIDTH as i32 - NAMES - VALUES);
        let x = |value: f64| NAMES + (value.max(0.0) / highest * room) as i32;
        for (index, bar) in self.all.iter().enumerate() {
            let top = TITLE + index as i32 * BAR;
            let middle = top + BAR / 2 - 2;
            let colour = COLOURS[bar.kind % COLOURS.len()];
            area.draw(&Text::new(bar.name.clone(), (12, top + 4), small.clone()))?;
            area.draw(&Rectangle::new(
                [
                    (NAMES, top + 2),
                    (x(bar.value).max(NAMES + 1), top + BAR - 6),
                ],
                colour.filled(),
            ))?;
            let mut behind = x(bar.value);
            if let Some((min, max)) = bar.range {
                let thin = ShapeStyle::from(&BLACK).stroke_width(1);
                area.draw(&PathElement::new(
                    vec![(x(min), middle), (x(max), middle)],
                    thin,
                ))?;
                for end in [min, max] {
                    let tick = vec![(x(end), middle - 4), (x(end), middle + 4)];
                    area.draw(&PathElement::new(tick, thin))?;
                }
                behind = behind.max(x(max));
            }
            area.draw(&Text::new(
                number(bar.value),
                (behind + 6, top + 4),
                small.clone(),
            ))?;
        }
        if let Some((at, what)) = &self.mark {
            let bottom = TITLE + self.all.len() as i32 * BAR;
            let line = vec![(x(*at), TITLE - 4), (x(*at), bottom + 4)];
            area.draw(&PathElement::new(
                line,
                ShapeStyle::from(&BLACK).stroke_width(1),
            ))?;
            area.draw(&Text::new(
                what.clone(),
                (x(*at) - 40, bottom + 10),
                small.clone(),
            ))?;
        }
        Ok(())
    }
}

impl Lines {
    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
        let points = || self.series.iter().flat_map(|(_, points)| points);
        let right = points().map(|point| point.0).fold(1.0, f64::max);
        let top = points()
            .map(|point| point.1)
            .fold(f64::MIN_POSITIVE, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(self.title.clone(), text(16))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..right * 1.05, 0.0..top * 1.15)?;
        chart
            .configure_mesh()
            .x_desc(self.across.clone())
            .light_line_style(BLACK.mix(0.05))
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .label_style(text(12))
            .draw()?;
        for (index, (name, points)) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(
                    points.iter().copied(),
                    ShapeStyle::from(&colour).stroke_width(2),
                ))?
                .label(name.clone())
                .legend(move |(x, y)| {
                    PathElement::new(
                        vec![(x, y), (x + 16, y)],
                        ShapeStyle::from(&colour).stroke_width(2),
                    )
                });
            let dots = points.iter().map(|at| Circle::new(*at, 3, colour.filled()));
            chart.draw_series(dots)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .label_font(text(12))
            .draw()?;
        Ok(())
    }
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        small if small < 0.1 => format!("{value:.3}"),
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_what_it_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("plot.svg");
        let bars = Bars {
            title: "CPU s/GB".into(),
            all: vec![Bar {
                name: "paced seamline".into(),
                value: 0.5,
                range: Some((0.4, 0.7)),
                kind: 0,
            }],
            mark: Some((1.0, "as the copy".into())),
        };
        Plot::Bars(bars).write(&file).expect("written");
        let svg = std::fs::read_to_string(&file).expect("there");
        for word in ["<svg", "paced seamline", "0.50", "as the copy"] {
            assert!(svg.contains(word), "{word} is missing");
        }
        let lines = Lines {
            title: "growth".into(),
            across: "sessions".into(),
            series: vec![("CPU".into(), vec![(10.0, 1.0), (2000.0, 1.1)])],
        };
        Plot::Lines(lines).write(&file).expect("written");
        let svg = std::fs::read_to_string(&file).expect("there");
        assert!(svg.contains("sessions") && svg.contains("CPU"));
    }
}
