//! Requests: changed in the raw body, before a provider is chosen.

use std::sync::Arc;

use bytes::Bytes;
use canon::{Error, ErrorKind, Field};
use memchr::memmem;
use wire::texts;

use super::search::Search;
use super::{Direction, Guard};

/// Longer bodies are searched on a blocking thread.
const LONG: usize = 64 << 10;

impl Guard {
    /// Checks a request's body, which is valid JSON. Returns a new body where something was replaced, and an
    /// error where the request is refused.
    pub async fn guarded(self: &Arc<Self>, body: &Bytes) -> Result<Option<Bytes>, Error> {
        if !self.rules.iter().any(|rule| rule.on_input) {
            return Ok(None);
        }
        let changed = if body.len() <= LONG {
            self.changed(body)?
        } else {
            let (guard, body) = (self.clone(), body.clone());
            let searched = tokio::task::spawn_blocking(move || guard.changed(&body)).await;
            searched.map_err(|_| Error::gateway(ErrorKind::Internal, "A guardrail broke."))??
        };
        if self.asking(Direction::Input).next().is_some() {
            let body = changed.as_ref().unwrap_or(body);
            let found = texts::of_request(body);
            let texts = found.iter().filter_map(|text| text.value(body)).map(|text| text.into_owned());
            self.ask(Direction::Input, texts.filter(|text| !text.trim().is_empty()).collect()).await?;
        }
        Ok(changed)
    }

    /// Checks a text that cannot be changed, such as a field of a form: a match of a `redact` rule is
    /// refused.
    pub async fn check_field(&self, name: &'static str, text: &str) -> Result<(), Error> {
        if let Some((rule, _)) = Search::new(text, self.finding(Direction::Input)).first(0) {
            return Err(self.denied(rule, Direction::Input, None).at(name));
        }
        if self.asking(Direction::Input).next().is_some() && !text.trim().is_empty() {
            self.ask(Direction::Input, vec![text.to_owned()]).await
        } else {
            Ok(())
        }
    }

    /// The body with placeholders, where a match was replaced.
    pub fn changed(&self, body: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = texts::of_request(body);
        let refused = texts::changed(body, &found, &mut |path, text| match Search::new(
            text,
            self.denying(Direction::Input),
        )
        .first(0)
        {
            Some((rule, _)) => {
                Err(self.denied(rule, Direction::Input, None).at(Field::Verbatim(path.to_owned().into())))
            }
            None => Ok(None),
        });
        refused?;
        if self.redacting(Direction::Input).next().is_none() {
            return Ok(None);
        }
        self.pass_over_known(body);
        let changed = texts::changed(body, &found, &mut |_, text| Ok::<_, Error>(self.replaced(text)))?;
        Ok(changed.map(Bytes::from))
    }

    /// Placeholder-like texts in the body itself are reserved: a new placeholder gets a higher number.
    fn pass_over_known(&self, body: &[u8]) {
        for (rule, _) in self.redacting(Direction::Input) {
            let name = self.placeholder_name(rule);
            let start = format!("[{name}_");
            let mut last = 0;
            for at in memmem::find_iter(body, &start) {
                let digits =
                    body[at + start.len()..].iter().take(12).take_while(|byte| byte.is_ascii_digit());
                last = digits.fold(0, |sum, digit| 10 * sum + u64::from(digit - b'0')).max(last);
            }
            let mut state = self.state();
            let number = state.numbers.entry(name.to_owned()).or_default();
            *number = last.max(*number);
        }
    }

    /// The text with placeholders; none without a match.
    fn replaced(&self, text: &str) -> Option<String> {
        let mut search = Search::new(text, self.redacting(Direction::Input));
        let (mut out, mut at) = (String::new(), 0);
        while let Some((rule, range)) = search.first(at) {
            out.push_str(&text[at..range.start]);
            out.push_str(&self.placeholder(rule, &text[range.clone()]));
            self.did(rule, Direction::Input, "redacted", 1);
            at = range.end;
        }
        if at == 0 {
            return None;
        }
        out.push_str(&text[at..]);
        Some(out)
    }

    /// The placeholder of a text: the same for the same text.
    fn placeholder(&self, rule: usize, text: &str) -> String {
        let name = self.placeholder_name(rule);
        let mut state = self.state();
        let key = (name.to_owned(), text.to_owned());
        if let Some(placeholder) = state.given.get(&key) {
            return placeholder.clone();
        }
        let number = state.numbers.entry(name.to_owned()).or_default();
        *number += 1;
        let placeholder = format!("[{name}_{number}]");
        state.longest = state.longest.max(placeholder.len());
        state.placeholders.insert(placeholder.clone(), text.to_owned());
        state.given.insert(key, placeholder.clone());
        placeholder
    }
}
