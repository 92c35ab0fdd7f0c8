//! Suspending a provider or a key by hand: code shared by the admin API and the command.

use crate::snapshot::Snapshot;

/// Checks that the provider, and its key, exist. The error names the field, and is a sentence without its
/// end.
pub fn check(snapshot: &Snapshot, provider: &str, key: Option<&str>) -> Result<(), (&'static str, String)> {
    let Some(handle) = snapshot.providers.get(provider) else {
        return Err(("provider", format!("There is no provider {provider:?}")));
    };
    match key {
        Some(key) if !handle.key_labels.iter().any(|label| label == key) => {
            let known = match handle.key_labels.as_slice() {
                [] => "it has no keys".to_owned(),
                labels => format!("its keys are {}", labels.join(", ")),
            };
            Err(("key", format!("{provider} has no key {key:?}; {known}")))
        }
        _ => Ok(()),
    }
}
