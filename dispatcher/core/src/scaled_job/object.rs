//! An object of the manifest that is read field by field, so that none is dropped silently.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Note, NoteKind, Problem};
use crate::template::{nearest, push_key};

/// An object, and what has been asked of it.
pub(super) struct Object<'a> {
    path: String,
    fields: &'a Map<String, Value>,
    /// The fields that have been asked for, and why those that have no effect have none.
    asked: BTreeMap<&'static str, Option<&'static str>>,
}

impl<'a> Object<'a> {
    pub(super) fn new(path: impl Into<String>, value: &'a Value) -> Result<Self, Problem> {
        let path = path.into();
        match value {
            Value::Object(fields) => Ok(Self { path, fields, asked: BTreeMap::new() }),
            other => {
                let path = if path.is_empty() { "$".to_owned() } else { path };
                Err(wrong(path, other, "an object"))
            }
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of a field.
    pub(super) fn at(&self, key: &str) -> String {
        let mut path = self.path.clone();
        push_key(&mut path, key);
        path
    }

    /// All fields. Who takes them over whole need not ask for each.
    pub(super) fn fields(&self) -> &'a Map<String, Value> {
        self.fields
    }

    /// A field that is somebody else's.
    pub(super) fn peek(&self, key: &str) -> Option<&'a Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// A field, whatever it is. As with Kubernetes, null is none.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.insert(key, None);
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// Says that a field has no effect, if it is there.
    pub(super) fn ignore(&mut self, key: &'static str, why: &'static str) {
        self.asked.insert(key, Some(why));
    }

    pub(super) fn object(&mut self, key: &'static str) -> Result<Option<Object<'a>>, Problem> {
        let path = self.at(key);
        self.take(key).map(|value| Object::new(path, value)).transpose()
    }

    /// A list, each element with its path.
    pub(super) fn list(&mut self, key: &'static str) -> Result<Vec<(String, &'a Value)>, Problem> {
        let path = self.at(key);
        match self.take(key) {
            None => Ok(vec![]),
            Some(Value::Array(elements)) => Ok(elements
                .iter()
                .enumerate()
                .map(|(index, value)| (format!("{path}[{index}]"), value))
                .collect()),
            Some(other) => Err(wrong(path, other, "a list")),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<String>, Problem> {
        let all = self.list(key)?.into_iter();
        all.map(|(path, value)| value.as_str().map(str::to_owned).ok_or_else(|| wrong(path, value, "a text")))
            .collect()
    }

    /// A text, without the blanks around it; an empty one is none. Numbers and booleans are texts where somebody forgot the
    /// quotes.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, Problem> {
        let path = self.at(key);
        let text = match self.take(key) {
            None => return Ok(None),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(other) => return Err(wrong(path, other, "a text")),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// A whole number that fits a column of type int.
    pub(super) fn whole(&mut self, key: &'static str, least: i32) -> Result<Option<i32>, Problem> {
        let path = self.at(key);
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_i64().and_then(|number| i32::try_from(number).ok()).filter(|number| *number >= least) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(path, value, &format!("a whole number from {least} on"))),
        }
    }

    /// A number in a text.
    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<f64>, Problem> {
        let path = self.at(key);
        let Some(text) = self.text(key)? else { return Ok(None) };
        match text.parse::<f64>().ok().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(path, &Value::from(text), "a number")),
        }
    }

    /// A boolean in a text, as Go reads it.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Problem> {
        let path = self.at(key);
        let Some(text) = self.text(key)? else { return Ok(None) };
        match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => Err(wrong(path, &Value::from(text), "\"true\" or \"false\"")),
        }
    }

    /// Notes every field that is there and has no effect.
    pub(super) fn end(self, notes: &mut Vec<Note>) {
        let known: Vec<&'static str> = self.asked.keys().copied().collect();
        for (key, value) in self.fields {
            let why = match self.asked.get(key.as_str()) {
                Some(None) => continue,
                Some(Some(_)) if value.is_null() => continue,
                Some(Some(why)) => (*why).to_owned(),
                None => match nearest(key, &known) {
                    Some(near) => format!("unknown field, did you mean {near:?}?"),
                    None => "unknown field".to_owned(),
                },
            };
            notes.push(Note::new(NoteKind::Ignored, self.at(key), why));
        }
    }
}

fn wrong(path: String, found: &Value, expected: &str) -> Problem {
    let found: String = found.to_string().chars().take(100).collect();
    Problem::new(
        path,
        format!("{found}, expected {expected}"),
        "KEDA would refuse it, too; see its ScaledJob specification.",
    )
}
