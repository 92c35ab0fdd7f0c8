//! The values of a record's JSON with columns of their own. They borrow from the line; the rest is skipped.

use std::borrow::Cow;
use std::fmt;

use canon::Usage;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::StoreError;
use crate::ledger::Charge;
use crate::projects::DEFAULT_PROJECT;
use crate::times::{DAY_MS, ID_WINDOWS_MS, time_of_id};

/// The values of a record that are summed or searched.
#[derive(Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Facts<'a> {
    #[serde(default)]
    pub(crate) nonce: i64,
    pub(crate) started_at_ms: i64,
    #[serde(borrow)]
    pub(crate) request_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) key_id: Cow<'a, str>,
    /// Absent in lines of earlier releases.
    #[serde(borrow, default = "default_project")]
    pub(crate) project: Cow<'a, str>,
    /// The sum of the cost; none when the price is unknown.
    #[serde(default, rename = "cost_pico", deserialize_with = "read_total")]
    pub(crate) charged: Option<i64>,
    #[serde(default, rename = "upstream_cost_pico")]
    pub(crate) upstream_cost: Option<i64>,
    #[serde(default)]
    pub(crate) duration_ms: u64,
    #[serde(default)]
    pub(crate) ttft_ms: Option<u64>,
    #[serde(borrow, default)]
    pub(crate) used_model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) used_provider: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) operation: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) error_kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) session_id: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) canceled: bool,
    #[serde(default)]
    pub(crate) streamed: bool,
    #[serde(default)]
    pub(crate) usage_estimated: bool,
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
    #[serde(default)]
    pub(crate) attempts: Length,
    #[serde(default)]
    pub(crate) losses: Length,
    #[serde(borrow, default)]
    pub(crate) tags: Tags<'a>,
}

fn default_project() -> Cow<'static, str> {
    Cow::Borrowed(DEFAULT_PROJECT)
}

fn read_total<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Amounts {
        total: i64,
    }
    Ok(Option::<Amounts>::deserialize(deserializer)?.map(|amounts| amounts.total))
}

/// How many entries a list has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Length {
    pub(crate) all: u64,
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Length;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Length, A::Error> {
                let mut all = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    all += 1;
                }
                Ok(Length { all })
            }
        }
        deserializer.deserialize_seq(Entries)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Tags<'a> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Cow<'a, str>, Cow<'a, str>)> {
        self.0.iter()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Tags<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("tags")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags<'de>, A::Error> {
                let mut tags = Vec::new();
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    tags.push((name, value));
                }
                Ok(Tags(tags))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn of(json: &'a str) -> Result<Self, StoreError> {
        if let Some(facts) = Reader::new(json).facts() {
            return Ok(facts);
        }
        serde_json::from_str(json)
            .map_err(|error| StoreError::Corrupt { what: "usage line", reason: error.to_string() })
    }

    /// The entry for the ledger.
    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            key_id: &self.key_id,
            project: &self.project,
            day: self.started_at_ms.div_euclid(DAY_MS),
            charged: self.charged,
        }
    }

    pub(crate) fn outcome(&self) -> Cow<'a, str> {
        match &self.error_kind {
            _ if self.canceled => Cow::Borrowed("cancelled"),
            Some(kind) => kind.clone(),
            None if self.attempts.all > 1 => Cow::Borrowed("recovered"),
            None => Cow::Borrowed("ok"),
        }
    }

    /// The entries of the search index, as kind and value, for values that few requests share. An id that
    /// contains its time needs no entry.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let (before, after) = ID_WINDOWS_MS[1];
        let near = |time: i64| (time + before..time + after).contains(&self.started_at_ms);
        let is_foreign = !time_of_id(&self.request_id).is_some_and(near);
        let id = is_foreign.then(|| (LOOKUP_ID, self.request_id.clone().into_owned()));
        let session = self.session_id.as_ref().map(|session| (LOOKUP_SESSION, folded(session)));
        let tags = self.tags.iter().map(|(name, value)| (LOOKUP_TAG, folded(&format!("{name}={value}"))));
        id.into_iter().chain(session).chain(tags)
    }
}

/// Reads the lines that `line.rs` writes. Hand-written because every request pays for it: it takes a tenth of
/// serde's time. Any other form (an escape in a needed text, a fraction, null) is none, and left to serde.
struct Reader<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(json: &'a str) -> Self {
        Self { json, at: 0 }
    }

    fn facts(&mut self) -> Option<Facts<'a>> {
        let (mut started_at_ms, mut request_id, mut key_id) = (None, None, None);
        let mut facts = Facts { project: default_project(), ..Facts::default() };
        self.fields(|value, name| {
            match name {
                "nonce" => facts.nonce = value.signed()?,
                "started_at_ms" => started_at_ms = Some(value.signed()?),
                "request_id" => request_id = Some(value.text()?),
                "key_id" => key_id = Some(value.text()?),
                "project" => facts.project = value.text()?.into(),
                "cost_pico" => facts.charged = Some(value.total()?),
                "upstream_cost_pico" => facts.upstream_cost = Some(value.signed()?),
                "duration_ms" => facts.duration_ms = value.number()?,
                "ttft_ms" => facts.ttft_ms = Some(value.number()?),
                "used_model" => facts.used_model = Some(value.text()?.into()),
                "used_provider" => facts.used_provider = Some(value.text()?.into()),
                "operation" => facts.operation = Some(value.text()?.into()),
                "error_kind" => facts.error_kind = Some(value.text()?.into()),
                "session_id" => facts.session_id = Some(value.text()?.into()),
                "canceled" => facts.canceled = value.flag()?,
                "streamed" => facts.streamed = value.flag()?,
                "usage_estimated" => facts.usage_estimated = value.flag()?,
                "usage" => facts.usage = Some(value.usage()?),
                "attempts" => facts.attempts.all = value.items()?,
                "losses" => facts.losses.all = value.items()?,
                "tags" => value.fields(|value, name| {
                    facts.tags.0.push((name.into(), value.text()?.into()));
                    Some(())
                })?,
                _ => value.skip()?,
            }
            Some(())
        })?;
        (self.at == self.json.len()).then_some(())?;
        (facts.started_at_ms, facts.request_id, facts.key_id) =
            (started_at_ms?, request_id?.into(), key_id?.into());
        Some(facts)
    }

    fn total(&mut self) -> Option<i64> {
        let mut total = 0;
        self.fields(|value, name| {
            if name == "total" {
                total = value.signed()?;
                return Some(());
            }
            value.skip()
        })?;
        Some(total)
    }

    fn usage(&mut self) -> Option<Usage> {
        let mut usage = Usage::default();
        self.fields(|value, name| {
            let count = match name {
                "input" => &mut usage.input,
                "cache_read" => &mut usage.cache_read,
                "cache_write" => &mut usage.cache_write,
                "cache_write_1h" => &mut usage.cache_write_1h,
                "audio_input" => &mut usage.audio_input,
                "output" => &mut usage.output,
                "audio_output" => &mut usage.audio_output,
                "image_output" => &mut usage.image_output,
                "reasoning" => &mut usage.reasoning,
                "web_searches" => &mut usage.web_searches,
                _ => return value.skip(),
            };
            *count = value.number()?;
            Some(())
        })?;
        Some(usage)
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.json.as_bytes()[self.at..].starts_with(text.as_bytes()).then(|| self.at += text.len())
    }

    /// The fields of an object; `read` reads the value.
    fn fields(&mut self, mut read: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.expect("{")?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = self.text()?;
            self.expect(":")?;
            read(self, name)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// The number of entries of a list.
    fn items(&mut self) -> Option<u64> {
        self.expect("[")?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(0);
        }
        let mut items = 0;
        loop {
            self.skip()?;
            items += 1;
            match self.next()? {
                b',' => {}
                b']' => return Some(items),
                _ => return None,
            }
        }
    }

    /// A text without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.expect("\"")?;
        let start = self.at;
        let length = self.json.as_bytes()[start..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        self.at = start + length + 1;
        let text = self.json.get(start..start + length)?;
        (self.json.as_bytes()[start + length] == b'"').then_some(text)
    }

    fn number(&mut self) -> Option<u64> {
        let (start, mut number) = (self.at, 0_u64);
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        (self.at > start).then_some(number)
    }

    fn signed(&mut self) -> Option<i64> {
        let is_negative = self.peek()? == b'-';
        self.at += usize::from(is_negative);
        let number = i128::from(self.number()?);
        i64::try_from(if is_negative { -number } else { number }).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        let flag = self.peek()? == b't';
        self.expect(if flag { "true" } else { "false" })?;
        Some(flag)
    }

    /// Skips a value of any kind.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => self.skip_text()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' if depth == 0 => return Some(()),
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    fn skip_text(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
    }
}

pub(crate) const LOOKUP_ID: &str = "id";
pub(crate) const LOOKUP_SESSION: &str = "session";
pub(crate) const LOOKUP_TAG: &str = "tag";

/// The form for comparisons: letters match in either case.
pub(crate) fn folded(text: &str) -> String {
    text.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::record_of;
    use crate::record::UsageRecord;

    /// The hand-written reader agrees with serde.
    #[test]
    fn both_readers_read_every_line_alike() {
        let mut lines = vec![
            r#"{"started_at_ms":-1,"request_id":"r","key_id":"k","usage":null}"#.to_owned(),
            r#"{"started_at_ms":1,"request_id":"\u00e9","key_id":"k","x":{"a":["}",{"b":"\\\""}]},"attempts":[]}"#.to_owned(),
            r#"{"started_at_ms":1,"request_id":"r","key_id":"k","tags":{"a":"b","c":""},"usage":{"new":1.5,"input":3}}"#
                .to_owned(),
            r#"{ "started_at_ms" : 1 , "request_id" : "r" , "key_id" : "k" }"#.to_owned(),
            r#"{"started_at_ms":1,"request_id":"r","key_id":"k","cost_pico":{"input":4},"losses":[[1,2],"a,b",{}]}"#.to_owned(),
        ];
        for seed in 0..64_u64 {
            let flag = |bit: u64| seed >> bit & 1 == 1;
            let text = |bit: u64| flag(bit).then(|| ["a", "", "\"", "é\\n"][(seed % 4) as usize].to_owned());
            let record = UsageRecord {
                started_at_ms: i64::MIN + seed as i64,
                key_id: "k".to_owned(),
                project: text(0).unwrap_or_default(),
                used_model: text(1),
                used_provider: text(2),
                error_kind: text(3),
                session_id: text(4),
                operation: flag(5).then(|| "rerank".into()),
                duration_ms: u64::MAX - seed,
                ttft_ms: flag(2).then_some(seed),
                canceled: flag(1),
                streamed: flag(0),
                usage_estimated: flag(3),
                // Every counter is set, so that one that the hand-written reader misses is detected.
                usage: flag(4).then_some(Usage {
                    input: seed,
                    cache_read: 12,
                    cache_write: 13,
                    cache_write_1h: 14,
                    audio_input: 15,
                    output: 16,
                    audio_output: 17,
                    image_output: 7,
                    reasoning: 19,
                    web_searches: 2,
                }),
                cost: flag(5).then(|| canon::Cost {
                    total: canon::Pico(-3),
                    input: canon::Pico(2),
                    ..Default::default()
                }),
                upstream_cost: flag(0).then_some(canon::Pico(i64::MAX)),
                attempts: vec![Default::default(); (seed % 3) as usize],
                losses: vec![Default::default(); (seed % 5) as usize],
                tags: (0..seed % 3).map(|tag| (format!("t{tag}"), text(1).unwrap_or_default())).collect(),
                decision: flag(2).then(|| serde_json::json!({"a": ["}", {"b": null}]})),
                ..UsageRecord::default()
            };
            let mut line = Vec::new();
            record.encode(seed as i64, &mut line);
            lines.push(record_of(line.strip_suffix(b"\n").unwrap()).unwrap().to_owned());
        }
        let mut by_hand = 0;
        for line in &lines {
            let expected: Facts<'_> = serde_json::from_str(line).unwrap();
            let read = Reader::new(line).facts();
            by_hand += usize::from(read.is_some());
            assert_eq!(read.unwrap_or_else(|| serde_json::from_str(line).unwrap()), expected, "{line}");
            for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
                assert_eq!(Reader::new(&line[..end]).facts(), None);
            }
        }
        assert!(by_hand > 30, "{by_hand} of {}", lines.len());
    }

    #[test]
    fn the_facts_equal_the_record() {
        for id in ["chatcmpl-1", "", "a\"b", "\\", "é", "\",\"key_id\":\"x"] {
            let record = UsageRecord {
                request_id: id.to_owned(),
                key_id: format!("static:{id}"),
                started_at_ms: -5,
                project: "p".to_owned(),
                cost: Some(canon::Cost { total: canon::Pico(7), ..canon::Cost::default() }),
                attempts: vec![Default::default(), Default::default()],
                session_id: Some("S".to_owned()),
                tags: [("a".to_owned(), "B".to_owned())].into(),
                ..UsageRecord::default()
            };
            let mut line = Vec::new();
            record.encode(i64::MIN, &mut line);
            let facts = Facts::of(record_of(line.strip_suffix(b"\n").unwrap()).unwrap()).unwrap();
            assert_eq!((facts.request_id.as_ref(), facts.nonce, facts.charged), (id, i64::MIN, Some(7)));
            assert_eq!(
                (facts.key_id.as_ref(), facts.outcome()),
                (record.key_id.as_str(), "recovered".into())
            );
            let lookups: Vec<_> = facts.lookups().collect();
            let expected = [("id", id), ("session", "s"), ("tag", "a=b")];
            assert_eq!(lookups, expected.map(|(kind, value)| (kind, value.to_owned())));
        }
    }
}
