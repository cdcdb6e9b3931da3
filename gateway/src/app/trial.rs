//! What a start does besides building: sockets and the audit file. Tried without taking anything, for `check`.

use std::io::{self, ErrorKind};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use crate::audit;
use crate::config::{Config, General};
use crate::net::listen::try_bind;

/// How long the name of a host may be looked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keys that keep the gateway from starting, each with the reason. An address that is in use is none: a gateway may be
/// running.
pub(crate) async fn obstacles(config: &Config) -> Vec<(&'static str, String)> {
    let general = config.general.clone();
    let sockets = tokio::task::spawn_blocking(move || sockets(&general));
    let mut found = match tokio::time::timeout(PATIENCE, sockets).await {
        Ok(Ok(found)) => found,
        _ => vec![("host", format!("the address of \"{}\" is not found in time", config.general.host))],
    };
    if let Err(reason) = audit::try_out(&config.audit) {
        found.push(("file", reason));
    }
    found
}

fn sockets(general: &General) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let host = general.host.as_str();
    let metrics = general.openmetrics_port;
    let health = general.healthcheck_port.filter(|port| Some(*port) != metrics);
    for (host_key, port_key, host, port) in [
        ("host", "port", host, Some(general.port)),
        ("openmetrics_host", "openmetrics_port", &general.openmetrics_host, metrics),
        ("host", "healthcheck_port", host, health),
    ] {
        if let Some(port) = port
            && let Err(error) = can_listen(host, port)
        {
            let key = if error.kind() == ErrorKind::PermissionDenied { port_key } else { host_key };
            found.push((key, format!("cannot listen on {host}:{port}: {error}")));
        }
    }
    if let Some(folder) = &general.unix_socket_dir
        && let Err(reason) = can_write_into(folder)
    {
        found.push(("unix_socket_dir", format!("{}: {reason}", folder.display())));
    }
    found
}

fn can_listen(host: &str, port: u16) -> io::Result<()> {
    for address in (host, port).to_socket_addrs()? {
        match try_bind(address) {
            Err(error) if error.kind() != ErrorKind::AddrInUse => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether files can be made in a folder.
pub(crate) fn can_write_into(folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Err("there is no such folder".to_owned());
    }
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| error.desc().to_owned())
}
