//! An item, as PostgreSQL wrote it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One unit of work: a JSON object, kept as text. It is never parsed as a whole: who enqueues may nest it deeper than a
/// parser's stack, and give it numbers of more digits than any type holds. So it gets to its program as it is.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Item(Box<RawValue>);

impl Item {
    /// The one that says nothing: `{}`.
    #[must_use]
    pub fn empty() -> Self {
        Self(RawValue::from_string("{}".to_owned()).unwrap_or_default())
    }

    /// Its JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// Its top-level scalars by their keys: strings without quotes, numbers to the last digit.
    #[must_use]
    pub fn scalars(&self) -> BTreeMap<String, String> {
        // PostgreSQL has checked that it is an object.
        let values: BTreeMap<String, &RawValue> = serde_json::from_str(self.json()).unwrap_or_default();
        values.into_iter().filter_map(|(key, value)| Some((key, scalar(value.get())?))).collect()
    }
}

fn scalar(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'{' | b'[' | b'n' => None,
        b'"' => serde_json::from_str(json).ok(),
        _ => Some(json.to_owned()),
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Item {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn it_stays_as_it_is_however_strange() {
        let deep = format!("{}1{}", r#"{"a": "#.repeat(20_000), "}".repeat(20_000));
        assert_eq!(item(&deep).json(), deep);
        assert!(item(&deep).scalars().is_empty());
        let digits = "9".repeat(30_000);
        assert_eq!(item(&format!(r#"{{"n": {digits}}}"#)).scalars()["n"], digits);
    }

    #[test]
    fn what_is_no_scalar_is_left_out() {
        let item = item(
            r#"{"s": "a \"b\" \u00e9", "n": 1.50, "t": true, "f": false, "x": null, "a": ["y"], "o": {"z": 1}}"#,
        );
        let expected = [("f", "false"), ("n", "1.50"), ("s", "a \"b\" é"), ("t", "true")];
        assert_eq!(item.scalars(), BTreeMap::from(expected.map(|(k, v)| (k.to_owned(), v.to_owned()))));
    }
}
