//! The configuration in force for display: every setting with its source, secrets masked.

use std::path::Path;

use super::Settings;
use super::lines::Lines;
use crate::tls;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// `routing.max_retries`
    pub path: String,
    /// As it would be written in the file.
    pub value: String,
    /// `line 14`, `env OPENAI_API_KEY`, `default`.
    pub source: String,
}

/// The settings of a file, and others in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectiveSettings {
    pub file: Option<String>,
    /// In the file's order; then those that are not in the file.
    pub settings: Vec<ShownSetting>,
}

const MASK: &str = "\"•••\"";
/// Parts of names of settings with secrets.
const SECRET: [&str; 7] = ["key", "secret", "token", "password", "credential", "headers", "auth_header"];
/// Settings that are named like secrets and contain none: names of files, formats, counts.
const HARMLESS: [&str; 4] = ["max_tokens", "tokens", "auth", "priority"];

/// All settings in force. `text` is the file's content when it was read.
pub fn in_force(file: Option<(&Path, &str)>, settings: &Settings) -> EffectiveSettings {
    let mut shown =
        EffectiveSettings { file: file.map(|(path, _)| path.display().to_string()), settings: Vec::new() };
    if let Some((_, text)) = file
        && let Ok(table) = text.parse::<toml::Table>()
    {
        let lines = Lines::of(text);
        walk(&mut shown.settings, &lines, "", &toml::Value::Table(table));
    }
    let mut other = |path: &str, value: String, source: &str| {
        let is_written = shown.settings.iter().any(|setting| {
            setting
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        if !is_written {
            shown.settings.push(ShownSetting { path: path.to_owned(), value, source: source.to_owned() });
        }
    };
    for provider in settings
        .providers
        .iter()
        .filter(|provider| provider.disabled.is_none() && !provider.base_url.is_empty())
    {
        let path = format!("providers.{}", provider.row.id);
        other(
            &format!("{path}.base_url"),
            quoted(&without_secrets(&provider.base_url)),
            &provider.credential_source,
        );
    }
    for (path, keys) in [("auth.api_keys", &settings.api_keys), ("auth.admin_keys", &settings.admin_keys)] {
        if !keys.is_empty() {
            let sources: Vec<&str> = keys.iter().map(|key| key.label.as_str()).collect();
            other(
                path,
                format!("[{}]", vec![MASK; keys.len()].join(", ")),
                &format!("env {}", sources.join(", ")),
            );
        }
    }
    for (path, value) in [
        ("server.listen", quoted(&settings.listen.to_string())),
        ("server.body_limit", settings.body_limit.to_string()),
        ("server.max_connections", settings.max_connections.to_string()),
        ("server.h2c", settings.h2c.to_string()),
        ("server.tls", settings.tls.as_ref().map_or("off", |_: &tls::Files| "on").to_owned()),
        ("database.url", quoted(&without_secrets(&settings.database_url))),
        ("database.spool", quoted(&settings.spool.display().to_string())),
        ("database.spool_limit", settings.spool_limit.to_string()),
        ("bodies.keep", quoted(settings.bodies.keep.as_str())),
        ("bodies.keep_days", (settings.bodies.days.as_secs() / 86_400).to_string()),
        ("logging.access", settings.logging.access.to_string()),
    ] {
        other(path, value, "default or environment");
    }
    shown
}

fn walk(shown: &mut Vec<ShownSetting>, lines: &Lines, path: &str, value: &toml::Value) {
    if let toml::Value::Table(table) = value
        && !table.is_empty()
    {
        for (name, value) in table {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(shown, lines, &path, value);
        }
        return;
    }
    let source = lines.of_path(path).map_or_else(|| "file".to_owned(), |line| format!("line {line}"));
    shown.push(ShownSetting { path: path.to_owned(), value: masked(path, value), source });
}

/// A value without secrets. References (`env:NAME`, `file:PATH`) name a secret and are not secret.
fn masked(path: &str, value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) if is_reference(text) => quoted(text),
        toml::Value::String(_) if is_secret(path) => MASK.to_owned(),
        toml::Value::String(text) => quoted(&without_secrets(text)),
        toml::Value::Array(list) => {
            let items: Vec<String> = list.iter().map(|item| masked(path, item)).collect();
            format!("[{}]", items.join(", "))
        }
        toml::Value::Table(table) => {
            let item = |(name, value): (&String, &toml::Value)| {
                format!("{name} = {}", masked(&format!("{path}.{name}"), value))
            };
            let items: Vec<String> = table.iter().map(item).collect();
            if items.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", items.join(", ")) }
        }
        other => other.to_string(),
    }
}

fn is_reference(text: &str) -> bool {
    ["env:", "file:"].iter().any(|scheme| text.starts_with(scheme))
}

/// Headers and free settings of a provider may contain secrets.
fn is_secret(path: &str) -> bool {
    let mut parts = path.split('.');
    let is_provider = parts.next() == Some("providers");
    let names = path.split(['.', '[']);
    let looks_secret = names.skip(1).any(|name| {
        let name = name.to_ascii_lowercase();
        !HARMLESS.contains(&name.as_str()) && SECRET.iter().any(|word| name.contains(word))
    });
    looks_secret && (!path.starts_with("projects.") || path.ends_with(".key"))
        || is_provider && path.contains(".headers")
}

/// A URL without password and without query, where some addresses contain their secret.
pub fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let (authority, path) =
        rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let authority = authority.rsplit_once('@').map_or(authority.to_owned(), |(user, host)| {
        let name = user.split_once(':').map_or(user, |(name, _)| name);
        format!("{name}:•••@{host}")
    });
    // The path of a webhook is often its secret.
    let path = path.map_or(String::new(), |path| {
        if scheme.starts_with("http") && path.len() > 40 {
            "/•••".to_owned()
        } else {
            format!("/{path}")
        }
    });
    format!("{scheme}://{authority}{path}")
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let table: toml::Table = text.parse().unwrap();
        walk(&mut found, &Lines::of(text), "", &toml::Value::Table(table));
        found.into_iter().map(|shown| (shown.path, shown.value)).collect()
    }

    #[test]
    fn secrets_are_masked_and_references_are_shown() {
        let text = "[auth]\napi_keys = [\"hunter2\", \"env:KEY\"]\n[database]\nurl = \"postgres://g:hunter2@db/x?password=hunter2\"\n\
                    [providers.mine]\napi_key = \"hunter2\"\nbase_url = \"http://u:hunter2@h/v1\"\nheaders = { X-Team = \"hunter2\" }\n\
                    [providers.mine.settings]\naccess_key = \"hunter2\"\nregion = \"eu\"\n\
                    [projects.a]\nkeys = [{ name = \"ci\", key = \"hunter2\" }]\nlimits = [{ tokens = 5, per = \"hour\" }]\n\
                    [[webhooks]]\nurl = \"https://hooks.example.com/services/T00000000/B00000000/hunter2hunter2hunter2\"\nsecret = \"hunter2\"\n";
        let found = shown(text);
        let all = format!("{found:?}");
        assert!(!all.contains("hunter2"), "{all}");
        let value =
            |path: &str| found.iter().find(|(known, _)| known == path).map(|(_, value)| value.as_str());
        assert_eq!(value("auth.api_keys"), Some("[\"•••\", \"env:KEY\"]"));
        assert_eq!(value("database.url"), Some("\"postgres://g:•••@db/x\""));
        assert_eq!(value("providers.mine.settings.region"), Some("\"eu\""));
        assert_eq!(
            value("projects.a.limits"),
            Some("[{ per = \"hour\", tokens = 5 }]").or(value("projects.a.limits"))
        );
        assert!(value("projects.a.keys").unwrap().contains("name = \"ci\""), "{all}");
    }
}
