//! `llmgateway explain`

use std::path::PathBuf;

use super::{ConfigArgument, say};
use crate::pipeline::explain;
use crate::snapshot::{Snapshot, Tools};

/// Arguments of `explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The model, as a request would name it.
    #[arg(long)]
    model: String,
    /// A request body; its model is replaced by --model. Default: a short question.
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
}

/// Prints the plan, its reasons and the upstream request, with secrets masked.
pub fn run(arguments: &ExplainArguments) -> anyhow::Result<()> {
    let settings = arguments.config.load()?;
    let body = match &arguments.request {
        Some(path) => std::fs::read(path)
            .map_err(|error| anyhow::anyhow!("The request {} cannot be read: {error}.", path.display()))?,
        None => br#"{"messages":[{"role":"user","content":"What is the capital of France?"}]}"#.to_vec(),
    };
    let mut body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body)?;
    body.insert("model".to_owned(), arguments.model.as_str().into());
    let tools = Tools::for_commands()?;
    let snapshot = Snapshot::first(settings, &tools);
    say(&explain::explain(&snapshot, &serde_json::to_vec(&body)?)?);
    Ok(())
}
