//! The running gateway.

use std::process::ExitCode;

use crate::cli::Paths;
use crate::config::Loaded;

/// Serves clients until the process is told to stop.
pub(crate) fn run(loaded: Loaded, paths: Paths) -> ExitCode {
    tracing::error!(config = %paths.config.display(), port = loaded.config.general.port, "there is no listener yet");
    ExitCode::FAILURE
}
