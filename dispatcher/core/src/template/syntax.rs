//! Kubernetes' notations for names, labels and quantities.

/// A DNS label (RFC 1123): what containers and namespaces are named.
pub(super) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_word(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), |c| c == '-')
}

/// Labels of lower case joined by dots: the prefix of a label's key.
fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// The key of a label or annotation: `name` or `prefix/name`.
pub(super) fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// The value of a label.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_name(value)
}

fn is_label_name(text: &str) -> bool {
    text.len() <= 63 && is_word(text, |c| c.is_ascii_alphanumeric(), |c| matches!(c, '-' | '_' | '.'))
}

/// Not empty, of `outer` and `inner` characters, the first and the last of them `outer`.
fn is_word(text: &str, outer: impl Fn(char) -> bool, inner: impl Fn(char) -> bool) -> bool {
    text.starts_with(&outer) && text.ends_with(&outer) && text.chars().all(|c| outer(c) || inner(c))
}

/// An amount of something, not negative: `2`, `1.5Gi`, `100m`, `1e3`.
pub(super) fn is_amount(text: &str) -> bool {
    const SUFFIXES: [&str; 16] =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let text = text.strip_prefix('+').unwrap_or(text);
    let number_ends = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_ends);
    let is_number = number.matches('.').count() <= 1 && number.contains(|c: char| c.is_ascii_digit());
    is_number && (SUFFIXES.contains(&suffix) || is_exponent(suffix))
}

fn is_exponent(suffix: &str) -> bool {
    suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| exponent.parse::<i16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for good in
            ["0", "1", "+1", "1.5", ".5", "1.", "100m", "1Gi", "2Ei", "1E", "1e3", "1E-3", "128974848"]
        {
            assert!(is_amount(good), "{good}");
        }
        for bad in ["", "1 core", "-1", "1GiB", "1.2.3", "m", ".", "1e", "1gi", "0x10", "one", "1K"] {
            assert!(!is_amount(bad), "{bad}");
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(64);
        for good in ["a", "0", "a-b", "job-1"] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a_b", "a.b", "ä", long.as_str()] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        for good in ["app", "App_1.x", "example.com/team", "x-y.io/a"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "a b", "/a", "a/", "a/b/c", "Ex.com/a", "_a", long.as_str()] {
            assert!(!is_label_key(bad), "{bad}");
        }
        assert!(
            is_label_value("")
                && is_label_value("v1.2_x")
                && !is_label_value("a b")
                && !is_label_value(&long)
        );
    }
}
