//! Charts as SVG: panels below each other, each with named lines over one axis. No fonts, scripts or files beside it are needed.

use std::fmt::Write;

/// A picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Above all panels.
    pub title: String,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// One chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// Above the chart.
    pub title: String,
    /// Below it.
    pub x: String,
    /// Is x shown by its logarithm? Then points at or below 0 are left out.
    pub log_x: bool,
    /// Do values hold until the next point?
    pub steps: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// (x, y), x growing.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 40.0;
const GAP: f64 = 70.0;
/// Told apart by people who see no red or green (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// More points than this are not to be seen.
const MOST_POINTS: usize = 1200;

impl Figure {
    /// The picture as a document.
    pub fn svg(&self) -> String {
        let height = TOP + self.panels.len() as f64 * (HEIGHT + GAP);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{}</text>\n",
            escaped(&self.title)
        );
        for (i, panel) in self.panels.iter().enumerate() {
            panel.draw(TOP + i as f64 * (HEIGHT + GAP), &mut out);
        }
        out.push_str("</svg>\n");
        out
    }
}

impl Panel {
    fn draw(&self, top: f64, out: &mut String) {
        let shown = |x: f64| if self.log_x { x.log10() } else { x };
        let points = || {
            let all = self.lines.iter().flat_map(|line| &line.points);
            all.filter(|(x, _)| !self.log_x || *x > 0.0).map(|(x, y)| (shown(*x), *y))
        };
        let (mut low, mut high) = points().fold((f64::MAX, f64::MIN), |(l, h), (x, _)| (l.min(x), h.max(x)));
        if low >= high {
            // nothing to show, or one instant: an axis all the same
            low = if low == f64::MAX { 0.0 } else { low };
            high = low + 1.0;
        }
        let most = points().map(|(_, y)| y).fold(0.0, f64::max);
        let step = nice(if most > 0.0 { most } else { 1.0 } / 4.0);
        let most = step * (most / step).ceil().max(1.0);
        let (wide, high_of) = (WIDTH - LEFT - RIGHT, HEIGHT - 20.0);
        let (bottom, across) = (top + HEIGHT, move |x: f64| LEFT + (x - low) / (high - low) * wide);
        let up = move |y: f64| bottom - y / most * high_of;
        let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>", top + 10.0, escaped(&self.title));
        let mut y = 0.0;
        while y <= most * 1.0001 {
            let at = up(y);
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT + wide,
                LEFT - 6.0,
                at + 4.0,
                label(y)
            );
            y += step;
        }
        let x_step = if self.log_x { 1.0 } else { nice((high - low) / 6.0) };
        let mut x = (low / x_step).ceil() * x_step;
        while x <= high + x_step * 1e-6 {
            let value = if self.log_x { 10f64.powf(x) } else { x };
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                across(x),
                bottom + 16.0,
                label(value)
            );
            x += x_step;
        }
        let middle = LEFT + wide / 2.0;
        let _ = writeln!(
            out,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 34.0,
            escaped(&self.x)
        );
        for (i, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let kept: Vec<(f64, f64)> =
                line.points.iter().copied().filter(|(x, _)| !self.log_x || *x > 0.0).collect();
            let stride = kept.len().div_ceil(MOST_POINTS).max(1);
            let mut path = String::new();
            for (n, (x, y)) in
                kept.iter().enumerate().filter(|(n, _)| n % stride == 0 || *n + 1 == kept.len())
            {
                let (x, y) = (across(shown(*x)), up(*y));
                let _ = match (n, self.steps) {
                    (0, _) => write!(path, "M{x:.1} {y:.1}"),
                    (_, true) => write!(path, "H{x:.1}V{y:.1}"),
                    (_, false) => write!(path, "L{x:.1} {y:.1}"),
                };
            }
            let (at, name) = (top + 20.0 + i as f64 * 18.0, escaped(&line.name));
            let beside = LEFT + wide + 12.0;
            let _ = writeln!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
                 <path d=\"M{beside:.1} {at:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                beside + 24.0,
                at + 4.0
            );
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least so much.
fn nice(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|n| *n >= least * 0.999_999).unwrap_or(power)
}

fn label(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>, log_x: bool) -> String {
        let lines = vec![Line { name: "a<b".into(), points }];
        let panel = Panel { title: "t".into(), x: "x".into(), log_x, steps: true, lines };
        Figure { title: "f".into(), panels: vec![panel] }.svg()
    }

    #[test]
    fn a_line_is_drawn_within_its_axes_and_names_are_escaped() {
        let svg = panel(vec![(0.0, 0.0), (10.0, 4.0)], false);
        assert!(svg.contains("d=\"M80.0 280.0H740.0V60.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
    }

    #[test]
    fn nothing_and_points_without_a_logarithm_are_no_trouble() {
        for (points, log) in
            [(vec![], false), (vec![(0.0, 1.0), (100.0, 1.0)], true), (vec![(3.0, 0.0)], false)]
        {
            let svg = panel(points, log);
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!([nice(0.3), nice(1.0), nice(17.0), nice(4000.0)], [0.5, 1.0, 20.0, 5000.0]);
        assert_eq!([label(1_500_000.0), label(20_000.0), label(0.25)], ["1.5M", "20k", "0.25"]);
    }
}
