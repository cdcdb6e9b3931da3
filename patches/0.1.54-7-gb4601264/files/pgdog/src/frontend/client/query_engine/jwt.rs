//! The guard in front of the requests of token users, and their end.

use std::time::Duration;

use pgdog_jwt_host::gate::{Message as Judged, Outcome, Refused};

use pgdog_jwt_host::life::{End, Ending};
use tokio::io::AsyncWriteExt;
use tokio::select;
use tokio::time::timeout;

use super::*;
use crate::backend::Error as BackendError;
use crate::backend::databases::databases;
use crate::backend::pool::connection::binding::Binding;
use crate::frontend::client::TransactionType;
use crate::jwt;
use crate::net::messages::{FrontendPid, ReadyForQuery};
use crate::net::{Protocol, ProtocolMessage};

/// How long a client that does not read, or a server that does not answer, holds up the end of a session.
const LAST_WORD: Duration = Duration::from_secs(1);

impl Client {
    /// Runs the request that was read for as long as the session lasts. Whether the session is over; the client has been told.
    pub(in crate::frontend::client) async fn outlives(
        &mut self,
        engine: &mut QueryEngine,
        ending: &mut Ending,
    ) -> Result<bool, Error> {
        if self.jwt.is_none() || self.client_request.messages.is_empty() || !self.client_request.is_complete() {
            return Ok(false);
        }
        let end = select! {
            biased;
            end = ending.due(false) => end,
            done = self.client_messages(engine) => {
                done?;
                // It is not to run again.
                self.client_request.clear();
                return Ok(false);
            }
        };
        self.end(engine, end).await;
        Ok(true)
    }

    /// The session's last moment, whatever it is doing. What runs on a server is cancelled, and the connection is closed.
    pub(in crate::frontend::client) async fn end(&mut self, engine: &mut QueryEngine, end: End) {
        if engine.backend.connected() && !engine.can_disconnect() {
            let client = FrontendPid::from(&self.key);
            // Whether it comes through or not, nobody else gets the connection.
            drop(timeout(LAST_WORD, databases().cancel(client)).await);
            engine.backend.force_close();
        }
        let farewell = jwt::Session::farewell(end);
        drop(timeout(LAST_WORD, self.stream.send_flush(&farewell)).await);
    }

    /// Whether the request ends here; the client has been told.
    pub(in crate::frontend::client) async fn refuses(&mut self, engine: &mut QueryEngine) -> Result<bool, Error> {
        let Some(session) = &mut self.jwt else { return Ok(false) };
        if engine.is_at_rest() && self.transaction.is_none() && session.take_doubt() {
            // The connection stays the session's, and code may have run on it that the guard has not read.
            engine.confirm().await?;
        }
        let request = self.client_request.messages.iter().map(judged);
        let failed = self.transaction.is_some_and(|transaction| transaction.error()) && !engine.backend.connected();
        match session.judge(request, failed) {
            Outcome::Forward => return Ok(false),
            Outcome::Refuse(refused, ready) => {
                self.fail_transaction(engine).await?;
                let Refused { sqlstate, message, hint } = refused;
                self.stream.send(&jwt::error("ERROR", sqlstate, message, hint)).await?;
                self.ready(ready).await?;
            }
            Outcome::Skip(ready) => self.ready(ready).await?,
        }
        Ok(true)
    }

    async fn ready(&mut self, ready: bool) -> Result<(), Error> {
        let status = match self.transaction {
            Some(transaction) if transaction.error() => ReadyForQuery::error(),
            transaction => ReadyForQuery::in_transaction(transaction.is_some()),
        };
        if ready {
            self.stream.send_flush(&status).await?;
        } else {
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// An error ends a transaction. The server has not seen this one, so it gets one of its own.
    async fn fail_transaction(&mut self, engine: &mut QueryEngine) -> Result<(), Error> {
        let Some(transaction) = self.transaction else { return Ok(()) };
        if engine.backend.connected() && !transaction.error() {
            if engine.backend.has_more_messages() || engine.backend.out_of_sync() {
                // In the middle of a batch nothing of our own can be asked.
                engine.backend.force_close();
                return Err(BackendError::NotInSync.into());
            }
            let unknown = format!("ROLLBACK TO SAVEPOINT \"{:032x}\"", rand::random::<u128>());
            if engine.backend.execute(unknown.as_str()).await.is_ok() {
                engine.backend.force_close();
                return Err(BackendError::NotInSync.into());
            }
        }
        self.transaction = Some(match transaction.read_only() {
            true => TransactionType::ErrorReadOnly,
            false => TransactionType::ErrorReadWrite,
        });
        Ok(())
    }
}

fn judged(message: &ProtocolMessage) -> Judged<'_> {
    match message {
        ProtocolMessage::Query(query) => Judged::Query(query.query()),
        ProtocolMessage::Parse(parse) => Judged::Parse(parse.name(), parse.query()),
        ProtocolMessage::Bind(bind) => Judged::Statement(bind.statement()),
        ProtocolMessage::Describe(describe) => Judged::Statement(describe.statement()),
        // Of a statement that was bound before.
        ProtocolMessage::Execute(_) => Judged::Statement(""),
        ProtocolMessage::Close(close) => Judged::Statement(close.name()),
        ProtocolMessage::Fastpath(_) => Judged::FunctionCall,
        ProtocolMessage::Sync(_) => Judged::Sync,
        message if message.code() == 'F' => Judged::FunctionCall,
        _ => Judged::Other,
    }
}

impl QueryEngine {
    /// The session has kept servers, and they wait for a request: what is asked is no part of a batch, which is a transaction
    /// until its Sync.
    fn is_at_rest(&self) -> bool {
        let is_idle = !self.backend.has_more_messages() && !self.backend.out_of_sync();
        is_idle
            && match &*self.backend {
                Binding::Direct(server, _) => server.in_sync() && !server.in_transaction(),
                Binding::MultiShard(servers, _) => {
                    servers.iter().all(|server| server.in_sync() && !server.in_transaction())
                }
                Binding::Admin(_) | Binding::NotConnected => false,
            }
    }

    /// The servers that a session has kept are still who they must be, or the session ends.
    async fn confirm(&mut self) -> Result<(), Error> {
        let confirmed = match &mut *self.backend {
            Binding::Direct(server, _) => jwt::verify(server).await,
            Binding::MultiShard(servers, _) => {
                let asked = servers.iter_mut().map(|server| jwt::verify(server));
                futures::future::join_all(asked).await.into_iter().collect()
            }
            Binding::Admin(_) | Binding::NotConnected => Ok(()),
        };
        if confirmed.is_err() {
            self.backend.force_close();
        }
        Ok(confirmed?)
    }
}
