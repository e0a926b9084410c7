//! `larder curve`: what other sizes of the tiers would do, as a table or as a picture.

use std::fmt::Write as _;

use crate::admin_client::Client;
pub use crate::capacity::{Filling, Point, State, Told};

/// Asks a node.
///
/// # Errors
/// A sentence that says why there is no answer.
pub fn ask(node: Client<'_>) -> Result<Told, String> {
    let document = node.get("/v1/curve")?.document()?;
    let told = serde_json::from_value(document);
    told.map_err(|error| format!("{} does not answer like a node: {error}", node.admin))
}

impl Told {
    /// As the node tells it.
    #[must_use]
    pub fn json(&self) -> String {
        let written = serde_json::to_string(self);
        written.map_or_else(|error| error.to_string(), |text| text + "\n")
    }

    /// As lines for people.
    #[must_use]
    pub fn lines(&self) -> String {
        let (requests, bytes) = match (self.state, self.request_hit_ratio, self.byte_hit_ratio) {
            (State::Reading, ..) => {
                return "too early to tell: the disks are being read back\n".to_owned();
            }
            (_, Some(requests), Some(bytes)) => (requests, bytes),
            _ => return "there were no requests yet\n".to_owned(),
        };
        if self.state != State::Told {
            return format!(
                "too early to tell: {} of {} objects have been sampled; now {} of the requests and {} of the bytes\n",
                self.sampled_objects,
                self.sampled_objects_min,
                percent(requests),
                percent(bytes),
            );
        }
        let mut lines = format!(
            "{:<18}{:>18}{:>18}\n{:<18}{:>11}{:>18}\n",
            "",
            "requests hit",
            "bytes hit",
            "now",
            percent(requests),
            percent(bytes),
        );
        for point in &self.points {
            let Point {
                request_hit_ratio: requests,
                request_hit_ratio_error: requests_error,
                byte_hit_ratio: bytes,
                byte_hit_ratio_error: bytes_error,
                ..
            } = point;
            let _infallible = writeln!(
                lines,
                "{:<18}{:>11} ± {:<4}{:>11} ± {:<4}",
                point.title(),
                percent(*requests),
                points(*requests_error),
                percent(*bytes),
                points(*bytes_error),
            );
        }
        for filling in &self.filling {
            let Filling {
                change,
                factor,
                filled,
            } = filling;
            let title = format!("{change} × {factor}");
            let filled = percent(*filled);
            let _infallible = writeln!(lines, "{title:<18}{:>11} {filled}", "filling:");
        }
        lines + &self.footing()
    }

    fn footing(&self) -> String {
        let mut lines = format!(
            "from {} requests, {} sampled objects, {} of the small ones\n",
            self.requests,
            self.sampled_objects,
            percent(self.sampling_rate),
        );
        if !self.filling.is_empty() {
            lines += "what other disks would have kept from before the start is not known: they are told once that has come again\n";
        }
        lines
    }

    /// As a picture: the ratios over the sizes, with their errors, for memory and for disks.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        for (row, change) in ["memory", "disk"].into_iter().enumerate() {
            for (column, measure) in [Measure::Requests, Measure::Bytes].into_iter().enumerate() {
                let chart = Chart {
                    left: MARGIN + column as f64 * (CHART + GAP),
                    top: MARGIN + row as f64 * (CHART + GAP),
                };
                chart.draw(&mut svg, self, change, measure);
            }
        }
        svg + "</svg>\n"
    }
}

impl Point {
    fn title(&self) -> String {
        match (&*self.change, &self.policy) {
            (_, Some(policy)) => format!("{policy} instead"),
            (change, None) => format!("{change} × {}", self.factor),
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A difference of percentages.
fn points(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// Of the picture.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 720.0;
const MARGIN: f64 = 50.0;
/// The side of a chart, and what is between two of them.
const CHART: f64 = 270.0;
const GAP: f64 = 80.0;

/// What a chart shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Measure {
    Requests,
    Bytes,
}

/// A share and how far it may be off.
struct Mark {
    factor: f64,
    ratio: f64,
    error: f64,
}

impl Measure {
    const fn title(self) -> &'static str {
        match self {
            Self::Requests => "request hit ratio",
            Self::Bytes => "byte hit ratio",
        }
    }

    fn of(self, point: &Point) -> Mark {
        let (ratio, error) = match self {
            Self::Requests => (point.request_hit_ratio, point.request_hit_ratio_error),
            Self::Bytes => (point.byte_hit_ratio, point.byte_hit_ratio_error),
        };
        Mark {
            factor: point.factor,
            ratio,
            error,
        }
    }

    fn now(self, told: &Told) -> Option<Mark> {
        let ratio = match self {
            Self::Requests => told.request_hit_ratio,
            Self::Bytes => told.byte_hit_ratio,
        };
        ratio.map(|ratio| Mark {
            factor: 1.0,
            ratio,
            error: 0.0,
        })
    }
}

/// A square on the picture: from a half to four times the size, and from nothing to everything.
struct Chart {
    left: f64,
    top: f64,
}

impl Chart {
    /// Sizes by their logarithm.
    fn x(&self, factor: f64) -> f64 {
        self.left + (factor.log2() + 1.0) / 3.0 * CHART
    }

    fn y(&self, ratio: f64) -> f64 {
        self.top + (1.0 - ratio.clamp(0.0, 1.0)) * CHART
    }

    fn draw(&self, svg: &mut String, told: &Told, change: &str, measure: Measure) {
        let points = told.points.iter().filter(|point| point.change == change);
        let mut marks: Vec<Mark> = points.map(|point| measure.of(point)).collect();
        if marks.is_empty() {
            return;
        }
        marks.extend(measure.now(told));
        marks.sort_by(|one, other| one.factor.total_cmp(&other.factor));
        self.draw_axes(svg, &format!("{} by {change}", measure.title()));
        let line: Vec<String> = marks
            .iter()
            .map(|mark| format!("{:.1},{:.1}", self.x(mark.factor), self.y(mark.ratio)))
            .collect();
        let _infallible = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#1668a8\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for mark in &marks {
            let (x, y) = (self.x(mark.factor), self.y(mark.ratio));
            let (low, high) = (
                self.y(mark.ratio - mark.error),
                self.y(mark.ratio + mark.error),
            );
            let _infallible = writeln!(
                svg,
                "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"#1668a8\"/>\
                 <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"#1668a8\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                y - 10.0,
                percent(mark.ratio),
            );
        }
    }

    fn draw_axes(&self, svg: &mut String, title: &str) {
        let (left, top, bottom) = (self.left, self.top, self.top + CHART);
        let _infallible = writeln!(
            svg,
            "<text x=\"{left}\" y=\"{:.1}\" font-weight=\"bold\">{title}</text>\
             <path d=\"M{left} {top}V{bottom}H{:.1}\" fill=\"none\" stroke=\"#444\"/>",
            top - 14.0,
            left + CHART,
        );
        for (factor, name) in [(0.5, "× ½"), (1.0, "now"), (2.0, "× 2"), (4.0, "× 4")] {
            let _infallible = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444\">{name}</text>",
                self.x(factor),
                bottom + 18.0,
            );
        }
        for ratio in [0.0, 0.5, 1.0] {
            let y = self.y(ratio);
            let _infallible = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444\">{:.0} %</text>\
                 <path d=\"M{left} {y:.1}h{CHART}\" stroke=\"#ddd\"/>",
                left - 6.0,
                y + 4.0,
                ratio * 100.0,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let point = |change: &str, factor, policy: Option<&str>| Point {
            change: change.to_owned(),
            factor,
            policy: policy.map(str::to_owned),
            request_hit_ratio: 0.871,
            request_hit_ratio_error: 0.008,
            byte_hit_ratio: 0.5,
            byte_hit_ratio_error: 0.0123,
        };
        Told {
            state: State::Told,
            request_hit_ratio: Some(0.8),
            byte_hit_ratio: Some(0.4),
            requests: 12_345,
            sampling_rate: 0.25,
            sampled_objects: 4321,
            sampled_objects_min: 1000,
            sampled_requests: 5000,
            lost: 0,
            points: vec![
                point("memory", 2.0, None),
                point("policy", 1.0, Some("lru")),
            ],
            filling: Vec::new(),
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_change() {
        let lines = told().lines();
        // A line that is continued loses the spaces at its beginning.
        let header = format!("{:<24}requests hit         bytes hit\n", "");
        let expected = "\
now                    80.0 %            40.0 %
memory × 2             87.1 % ± 0.8      50.0 % ± 1.2
lru instead            87.1 % ± 0.8      50.0 % ± 1.2
from 12345 requests, 4321 sampled objects, 25.0 % of the small ones
";
        let trimmed: Vec<&str> = lines.lines().map(str::trim_end).collect();
        assert_eq!(trimmed.join("\n") + "\n", header + expected, "{lines}");
    }

    #[test]
    fn too_little_is_said_to_be_so() {
        let told = Told {
            state: State::FewObjects,
            sampled_objects: 321,
            points: Vec::new(),
            ..told()
        };
        assert!(told.lines().starts_with("too early to tell: 321 of 1000"));
        let nothing = Told {
            state: State::NoRequests,
            request_hit_ratio: None,
            ..told.clone()
        };
        assert_eq!(nothing.lines(), "there were no requests yet\n");
        let reading = Told {
            state: State::Reading,
            ..told
        };
        let lines = reading.lines();
        assert_eq!(lines, "too early to tell: the disks are being read back\n");
    }

    #[test]
    fn what_is_filling_is_said_to_be_so() {
        let filling = Filling {
            change: "disk".to_owned(),
            factor: 4.0,
            filled: 0.532,
        };
        let told = Told {
            filling: vec![filling],
            ..told()
        };
        let lines = told.lines();
        assert!(
            lines.contains("\ndisk × 4             filling: 53.2 %\n"),
            "{lines}"
        );
        assert!(
            lines.ends_with("they are told once that has come again\n"),
            "{lines}"
        );
    }

    #[test]
    fn a_picture_has_a_mark_for_each_size() {
        let svg = told().svg();
        assert_eq!(svg.matches("<circle").count(), 4, "now and twice, for both");
        assert!(svg.contains("request hit ratio by memory"));
        assert!(!svg.contains("by disk"), "there is none");
        assert!(svg.ends_with("</svg>\n"));
    }
}
