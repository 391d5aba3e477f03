//! The items of a batch by state, each a cell; of a large batch each cell is a range of items.

use maud::{Markup, html};
use serde_json::Value;

use super::state::{ITEM_STATES, state};
use crate::people::words;

/// At most so many.
pub(super) const CELLS: i32 = 1000;
const COLUMNS: usize = 50;
/// A cell and the gap after it.
const SIZE: usize = 12;
/// So many of the failed ones are named.
const NAMED_MAX: usize = 20;

/// The map, a legend, and links to the first failed ones: a map is looked at, and not read by everybody.
pub(super) fn heat_map(batch: i64, cells: &[Value]) -> Markup {
    let range = cells
        .first()
        .map_or(0, |cell| words::number(cell, "last_item") - words::number(cell, "first_item") + 1);
    let (width, height) = (COLUMNS.min(cells.len()) * SIZE, cells.len().div_ceil(COLUMNS) * SIZE);
    let failed: Vec<&Value> = cells.iter().filter(|cell| cell["state"] == "failed").collect();
    let present: Vec<&str> =
        ITEM_STATES.into_iter().filter(|state| cells.iter().any(|cell| cell["state"] == *state)).collect();
    html! {
        svg.map viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img"
            aria-label="Items by state, in the order of their numbers" {
            @for (at, cell) in cells.iter().enumerate() { (drawn(at, cell)) }
        }
        p.legend {
            @for name in present { (state(name)) " " }
            @if range > 1 { span.muted { "Each cell is " (words::grouped(range)) " items: failed, where failures among them are known; else the state of the first." } }
        }
        @if !failed.is_empty() {
            p {
                "Failed: "
                @for (at, cell) in failed.iter().take(NAMED_MAX).enumerate() {
                    @if at > 0 { ", " }
                    a href=(format!("/batches/{batch}/items/{}", words::number(cell, "first_item"))) { (span(cell)) }
                }
                @if failed.len() > NAMED_MAX { " and " (failed.len() - NAMED_MAX) " more" }
            }
        }
    }
}

/// A cell: each state has a shape of its own beside its colour.
fn drawn(at: usize, cell: &Value) -> Markup {
    let name = words::text(cell, "state");
    let (x, y) = (at % COLUMNS * SIZE, at / COLUMNS * SIZE);
    // How far its edges are from those of its place.
    let (inset, round) = match name.as_str() {
        "succeeded" | "failed" => (1, 1),
        "running" => (1, 5),
        "retrying" => (2, 4),
        "cancelled" => (4, 0),
        _ => (4, 2),
    };
    let side = SIZE - 2 * inset;
    html! {
        g.(name) data-item=(words::number(cell, "first_item")) {
            title { "item " (span(cell)) ": " (name) }
            rect x=(x + inset) y=(y + inset) width=(side) height=(side) rx=(round) {}
            @if name == "failed" {
                path d=(format!("M{} {}l6 6m0-6l-6 6", x + 3, y + 3)) {}
            }
        }
    }
}

/// `7`, or `7-12`.
fn span(cell: &Value) -> String {
    let (first, last) = (words::number(cell, "first_item"), words::number(cell, "last_item"));
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failed_cells_are_links_and_all_have_their_place() {
        let cells: Vec<Value> = (1..=60)
            .map(|n| json!({"first_item": n * 2 - 1, "last_item": n * 2, "state": if n == 52 { "failed" } else { "succeeded" }}))
            .collect();
        let map = heat_map(7, &cells).into_string();
        assert!(map.contains(r#"<a href="/batches/7/items/103">103-104</a>"#), "{map}");
        assert!(map.contains(r#"viewBox="0 0 600 24""#) && map.contains("item 103-104: failed"), "{map}");
        assert!(map.contains("Each cell is 2 items"), "{map}");
    }
}
