//! The end of a value that arrives in pieces.

/// The progress in a JSON value that arrives in pieces. Each byte is read once.
#[derive(Default)]
pub struct Extent {
    depth: usize,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Extent {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => {
                    self.depth += 1;
                    self.begun = true;
                }
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// The value is complete.
    pub fn is_complete(&self) -> bool {
        self.begun && self.depth == 0
    }
}
