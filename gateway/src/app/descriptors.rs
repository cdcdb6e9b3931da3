//! How many files and sockets the process may have open (getrlimit(2), `RLIMIT_NOFILE`).

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// More is not asked for: it is what Linux lets a process have by default (`fs.nr_open`), and where the hard limit is
/// "infinity" the kernel would refuse it.
const MOST: u64 = 1 << 20;

/// Raises the soft limit, which is low for the sake of programs that use select(2), to the hard one.
pub(crate) fn raise() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match wanted(soft, hard) {
        Some(wanted) => setrlimit(Resource::RLIMIT_NOFILE, wanted, hard),
        None => Ok(()),
    });
    if let Err(error) = raised {
        warn!(event = "descriptors", %error, "the limit of file descriptors stays as it is");
    }
}

/// The soft limit to set; `None`: it is high enough.
fn wanted(soft: u64, hard: u64) -> Option<u64> {
    let most = hard.min(MOST);
    (most > soft).then_some(most)
}

/// The soft limit as it is now.
pub(crate) fn limit() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(MOST, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_within_reason_and_never_lowered() {
        assert_eq!(wanted(1_024, 524_288), Some(524_288));
        assert_eq!(wanted(1_024, u64::MAX), Some(MOST));
        assert_eq!(wanted(4_096, 4_096), None);
        assert_eq!(wanted(MOST * 2, u64::MAX), None);
    }
}
