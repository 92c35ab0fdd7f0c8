//! What proves to a provider that we may call it.

use canon::Secret;
use wire::providers::Credential;

use crate::config::ProviderSettings;

/// The credential that a provider's settings hold in place of a key.
pub fn from_settings(provider: &ProviderSettings) -> Credential {
    let setting = |name: &str| provider.settings.get(name).filter(|value| !value.is_empty()).map(Secret::new);
    match setting("access_token") {
        Some(token) => Credential::Key(token),
        None => Credential::None,
    }
}
