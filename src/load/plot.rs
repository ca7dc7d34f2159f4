//! Lines over an axis, as an SVG image by itself: no script, no font, no colour that depends on where it is shown.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// Left of the lines, right of them for their names, above and below.
const MARGINS: [f64; 4] = [70.0, 150.0, 46.0, 52.0];
/// Told apart by people who do not see all colours, too (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Names of lines that would lie on each other are put apart, in pixels.
const NAME_HEIGHT: f64 = 15.0;

/// How a number becomes a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From nothing.
    Linear,
    /// Each decade as wide as the next.
    Logarithmic,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    /// In the order of their first number; one at least.
    pub points: Vec<(f64, f64)>,
}

/// What is to be drawn.
#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub across: String,
    pub up: String,
    pub scale: Scale,
    pub lines: Vec<Line>,
}

impl Plot {
    /// The image. Nothing is drawn of a plot without a point.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{}\" y=\"24\" font-size=\"15\" fill=\"#222222\">{}</text>\n",
            MARGINS[0],
            escaped(&self.title)
        );
        let points = || self.lines.iter().flat_map(|line| &line.points);
        if points().next().is_some() {
            let places = Places {
                scale: self.scale,
                across: (
                    points().map(|point| self.scale.of(point.0)).fold(f64::MAX, f64::min),
                    points().map(|point| self.scale.of(point.0)).fold(f64::MIN, f64::max),
                ),
                up: round_up(points().map(|point| point.1).fold(0.0, f64::max)),
            };
            self.draw_axes(&mut svg, &places);
            self.draw_lines(&mut svg, &places);
        }
        svg + "</svg>\n"
    }

    fn draw_axes(&self, svg: &mut String, places: &Places) {
        let [left, right, above, below] = MARGINS;
        let (end, floor) = (WIDTH - right, HEIGHT - below);
        for step in 0..=4_u8 {
            let value = places.up * f64::from(step) / 4.0;
            let y = places.y(value);
            line(svg, &format!("<path d=\"M{left:.1} {y:.1}H{end:.1}\" stroke=\"#dddddd\"/>"));
            line(svg, &format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444444\">{}</text>", left - 8.0, y + 4.0, short(value)));
        }
        for value in places.marks() {
            let x = places.x(value);
            line(svg, &format!("<path d=\"M{x:.1} {floor:.1}v5\" stroke=\"#444444\"/>"));
            line(svg, &format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444444\">{}</text>", floor + 19.0, short(value)));
        }
        line(
            svg,
            &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444444\">{}</text>",
                f64::midpoint(left, end),
                HEIGHT - 12.0,
                escaped(&self.across)
            ),
        );
        line(svg, &format!("<text x=\"8\" y=\"{:.1}\" fill=\"#444444\">{}</text>", above - 6.0, escaped(&self.up)));
    }

    fn draw_lines(&self, svg: &mut String, places: &Places) {
        let mut names: Vec<(f64, usize)> = Vec::new();
        for (n, (Line { points, .. }, colour)) in self.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let places: Vec<(f64, f64)> = points.iter().map(|(across, up)| (places.x(*across), places.y(*up))).collect();
            let path = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join("L");
            line(svg, &format!("<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
            if places.len() <= 20 {
                for (x, y) in &places {
                    line(svg, &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
                }
            }
            names.extend(places.last().map(|(_, y)| (*y, n)));
        }
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut last = f64::MIN;
        for (y, n) in names {
            last = y.max(last + NAME_HEIGHT);
            let (x, colour) = (WIDTH - MARGINS[1] + 10.0, COLOURS[n % COLOURS.len()]);
            line(svg, &format!("<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>", last + 4.0, escaped(&self.lines[n].name)));
        }
    }
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        }
    }
}

/// Where numbers are.
struct Places {
    scale: Scale,
    /// The least and the most, scaled.
    across: (f64, f64),
    up: f64,
}

impl Places {
    fn x(&self, value: f64) -> f64 {
        let (from, to) = self.across;
        let width = WIDTH - MARGINS[0] - MARGINS[1];
        let part = if to > from { (self.scale.of(value) - from) / (to - from) } else { 0.5 };
        MARGINS[0] + part * width
    }

    fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - MARGINS[2] - MARGINS[3];
        HEIGHT - MARGINS[3] - value / self.up * height
    }

    /// What is written below: decades, or five steps.
    fn marks(&self) -> Vec<f64> {
        let (from, to) = self.across;
        match self.scale {
            Scale::Linear => (0..=4_u8).map(|step| from + (to - from) * f64::from(step) / 4.0).collect(),
            Scale::Logarithmic => (0..=18_i32).map(|decade| 10_f64.powi(decade)).filter(|value| (from - 0.01..=to + 0.01).contains(&value.log10())).collect(),
        }
    }
}

fn line(svg: &mut String, element: &str) {
    svg.push_str(element);
    svg.push('\n');
}

/// One, two or five times a power of ten, and no less; something above nothing.
fn round_up(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let decade = 10_f64.powf(most.log10().floor());
    [1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0].into_iter().map(|step| step * decade).find(|round| *round >= most).unwrap_or(10.0 * decade)
}

/// A number as one writes it beside an axis: 1.5, 20, 10k, 5M.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1_000_000.0 => (value / 1_000_000.0, "M"),
        value if value >= 1_000.0 => (value / 1_000.0, "k"),
        value => (value, ""),
    };
    let mut text = String::new();
    let _cannot_fail = if (scaled - scaled.round()).abs() < 0.05 { write!(text, "{scaled:.0}{unit}") } else { write!(text, "{scaled:.1}{unit}") };
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(scale: Scale, points: Vec<(f64, f64)>) -> String {
        let lines = vec![Line { name: "a < b".to_owned(), points: points.clone() }, Line { name: "same".to_owned(), points }];
        Plot { title: "A & B".to_owned(), across: "messages".to_owned(), up: "per cent".to_owned(), scale, lines }.svg()
    }

    #[test]
    fn lines_go_from_side_to_side_and_names_do_not_lie_on_each_other() {
        let svg = plot(Scale::Logarithmic, vec![(10_000.0, 100.0), (100_000.0, 50.0), (1_000_000.0, 0.0)]);
        assert!(svg.contains("M70.0 46.0L340.0 207.0L610.0 368.0"), "{svg}");
        for word in ["A &amp; B", "a &lt; b", ">10k<", ">100k<", ">1M<", ">100<", ">25<", "y=\"372.0\"", "y=\"387.0\""] {
            assert!(svg.contains(word), "{word}: {svg}");
        }
        let svg = plot(Scale::Linear, vec![(0.0, 3.0), (60.0, 7.5)]);
        assert!(svg.contains(">15<"), "{svg}");
        assert!(svg.contains("<circle"), "{svg}");
        assert!(!plot(Scale::Linear, vec![]).contains("<path"));
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (most, round) in [(0.0, 1.0), (0.7, 0.8), (100.0, 100.0), (101.0, 120.0), (6_200.0, 8_000.0), (9_000.0, 10_000.0)] {
            assert!((round_up(most) - round).abs() < 1e-9, "{most}");
        }
    }
}
