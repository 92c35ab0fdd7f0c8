//! Selects the cache marks to keep where a provider accepts only a few.

/// The maximum of cache marks in one request: Anthropic's documentation and Bedrock's user guide.
pub(super) const MARK_LIMIT: usize = 4;

/// Why others are not sent.
pub(super) const TOO_MANY_MARKS: &str = "The provider takes four marks: the last one of the tools and of the instructions and the last ones of the conversation \
     are kept.";

/// How many marks of tools, instructions and conversation are kept, the last ones of each. A mark covers
/// everything before it: one of the tools and one of the instructions, which conversations share, then those
/// that reach furthest.
pub(super) fn kept_marks([tools, instructions, conversation]: [usize; 3], limit: usize) -> [usize; 3] {
    let mut left = limit;
    let mut take = |count: usize| {
        let taken = count.min(left);
        left -= taken;
        taken
    };
    let (of_tools, of_instructions) = (take(tools.min(1)), take(instructions.min(1)));
    let of_conversation = take(conversation);
    let more_instructions = take(instructions - of_instructions);
    [of_tools + take(tools - of_tools), of_instructions + more_instructions, of_conversation]
}

#[cfg(test)]
mod tests {
    use super::kept_marks;

    #[test]
    fn the_last_marks_of_tools_and_instructions_are_kept_first() {
        let cases = [
            ([1, 1, 2], [1, 1, 2]),
            ([2, 2, 0], [2, 2, 0]),
            ([2, 2, 5], [1, 1, 2]),
            ([0, 0, 5], [0, 0, 4]),
            ([3, 3, 1], [1, 2, 1]),
            ([9, 0, 1], [3, 0, 1]),
        ];
        for (given, expected) in cases {
            assert_eq!(kept_marks(given, 4), expected, "{given:?}");
        }
        assert_eq!(kept_marks([1, 1, 1], 1), [1, 0, 0]);
    }
}
