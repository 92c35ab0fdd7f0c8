//! The provider that serves when no other is enabled.

use std::net::SocketAddr;

use crate::config::settings::DEMO;
use crate::config::{ProviderSettings, Settings};

/// The demo provider, which answers in this process on its own port once it is needed.
#[derive(Default)]
pub struct Demo(Option<mock::Mock>);

impl Demo {
    /// Starts it where these settings need it, and sets its address there. The error is one sentence.
    pub async fn serve(&mut self, settings: &mut Settings) -> Result<(), String> {
        let needed = |provider: &&mut ProviderSettings| {
            provider.row.id == DEMO && provider.disabled.is_none() && provider.base_url.is_empty()
        };
        let Some(provider) = settings.providers.iter_mut().find(needed) else { return Ok(()) };
        let mock = match self.0.take() {
            Some(mock) => mock,
            None => mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), mock::Options::demo())
                .await
                .map_err(|error| format!("The demo provider cannot start: {error}."))?,
        };
        provider.base_url = format!("http://{}/v1", mock.address());
        self.0 = Some(mock);
        Ok(())
    }
}
