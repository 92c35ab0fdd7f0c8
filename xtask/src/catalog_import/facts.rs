//! The facts of the packages, in our terms.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::plan::{Plan, Search, Source};

/// Prices in USD per million tokens, as plain decimals, by our names.
pub type Rates = BTreeMap<&'static str, String>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub rates: Rates,
    pub request: Option<String>,
    pub web_search: Option<String>,
    pub tiers: BTreeMap<u64, Rates>,
    pub service_tiers: BTreeMap<&'static str, (Rates, BTreeMap<u64, Rates>)>,
    pub context: Option<u64>,
    pub max_output: Option<u64>,
    pub deprecated: Option<String>,
    pub features: Vec<&'static str>,
    /// A disagreement between the packages.
    pub doubt: Option<String>,
}

/// A provider and its own id of a model.
pub type ModelId = (String, String);

pub struct Packages {
    litellm: Map<String, Value>,
    known: HashMap<ModelId, Facts>,
}

#[derive(Deserialize)]
struct Genai {
    rates: BTreeMap<String, String>,
    tiers: BTreeMap<String, BTreeMap<String, String>>,
    context: Option<u64>,
}

const RATES: [(&str, &str); 8] = [
    ("input", "input_cost_per_token"),
    ("output", "output_cost_per_token"),
    ("cache_read", "cache_read_input_token_cost"),
    ("cache_write", "cache_creation_input_token_cost"),
    ("cache_write_1h", "cache_creation_input_token_cost_above_1hr"),
    ("audio_input", "input_cost_per_audio_token"),
    ("audio_output", "output_cost_per_audio_token"),
    ("image_output", "output_cost_per_image_token"),
];
const SERVICE_TIERS: [&str; 2] = ["flex", "priority"];
const FEATURES: [(&str, &str); 10] = [
    ("tools", "supports_function_calling"),
    ("vision", "supports_vision"),
    ("documents", "supports_pdf_input"),
    ("audio_input", "supports_audio_input"),
    ("video", "supports_video_input"),
    ("audio_output", "supports_audio_output"),
    ("json_schema", "supports_response_schema"),
    ("web_search", "supports_web_search"),
    ("reasoning", "supports_reasoning"),
    ("prompt_cache", "supports_prompt_caching"),
];

impl Packages {
    pub fn read(folder: &Path, plan: &Plan, wanted: &[ModelId]) -> Result<Self> {
        let path = folder.join("litellm/model_prices_and_context_window_backup.json");
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let litellm: Map<String, Value> = serde_json::from_slice(&text)?;
        let genai = ask_genai(folder, plan, wanted)?;
        let known = wanted.iter().zip(genai).filter_map(|(wanted, genai)| {
            let (provider, id) = wanted;
            let source = plan.providers.get(provider)?;
            let entry = plan.litellm_keys(provider, id).into_iter().find_map(|key| litellm.get(&key));
            Some((wanted.clone(), merge(entry.map(|entry| of_litellm(entry, source)), genai.as_ref())?))
        });
        Ok(Self { known: known.collect(), litellm: litellm.clone() })
    }

    pub fn get(&self, provider: &str, id: &str) -> Option<&Facts> {
        self.known.get(&(provider.to_owned(), id.to_owned()))
    }

    /// litellm's chat models of our providers that no entry of ours uses.
    pub fn unused(&self, plan: &Plan, wanted: &[ModelId]) -> Vec<String> {
        let used: HashSet<String> =
            wanted.iter().flat_map(|(provider, id)| plan.litellm_keys(provider, id)).collect();
        let prefixes: Vec<&str> = plan
            .providers
            .values()
            .flat_map(|source| &source.litellm)
            .filter_map(|pattern| pattern.strip_suffix("{id}"))
            .filter(|prefix| !prefix.is_empty())
            .collect();
        let is_ours = |key: &str| prefixes.iter().any(|prefix| key.starts_with(prefix)) || !key.contains('/');
        let chats = |entry: &Value| entry["mode"] == "chat" && entry["deprecation_date"].is_null();
        let unused =
            self.litellm.iter().filter(|(key, entry)| is_ours(key) && chats(entry) && !used.contains(*key));
        unused.map(|(key, _)| key.clone()).collect()
    }
}

/// One answer for each wanted model.
fn ask_genai(folder: &Path, plan: &Plan, wanted: &[ModelId]) -> Result<Vec<Option<Genai>>> {
    let pairs: Vec<(Option<&str>, &str)> = wanted
        .iter()
        .map(|(provider, id)| {
            let source = plan.providers.get(provider);
            (source.and_then(|source| source.genai.as_deref()), id.as_str())
        })
        .collect();
    let mut python = Command::new("python3")
        .args(["-c", include_str!("genai.py")])
        .env("PYTHONPATH", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run python3")?;
    let mut stdin = python.stdin.take().context("python3 has no input")?;
    let question = serde_json::to_vec(&pairs)?;
    let writer = std::thread::spawn(move || stdin.write_all(&question));
    let answer = python.wait_with_output()?;
    if writer.join().is_err() || !answer.status.success() {
        bail!("genai-prices could not be read");
    }
    Ok(serde_json::from_slice(&answer.stdout)?)
}

/// litellm's facts, and those of genai-prices where litellm has no price.
fn merge(litellm: Option<Facts>, genai: Option<&Genai>) -> Option<Facts> {
    let from_genai = genai.map(of_genai).filter(|facts| facts.rates.contains_key("input"));
    let Some(mut facts) = litellm else { return from_genai };
    let Some(other) = from_genai else { return Some(facts) };
    let context = facts.context.or(other.context);
    if !facts.rates.contains_key("input") {
        facts = Facts { rates: other.rates, tiers: other.tiers, ..facts };
    } else if let Some((name, theirs)) =
        other.rates.iter().find(|(name, theirs)| facts.rates.get(*name).is_some_and(|ours| ours != *theirs))
    {
        facts.doubt =
            Some(format!("{name} is {} in litellm and {theirs} in genai-prices", facts.rates[name]));
    }
    Some(Facts { context, ..facts })
}

fn of_genai(genai: &Genai) -> Facts {
    let rates = |theirs: &BTreeMap<String, String>| -> Rates {
        let ours = RATES.iter().map(|(name, _)| *name);
        ours.filter_map(|name| Some((name, theirs.get(name)?.clone()))).collect()
    };
    let tiers = genai.tiers.iter().filter_map(|(start, tier)| Some((start.parse().ok()?, rates(tier))));
    let tiers = tiers.filter(|(_, tier)| tier.contains_key("input") && tier.contains_key("output"));
    Facts { rates: rates(&genai.rates), tiers: tiers.collect(), context: genai.context, ..Facts::default() }
}

fn of_litellm(entry: &Value, source: &Source) -> Facts {
    let search = |size: &str| {
        let cost = entry["search_context_cost_per_query"][format!("search_context_size_{size}")].as_f64()?;
        (cost > 0.0).then(|| decimal(cost))
    };
    let max_output = entry["max_output_tokens"].as_u64();
    let context = entry["max_input_tokens"].as_u64().map(|context| {
        let answer = if source.prompt_only.contains(&context) { max_output.unwrap_or_default() } else { 0 };
        context + answer
    });
    let (base, tiers) = match entry["tiered_pricing"].as_array() {
        Some(ranges) => ranged(ranges),
        None => (rates(entry, ""), tiers(entry, "")),
    };
    Facts {
        service_tiers: service_tiers(entry, &base),
        rates: base,
        request: if source.search == Search::WithRequest { search("low") } else { None },
        web_search: if source.search == Search::Counted { search("medium") } else { None },
        tiers,
        context,
        max_output: max_output.filter(|_| !source.no_output_limits),
        deprecated: entry["deprecation_date"].as_str().map(str::to_owned),
        features: features(entry),
        doubt: None,
    }
}

fn rates(entry: &Value, suffix: &str) -> Rates {
    let price = |field: &str| Some(per_million(entry[format!("{field}{suffix}")].as_f64()?));
    let rates: Rates = RATES.iter().filter_map(|(name, field)| Some((*name, price(field)?))).collect();
    without_repetition(rates)
}

/// Complete prices only; a price that a service tier does not name is the default one.
fn service_tiers(entry: &Value, base: &Rates) -> BTreeMap<&'static str, (Rates, BTreeMap<u64, Rates>)> {
    let complete = SERVICE_TIERS.into_iter().filter_map(|name| {
        let suffix = format!("_{name}");
        let own = rates(entry, &suffix);
        let complete = own.contains_key("input") && own.contains_key("output");
        complete.then(|| (name, (base.clone().into_iter().chain(own).collect(), tiers(entry, &suffix))))
    });
    complete.collect()
}

/// Removes prices that equal their fallback.
fn without_repetition(mut rates: Rates) -> Rates {
    for (name, fallback) in [("audio_input", "input"), ("audio_output", "output"), ("image_output", "output")]
    {
        if rates.contains_key(name) && rates.get(name) == rates.get(fallback) {
            rates.remove(name);
        }
    }
    rates
}

/// `…_above_200k_tokens` and its like.
fn tiers(entry: &Value, suffix: &str) -> BTreeMap<u64, Rates> {
    let lengths = [32, 100, 128, 200, 256, 272, 512].map(|thousands| (thousands * 1000, thousands));
    let tiers = lengths
        .into_iter()
        .map(|(length, thousands)| (length, rates(entry, &format!("_above_{thousands}k_tokens{suffix}"))));
    tiers.filter(|(_, rates)| rates.contains_key("input") && rates.contains_key("output")).collect()
}

/// Prices by ranges of prompt lengths; the first range is the default.
fn ranged(ranges: &[Value]) -> (Rates, BTreeMap<u64, Rates>) {
    let mut by_start: BTreeMap<u64, Rates> = ranges
        .iter()
        .filter_map(|range| Some((range["range"][0].as_f64()? as u64, rates(range, ""))))
        .collect();
    (by_start.remove(&0).unwrap_or_default(), by_start)
}

fn features(entry: &Value) -> Vec<&'static str> {
    let flags = FEATURES.into_iter().filter(|(_, flag)| entry[*flag] == true).map(|(name, _)| name);
    let mut features: Vec<&str> = flags.chain(["json_object", "multiple_choices", "streaming"]).collect();
    if rates(entry, "").contains_key("cache_read") && !features.contains(&"prompt_cache") {
        features.push("prompt_cache");
    }
    if entry["supported_output_modalities"].as_array().is_some_and(|list| list.contains(&"image".into())) {
        features.push("image_output");
    }
    if entry["supported_modalities"].as_array().is_some_and(|list| list.contains(&"video".into()))
        && !features.contains(&"video")
    {
        features.push("video");
    }
    features
}

fn per_million(per_token: f64) -> String {
    decimal(per_token * 1e6)
}

/// A plain decimal of at most six places, which is what a price may have.
fn decimal(amount: f64) -> String {
    let text = format!("{amount:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source() -> Source {
        toml::from_str("prompt_only = [272000]").unwrap()
    }

    #[test]
    fn prices_become_plain_decimals() {
        for (price, expected) in
            [(1.25e-7, "0.125"), (2.5e-6, "2.5"), (1e-5, "10"), (0.0, "0"), (6e-9, "0.006")]
        {
            assert_eq!(per_million(price), expected);
        }
    }

    #[test]
    fn an_entry_becomes_facts() {
        let entry = json!({
            "input_cost_per_token": 1.25e-6, "output_cost_per_token": 1e-5,
            "cache_read_input_token_cost": 1.25e-7,
            "input_cost_per_token_above_200k_tokens": 2.5e-6, "output_cost_per_token_above_200k_tokens": 1.5e-5,
            "input_cost_per_token_flex": 6.25e-7, "output_cost_per_token_flex": 5e-6,
            "input_cost_per_token_priority": 2e-6,
            "max_input_tokens": 272000, "max_output_tokens": 128000,
            "supports_function_calling": true, "supports_vision": false,
        });
        let facts = of_litellm(&entry, &source());
        assert_eq!(
            facts.rates,
            Rates::from([("input", "1.25".into()), ("output", "10".into()), ("cache_read", "0.125".into())])
        );
        assert_eq!(facts.tiers[&200_000]["output"], "15");
        assert_eq!(facts.service_tiers["flex"].0["input"], "0.625");
        assert!(!facts.service_tiers.contains_key("priority"), "incomplete prices are no prices");
        assert_eq!((facts.context, facts.max_output), (Some(400_000), Some(128_000)));
        assert_eq!(facts.features, ["tools", "json_object", "multiple_choices", "streaming", "prompt_cache"]);
    }

    #[test]
    fn ranges_become_tiers() {
        let (usual, tiers) = ranged(&[
            json!({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "range": [0, 32000.0]}),
            json!({"input_cost_per_token": 3e-6, "output_cost_per_token": 4e-6, "range": [32000.0, 128000.0]}),
        ]);
        assert_eq!((usual["input"].as_str(), tiers[&32_000]["output"].as_str()), ("1", "4"));
    }
}
