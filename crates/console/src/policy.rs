//! A policy as a form: one rule per line, in words.

use serde_json::{Map, Value, json};

use limits::{Limit, OnExhausted, Policy};

use crate::Console;
use crate::fields::Fields;

/// Patterns, one per line.
pub fn lines(list: &[String]) -> String {
    list.join("\n")
}

/// `250 per month`, `20 per day downgrade:cheap`
pub fn budget_lines(policy: &Policy) -> String {
    let line = |budget: &limits::Budget| match &budget.on_exhausted {
        OnExhausted::Block => format!("{} per {}", budget.usd, budget.per.as_str()),
        OnExhausted::Downgrade(alias) => {
            format!("{} per {} downgrade:{alias}", budget.usd, budget.per.as_str())
        }
    };
    policy.budgets.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// `600 requests per minute`, `40 concurrent`, `5 requests per minute for o3-*`
pub fn limit_lines(policy: &Policy) -> String {
    policy.limits.iter().map(limit_words).collect::<Vec<_>>().join("\n")
}

/// A limit in words.
pub fn limit_words(limit: &Limit) -> String {
    let per = limit.per.map_or("", limits::Period::as_str);
    let mut words = match (limit.requests, limit.tokens, limit.concurrent) {
        (Some(most), ..) => format!("{most} requests per {per}"),
        (_, Some(most), _) => format!("{most} tokens per {per}"),
        (.., most) => format!("{} concurrent", most.unwrap_or_default()),
    };
    if let Some(model) = &limit.model {
        words += &format!(" for {model}");
    }
    words
}

/// The policy of a form in its stored form; or its mistake, as a sentence.
pub fn checked(console: &Console, form: &Fields, before: &Policy) -> Result<String, String> {
    of_form(form, before)
        .and_then(|json| console.gateway.check_policy(&json))
        .map_err(|mistake| format!("The policy is not valid: {mistake}."))
}

/// The policy of a form, as JSON; or the mistake in a line. Fields that the form does not show stay
/// unchanged.
fn of_form(form: &Fields, before: &Policy) -> Result<String, String> {
    let mut policy = match serde_json::to_value(before) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    let mut put = |name: &str, value: Value| {
        let is_nothing = matches!(&value, Value::Array(list) if list.is_empty()) || value.is_null();
        if is_nothing {
            policy.remove(name);
        } else {
            policy.insert(name.to_owned(), value);
        }
    };
    for name in ["models", "deny", "providers", "deny_providers", "regions", "guardrails"] {
        let patterns =
            form.text(name).split([',', '\n', ' ', '\r']).map(str::trim).filter(|it| !it.is_empty());
        put(name, patterns.map(Value::from).collect());
    }
    put("budgets", each_line(form.text("budgets"), budget)?);
    put("limits", each_line(form.text("limits"), limit)?);
    put("unpriced", form.get("unpriced").map_or(Value::Null, Value::from));
    put("data_collection", form.get("no_training").map_or(Value::Null, |_| "deny".into()));
    put("zdr", form.get("zdr").map_or(Value::Null, |_| true.into()));
    Ok(Value::Object(policy).to_string())
}

fn each_line(text: &str, read: impl Fn(&[&str]) -> Option<Value>) -> Result<Value, String> {
    let words = |line: &str| -> Result<Value, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        read(&words).ok_or_else(|| format!("the line {line:?} is not valid"))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(words).collect()
}

fn budget(words: &[&str]) -> Option<Value> {
    let (usd, per, rest) = match words {
        [usd, "per", per, rest @ ..] => (usd, per, rest),
        _ => return None,
    };
    let mut budget = json!({"usd": usd.trim_start_matches('$').replace(',', ""), "per": per});
    match rest {
        [] => {}
        [on_exhausted] => budget["on_exhausted"] = (*on_exhausted).into(),
        _ => return None,
    }
    Some(budget)
}

fn limit(words: &[&str]) -> Option<Value> {
    let (words, model) = match words {
        [rest @ .., "for", model] => (rest, Some(*model)),
        all => (all, None),
    };
    let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
    let mut limit = match words {
        [most, "concurrent"] => json!({"concurrent": number(most)?}),
        [most, unit @ ("requests" | "tokens"), "per", per] => json!({*unit: number(most)?, "per": per}),
        _ => return None,
    };
    if let Some(model) = model {
        limit["model"] = model.into();
    }
    Some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_from_a_form_as_it_was_shown() {
        let json = r#"{"models":["openai/*","claude-*"],"budgets":[{"usd":"250","per":"month"},
            {"usd":"20","per":"day","on_exhausted":"downgrade:cheap"}],"limits":[{"requests":600,"per":"minute"},
            {"concurrent":40},{"tokens":5,"per":"hour","model":"o3-*"}],"regions":["eu*"],"data_collection":"deny","zdr":true,"tags":{"team":"a"},"unpriced":"allow","guardrails":["email","keys"]}"#;
        let policy: Policy = serde_json::from_str(json).unwrap();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("models", &lines(&policy.models))
            .append_pair("budgets", &budget_lines(&policy))
            .append_pair("limits", &limit_lines(&policy))
            .append_pair("guardrails", &lines(&policy.guardrails))
            .append_pair("regions", &lines(&policy.regions))
            .append_pair("no_training", "on")
            .append_pair("zdr", "on")
            .append_pair("unpriced", "allow");
        let form = Fields::parse(query.finish().as_bytes());
        let read: Policy = serde_json::from_str(&of_form(&form, &policy).unwrap()).unwrap();
        assert_eq!(read, policy);
        let none: Policy = serde_json::from_str(&of_form(&Fields::default(), &policy).unwrap()).unwrap();
        assert_eq!(
            (none.models.len(), none.regions.len(), none.zdr, none.budgets.len(), none.tags.len()),
            (0, 0, None, 0, 1),
            "tags are not in the form"
        );
        let wrong = Fields::parse(b"budgets=much+per+day%0A5+dollars");
        assert!(of_form(&wrong, &policy).unwrap_err().contains("\"5 dollars\""));
    }
}
