//! Links to pages of ours, and what comes back of a form that is in one.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A path with those of the fields that have a value.
pub(super) fn link(path: &str, fields: &[(&str, Option<&str>)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .filter_map(|(name, value)| {
            Some(format!("{name}={}", utf8_percent_encode((*value)?, NON_ALPHANUMERIC)))
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// What was filled in, if anything.
pub(super) fn filled(field: Option<&str>) -> Option<&str> {
    field.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_the_fields_that_have_a_value() {
        let fields = [("queue", Some("a&b=\"c\"")), ("who", None), ("before", Some("7"))];
        assert_eq!(link("/activity", &fields), "/activity?queue=a%26b%3D%22c%22&before=7");
    }

    #[test]
    fn what_is_empty_was_not_filled_in() {
        assert_eq!([filled(Some(" a ")), filled(Some(" ")), filled(None)], [Some("a"), None, None]);
    }
}
