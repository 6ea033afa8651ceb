//! The name that somebody most likely meant.

/// Longer words are not typing mistakes.
const MAX_COMPARED_BYTES: usize = 64;

/// The nearest of the candidates, the first of those that are equally near, if it is near enough to be meant; capitals make
/// no difference.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let near = |candidate: &'c str| Some((distance(word, candidate)?, candidate));
    let nearest = candidates.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance);
    nearest.map(|(_, candidate)| candidate)
}

/// Whether both are short enough to be compared.
pub(crate) fn are_compared(word: &str, candidate: &str) -> bool {
    word.len().max(candidate.len()) <= MAX_COMPARED_BYTES
}

/// Short words are near to everything: a third of the letters may differ, one always may.
fn distance(word: &str, candidate: &str) -> Option<usize> {
    if !are_compared(word, candidate) {
        return None;
    }
    let allowed = (word.len().max(candidate.len()) / 3).clamp(1, 4);
    let distance = strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
    (distance <= allowed).then_some(distance)
}
