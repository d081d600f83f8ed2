//! The plot that the README shows: one bar for each contender, readable on light and on dark pages.

use std::fmt::Write as _;
use std::path::Path;

use super::Failure;

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    /// Of the reference, which is 1.
    pub(super) ratio: f64,
    pub(super) ours: bool,
}

const WIDTH: f64 = 760.0;
/// Where bars begin, and how long a ratio of one is.
const LEFT: f64 = 350.0;
const UNIT: f64 = 220.0;
const ROW: f64 = 30.0;
const TOP: f64 = 46.0;

/// Writes the bars as a picture.
pub(super) fn write(file: &Path, bars: &[Bar]) -> Result<(), Failure> {
    #[expect(clippy::cast_precision_loss, reason = "a handful of rows")]
    let height = TOP + ROW * bars.len() as f64 + 18.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"CPU per request, bare Pingora being 1\">\n<style>\n\
         text {{ font: 13px system-ui, sans-serif; fill: #2b2f36 }}\n\
         .title {{ font-weight: 600; font-size: 15px }}\n.ours {{ fill: #0f766e }}\n.other {{ fill: #9aa3af }}\n\
         line {{ stroke: #c2410c; stroke-dasharray: 4 3 }}\n.bar {{ fill: #c2410c }}\n\
         @media (prefers-color-scheme: dark) {{\n  text {{ fill: #e5e7eb }}\n  .ours {{ fill: #2dd4bf }}\n  \
         .other {{ fill: #6b7280 }}\n  line {{ stroke: #fb923c }}\n  .bar {{ fill: #fb923c }}\n}}\n</style>\n\
         <text class=\"title\" x=\"0\" y=\"18\">CPU per request, bare Pingora with the same settings = 1</text>\n"
    );
    let mut y = TOP;
    for bar in bars {
        let (class, length) = (if bar.ours { "ours" } else { "other" }, bar.ratio * UNIT);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            y + 15.0,
            bar.label
        )?;
        writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"20\" rx=\"3\"/>"
        )?;
        writeln!(svg, "<text x=\"{:.1}\" y=\"{}\">{:.2}</text>", LEFT + length + 8.0, y + 15.0, bar.ratio)?;
        y += ROW;
    }
    let bar = LEFT + 1.2 * UNIT;
    writeln!(svg, "<line x1=\"{bar}\" y1=\"{}\" x2=\"{bar}\" y2=\"{y}\"/>", TOP - 8.0)?;
    writeln!(
        svg,
        "<text class=\"bar\" x=\"{bar}\" y=\"{}\" text-anchor=\"middle\">bar: 1.20</text>",
        TOP - 12.0
    )?;
    svg.push_str("</svg>\n");
    std::fs::write(file, svg)?;
    Ok(())
}
