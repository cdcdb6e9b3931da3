//! Memory that large statements needed. The allocator gives free pages back to the system a moment after they were freed, but only when
//! it is asked for memory again: a gateway that rests would keep them.

use std::hint::black_box;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

/// Large enough not to come from what the thread keeps for itself, in bytes. Its pages are not touched.
const SIZE: usize = 1 << 20;

/// Asks for some memory every second, and gives it back.
pub(super) async fn run() {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(SIZE)));
    }
}
