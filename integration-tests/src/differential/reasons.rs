//! Why our verifier accepts what the published one refuses: every such case is one of these.

/// A class of cases that we accept and the published verifier does not, and why that is right.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    /// The beginning of the class of the change: layer, or layer and kind.
    pub class: &'static str,
    /// A part of the place of the change.
    pub place: &'static str,
    /// A part of what the published verifier says, by which this very refusal is recognised.
    pub shows: &'static str,
    /// Why we accept, with the rule that says so.
    pub because: &'static str,
}

/// All of them.
pub const REASONS: &[Reason] = &[];

/// The reason for a case, if it has one.
pub fn reason(class: &str, place: &str, words: &str) -> Option<&'static Reason> {
    REASONS.iter().find(|reason| {
        class.starts_with(reason.class)
            && place.contains(reason.place)
            && words.contains(reason.shows)
    })
}
