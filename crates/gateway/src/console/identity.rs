//! Keys that sign in.

use canon::ErrorKind;
use console::gateway::{BoxFuture, Identity, Rights, Subject, WrongKey};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use limits::Role;

use super::View;
use crate::identity::Roles;

fn rights_of(roles: Roles) -> Option<Rights> {
    match roles {
        roles if roles.has(Role::Admin) => Some(Rights::Admin),
        roles if roles.has(Role::Viewer) => Some(Rights::Viewer),
        _ => None,
    }
}

impl Identity for View {
    fn sign_in<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Subject, WrongKey>> {
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            let header = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| WrongKey::Unknown)?;
            headers.insert(AUTHORIZATION, header);
            let snapshot = self.current.get();
            let caller = match self.auth.admit(&snapshot.keys, &headers, None).await {
                Ok(caller) => caller,
                Err(error) if error.kind == ErrorKind::StoreUnavailable => return Err(WrongKey::Away),
                Err(_) => return Err(WrongKey::Unknown),
            };
            match rights_of(caller.roles) {
                Some(rights) => {
                    Ok(Subject { id: caller.owner.to_string(), name: caller.key_id.to_string(), rights })
                }
                None => Err(WrongKey::Role { project: caller.project.id.to_string() }),
            }
        })
    }

    fn rights<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Option<Rights>> {
        Box::pin(async move {
            let snapshot = self.current.get();
            self.auth.roles_of(&snapshot.keys, subject).await.and_then(rights_of)
        })
    }

    fn in_force(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.auth.reload().await {
                tracing::warn!(%error, "a change is in the database, and not in force yet");
            }
        })
    }
}
