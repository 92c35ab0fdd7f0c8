//! Sign-in by the identity provider of the configuration.

use console::gateway::{BoxFuture, NoSignOn, Rights, SignOn, SignOnAnswer, SignOnSecrets, Subject};

use super::View;
use crate::oidc;

impl SignOn for View {
    fn offer(&self) -> Option<String> {
        self.current.get().oidc.as_ref().map(|settings| settings.label.clone())
    }

    fn departure<'a>(&'a self, secrets: &'a SignOnSecrets) -> BoxFuture<'a, Result<String, NoSignOn>> {
        Box::pin(async move {
            let party = self.sign_on.of(&self.current.get()).ok_or(NoSignOn::Off)?;
            party.departure(secrets).await
        })
    }

    fn arrival<'a>(
        &'a self,
        secrets: &'a SignOnSecrets,
        answer: SignOnAnswer<'a>,
    ) -> BoxFuture<'a, Result<Subject, NoSignOn>> {
        Box::pin(async move {
            let party = self.sign_on.of(&self.current.get()).ok_or(NoSignOn::Off)?;
            party.arrival(secrets, answer).await
        })
    }

    fn still(&self, subject: &str) -> Option<Rights> {
        oidc::rights_of(self.current.get().oidc.as_ref(), subject)
    }
}
