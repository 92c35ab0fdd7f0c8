//! Masks secrets by value in text from a provider: providers often quote the key that they refuse. A secret
//! is found as it is, percent-encoded, escaped for JSON, and within base64 at each of the three offsets in a
//! group.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use canon::{Error, Field, Secret};
use wire::providers::Credential;

/// The replacement of a secret.
const MASK: &str = "***";
/// A shorter secret is masked only as a whole word: it could be a part of ordinary words.
const SHORT: usize = 8;
/// A secret shorter than this is not masked: it is a placeholder like `test` or `none`, and masking it would
/// garble every message with that word. No provider issues such short keys.
const PLACEHOLDER: usize = 6;
/// This much of a secret's beginning is masked even where the rest was cut off.
const BEGINNING: usize = 12;

/// The forms of some secrets.
#[derive(Default)]
pub struct Mask {
    forms: Vec<String>,
}

impl Mask {
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut mask = Self::default();
        for secret in secrets {
            mask.add(secret.expose());
        }
        // The longest first: a form may be a part of another.
        mask.forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        mask.forms.dedup();
        mask
    }

    fn add(&mut self, secret: &str) {
        if secret.len() < PLACEHOLDER {
            return;
        }
        let forms = [Cow::Borrowed(secret), percent(secret, true), percent(secret, false), json(secret)];
        self.forms.extend(forms.into_iter().map(Cow::into_owned));
        for place in 0..3 {
            self.forms.extend(within_base64(secret, place));
        }
    }

    /// The text without any of the secrets.
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        // Whole ones first: the beginning of a form is often that of another.
        for form in self.forms.iter().map(|form| (form.as_str(), form.as_str())).chain(self.beginnings()) {
            if let Some(masked) = without(&text, form) {
                text = Cow::Owned(masked);
            }
        }
        text
    }

    /// The forms, with the part that is found where the rest was cut off.
    fn beginnings(&self) -> impl Iterator<Item = (&str, &str)> {
        let long = self.forms.iter().filter(|form| form.len() > BEGINNING);
        long.map(|form| (&form[..form.floor_char_boundary(BEGINNING)], form.as_str()))
    }

    /// Masks all displayable texts of an error.
    pub fn clean(&self, error: &mut Error) {
        if let Cow::Owned(message) = self.apply(&error.message) {
            error.message = message.into();
        }
        if let Some(Field::Verbatim(param) | Field::Extra(param)) = &mut error.param
            && let Cow::Owned(masked) = self.apply(param)
        {
            *param = masked.into();
        }
        let id = error.upstream.as_mut().map(|reply| &mut reply.request_id);
        for field in [Some(&mut error.code), Some(&mut error.type_name), id].into_iter().flatten() {
            if let Some(Cow::Owned(masked)) = field.as_deref().map(|text| self.apply(text)) {
                *field = Some(masked);
            }
        }
    }
}

pub fn secrets(credential: &Credential) -> Vec<&Secret> {
    match credential {
        Credential::None => Vec::new(),
        Credential::Key(secret) | Credential::Token(secret) => vec![secret],
        Credential::Aws { secret_access_key, session_token, .. } => {
            std::iter::once(secret_access_key).chain(session_token).collect()
        }
    }
}

/// The text with every occurrence of a form masked that begins like this; none without one.
fn without(text: &str, (beginning, form): (&str, &str)) -> Option<String> {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(beginning) {
        let length = common(&rest[start..], form);
        let (before, after) = (&rest[..start], &rest[start + length..]);
        let is_part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric());
        let is_word = !is_part(before.chars().next_back()) && !is_part(after.chars().next());
        masked.push_str(before);
        masked.push_str(if form.len() >= SHORT || is_word { MASK } else { &rest[start..start + length] });
        rest = after;
    }
    if masked.is_empty() {
        return None;
    }
    masked.push_str(rest);
    Some(masked)
}

/// The length of the common prefix of two texts.
fn common(text: &str, form: &str) -> usize {
    let same = text.chars().zip(form.chars()).take_while(|(left, right)| left == right);
    same.map(|(letter, _)| letter.len_utf8()).sum()
}

fn percent(secret: &str, upper: bool) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if secret.bytes().all(is_plain) {
        return Cow::Borrowed(secret);
    }
    let escape = |byte: u8| match (is_plain(byte), upper) {
        (true, _) => char::from(byte).to_string(),
        (false, true) => format!("%{byte:02X}"),
        (false, false) => format!("%{byte:02x}"),
    };
    Cow::Owned(secret.bytes().map(escape).collect())
}

fn json(secret: &str) -> Cow<'_, str> {
    let quoted = serde_json::Value::from(secret).to_string();
    Cow::Owned(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted).to_owned())
}

/// The part of the secret's base64 that does not depend on the surrounding bytes, when `place` bytes of a
/// group precede it.
fn within_base64(secret: &str, place: usize) -> Vec<String> {
    let bytes = [&[0; 2][..place], secret.as_bytes()].concat();
    let skip = [0, 2, 3][place];
    let letters = bytes.len() * 8 / 6;
    let cut = |encoded: String| encoded.get(skip..letters).map(str::to_owned);
    let both = [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)];
    both.into_iter().filter_map(cut).filter(|form| form.len() >= SHORT).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use canon::{ErrorKind, Retry, UpstreamReply};

    use super::*;

    const KEY: &str = "d3adb33f/0011+2233=4455\"6677";

    fn masked(text: &str) -> String {
        Mask::of([&Secret::new(KEY)]).apply(text).into_owned()
    }

    #[test]
    fn a_secret_is_masked_in_every_form() {
        let percent = "d3adb33f%2F0011%2B2233%3D4455%226677";
        for form in [KEY, percent, &percent.to_lowercase(), "d3adb33f/0011+2233=4455\\\"6677"] {
            assert_eq!(masked(&format!("refused: {form}, sorry")), "refused: ***, sorry");
        }
        for before in ["", "a", "us", "bob:", "svc-x:"] {
            for after in ["", "!", "xy", "\n"] {
                let whole = STANDARD.encode(format!("{before}{KEY}{after}"));
                let shown = masked(&format!("Basic {whole}"));
                let left = shown.replace("***", "");
                // The rest contains at most the neighbours of the secret, as parts of groups.
                assert!(
                    shown.contains("***") && left.len() < "Basic ".len() + 14,
                    "{before} {after}: {shown}"
                );
            }
        }
    }

    #[test]
    fn the_beginning_of_a_secret_is_masked_if_the_rest_is_cut_off() {
        assert_eq!(masked("key d3adb33f/0011+... is wrong"), "key ***... is wrong");
        assert_eq!(masked("d3adb33f"), "d3adb33f", "too little to be sure");
    }

    #[test]
    fn short_secrets_are_masked_as_words_only() {
        let mask = Mask::of([&Secret::new("secret")]);
        assert_eq!(mask.apply("the secret \"secret\" of a secretary"), "the *** \"***\" of a secretary");
    }

    #[test]
    fn placeholders_are_not_masked() {
        assert_eq!(Mask::of([&Secret::new("test")]).apply("a test"), "a test");
    }

    #[test]
    fn every_field_of_an_error_is_cleaned() {
        let mut error = Error::upstream(ErrorKind::UpstreamCredential, Retry::Elsewhere, format!("no {KEY}"));
        error.param = Some(Field::from(format!("{KEY}.x")));
        error.code = Some(KEY.to_owned());
        error.type_name = Some(KEY.to_owned());
        error.upstream = Some(UpstreamReply { request_id: Some(KEY.to_owned()), ..UpstreamReply::default() });
        Mask::of([&Secret::new(KEY)]).clean(&mut error);
        assert!(!format!("{error:?}").contains("d3adb33f"), "{error:?}");
    }
}
