//! Picks members of a JSON object while its text passes. Nothing else is buffered, so that an answer of any
//! length costs a few bytes.

/// Longest picked member.
const LONGEST: usize = 64 << 10;

pub(super) struct Picker {
    wanted: &'static [&'static str],
    /// The values of the wanted members as text; the last of duplicates.
    found: Vec<Option<Vec<u8>>>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// A name is next, or is being read.
    at_name: bool,
    name: Vec<u8>,
    /// The wanted member that is being read.
    taking: Option<usize>,
}

impl Picker {
    pub(super) fn new(wanted: &'static [&'static str]) -> Self {
        Self {
            wanted,
            found: vec![None; wanted.len()],
            depth: 0,
            in_string: false,
            escaped: false,
            at_name: false,
            name: Vec::new(),
            taking: None,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.take(*byte);
        }
    }

    /// The value of a wanted member as text.
    pub(super) fn found(&self, name: &str) -> Option<&[u8]> {
        let index = self.wanted.iter().position(|wanted| *wanted == name)?;
        self.found[index].as_deref()
    }

    fn take(&mut self, byte: u8) {
        if self.in_string {
            return self.within_string(byte);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 && self.at_name {
                    self.name.clear();
                    return;
                }
            }
            b'{' | b'[' => {
                self.depth += 1;
                if self.depth == 1 {
                    self.at_name = byte == b'{';
                    return;
                }
            }
            b'}' | b']' => {
                if self.depth == 1 {
                    self.taking = None;
                }
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 && self.at_name => {
                self.at_name = false;
                self.taking = self.wanted.iter().position(|wanted| wanted.as_bytes() == self.name);
                if let Some(index) = self.taking {
                    self.found[index] = Some(Vec::new());
                }
                return;
            }
            b',' if self.depth == 1 => {
                self.at_name = true;
                self.taking = None;
                return;
            }
            _ => {}
        }
        self.keep(byte);
    }

    fn within_string(&mut self, byte: u8) {
        let is_name = self.depth == 1 && self.at_name;
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                if is_name {
                    return;
                }
            }
            _ => {}
        }
        if !is_name {
            self.keep(byte);
        } else if self.name.len() < LONGEST {
            self.name.push(byte);
        }
    }

    fn keep(&mut self, byte: u8) {
        let Some(index) = self.taking else { return };
        match &mut self.found[index] {
            Some(value) if value.len() < LONGEST => value.push(byte),
            Some(_) => {
                self.found[index] = None;
                self.taking = None;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn picked(text: &[u8], cuts: &[usize]) -> (Option<Value>, Option<Value>) {
        let mut picker = Picker::new(&["usage", "model"]);
        let mut rest = text;
        for cut in cuts {
            let (piece, after) = rest.split_at(*cut % (rest.len() + 1));
            picker.push(piece);
            rest = after;
        }
        picker.push(rest);
        let read = |name| picker.found(name).and_then(|raw| serde_json::from_slice(raw).ok());
        (read("usage"), read("model"))
    }

    #[test]
    fn members_are_found_in_any_position() {
        let usage = json!({"prompt_tokens": 8, "details": {"a": [1, "}"]}});
        let text = format!(
            r#" {{"data":[{{"usage":1,"model":"inner"}},"model\\",{{"a":"\"model\":2"}}],"model" : "m\"x", "usage":{usage} }}"#
        );
        for cut in 0..text.len() {
            assert_eq!(picked(text.as_bytes(), &[cut]), (Some(usage.clone()), Some(json!("m\"x"))), "{cut}");
        }
        assert_eq!(picked(b"[{\"usage\":1}]", &[]), (None, None));
        let long = format!(r#"{{"usage":"{}","model":"m"}}"#, "x".repeat(LONGEST));
        assert_eq!(picked(long.as_bytes(), &[]), (None, Some(json!("m"))));
    }

    proptest! {
        #![proptest_config(testkit::random::cases(256))]

        #[test]
        fn any_split_picks_the_same(text in ".{0,80}", cuts in prop::collection::vec(0_usize..90, 0..5)) {
            let whole = json!({"a": text, "usage": {"t": text}, "b": [text, {"usage": 1}], "model": text}).to_string();
            let expected = (Some(json!({"t": text})), Some(json!(text)));
            prop_assert_eq!(picked(whole.as_bytes(), &cuts), expected);
        }
    }
}
