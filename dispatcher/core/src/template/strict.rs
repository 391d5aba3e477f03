//! A deserializer over a JSON value that remembers where it is and notes every field that the type does not have.
//!
//! `k8s-openapi` hands its list of fields to `deserialize_struct` and ignores others; here they are compared first.

use std::cell::RefCell;
use std::fmt::Write as _;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value, map};

use super::Problem;

/// Reads a value of any type whose structs take their fields strictly.
pub(super) fn from_value<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<Problem>> {
    let seen = RefCell::new(Seen::default());
    let result = T::deserialize(Strict { value, seen: &seen });
    let Seen { mut problems, failed_at, .. } = seen.into_inner();
    match result {
        Ok(read) if problems.is_empty() => Ok(read),
        Ok(_) => Err(problems),
        Err(error) => {
            let path = failed_at.unwrap_or_else(|| "$".to_owned());
            problems.push(Problem { path, message: error.to_string() });
            Err(problems)
        }
    }
}

#[derive(Default)]
struct Seen {
    /// The path so far, as text: a step is undone by cutting it off.
    path: String,
    problems: Vec<Problem>,
    /// Where the error that ends everything came from.
    failed_at: Option<String>,
}

impl Seen {
    fn here(&self) -> String {
        if self.path.is_empty() { "$".to_owned() } else { self.path.clone() }
    }

    fn note_unknown(&mut self, field: &str, known: &[&'static str]) {
        let message = match nearest(field, known) {
            Some(near) => format!("unknown field, did you mean \"{near}\"?"),
            None => "unknown field".to_owned(),
        };
        self.problems.push(Problem { path: self.here(), message });
    }
}

/// The known field that a misspelt one most likely stands for: at most a quarter of its letters off.
pub(crate) fn nearest(field: &str, known: &[&'static str]) -> Option<&'static str> {
    let field = field.to_lowercase();
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&k.to_lowercase(), &field), *k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4)
        .map(|(_, k)| k)
}

/// Appends a key to a path; keys that are no plain words, such as labels, go into brackets.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !plain {
        // Writing to a String cannot fail.
        let _ = write!(path, "[{}]", Value::from(key));
    } else if path.is_empty() {
        path.push_str(key);
    } else {
        path.push('.');
        path.push_str(key);
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    value: &'a Value,
    seen: &'a RefCell<Seen>,
}

impl<'a> Strict<'a> {
    /// Notes where an error came from: the innermost place wins, as it passes here first.
    fn located<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            let mut seen = self.seen.borrow_mut();
            if seen.failed_at.is_none() {
                seen.failed_at = Some(seen.here());
            }
        }
        result
    }

    fn fields(
        self,
        entries: &'a map::Map<String, Value>,
        known: Option<&'static [&'static str]>,
    ) -> Fields<'a> {
        Fields {
            entries: entries.iter(),
            value: None,
            known,
            seen: self.seen,
            mark: self.seen.borrow().path.len(),
        }
    }
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.located(match self.value {
            Value::Array(elements) => {
                let mark = self.seen.borrow().path.len();
                visitor.visit_seq(Elements { elements, next: 0, seen: self.seen, mark })
            }
            Value::Object(entries) => visitor.visit_map(self.fields(entries, None)),
            scalar => scalar.deserialize_any(visitor),
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(entries) => self.located(visitor.visit_map(self.fields(entries, Some(known)))),
            _ => self.deserialize_any(visitor),
        }
    }

    // Whole numbers go through serde_json's own range checks.
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.located(self.value.deserialize_i32(visitor))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.located(self.value.deserialize_i64(visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

struct Elements<'a> {
    elements: &'a [Value],
    next: usize,
    seen: &'a RefCell<Seen>,
    mark: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.elements.get(self.next) else { return Ok(None) };
        self.seen.borrow_mut().path.push_str(&format!("[{}]", self.next));
        self.next += 1;
        let element = seed.deserialize(Strict { value, seen: self.seen })?;
        self.seen.borrow_mut().path.truncate(self.mark);
        Ok(Some(element))
    }
}

struct Fields<'a> {
    entries: map::Iter<'a>,
    value: Option<&'a Value>,
    known: Option<&'static [&'static str]>,
    seen: &'a RefCell<Seen>,
    mark: usize,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        {
            let mut seen = self.seen.borrow_mut();
            push_key(&mut seen.path, key);
            if let Some(known) = self.known.filter(|known| !known.contains(&key.as_str())) {
                seen.note_unknown(key, known);
            }
        }
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let value = self.value.take().unwrap_or(&Value::Null);
        let read = seed.deserialize(Strict { value, seen: self.seen })?;
        self.seen.borrow_mut().path.truncate(self.mark);
        Ok(read)
    }
}
