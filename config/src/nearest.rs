//! "Did you mean": the known word that is nearest to a misspelt one.

/// The candidate that `word` is most likely a misspelling of, if any is near enough.
///
/// Near enough: one wrong, missing, extra or swapped character for each three of the word, at least one.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).take(WORD_CHARS_MAX).collect();
    let far = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// LIMIT: the comparison costs the product of both lengths; nobody misspells longer keys by accident.
const WORD_CHARS_MAX: usize = 64;

/// Edits (replace, insert, delete, swap of neighbours) between two words: "optimal string alignment".
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, of_b) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(of_a != of_b);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *of_a == b[j - 1] && a[i - 1] == *of_b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_fingers_finds_its_word() {
        let words = ["baud", "parity", "stop_bits", "device"];
        assert_eq!(nearest("buad", words), Some("baud"));
        assert_eq!(nearest("stopbits", words), Some("stop_bits"));
        assert_eq!(nearest("Parity", words), Some("parity"));
        assert_eq!(nearest("devices", words), Some("device"));
        assert_eq!(nearest("timeout", words), None);
        assert_eq!(nearest("", words), None);
    }
}
