//! Renewal in place: a live session is given a new token.

use std::sync::Arc;

use pgdog_jwt::config::Secret;

use super::expiry::Expiry;
use super::new_token::{self, Asking, Renewed};
use super::own_statements::Says;
use super::{End, Session};
use crate::dialect::own_setting;
use crate::frontend::login::revoked;
use crate::frontend::refused::Refused;
use crate::frontend::{audit, certificate, welcome};
use crate::stats::events;
use crate::wire::fields::Fields;
use crate::wire::{Header, PgError, Severity};

impl Session {
    /// Gives the session the token of the request that is next in the input, and answers that.
    pub(super) async fn renew(&mut self) -> Result<(), End> {
        let Some(header) = Header::parse(self.input.bytes())? else { return Ok(()) };
        let simple = header.tag == b'Q';
        let Some((says, token)) = self.presented(header) else { return Ok(()) };
        let Some(token) = token else {
            self.answer(header, &PgError::error("34000", "the token was presented already: bind the statement again"));
            return Ok(());
        };
        match self.present(token).await? {
            Ok(()) => {
                self.discard(header.size);
                self.own_result(says, simple);
            }
            Err(refused) => {
                let error = refused.error.unwrap_or_else(|| PgError::error("28000", "the token is refused"));
                self.answer(header, &error.with_severity(Severity::Error));
            }
        }
        Ok(())
    }

    /// What the request asks for, and the token that it brings or was bound to.
    fn presented(&mut self, header: Header) -> Option<(Says, Option<Secret>)> {
        let mut body: Fields<'_> = self.own_body(header);
        if header.tag == b'Q' {
            return own_setting(body.cstr()?).and_then(|setting| Says::of(setting).ok());
        }
        let name: Box<[u8]> = body.cstr()?.into();
        let portal = self.own.as_mut()?.portal(&name)?;
        Some((portal.says, portal.token.take()))
    }

    /// Makes the token the session's, or says why not.
    async fn present(&mut self, token: Secret) -> Result<Result<(), Refused>, End> {
        let Some(grant) = self.who.grant() else {
            let error = PgError::error("28000", "this session did not log in with a token");
            return Ok(Err(Refused::new("not_a_token_user", error)));
        };
        let asking = Asking {
            app: self.app,
            typed: self.typed.clone(),
            database: self.pools.key.database.clone(),
            token,
            address: self.registration.meter.card().about.address,
            tls: self.client.is_tls(),
            certificate: certificate::identity(&self.client),
            tenant: self.who.tenant().map(str::to_owned),
            before: grant.clone(),
            key: self.pools.key.clone(),
            identity: self.pools.identity().clone(),
            rules: self.rules,
            held: self.server.is_some().then(|| Arc::clone(&*self.pools)),
        };
        let renewing = Box::pin(new_token::judge(asking));
        match self.while_waiting(renewing).await? {
            Ok(renewed) => self.take_on(renewed).await.map(Ok),
            Err(refused) => {
                self.audit_refused_renewal(&refused);
                Ok(Err(refused))
            }
        }
    }

    /// From here on the session is the new token's.
    async fn take_on(&mut self, renewed: Renewed) -> Result<(), End> {
        let Renewed { who, mut pools, generation, seat } = renewed;
        if let Some(seat) = seat {
            self.registration.change_token(Some(seat));
        }
        self.expiry = Expiry::new(&who, generation.config.jwt.as_ref().map(|jwt| &jwt.life));
        if let Some(token) = welcome::token(&who, &pools) {
            self.registration.meter.card().renew(token);
        }
        pools.wish.last = self.pools.wish.last;
        let is_same = pools.identity() == self.pools.identity();
        (self.who, self.pools, self.generation) = (who, pools, generation);
        // What was revoked while the token was judged has not found this session by it.
        if let Some(error) = revoked(self.app, &self.who, &self.typed).and_then(|refused| refused.error) {
            return Err(End::Fatal(error));
        }
        audit::renewed(&self.registration, Ok(()));
        if self.server.is_some() && !is_same {
            // What the claims say is to be seen on the server that the session keeps, with all that it has left there.
            let identity = self.pools.identity();
            self.server.iter_mut().for_each(|server| server.stay_with(identity));
            self.confirm_again().await?;
        }
        Ok(())
    }

    fn audit_refused_renewal(&self, refused: &Refused) {
        events::login(Some(refused.reason));
        audit::renewed(&self.registration, Err(refused));
    }
}
