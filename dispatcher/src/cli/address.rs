//! How people name what they mean: `12` is a batch, `12/3` its third item.

use std::fmt;
use std::str::FromStr;

/// An item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ItemAddress {
    pub(super) batch: i64,
    pub(super) item: i32,
}

/// A batch, or an item of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    Batch(i64),
    Item(ItemAddress),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither a batch, as in 12, nor an item of one, as in 12/3");
        match text.split_once('/') {
            None => text.parse().map(Self::Batch).map_err(|_| wrong()),
            Some((batch, item)) => match (batch.parse(), item.parse()) {
                (Ok(batch), Ok(item)) => Ok(Self::Item(ItemAddress { batch, item })),
                _ => Err(wrong()),
            },
        }
    }
}

impl FromStr for ItemAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Address::Item(item) => Ok(item),
            Address::Batch(batch) => Err(format!("which item of batch {batch}? Its first one is {batch}/1")),
        }
    }
}

impl fmt::Display for ItemAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.batch, self.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_and_an_item_are_told_apart() {
        assert_eq!("12".parse(), Ok(Address::Batch(12)));
        assert_eq!("12/3".parse(), Ok(ItemAddress { batch: 12, item: 3 }));
        for wrong in ["", "x", "12/", "/3", "12/3/4", "12/x"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        assert_eq!(
            "12".parse::<ItemAddress>(),
            Err("which item of batch 12? Its first one is 12/1".to_owned())
        );
    }
}
