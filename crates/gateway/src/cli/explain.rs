//! `llmgateway explain`

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use canon::Operation;
use routing::Timestamp;
use serde_json::{Map, Value};

use super::{ConfigArgument, say};
use crate::pipeline::explain;
use crate::snapshot::{Snapshot, Tools};

/// Arguments of `explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The model, as a request would name it. Default: the one of the request.
    #[arg(long, required_unless_present = "request")]
    model: Option<String>,
    /// A request body, `-` for standard input; --model replaces its model. Default: a short question.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// The operation, if it is not a conversation: embeddings, rerank or moderations, as in the catalog
    #[arg(long, value_name = "NAME", requires = "request", value_parser = operation)]
    operation: Option<Operation>,
    /// A project of the configuration whose guardrails check the request. Other servers are not asked
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Reports who would serve the request, why and at what price, and prints the upstream request, with secrets
/// masked.
pub fn run(arguments: &ExplainArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    let mut body = match &arguments.request {
        Some(path) => read(path)?,
        None => Map::from_iter([(
            "messages".to_owned(),
            serde_json::json!([{"role": "user", "content": "What is the capital of France?"}]),
        )]),
    };
    if let Some(model) = &arguments.model {
        body.insert("model".to_owned(), model.as_str().into());
    }
    let snapshot = Snapshot::first(settings, &Tools::for_commands()?);
    let mut body = serde_json::to_vec(&body)?.into();
    let mut guardrails = None;
    if let Some(id) = &arguments.project {
        let project = snapshot.keys.projects().get(id.as_str());
        let project = project.with_context(|| format!("The configuration has no project {id:?}."))?;
        let names = project.policy.guardrails.iter().map(String::as_str);
        let (other, actions) = snapshot.guardrails.rehearse(names, &body)?;
        (body, guardrails) = (other, Some(actions));
    }
    let explanation = match arguments.operation {
        None | Some(Operation::Chat) => explain::explain(&snapshot, &body, Timestamp(0))?,
        Some(operation) => explain::explain_operation(&snapshot, operation, &body, Timestamp(0))?,
    };
    let explanation = explanation.guarded(guardrails);
    if arguments.json {
        say(&serde_json::to_string_pretty(&explanation.as_json())?)
    } else {
        say(&explanation.to_string())
    }
    Ok(())
}

/// An operation by its name.
fn operation(name: &str) -> Result<Operation, String> {
    let known = [Operation::Chat, Operation::Embeddings, Operation::Rerank, Operation::Moderations];
    known.into_iter().find(|operation| operation.as_str() == name).ok_or_else(|| {
        let names = known.map(Operation::as_str).join(", ");
        format!("{name:?} is not an operation that can be explained; the operations are {names}")
    })
}

fn read(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let (name, text) = match path.to_str() {
        Some("-") => {
            let mut text = Vec::new();
            std::io::stdin()
                .read_to_end(&mut text)
                .context("The request cannot be read from standard input")?;
            ("on standard input".to_owned(), text)
        }
        _ => {
            let text = std::fs::read(path).map_err(|error| {
                anyhow::anyhow!("The request {} cannot be read: {error}.", path.display())
            })?;
            (path.display().to_string(), text)
        }
    };
    serde_json::from_slice(&text)
        .map_err(|error| anyhow::anyhow!("The request {name} is not a JSON object: {error}."))
}
