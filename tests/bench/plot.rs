//! Plots as SVG, by hand: bars of the sides with the spread of their rounds, and curves over time.

use std::fmt::Write as _;

use serde_json::Value;

use crate::output::rounded;

const WIDTH: f64 = 860.0;
const COLOURS: [&str; 6] = ["#0b6e99", "#c2410c", "#4d7c0f", "#7c3aed", "#be185d", "#57534e"];

/// The plots of a bench: one of bars for each unit, and its curves.
pub(crate) fn of(bench: &str, result: &Value) -> Vec<String> {
    let sides = result["sides"].as_array().map_or(&[][..], Vec::as_slice);
    let mut units: Vec<&str> = vec![];
    for unit in sides.iter().filter_map(|side| side["unit"].as_str()) {
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    let bars = units.iter().map(|unit| {
        let of_unit: Vec<&Value> = sides.iter().filter(|side| side["unit"] == *unit).collect();
        bars(&format!("{bench}: {unit}, median and spread of the rounds"), &of_unit)
    });
    let curves = result["plots"].as_array().map_or(&[][..], Vec::as_slice).iter().map(curves);
    bars.chain(curves).map(|svg| svg.unwrap_or_default()).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn open(height: f64, title: &str) -> Result<String, std::fmt::Error> {
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">"#
    )?;
    writeln!(svg, r#"<rect width="{WIDTH}" height="{height}" fill="white"/>"#)?;
    writeln!(svg, r#"<text x="12" y="24" font-size="16">{}</text>"#, escaped(title))?;
    Ok(svg)
}

fn bars(title: &str, sides: &[&Value]) -> Result<String, std::fmt::Error> {
    const LEFT: f64 = 390.0;
    const STEP: f64 = 28.0;
    let most =
        sides.iter().filter_map(|side| side["spread"]["max"].as_f64()).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - 90.0) / most;
    let mut svg = open(50.0 + STEP * sides.len() as f64, title)?;
    for (number, side) in sides.iter().enumerate() {
        let y = 42.0 + STEP * number as f64;
        let at = |name: &str| side["spread"][name].as_f64().unwrap_or_default() * scale;
        let name = side["name"].as_str().unwrap_or_default();
        let colour = if name.starts_with("pgbatch") { COLOURS[0] } else { COLOURS[5] };
        writeln!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            y + 15.0,
            escaped(name)
        )?;
        writeln!(
            svg,
            r#"<rect x="{LEFT}" y="{y}" width="{:.1}" height="20" fill="{colour}" opacity="0.8"/>"#,
            at("median")
        )?;
        let (low, high, middle) = (LEFT + at("min"), LEFT + at("max"), y + 10.0);
        writeln!(
            svg,
            r#"<path d="M{low:.1} {middle}H{high:.1}M{low:.1} {}v8M{high:.1} {}v8" stroke="black"/>"#,
            middle - 4.0,
            middle - 4.0
        )?;
        let figure = rounded(side["spread"]["median"].as_f64());
        writeln!(svg, r#"<text x="{:.1}" y="{}">{figure}</text>"#, high + 6.0, y + 15.0)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn points(curve: &Value) -> Vec<(f64, f64)> {
    let list = curve["points"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()?))).collect()
}

fn curves(plot: &Value) -> Result<String, std::fmt::Error> {
    const LEFT: f64 = 70.0;
    const TOP: f64 = 44.0;
    const BOTTOM: f64 = 320.0;
    let list = plot["curves"].as_array().map_or(&[][..], Vec::as_slice);
    let all: Vec<(f64, f64)> = list.iter().flat_map(points).collect();
    let most = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let (x_most, y_most) = (most(|point| point.0), most(|point| point.1));
    let x = |value: f64| LEFT + value / x_most * (WIDTH - LEFT - 20.0);
    let y = |value: f64| BOTTOM - value / y_most * (BOTTOM - TOP);
    let mut svg = open(BOTTOM + 40.0 + 20.0 * list.len() as f64, plot["title"].as_str().unwrap_or_default())?;
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (value, at) = (part * y_most, y(part * y_most));
        writeln!(svg, r##"<path d="M{LEFT} {at:.1}H{}" stroke="#ddd"/>"##, WIDTH - 20.0)?;
        let label = rounded(Some(value));
        writeln!(svg, r#"<text x="{}" y="{:.1}" text-anchor="end">{label}</text>"#, LEFT - 6.0, at + 4.0)?;
        let (value, at) = (rounded(Some(part * x_most)), x(part * x_most));
        writeln!(svg, r#"<text x="{at:.1}" y="{}" text-anchor="middle">{value}</text>"#, BOTTOM + 18.0)?;
    }
    for (number, curve) in list.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let line: Vec<String> =
            points(curve).iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#,
            line.join(" ")
        )?;
        let at = BOTTOM + 42.0 + 20.0 * number as f64;
        writeln!(svg, r#"<path d="M{LEFT} {}h24" stroke="{colour}" stroke-width="3"/>"#, at - 4.0)?;
        let name = escaped(curve["name"].as_str().unwrap_or_default());
        writeln!(svg, r#"<text x="{}" y="{at}">{name}</text>"#, LEFT + 32.0)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
