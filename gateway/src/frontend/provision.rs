//! The step of a login at which its role is made what it must be, before any server connection becomes it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::grant::Who;
use super::refused::Refused;
use crate::backend::cluster::Membership;
use crate::provisioning::{Failure, Provisioner};

/// How long a login waits for replicas to show a new role. A replica that takes longer refuses the role until it does.
const REPLAY_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at what the monitors have seen.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Makes the role right, where roles are made at all.
pub(super) async fn provision(
    provisioner: Option<&Provisioner>,
    pools: &Membership,
    who: &Who,
    user: &str,
) -> Result<(), Refused> {
    let (Some(provisioner), Some(grant)) = (provisioner, who.grant()) else { return Ok(()) };
    let wanted = pools.spec.pools.first().and_then(|pool| {
        let role = pools.identity().role.as_deref();
        provisioner.wanted(pool, role, grant)
    });
    let Some(wanted) = wanted else { return Ok(()) };
    let synced = match Box::pin(provisioner.sync(&pools.key.database, wanted)).await {
        Ok(synced) => synced,
        Err(failure) => {
            let reason = match failure {
                Failure::Unavailable(_) => "provisioning_unavailable",
                Failure::Refused(_) => "provisioning_refused",
            };
            return Err(Refused::identity(reason, user).detail(failure.to_string()));
        }
    };
    if synced.made && !pools.spec.shared {
        // What is left of a role that had this name before is another role.
        pools.pools.iter().for_each(|pool| pool.reconnect());
    }
    if synced.changed {
        // A server that refused the role a moment ago is asked again.
        pools.pools.iter().for_each(|pool| pool.forget_failures());
    }
    if let Some(position) = synced.position {
        await_replay(pools, position).await;
    }
    Ok(())
}

/// PostgreSQL does not take the role as it was a moment ago: the next login looks again.
pub(super) fn note_refusal(provisioner: Option<&Provisioner>, pools: &Membership, who: &Who, refused: &Refused) {
    if let (Some(provisioner), Some(grant), "role_refused") = (provisioner, who.grant(), refused.reason) {
        provisioner.forget(&pools.key.database, grant.server_role.as_deref().unwrap_or(&grant.user));
    }
}

/// Waits until the replicas that are well have what was written, as the monitors see it.
async fn await_replay(pools: &Membership, position: u64) {
    let end = Instant::now() + REPLAY_PATIENCE;
    let lacks = || {
        let replicas = pools.cluster.nodes.iter().filter(|node| node.is_replica() && !node.bans.is_banned());
        replicas.filter(|node| !node.replay.has_reached(position)).count() > 0
    };
    while lacks() && Instant::now() < end {
        sleep(LOOK_EVERY).await;
    }
}
