//! Filters of requests: a small query language, and its SQL. Each database has its own JSON syntax where the
//! two differ; values are always parameters.

use std::fmt::Write;

use canon::Pico;

use crate::params::Params;
use crate::sums::is_money;
use crate::times::SLOW_MS;

/// A filter. All conditions must hold; the default matches all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// From this time on, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Before this time.
    pub until_ms: Option<i64>,
    pub tests: Vec<Test>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub field: Field,
    /// True for a negated condition.
    pub not: bool,
    /// How it is compared.
    pub compare: Compare,
}

/// The fields of a request for conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The model, by the caller's or the provider's name.
    Model,
    /// The provider that answered, or was asked last.
    Provider,
    Project,
    /// The id of the key.
    Key,
    /// The status that the caller got.
    Status,
    /// The kind of the error.
    Error,
    /// A field that the translation could not carry.
    Loss,
    /// The value of a tag.
    Tag(String),
    Session,
    /// The format that the caller spoke.
    Dialect,
    /// The operation: `chat`, `embeddings` …
    Operation,
    /// The cost in 10⁻¹² USD.
    Cost,
    /// Milliseconds to the end.
    Duration,
    /// Milliseconds to the first token.
    Ttft,
    /// How many attempts.
    Attempts,
    /// `ok`, `recovered`, `cancelled` or the kind of the error.
    Outcome,
    /// Tokens that came from the provider's cache.
    CacheRead,
    /// What our own cache of answers did: `hit` or `miss`.
    Cache,
    /// The id of the request.
    Id,
    /// Any text that names something: model, provider, key, project, session, error, id.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Equal to one of these texts, in which `*` matches any text; letters match in either case.
    Like(Vec<String>),
    /// With a number: larger.
    Above(i64),
    /// With a number: smaller.
    Below(i64),
    /// The value is unknown.
    Absent,
}

/// An invalid word of a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} cannot be read: {reason}")]
pub struct FilterError {
    pub word: String,
    /// Why, in a sentence without its end.
    pub reason: String,
}

/// The names of fields in the query language; `tag` takes a name of its own.
const FIELDS: [(&str, Field); 18] = [
    ("model", Field::Model),
    ("provider", Field::Provider),
    ("project", Field::Project),
    ("key", Field::Key),
    ("status", Field::Status),
    ("error", Field::Error),
    ("loss", Field::Loss),
    ("session", Field::Session),
    ("dialect", Field::Dialect),
    ("operation", Field::Operation),
    ("cost", Field::Cost),
    ("duration", Field::Duration),
    ("ttft", Field::Ttft),
    ("attempts", Field::Attempts),
    ("outcome", Field::Outcome),
    ("cache_read", Field::CacheRead),
    ("cache", Field::Cache),
    ("id", Field::Id),
];

impl Field {
    /// The field of this name in the query language.
    pub fn named(name: &str) -> Option<Self> {
        FIELDS.into_iter().find(|(known, _)| *known == name).map(|(_, field)| field)
    }
}

impl RequestFilter {
    /// Reads `model:gpt-* provider:openai,azure !status:200 cost:>0.01 duration:>2s tag:team=a error:*
    /// is:slow words`. A value with spaces is in double quotes.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for word in words(text) {
            let read = Test::parse(&word);
            filter.tests.push(read.map_err(|reason| FilterError { word: word.clone(), reason })?);
        }
        Ok(filter)
    }

    /// With a test that a field has this value.
    #[must_use]
    pub fn with(mut self, field: Field, value: &str) -> Self {
        let compare = Compare::Like(vec![value.to_owned()]);
        self.tests.push(Test { field, not: false, compare });
        self
    }
}

/// The words of a text; spaces in double quotes do not end a word.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            letter if letter.is_whitespace() && !is_quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

impl Test {
    fn parse(word: &str) -> Result<Self, String> {
        let (not, word) = word.strip_prefix('!').map_or((false, word), |rest| (true, rest));
        let any = || {
            let compare = Compare::Like(vec![format!("*{word}*")]);
            Ok(Self { field: Field::Any, not, compare })
        };
        let Some((name, value)) = word.split_once(':') else { return any() };
        let name = name.to_ascii_lowercase();
        if name == "is" {
            return Self::view(value, not);
        }
        if name == "tag" {
            let (tag, value) = value.split_once('=').unwrap_or((value, "*"));
            if tag.is_empty() {
                return Err("a tag is written tag:NAME=VALUE".to_owned());
            }
            return Ok(Self { field: Field::Tag(tag.to_owned()), not, compare: like(value)? });
        }
        let Some(field) = Field::named(&name) else {
            let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).chain(["tag", "is"]).collect();
            return Err(format!("there is no field {name:?}; the fields are {}", known.join(", ")));
        };
        let compare = match value.split_at_checked(1) {
            Some((">", number)) => Compare::Above(field.number(number)?),
            Some(("<", number)) => Compare::Below(field.number(number)?),
            _ if field == Field::Cost && value == "unpriced" => Compare::Absent,
            _ if field.unit() != Unit::None => {
                return Err(format!("{name} is compared with > or <, as in {name}:>{}", field.example()));
            }
            _ => like(value)?,
        };
        Ok(Self { field, not, compare })
    }

    /// One of the fixed views.
    fn view(name: &str, not: bool) -> Result<Self, String> {
        let any = || Compare::Like(vec!["*".to_owned()]);
        let (field, compare, turned) = match name {
            "failed" => {
                let good = ["ok", "recovered", "cancelled"].map(str::to_owned);
                (Field::Outcome, Compare::Like(good.to_vec()), true)
            }
            "recovered" | "cancelled" => (Field::Outcome, Compare::Like(vec![name.to_owned()]), false),
            "slow" => (Field::Ttft, Compare::Above(SLOW_MS - 1), false),
            "lossy" => (Field::Loss, any(), false),
            "unpriced" => (Field::Cost, Compare::Absent, false),
            "cached" => (Field::CacheRead, Compare::Above(0), false),
            "hit" => (Field::Cache, Compare::Like(vec!["hit".to_owned()]), false),
            _ => {
                let known = "failed, recovered, cancelled, slow, lossy, unpriced, cached, hit";
                return Err(format!("there is no view {name:?}; the views are {known}"));
            }
        };
        Ok(Self { field, not: not != turned, compare })
    }
}

fn like(value: &str) -> Result<Compare, String> {
    let values: Vec<String> = value.split(',').filter(|value| !value.is_empty()).map(str::to_owned).collect();
    if values.is_empty() { Err("a value is missing".to_owned()) } else { Ok(Compare::Like(values)) }
}

#[derive(PartialEq, Eq)]
enum Unit {
    None,
    Usd,
    Time,
}

impl Field {
    /// The single key that a value names. The id of a key has only one spelling, and there is an index of
    /// ids.
    pub(crate) fn exact_key<'v>(&self, value: &'v str) -> Option<&'v str> {
        (*self == Self::Key && !value.contains('*')).then_some(value)
    }

    fn unit(&self) -> Unit {
        match self {
            Self::Cost => Unit::Usd,
            Self::Duration | Self::Ttft => Unit::Time,
            _ => Unit::None,
        }
    }

    fn example(&self) -> &'static str {
        if *self == Self::Cost { "0.01" } else { "2s" }
    }

    fn number(&self, text: &str) -> Result<i64, String> {
        let wrong = || format!("{text:?} is not a number, such as {}", self.example());
        match self.unit() {
            Unit::Usd => Ok(text.parse::<Pico>().map_err(|_| wrong())?.0),
            Unit::Time => {
                let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
                    (Some(number), _) => (number, 1.0),
                    (None, Some(number)) => (number, 1000.0),
                    (None, None) => (text, 1.0),
                };
                let number: f64 = number.parse().map_err(|_| wrong())?;
                if number.is_finite() { Ok((number * factor) as i64) } else { Err(wrong()) }
            }
            Unit::None if matches!(self, Self::Status | Self::Attempts | Self::CacheRead) => {
                text.parse().map_err(|_| format!("{text:?} is not a whole number"))
            }
            Unit::None => Err("only numbers are compared with > and <".to_owned()),
        }
    }
}

/// The differences of the two databases.
#[derive(Clone, Copy)]
pub(crate) struct SqlDialect {
    /// `LIKE` in either case of letters.
    like: &'static str,
    /// Whether a loss of a record has a field like a parameter: before and after the comparison.
    losses: [&'static str; 2],
    attempts: &'static str,
    /// The JSON of a record as text.
    pub(crate) record: &'static str,
    /// The sum of a column; the largest number where the sum is larger.
    pub(crate) sum: fn(&str) -> String,
    /// Begins a transaction whose statements see the database at one moment.
    pub(crate) snapshot: &'static str,
}

pub(crate) const SQLITE: SqlDialect = SqlDialect {
    like: "LIKE",
    losses: [
        "EXISTS (SELECT 1 FROM json_each(record, '$.losses') AS loss WHERE json_extract(loss.value, '$.field')",
        ")",
    ],
    attempts: "coalesce(json_array_length(record, '$.attempts'), 0)",
    record: "record",
    sum: sqlite_sum,
    snapshot: "BEGIN",
};

pub(crate) const POSTGRES: SqlDialect = SqlDialect {
    like: "ILIKE",
    losses: [
        "EXISTS (SELECT 1 FROM jsonb_array_elements(coalesce(record -> 'losses', '[]')) AS loss (value) \
         WHERE loss.value ->> 'field'",
        ")",
    ],
    attempts: "coalesce(jsonb_array_length(record -> 'attempts'), 0)",
    record: "record::text",
    // Not `least`: it ignores null, and the sum of no rows must stay null.
    sum: |column| {
        let most = i64::MAX;
        format!("CAST(CASE WHEN sum({column}) > {most} THEN {most} ELSE sum({column}) END AS BIGINT)")
    },
    snapshot: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
};

/// SQLite's `sum` fails when it overflows. Money does at 9.2 million USD: it is summed in two parts of 20 and 43 bits. Nothing else comes
/// near to that.
fn sqlite_sum(column: &str) -> String {
    if !is_money(column) {
        return format!("sum({column})");
    }
    let (high, low) = (format!("sum({column} >> 20)"), format!("sum({column} & 1048575)"));
    format!(
        "CASE WHEN {high} + ({low} >> 20) > {} THEN {} ELSE ({high} << 20) + {low} END",
        i64::MAX >> 20,
        i64::MAX
    )
}

const OUTCOME: &str = "CASE WHEN CAST(record ->> 'canceled' AS TEXT) IN ('true', '1') THEN 'cancelled' \
    WHEN record ->> 'error_kind' IS NOT NULL THEN record ->> 'error_kind' \
    WHEN {attempts} > 1 THEN 'recovered' ELSE 'ok' END";
const TEXTS: [&str; 9] = [
    "request_id",
    "key_id",
    "record ->> 'project'",
    "record ->> 'requested_model'",
    "record ->> 'used_model'",
    "record ->> 'used_provider'",
    "record ->> 'session_id'",
    "record ->> 'error_kind'",
    "record ->> 'operation'",
];

impl SqlDialect {
    /// Whether a column is like a value.
    pub(crate) fn like(&self, column: &str, value: &str, params: &mut Params) -> String {
        format!("{column} {} {} ESCAPE '!'", self.like, params.text(pattern(value)))
    }

    /// Adds the tests as a condition on a row of `usage_records`.
    pub(crate) fn push_tests(&self, tests: &[Test], params: &mut Params, sql: &mut String) {
        sql.push_str("true");
        for test in tests {
            sql.push_str(if test.not { " AND NOT coalesce(" } else { " AND coalesce(" });
            self.push_test(test, params, sql);
            sql.push_str(", false)");
        }
    }

    fn push_test(&self, test: &Test, params: &mut Params, sql: &mut String) {
        match &test.compare {
            Compare::Like(values) => {
                sql.push('(');
                for (index, value) in values.iter().enumerate() {
                    sql.push_str(if index > 0 { " OR " } else { "" });
                    self.push_like(&test.field, value, params, sql);
                }
                sql.push(')');
            }
            Compare::Above(number) => self.push_number(&test.field, (">", *number), params, sql),
            Compare::Below(number) => self.push_number(&test.field, ("<", *number), params, sql),
            Compare::Absent => {
                let _ = write!(sql, "({}) IS NULL", self.expression(&test.field, params));
            }
        }
    }

    fn push_like(&self, field: &Field, value: &str, params: &mut Params, sql: &mut String) {
        let like = self.like;
        match field {
            Field::Loss => {
                let parameter = params.text(pattern(value));
                let [before, after] = self.losses;
                let _ = write!(sql, "{before} {like} {parameter} ESCAPE '!'{after}");
            }
            Field::Model | Field::Any => {
                let columns = if *field == Field::Any { &TEXTS[..] } else { &TEXTS[3..5] };
                let parameter = params.text(pattern(value));
                for (index, column) in columns.iter().enumerate() {
                    let or = if index > 0 { " OR " } else { "(" };
                    let _ = write!(sql, "{or}coalesce({column}, '') {like} {parameter} ESCAPE '!'");
                }
                sql.push(')');
            }
            _ if let Some(key) = field.exact_key(value) => {
                let _ = write!(sql, "key_id = {}", params.text(key.to_owned()));
            }
            _ => {
                let expression = self.expression(field, params);
                let parameter = params.text(pattern(value));
                let _ = write!(sql, "CAST({expression} AS TEXT) {like} {parameter} ESCAPE '!'");
            }
        }
    }

    fn push_number(
        &self,
        field: &Field,
        (compare, number): (&str, i64),
        params: &mut Params,
        sql: &mut String,
    ) {
        let expression = self.expression(field, params);
        let parameter = params.number(number);
        let _ = write!(sql, "CAST({expression} AS BIGINT) {compare} {parameter}");
    }

    /// The value of a field in SQL.
    fn expression(&self, field: &Field, params: &mut Params) -> String {
        match field {
            Field::Model | Field::Any => "record ->> 'requested_model'".to_owned(),
            Field::Provider => "record ->> 'used_provider'".to_owned(),
            Field::Project => "coalesce(record ->> 'project', 'default')".to_owned(),
            Field::Key => "key_id".to_owned(),
            Field::Id => "request_id".to_owned(),
            Field::Status => "record ->> 'status'".to_owned(),
            Field::Error => "record ->> 'error_kind'".to_owned(),
            Field::Loss => "record ->> 'losses'".to_owned(),
            Field::Tag(name) => format!("record -> 'tags' ->> {}", params.text(name.clone())),
            Field::Session => "record ->> 'session_id'".to_owned(),
            Field::Dialect => "coalesce(record ->> 'dialect', 'openai-chat')".to_owned(),
            Field::Operation => "coalesce(record ->> 'operation', 'chat')".to_owned(),
            Field::Cost => "record -> 'cost_pico' ->> 'total'".to_owned(),
            Field::Duration => "record ->> 'duration_ms'".to_owned(),
            Field::Ttft => "record ->> 'ttft_ms'".to_owned(),
            Field::Attempts => self.attempts.to_owned(),
            Field::Outcome => OUTCOME.replace("{attempts}", self.attempts),
            Field::CacheRead => "record -> 'usage' ->> 'cache_read'".to_owned(),
            Field::Cache => "record ->> 'cache'".to_owned(),
        }
    }
}

/// A value as a pattern of `LIKE` whose escape is `!`. `5xx` is every status from 500 on.
fn pattern(value: &str) -> String {
    let mut pattern = String::with_capacity(value.len());
    for letter in value.strip_suffix("xx").filter(|rest| rest.len() == 1).unwrap_or(value).chars() {
        match letter {
            '*' => pattern.push('%'),
            '%' | '_' | '!' => pattern.extend(['!', letter]),
            letter => pattern.push(letter),
        }
    }
    if value.len() == 3 && value.ends_with("xx") {
        pattern.push('%');
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_language_is_parsed() {
        let filter =
            RequestFilter::parse("model:gpt-* !status:200 cost:>0.5 duration:<2s tag:team=a \"two words\"")
                .unwrap();
        let test = |field, not, compare| Test { field, not, compare };
        let like = |text: &str| Compare::Like(vec![text.to_owned()]);
        let expected = [
            test(Field::Model, false, like("gpt-*")),
            test(Field::Status, true, like("200")),
            test(Field::Cost, false, Compare::Above(500_000_000_000)),
            test(Field::Duration, false, Compare::Below(2000)),
            test(Field::Tag("team".to_owned()), false, like("a")),
            test(Field::Any, false, like("*two words*")),
        ];
        assert_eq!(filter.tests, expected);
        assert_eq!(RequestFilter::parse("  ").unwrap(), RequestFilter::default());
    }

    #[test]
    fn an_invalid_term_is_named() {
        for word in
            ["modle:x", "model:", "cost:0.5", "cost:>much", "is:odd", "tag:=a", "model:>3", "ttft:>NaNs"]
        {
            let error = RequestFilter::parse(&format!("model:a {word}")).unwrap_err();
            assert_eq!(error.word, word);
            assert!(!error.reason.is_empty());
        }
    }

    #[test]
    fn patterns_are_escaped_for_like() {
        assert_eq!(pattern("a_b%c!*"), "a!_b!%c!!%");
        assert_eq!(pattern("5xx"), "5%");
    }
}
