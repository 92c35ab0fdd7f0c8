//! `llmgateway check`

use std::path::Path;

use store::Store;

use super::{Checked, ConfigArgument, Style, banner, runtime, say};
use crate::config::Settings;
use crate::config::settings::EXPOSURE;
use crate::identity::review;

/// Reads everything that `serve` would, and starts nothing. Mistakes and likely mistakes are reported, with
/// exit code 1.
pub fn run(config: &ConfigArgument) -> anyhow::Result<()> {
    let mut checked = config.check()?;
    if let Some(settings) = &checked.settings
        && checked.doubts.iter().any(|doubt| doubt.path == EXPOSURE)
        && has_stored_key(settings)
    {
        checked.doubts.retain(|doubt| doubt.path != EXPOSURE);
    }
    let of_projects = checked.settings.as_ref().map(review::doubts);
    checked.doubts.extend(of_projects.into_iter().flatten());
    let Checked { settings: Some(settings), doubts, .. } = &checked else {
        anyhow::bail!(checked.report());
    };
    say(&format!("Providers\n{}\n", banner::providers(&settings.providers, Style::of_stdout())));
    if !doubts.is_empty() {
        anyhow::bail!(checked.report());
    }
    let models = settings.catalog.models().count();
    say(&format!("The configuration is valid; the catalog has {models} models."));
    Ok(())
}

/// Whether the database contains a key. It is not created for this check; a database that does not answer is
/// left to `serve`.
fn has_stored_key(settings: &Settings) -> bool {
    let url = &settings.database_url;
    let file = url.strip_prefix("sqlite:").map(|path| path.trim_start_matches("//"));
    if file.is_some_and(|file| !Path::new(file.split('?').next().unwrap_or(file)).exists()) {
        return false;
    }
    let asked = async {
        let store = Store::open(url).await.ok()?;
        let keys = store.active_keys().await.ok();
        store.close().await;
        Some(!keys?.is_empty())
    };
    runtime().ok().and_then(|runtime| runtime.block_on(asked)).unwrap_or(false)
}
