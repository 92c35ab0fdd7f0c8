//! The policy of a project or a key, as it is written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use canon::{DataCollection, Pico};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Window;

/// Largest budget: sums of it stay below 2⁶³ of 10⁻¹² USD.
const MOST_USD: i64 = 4_000_000;
const MOST_RULES: usize = 32;
const MOST_PATTERNS: usize = 200;
const MOST_TAGS: usize = 16;
const LONGEST_TAG_NAME: usize = 32;
const LONGEST_TAG_VALUE: usize = 128;
const LONGEST_PATTERN: usize = 256;
/// 30 days: an older answer rarely fits the question any more.
pub const LONGEST_CACHE_SECONDS: u64 = 30 * 86_400;
/// A larger limit would limit nothing.
const MOST_UNITS: u64 = 1_000_000_000_000;

/// The policy of a project or a key. A key is bound by its own policy and by that of its project: a policy
/// narrows and never widens. Empty lists restrict nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Policy {
    /// Models that may be used, by patterns: `openai/*`, `claude-*`, the name of an alias. Empty allows all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Models that may not be used; takes precedence over `models`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Providers that may be used. Empty allows all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// Providers that may not be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny_providers: Vec<String>,
    /// Regions where requests may be served, by patterns: `eu*`, `europe-*`. An unknown region is refused.
    /// Empty allows all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    /// `deny`: only providers that are known not to train models with the data that they receive. Default
    /// `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_collection: Option<DataCollection>,
    /// True: only providers that are known to store nothing of requests and answers (zero data retention).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zdr: Option<bool>,
    /// Most money in calendar windows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Most requests, tokens, and requests at a time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Tags of every request that does not set them itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Whether models of unknown price may be used. Default: `block` where a budget applies, else `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unpriced: Option<Unpriced>,
    /// False: no answers are stored for `previous_response_id`. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_responses: Option<bool>,
    /// What happens to requests while the shared counters do not answer and this node's part is used up.
    /// Default: `refuse` where a budget is counted, else `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters_away: Option<CountersAway>,
    /// Whether equal requests get a cached answer: `{ seconds = 600 }`. Default: only where a request asks
    /// for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CachePolicy>,
    /// Names of the configured guardrails that check requests and answers. Those of a key apply in addition
    /// to its project's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<String>,
    /// Of which requests bodies and headers are kept for administrators, in place of `bodies.keep`. A key may
    /// keep less than its project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bodies: Option<Bodies>,
}

/// The requests whose bodies and headers are kept; each keeps more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bodies {
    /// Of no request.
    #[default]
    None,
    /// Of failed and cancelled requests.
    Errors,
    /// Of all requests.
    All,
}

impl Bodies {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Errors => "errors",
            Self::All => "all",
        }
    }
}

/// How answers are cached for equal requests of the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CachePolicy {
    /// Maximum age of an answer. 0: nothing is cached, whatever a request asks for.
    pub seconds: u64,
    /// Whether a request waits for an equal one that is under way, to use its answer. Default true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub share: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// What happens to requests while the shared counters do not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CountersAway {
    /// Each node counts alone, starting from the last known state of the others.
    Allow,
    /// They are refused.
    Refuse,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// How much, in USD.
    pub usd: Pico,
    /// In which time.
    pub per: Window,
    /// What happens to requests beyond it.
    #[serde(default, skip_serializing_if = "OnExhausted::is_block")]
    pub on_exhausted: OnExhausted,
}

/// What happens to requests beyond a budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// They are refused.
    #[default]
    Block,
    /// This alias serves them.
    Downgrade(String),
}

/// Most requests or tokens in a period, or requests at a time: exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limit {
    /// Requests in the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Tokens in the period, of prompts and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Requests at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u64>,
    /// The period; not for `concurrent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<Period>,
    /// Only for these models, by a pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// 60 seconds.
    Minute,
    /// 3,600 seconds.
    Hour,
    /// 86,400 seconds.
    Day,
}

/// Whether models of unknown price may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unpriced {
    /// They may, and do not count against budgets.
    Allow,
    /// They may not.
    Block,
}

/// The purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Asks models.
    Inference,
    /// Calls providers' own APIs.
    Passthrough,
    /// Reads the admin API.
    Viewer,
    /// Changes everything.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Inference, Self::Passthrough, Self::Viewer, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Passthrough => "passthrough",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The inverse of `as_str`.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl Period {
    pub fn ms(self) -> u64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl OnExhausted {
    fn is_block(&self) -> bool {
        *self == Self::Block
    }
}

impl JsonSchema for OnExhausted {
    fn schema_name() -> Cow<'static, str> {
        "OnExhausted".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "`block` refuses requests beyond the budget, `downgrade:ALIAS` has this alias serve them.",
            "pattern": "^(block|downgrade:.+)$",
        })
    }
}

impl Serialize for OnExhausted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Block => serializer.serialize_str("block"),
            Self::Downgrade(alias) => serializer.serialize_str(&format!("downgrade:{alias}")),
        }
    }
}

impl<'de> Deserialize<'de> for OnExhausted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            None if text == "block" => Ok(Self::Block),
            Some(("downgrade", alias)) if !alias.is_empty() => Ok(Self::Downgrade(alias.to_owned())),
            _ => Err(serde::de::Error::custom(format!(
                "{text:?} is neither \"block\" nor \"downgrade:ALIAS\""
            ))),
        }
    }
}

/// An error in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `budgets[0].usd`
    pub path: String,
    /// What is wrong, and how to correct it.
    pub message: String,
}

impl Policy {
    /// Whether it restricts models or providers.
    pub fn restricts_models(&self) -> bool {
        let lists = [&self.models, &self.deny, &self.providers, &self.deny_providers, &self.regions];
        lists.iter().any(|list| !list.is_empty())
            || self.data_collection == Some(DataCollection::Deny)
            || self.zdr == Some(true)
    }

    /// Every invalid value.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut mistake = |path: String, message: String| mistakes.push(Mistake { path, message });
        for (name, list) in [
            ("models", &self.models),
            ("deny", &self.deny),
            ("providers", &self.providers),
            ("deny_providers", &self.deny_providers),
            ("regions", &self.regions),
        ] {
            if list.len() > MOST_PATTERNS {
                mistake(name.to_owned(), format!("has more than {MOST_PATTERNS} patterns"));
            }
            for (index, pattern) in list.iter().enumerate() {
                if let Some(wrong) = wrong_pattern(pattern) {
                    mistake(format!("{name}[{index}]"), wrong);
                }
            }
        }
        let counted = [
            ("budgets", self.budgets.len()),
            ("limits", self.limits.len()),
            ("guardrails", self.guardrails.len()),
        ];
        for (name, length) in counted {
            if length > MOST_RULES {
                mistake(name.to_owned(), format!("has more than {MOST_RULES} entries"));
            }
        }
        for (index, budget) in self.budgets.iter().enumerate() {
            let most = Pico(Pico::USD.0 * MOST_USD);
            if budget.usd <= Pico::ZERO || budget.usd > most {
                mistake(
                    format!("budgets[{index}].usd"),
                    format!(
                        "must be more than 0 and at most {MOST_USD}; to refuse everything, disable the keys"
                    ),
                );
            }
            let is_same =
                |other: &Budget| other.per == budget.per && other.on_exhausted == budget.on_exhausted;
            if self.budgets[..index].iter().any(is_same) {
                mistake(
                    format!("budgets[{index}]"),
                    format!(
                        "is the second one per {} that does the same when it is exhausted",
                        budget.per.as_str()
                    ),
                );
            }
        }
        for (index, limit) in self.limits.iter().enumerate() {
            if let Some((field, wrong)) = limit.mistake() {
                mistake(format!("limits[{index}]{field}"), wrong);
            }
        }
        if self.cache.is_some_and(|cache| cache.seconds > LONGEST_CACHE_SECONDS) {
            mistake("cache.seconds".to_owned(), format!("must be at most {LONGEST_CACHE_SECONDS}, 30 days"));
        }
        if self.tags.len() > MOST_TAGS {
            mistake("tags".to_owned(), format!("has more than {MOST_TAGS} tags"));
        }
        for (name, value) in &self.tags {
            if let Some(wrong) = wrong_tag(name, value) {
                mistake(format!("tags.{name}"), wrong);
            }
        }
        mistakes
    }
}

impl Limit {
    fn mistake(&self) -> Option<(&'static str, String)> {
        let given = [self.requests, self.tokens, self.concurrent];
        let mut units = given.iter().flatten();
        let (Some(unit), None) = (units.next(), units.next()) else {
            return Some(("", "needs exactly one of requests, tokens, concurrent".to_owned()));
        };
        if *unit == 0 || *unit > MOST_UNITS {
            return Some((
                "",
                format!("must be more than 0 and at most {MOST_UNITS}; to refuse a model, name it in deny"),
            ));
        }
        match (self.concurrent, self.per) {
            (Some(_), Some(_)) => Some((".per", "does not go with concurrent".to_owned())),
            (None, None) => Some((".per", "is missing; minute, hour or day".to_owned())),
            _ => self.model.as_deref().and_then(wrong_pattern).map(|wrong| (".model", wrong)),
        }
    }
}

fn wrong_pattern(pattern: &str) -> Option<String> {
    if pattern.trim().is_empty() || pattern.trim() != pattern {
        return Some("is empty or has spaces around it; * stands for any text".to_owned());
    }
    (pattern.len() > LONGEST_PATTERN).then(|| format!("is longer than {LONGEST_PATTERN} bytes"))
}

/// The error in a tag, if any.
fn wrong_tag(name: &str, value: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > LONGEST_TAG_NAME || !name.bytes().all(is_plain) {
        return Some(format!(
            "the name of a tag has 1 to {LONGEST_TAG_NAME} letters, digits, underscores, hyphens and dots"
        ));
    }
    if value.is_empty()
        || value.len() > LONGEST_TAG_VALUE
        || value.chars().any(|one| one.is_control() || one == ',')
    {
        return Some(format!("the value of a tag has 1 to {LONGEST_TAG_VALUE} bytes without commas"));
    }
    None
}

/// Tags of a request: those of the policies, replaced by those that the request names as `team=a,env=prod`.
pub fn tags<'a>(
    defaults: impl Iterator<Item = &'a BTreeMap<String, String>>,
    said: Option<&str>,
) -> Result<BTreeMap<String, String>, String> {
    let mut tags = BTreeMap::new();
    for map in defaults {
        tags.extend(map.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    for tag in said.unwrap_or_default().split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        let Some((name, value)) = tag.split_once('=') else {
            return Err("write tags as name=value, separated by commas".to_owned());
        };
        let (name, value) = (name.trim(), value.trim());
        if let Some(wrong) = wrong_tag(name, value) {
            return Err(wrong);
        }
        tags.insert(name.to_owned(), value.to_owned());
        if tags.len() > MOST_TAGS {
            return Err(format!("a request has at most {MOST_TAGS} tags"));
        }
    }
    Ok(tags)
}
