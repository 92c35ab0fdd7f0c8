//! Applies the rules of `[guardrails.NAME]` to requests and answers: refuses, replaces matches by
//! placeholders, asks another server.
//!
//! A project without guardrails has no overhead. For the others each request gets one [`Guard`]: it changes
//! the texts of the raw body before a provider is chosen ([`wire::texts`] finds them), remembers the
//! originals of its placeholders until the request ends, and makes the [filter](output::OutputFilter) of each
//! answer. The actions are reported in the answer's metadata, the record, the log and the metrics; the
//! matched text is never stored.

mod ask;
mod input;
mod output;
mod search;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use canon::write::{push_array, push_count, push_key, push_text};
use canon::{Error, ErrorKind};
use serde_json::{Value, json};
use store::GuardrailRecord;

use crate::config::guardrail::{Check, Guardrail, Matcher, RuleAction};
use crate::telemetry::Metrics;
use crate::upstream::Client;
use crate::upstream::outbound::Outbound;

pub struct Guardrails {
    by_name: HashMap<Arc<str>, Arc<Guardrail>>,
    client: Client,
    metrics: Metrics,
}

/// Checks one request and its answer.
pub struct Guard {
    rules: Vec<Arc<Guardrail>>,
    client: Client,
    /// None for a rehearsal.
    metrics: Option<Metrics>,
    project: String,
    request_id: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Placeholders and their originals.
    placeholders: HashMap<String, String>,
    /// The length of the longest placeholder.
    longest: usize,
    /// The placeholder of each matched text, by the name of placeholders.
    given: HashMap<(String, String), String>,
    /// The last number of each name.
    numbers: HashMap<String, u64>,
    /// The actions, by rule.
    done: BTreeMap<(usize, &'static str, &'static str), u64>,
}

/// The direction of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the provider.
    Input,
    /// To the caller.
    Output,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }

    fn looks(self, rule: &Guardrail) -> bool {
        match self {
            Self::Input => rule.on_input,
            Self::Output => rule.on_output,
        }
    }
}

impl Guardrails {
    /// The rules, with connections to the outside.
    pub fn new(rules: Vec<Arc<Guardrail>>, outbound: &Outbound, metrics: &Metrics) -> Self {
        let by_name = rules.into_iter().map(|rule| (rule.name.clone(), rule)).collect();
        Self { by_name, client: Client::new(outbound.route()), metrics: metrics.clone() }
    }

    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The guard of a request for these names. A policy may name a guardrail that no longer exists: the
    /// request is then refused.
    pub fn guard<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        project: &str,
        request_id: &str,
    ) -> Result<Guard, Error> {
        let mut rules: Vec<Arc<Guardrail>> = Vec::new();
        for name in names {
            let Some(rule) = self.by_name.get(name) else {
                let message = format!(
                    "The policy of this key names the guardrail {name:?}, which the configuration does not have; add [guardrails.{name}]."
                );
                return Err(Error::gateway(ErrorKind::Unavailable, message));
            };
            if !rules.iter().any(|known| known.name == rule.name) {
                rules.push(rule.clone());
            }
        }
        Ok(Guard {
            rules,
            client: self.client.clone(),
            metrics: Some(self.metrics.clone()),
            project: project.to_owned(),
            request_id: request_id.to_owned(),
            state: Mutex::default(),
        })
    }

    /// The actions for a request, without asking a server and without counting. Returns the resulting body.
    pub fn rehearse<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        body: &Bytes,
    ) -> Result<(Bytes, Vec<Value>), Error> {
        let guard = Guard { metrics: None, ..self.guard(names, "", "")? };
        let changed = guard.changed(body)?;
        let records = guard.records();
        let of_rule = |rule: &Arc<Guardrail>| {
            let on = [(rule.on_input, "input"), (rule.on_output, "output")];
            let on: Vec<&str> = on.into_iter().filter_map(|(is, on)| is.then_some(on)).collect();
            let done = records.iter().find(|record| *record.guardrail == *rule.name);
            let action = match &rule.does {
                RuleAction::Deny(_) => "deny",
                RuleAction::Redact { .. } => "redact",
                RuleAction::Ask(_) => "check",
            };
            json!({"guardrail": *rule.name, "on": on, "action": action, "found": done.map_or(0, |record| record.count)})
        };
        let actions = guard.rules.iter().map(of_rule).collect();
        Ok((changed.unwrap_or_else(|| body.clone()), actions))
    }
}

impl Guard {
    /// Writes the actions as the member `guardrails` of the gateway's object.
    pub fn write(&self, out: &mut Vec<u8>) {
        push_key(out, "guardrails");
        push_array(out, self.records().iter(), |record, out| {
            out.push(b'{');
            push_text(out, "guardrail", &record.guardrail);
            push_text(out, "on", &record.on);
            push_text(out, "action", &record.action);
            push_count(out, "count", record.count);
            out.push(b'}');
        });
    }

    pub fn records(&self) -> Vec<GuardrailRecord> {
        let record =
            |((rule, on, action), count): (&(usize, &'static str, &'static str), &u64)| GuardrailRecord {
                guardrail: self.rules[*rule].name.to_string(),
                on: Cow::Borrowed(on),
                action: Cow::Borrowed(action),
                count: *count,
            };
        self.state().done.iter().map(record).collect()
    }

    /// Whether parts of the request were replaced. The caller's answer may contain them.
    pub fn has_placeholders(&self) -> bool {
        !self.state().placeholders.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an action of a rule.
    fn did(&self, rule: usize, way: Direction, action: &'static str, times: u64) {
        *self.state().done.entry((rule, way.as_str(), action)).or_default() += times;
        if let Some(metrics) = &self.metrics {
            metrics.guardrail(&self.rules[rule].name, way.as_str(), action, times);
        }
    }

    /// The refusal by a rule.
    fn denied(&self, rule: usize, way: Direction, reason: Option<&str>) -> Error {
        self.did(rule, way, "denied", 1);
        let what = match way {
            Direction::Input => "request",
            Direction::Output => "answer",
        };
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let message = format!("The guardrail {:?} refuses the {what}{reason}.", self.rules[rule].name);
        Error::caller(ErrorKind::ContentPolicy, message)
    }

    fn matchers(&self, way: Direction) -> impl Iterator<Item = (usize, &RuleAction)> {
        let looks = move |(_, rule): &(usize, &Arc<Guardrail>)| way.looks(rule);
        self.rules.iter().enumerate().filter(looks).map(|(index, rule)| (index, &rule.does))
    }

    /// The rules that refuse matches.
    fn denying(&self, way: Direction) -> impl Iterator<Item = (usize, &Matcher)> {
        self.matchers(way).filter_map(|(index, does)| match does {
            RuleAction::Deny(matcher) => Some((index, matcher)),
            _ => None,
        })
    }

    /// The rules that replace matches.
    fn redacting(&self, way: Direction) -> impl Iterator<Item = (usize, &Matcher)> {
        self.matchers(way).filter_map(|(index, does)| match does {
            RuleAction::Redact { matcher, .. } => Some((index, matcher)),
            _ => None,
        })
    }

    /// The rules that search: first those that refuse.
    fn finding(&self, way: Direction) -> impl Iterator<Item = (usize, &Matcher)> {
        self.denying(way).chain(self.redacting(way))
    }

    /// The name of a rule's placeholders; empty where it has none.
    fn placeholder_name(&self, rule: usize) -> &str {
        match &self.rules[rule].does {
            RuleAction::Redact { placeholder, .. } => placeholder,
            RuleAction::Deny(_) | RuleAction::Ask(_) => "",
        }
    }

    /// The rules that ask a server.
    fn asking(&self, way: Direction) -> impl Iterator<Item = (usize, &Check)> {
        self.matchers(way).filter_map(|(index, does)| match does {
            RuleAction::Ask(check) => Some((index, check)),
            _ => None,
        })
    }
}
