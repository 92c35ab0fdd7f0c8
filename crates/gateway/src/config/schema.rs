//! The configuration as JSON Schema, generated from the types of `file.rs` and their comments: for editors, and for programs that
//! write configurations.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use super::file::ConfigFile;

/// The schema as JSON text: draft 7, which editors know.
pub fn document() -> String {
    let settings = SchemaSettings::draft07().with_transform(ForToml).with_transform(NoUnknown);
    let mut schema = settings.into_generator().into_root_schema_for::<ConfigFile>();
    schema.insert("title".to_owned(), "llmgateway.toml".into());
    format!("{:#}", schema.to_value())
}

/// TOML has no null: what is optional is left out.
#[derive(Clone)]
struct ForToml;

impl Transform for ForToml {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(schema) = schema.as_object_mut() else { return };
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                schema.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
            if let [one] = choices.as_slice() {
                let one = one.clone();
                schema.remove("anyOf");
                schema.insert("allOf".to_owned(), Value::Array(vec![one]));
            }
        }
        if schema.get("default").is_some_and(|value| value.is_null() || value == "") {
            schema.remove("default");
        }
        // Lines of comments end where they fit in the source.
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
    }
}

/// Unknown keys are mistakes, except where a table has keys of the reader's own choice.
#[derive(Clone)]
struct NoUnknown;

impl Transform for NoUnknown {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(schema) = schema.as_object_mut() else { return };
        if schema.contains_key("properties") && !schema.contains_key("additionalProperties") {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::known_keys;

    /// The part of a validator that the schema needs. An unknown keyword is a failure.
    struct Validator(Value);

    fn validator() -> Validator {
        Validator(serde_json::from_str(&document()).unwrap())
    }

    impl Validator {
        /// Every mistake, with its place.
        fn check(&self, schema: &Value, value: &Value, place: &str, mistakes: &mut Vec<String>) {
            let Some(keywords) = schema.as_object() else {
                assert_eq!(schema, &Value::Bool(true), "{place}");
                return;
            };
            let fits = |schema: &Value| {
                let mut inner = Vec::new();
                self.check(schema, value, place, &mut inner);
                inner.is_empty()
            };
            let list = |keyword: &Value| keyword.as_array().unwrap().clone();
            for (name, keyword) in keywords {
                let is_right = match name.as_str() {
                    "$schema" | "title" | "description" | "default" | "definitions" | "format" => true,
                    "additionalProperties" => true,
                    "$ref" => {
                        let name = keyword.as_str().unwrap().strip_prefix("#/definitions/").unwrap();
                        self.check(&self.0["definitions"][name], value, place, mistakes);
                        true
                    }
                    "allOf" => {
                        list(keyword).iter().for_each(|schema| self.check(schema, value, place, mistakes));
                        true
                    }
                    "anyOf" => list(keyword).iter().any(fits),
                    "oneOf" => list(keyword).iter().filter(|schema| fits(schema)).count() == 1,
                    "not" => !fits(keyword),
                    "enum" => list(keyword).contains(value),
                    "const" => keyword == value,
                    "type" => match keyword {
                        Value::Array(types) => types.iter().any(|one| is_type(value, one)),
                        one => is_type(value, one),
                    },
                    "pattern" => value.as_str().is_none_or(|text| {
                        regex::Regex::new(keyword.as_str().unwrap()).unwrap().is_match(text)
                    }),
                    "minimum" => value.as_f64().is_none_or(|number| number >= keyword.as_f64().unwrap()),
                    "maximum" => value.as_f64().is_none_or(|number| number <= keyword.as_f64().unwrap()),
                    "required" => {
                        list(keyword).iter().all(|name| value.get(name.as_str().unwrap()).is_some())
                    }
                    "items" => {
                        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                            self.check(keyword, item, &format!("{place}/{index}"), mistakes);
                        }
                        true
                    }
                    "properties" => {
                        let others = keywords.get("additionalProperties").unwrap_or(&Value::Bool(true));
                        self.check_fields((keyword, others), value, place, mistakes)
                    }
                    unknown => panic!("{place}: {unknown}"),
                };
                if !is_right {
                    mistakes.push(format!("{place}: {name}"));
                }
            }
            if let (Some(others), None) = (keywords.get("additionalProperties"), keywords.get("properties")) {
                self.check_fields((&Value::Null, others), value, place, mistakes);
            }
        }

        fn check_fields(
            &self,
            (known, others): (&Value, &Value),
            value: &Value,
            place: &str,
            mistakes: &mut Vec<String>,
        ) -> bool {
            let mut is_known = true;
            for (name, value) in value.as_object().into_iter().flatten() {
                match known.get(name).unwrap_or(others) {
                    Value::Bool(false) => is_known = false,
                    schema => self.check(schema, value, &format!("{place}/{name}"), mistakes),
                }
            }
            is_known
        }
    }

    fn is_type(value: &Value, name: &Value) -> bool {
        match name.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            unknown => panic!("{unknown}"),
        }
    }

    fn mistakes(validator: &Validator, text: &str) -> Vec<String> {
        let value = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
        let mut mistakes = Vec::new();
        validator.check(&validator.0, &value, "", &mut mistakes);
        mistakes
    }

    /// The TOML of documents whose tables are those of the configuration.
    fn samples() -> Vec<(String, String)> {
        const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let folders =
            ["", "docs", "docs/adr", "catalog", "tests/agents", "tests/e2e", "tests/sdk", "tests/ui"];
        let mut samples = Vec::new();
        for folder in folders {
            for entry in std::fs::read_dir(format!("{FOLDER}/{folder}")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(FOLDER).unwrap().display().to_string();
                if path.extension().is_none_or(|extension| extension != "md") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
                for block in blocks {
                    let Ok(table) = block.parse::<toml::Table>() else { continue };
                    if table.keys().all(|key| known_keys("").contains(&key.as_str()))
                        && ConfigFile::parse(block).is_ok()
                    {
                        samples.push((name.clone(), block.to_owned()));
                    }
                }
            }
        }
        samples
    }

    #[test]
    fn every_sample_configuration_fits() {
        let (validator, samples) = (validator(), samples());
        assert!(samples.len() > 12, "{}", samples.len());
        for (document, text) in samples {
            assert_eq!(mistakes(&validator, &text), Vec::<String>::new(), "{document}:\n{text}");
        }
    }

    #[test]
    fn every_spelling_of_a_value_fits() {
        let text = r#"
            server = { listen = "env:LISTEN", body_limit = "1 GiB", header_limit = "65536", tls = { cert = "c", key = "k" }, cors_origins = [] }
            auth = { api_keys = ["env:A", "file:/run/a", "lgw-x"] }
            logging = { format = "json", decisions_sample = 1 }
            responses = { keep_days = 1 }
            timeouts = { connect = 1, idle = 0.5, repeat_begun = true }
            [routing]
            max_retries = 1
            [routing.weights]
            price = 1
            [providers.mine]
            protocol = "openai-chat"
            also = ["openai-completions"]
            base_url = "http://h/v1"
            auth = { header = "x-key" }
            region = "eu"
            whatever = 3
            headers = { a = "env:B" }
            quirks = { drop = ["seed"], max_tokens_field = "max_tokens" }
            [providers.mine.models.m]
            context_tokens = 4096
            price = { input = "0.10", output = "0.25", tiers = [{ above_prompt_tokens = 1, input = "1", output = "2" }] }
            reasoning = "effort"
            [models.fast]
            targets = ["mine/m"]
            pick = "order"
            [projects.a]
            budgets = [{ usd = "12.5", per = "month", on_exhausted = "downgrade:fast" }]
            limits = [{ requests = 5, per = "minute", model = "o3-*" }, { concurrent = 4 }]
            cache = { seconds = 60 }
            unpriced = "block"
            tags = { team = "a" }
            keys = [{ name = "ci", key = "env:CI", roles = ["inference", "admin"], expires = "2027-01-31", limits = [{ concurrent = 1 }] }]
            [guardrails.g]
            on = ["input", "output"]
            action = "redact"
            [[webhooks]]
            url = "env:HOOK"
        "#;
        assert_eq!(mistakes(&validator(), text), Vec::<String>::new());
        assert!(ConfigFile::parse(text).is_ok());
    }

    #[test]
    fn mistakes_are_reported_at_their_place() {
        let validator = validator();
        let cases = [
            ("sever = {}", ""),
            ("[server]\nbody_limits = \"1MiB\"", "/server"),
            ("[server]\nbody_limit = \"1 pound\"", "/server/body_limit"),
            ("[server]\nmax_connections = \"many\"", "/server/max_connections"),
            ("[auth]\napi_keys = [\"env:\"]", "/auth/api_keys/0"),
            ("[answers]\nmetadata = \"nowhere\"", "/answers/metadata"),
            ("[logging]\ndecisions_sample = 2", "/logging/decisions_sample"),
            ("[timeouts]\nidle = -1", "/timeouts/idle"),
            ("[routing]\nweights = { cost = 1 }", "/routing/weights"),
            ("[providers.x]\nprotocol = \"smoke\"", "/providers/x/protocol"),
            ("[providers.x]\nquirks = { drops = [] }", "/providers/x/quirks"),
            ("[models.fast]\ntarget = []", "/models/fast"),
            ("[models.fast]\npick = \"worst\"", "/models/fast/pick"),
            ("[projects.a]\nbudgets = [{ usd = 5, per = \"day\" }]", "/projects/a/budgets/0/usd"),
            ("[projects.a]\nbudgets = [{ usd = \"5\", per = \"year\" }]", "/projects/a/budgets/0/per"),
            ("[projects.a]\nbudgets = [{ usd = \"5\" }]", "/projects/a/budgets/0"),
            ("[projects.a]\nlimits = [{ requests = -1 }]", "/projects/a/limits/0/requests"),
            ("[projects.a]\nmodel = []", "/projects/a"),
            ("[projects.a]\nkeys = [{ nam = \"x\" }]", "/projects/a/keys/0"),
            ("[projects.a]\nkeys = [{ roles = [\"root\"] }]", "/projects/a/keys/0/roles/0"),
            ("[projects.a]\nkeys = [{ expires = \"soon\" }]", "/projects/a/keys/0/expires"),
            ("[guardrails.g]\non = [\"both\"]", "/guardrails/g/on/0"),
            ("[webhooks]\nurl = \"x\"", "/webhooks"),
        ];
        for (text, place) in cases {
            let found = mistakes(&validator, text);
            let begins = format!("{place}: ");
            assert!(found.iter().any(|mistake| mistake.starts_with(&begins)), "{text}: {found:?}");
        }
    }

    /// The keys that the reader knows are those of the schema.
    #[test]
    fn sections_have_the_keys_that_are_read() {
        let schema: Value = serde_json::from_str(&document()).unwrap();
        let keys = |properties: &Value| {
            let mut keys: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let known = |section: &str| {
            let mut known = known_keys(section).to_vec();
            known.sort_unstable();
            known
        };
        assert_eq!(keys(&schema["properties"]), known(""));
        let sections = [
            ("server", "ServerSection"),
            ("server.tls", "ServerTlsSection"),
            ("auth", "AuthSection"),
            ("responses", "ResponsesSection"),
            ("bodies", "BodiesSection"),
            ("database", "DatabaseSection"),
            ("logging", "LoggingSection"),
            ("timeouts", "TimeoutSection"),
            ("cluster", "ClusterSection"),
            ("cache", "CacheSection"),
            ("guardrails.x", "GuardrailSection"),
            ("webhooks", "WebhookSection"),
        ];
        for (section, name) in sections {
            assert_eq!(keys(&schema["definitions"][name]["properties"]), known(section), "{section}");
        }
    }
}
