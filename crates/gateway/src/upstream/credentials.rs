//! What proves to a provider that we may call it.

use canon::Secret;
use wire::providers::Credential;

use crate::config::ProviderSettings;

/// The credential that a provider's settings hold in place of a key.
pub fn from_settings(provider: &ProviderSettings) -> Credential {
    let setting = |name: &str| provider.settings.get(name).filter(|value| !value.is_empty()).map(Secret::new);
    let aws = || {
        Some(Credential::Aws {
            access_key_id: provider.settings.get("access_key_id")?.clone(),
            secret_access_key: setting("secret_access_key")?,
            session_token: setting("session_token"),
        })
    };
    setting("access_token").map(Credential::Token).or_else(aws).unwrap_or(Credential::None)
}
