//! Facts from a model's name, used where the catalog has none.

/// A model's generation, read from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// `2` of `gemini-2.5-flash`; 0 when the name has no version.
    pub major: u32,
    /// `5` of `gemini-2.5-flash`.
    pub minor: u32,
}

impl Generation {
    /// Reads the generation from a name such as `gemini-3.1-pro-preview` or `models/gemini-2.5-flash`.
    pub fn of(model: &str) -> Self {
        let name = model.to_ascii_lowercase();
        let Some(start) = name.find("gemini-") else { return Self { major: 0, minor: 0 } };
        let rest = &name[start + "gemini-".len()..];
        let number = |text: &str| {
            let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
            (text[..end].parse::<u32>().ok(), text[end..].to_owned())
        };
        match number(rest) {
            (Some(major), rest) => {
                let minor = rest.strip_prefix('.').and_then(|rest| number(rest).0).unwrap_or(0);
                Self { major, minor }
            }
            // `gemini-flash-latest` is an alias of the newest.
            (None, _) if rest.contains("latest") => Self { major: 3, minor: 7 },
            (None, _) => Self { major: 1, minor: 0 },
        }
    }

    /// The name states at least this generation.
    pub fn at_least(self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

/// Gemma models take no system instruction.
pub(super) fn is_gemma(model: &str) -> bool {
    model.to_ascii_lowercase().contains("gemma")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_of_gemini_are_read_from_names() {
        let of = |name| {
            let generation = Generation::of(name);
            (generation.major, generation.minor)
        };
        assert_eq!(of("gemini-2.5-flash-lite"), (2, 5));
        assert_eq!(of("models/gemini-3-pro-preview"), (3, 0));
        assert_eq!(of("google/gemini-3.1-pro-preview"), (3, 1));
        assert_eq!(of("gemini-2.0-flash-001"), (2, 0));
        assert_eq!(of("gemini-flash-latest"), (3, 7));
        assert_eq!(of("gemini-pro"), (1, 0));
        assert_eq!(of("gemma-3-27b-it"), (0, 0));
    }
}
