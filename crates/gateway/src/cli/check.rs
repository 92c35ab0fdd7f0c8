//! `llmgateway check`

use super::{ConfigArgument, banner, say};

/// Reads everything that `serve` would, and starts nothing.
pub fn run(config: &ConfigArgument) -> anyhow::Result<()> {
    let settings = config.load()?;
    let models = settings.catalog.models().count();
    say(&format!(
        "Providers\n{}\n\nThe configuration is valid; the catalog has {models} models.",
        banner::providers(&settings.providers)
    ));
    Ok(())
}
