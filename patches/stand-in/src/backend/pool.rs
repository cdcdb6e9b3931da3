//! Pools, and what a session holds of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pgdog_jwt_host::identity::Identity;

use super::{ConnectReason, Server};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("all replicas down")]
    AllReplicasDown,
    #[error("the role does not exist")]
    Refused,
}

pub struct PoolState {
    pub online: bool,
}

/// A pool of one server of the configuration.
#[derive(Clone)]
pub struct Pool {
    pub identity: Option<Arc<Identity>>,
    pub is_replica: bool,
    pub online: Arc<AtomicBool>,
}

impl Pool {
    pub fn state(&self) -> PoolState {
        PoolState { online: self.online.load(Ordering::Relaxed) }
    }

    /// There is no role whose name begins with `no`.
    pub async fn standalone(&self, _: ConnectReason) -> Result<Server, Error> {
        match &self.identity {
            Some(identity) if identity.role().starts_with("no") => Err(Error::Refused),
            identity => Ok(Server::new(identity.clone(), self.is_replica)),
        }
    }
}

#[derive(Clone)]
pub struct Shard(pub Vec<Pool>);

impl Shard {
    pub fn pools(&self) -> Vec<Pool> {
        self.0.clone()
    }
}

pub mod connection {
    use std::ops::{Deref, DerefMut};

    use binding::Binding;

    #[derive(Default)]
    pub struct Connection(pub Binding);

    impl Deref for Connection {
        type Target = Binding;
        fn deref(&self) -> &Binding {
            &self.0
        }
    }

    impl DerefMut for Connection {
        fn deref_mut(&mut self) -> &mut Binding {
            &mut self.0
        }
    }

    pub mod binding {
        use crate::backend::{Error, Server};

        #[derive(Default)]
        pub enum Binding {
            Direct(Box<Server>, usize),
            Admin(()),
            #[allow(clippy::vec_box, reason = "PgDog's servers are behind a guard, too")]
            MultiShard(Vec<Box<Server>>, ()),
            #[default]
            NotConnected,
        }

        impl Binding {
            pub fn connected(&self) -> bool {
                matches!(self, Self::Direct(..) | Self::MultiShard(..))
            }

            pub fn has_more_messages(&self) -> bool {
                false
            }

            pub fn out_of_sync(&self) -> bool {
                false
            }

            pub fn force_close(&mut self) {
                *self = Self::NotConnected;
            }

            /// Every statement of ours in a transaction is one that fails.
            pub async fn execute(&mut self, sql: &str) -> Result<(), Error> {
                if let Self::Direct(server, _) = self {
                    server.execute(sql).await?;
                }
                Err(Error::Execution(sql.to_owned()))
            }
        }
    }
}
