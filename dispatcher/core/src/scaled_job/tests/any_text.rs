//! Whatever text is given, the answer is a value or a problem.

use std::collections::BTreeSet;

use super::every_field::EVERYTHING;
use super::read;
use crate::scaled_job::manifest::{BYTES_MAX, read_all};

#[test]
fn bombs_are_refused() {
    let deep = "[".repeat(100_000);
    let flow = format!("{}{}", "{a: ".repeat(500), "}".repeat(500));
    let block = (0..500).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n");
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        let uses = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs.push_str(&format!("a{n}: &a{n} [{uses}]\n"));
    }
    // Each is 50 deeper than the one before it.
    let mut ladder = "a0: &a0 x\n".to_owned();
    for n in 1..3000 {
        ladder.push_str(&format!("a{n}: &a{n} {}*a{}{}\n", "[".repeat(50), n - 1, "]".repeat(50)));
    }
    let large = format!("a: {}", "x".repeat(BYTES_MAX));
    let twice = "a: 1\na: 2";
    for bomb in
        [&deep, &flow, &block, &laughs, &ladder, &large, "a: \"\\0\"", "a: *b", "a: [1", "%", "\u{0}", twice]
    {
        let problem = read_all(bomb).unwrap_err();
        assert!(!problem.message.is_empty() && problem.message.len() < 1000, "{problem}");
    }
}

/// A small generator: the same changes for a seed, on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

#[test]
fn whatever_is_given_it_answers() {
    let pieces = [
        "{", "}", "[", "]", ":", "-", "\n", "  ", "&a ", "*a", "!!int ", "<<: ", "'", "\"", "|", "0x", "~",
        "ä", "\t", "---\n",
    ];
    let mut kinds = BTreeSet::new();
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut text: Vec<char> = EVERYTHING.chars().collect();
        for _ in 0..=dice.below(8) {
            let at = dice.below(text.len());
            let until = (at + dice.below(30)).min(text.len());
            let piece: Vec<char> = pieces[dice.below(pieces.len())].chars().collect();
            match dice.below(4) {
                0 => drop(text.splice(at..until, piece)),
                1 => drop(text.splice(at..at, piece)),
                2 => drop(text.drain(at..until)),
                _ => {
                    let copy: Vec<char> = text[at..until].to_vec();
                    let to = dice.below(text.len());
                    drop(text.splice(to..to, copy));
                }
            }
        }
        let text: String = text.into_iter().collect();
        kinds.insert(match read(&text) {
            Ok(import) => {
                assert!(!import.steps().is_empty());
                "made"
            }
            Err(problem) if problem.message.starts_with("no YAML") => "no YAML",
            Err(_) => "no ScaledJob",
        });
    }
    assert_eq!(kinds.len(), 3, "all of it was tried: {kinds:?}");
}
