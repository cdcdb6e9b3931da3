//! Whether the gateway lives, and whether it is of use: it takes clients, and at least one server of each database was
//! reachable lately. Where no client has tried lately, a connection is opened and closed again to find out; PostgreSQL
//! does not log that.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::{TcpStream, UnixStream};

use crate::app::state::App;
use crate::backend::node::Node;

/// A server that answered so lately need not be asked.
const LATELY: Duration = Duration::from_secs(10);

/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answer, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    pub(super) ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    databases: Vec<Database>,
}

#[derive(Debug, Serialize)]
struct Database {
    name: String,
    reachable: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
}

pub(super) async fn readiness(app: &'static App) -> Health {
    let state = app.state();
    let mut checks = Vec::new();
    for name in state.config.database_names() {
        let Some(cluster) = state.registry.cluster(name) else { continue };
        let (nodes, paused) = (cluster.nodes.clone(), cluster.gate.is_closed());
        let name = name.to_owned();
        checks.push(tokio::spawn(async move { Database { reachable: any(nodes).await, paused, name } }));
    }
    let mut databases = Vec::new();
    for check in checks {
        databases.extend(check.await);
    }
    let lost: Vec<&str> =
        databases.iter().filter(|database| !database.reachable).map(|database| database.name.as_str()).collect();
    let reason = if app.is_draining() {
        Some("the gateway shuts down".to_owned())
    } else {
        (!lost.is_empty()).then(|| format!("no server can be reached of: {}", lost.join(", ")))
    };
    Health { ready: reason.is_none(), reason, databases }
}

/// Whether one of the servers can be reached.
async fn any(nodes: Vec<Arc<Node>>) -> bool {
    // Of a banned server, the monitor knows better than a connection that is only opened.
    let candidates: Vec<_> = nodes.into_iter().filter(|node| !node.bans.is_banned()).collect();
    if candidates.iter().any(|node| node.last_reached().is_some_and(|ago| ago < LATELY)) {
        return true;
    }
    let mut asked = tokio::task::JoinSet::new();
    for node in candidates {
        asked.spawn(async move { answers(&node).await });
    }
    while let Some(answer) = asked.join_next().await {
        if answer.unwrap_or(false) {
            return true;
        }
    }
    false
}

async fn answers(node: &Node) -> bool {
    let (host, port) = (node.address.host.as_str(), node.address.port);
    let connected = async {
        match host.starts_with('/') {
            true => UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await.is_ok(),
            false => TcpStream::connect((host, port)).await.is_ok(),
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.unwrap_or(false)
}
