//! Forms of values in the configuration that their Rust types do not say, for the schema.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// A number of bytes: `64MiB`.
pub(super) const SIZE: &str = r"^\s*[0-9]+\s*(B|KiB|MiB|GiB|KB|MB|GB)?\s*$";
/// `2027-01-31`
pub(super) const DATE: &str = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$";

/// A text, or where it is: `env:NAME`, `file:PATH`.
pub struct Reference;

impl JsonSchema for Reference {
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The value itself, `env:NAME` for an environment variable, or `file:PATH` for a file.",
            "not": { "enum": ["env:", "file:"] },
        })
    }
}

/// A value of any type.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct AnyValue(#[expect(dead_code, reason = "only its type is read")] Value);

/// The facts about a model of a provider: everything that a file of the catalog can contain.
#[derive(Default, JsonSchema)]
#[schemars(default)]
#[expect(dead_code, reason = "the catalog reads these tables; here only their form is said")]
pub struct OwnModel {
    /// USD per million tokens as decimal strings: `input`, `output`, `cache_read`, `cache_write` …; USD each: `request`, `web_search`;
    /// `tiers` and `service_tiers`. Without a price the cost is unknown.
    price: BTreeMap<String, AnyValue>,
    /// The model is free of charge.
    free: bool,
    /// The operations that the model serves. Default `["chat"]`.
    operations: Vec<String>,
    /// Facts for operations other than chat.
    endpoint: BTreeMap<String, AnyValue>,
    /// Maximum tokens of the prompt and the answer together.
    context_tokens: u64,
    /// Maximum tokens of an answer.
    max_output_tokens: u64,
    /// The features of the model. Without the list, the provider decides.
    features: Vec<String>,
    /// Features that the model has in the catalog but not at this provider.
    lacks: Vec<String>,
    /// The id of the model in the catalog, if the provider uses another name.
    model: String,
    /// Further facts, in the form of the catalog.
    #[schemars(flatten)]
    others: BTreeMap<String, AnyValue>,
}
