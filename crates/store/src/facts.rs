//! What tables have columns for, of a record's JSON. It borrows from the line, and passes over the rest.

use std::borrow::Cow;
use std::fmt;

use canon::Usage;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::StoreError;
use crate::ledger::Charge;
use crate::projects::DEFAULT_PROJECT;
use crate::times::{DAY_MS, ID_WINDOWS_MS, time_of_id};

/// What a record says that is summed or looked for.
#[derive(Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Facts<'a> {
    #[serde(default)]
    pub(crate) nonce: i64,
    pub(crate) started_at_ms: i64,
    #[serde(borrow)]
    pub(crate) request_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) key_id: Cow<'a, str>,
    /// Absent in the lines of earlier releases.
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

/// The tags of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

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
        serde_json::from_str(json)
            .map_err(|error| StoreError::Corrupt { what: "usage line", reason: error.to_string() })
    }

    /// What the ledger is told.
    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            key_id: &self.key_id,
            project: &self.project,
            day: self.started_at_ms.div_euclid(DAY_MS),
            charged: self.charged,
        }
    }

    /// How the request ended, in a word.
    pub(crate) fn outcome(&self) -> Cow<'a, str> {
        match &self.error_kind {
            _ if self.canceled => Cow::Borrowed("cancelled"),
            Some(kind) => kind.clone(),
            None if self.attempts.all > 1 => Cow::Borrowed("recovered"),
            None => Cow::Borrowed("ok"),
        }
    }

    /// By what the request can be looked for where few others are like it: kind and value. An id that tells the time needs no
    /// entry.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let (before, after) = ID_WINDOWS_MS[1];
        let near = |time: i64| (time + before..time + after).contains(&self.started_at_ms);
        let is_foreign = !time_of_id(&self.request_id).is_some_and(near);
        let id = is_foreign.then(|| (LOOKUP_ID, self.request_id.clone().into_owned()));
        let session = self.session_id.as_ref().map(|session| (LOOKUP_SESSION, folded(session)));
        let tags = self.tags.0.iter().map(|(name, value)| (LOOKUP_TAG, folded(&format!("{name}={value}"))));
        id.into_iter().chain(session).chain(tags)
    }
}

pub(crate) const LOOKUP_ID: &str = "id";
pub(crate) const LOOKUP_SESSION: &str = "session";
pub(crate) const LOOKUP_TAG: &str = "tag";

/// As texts are compared: letters match in either case.
pub(crate) fn folded(text: &str) -> String {
    text.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::record_of;
    use crate::record::UsageRecord;

    #[test]
    fn facts_are_those_of_the_record() {
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
