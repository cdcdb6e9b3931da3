//! `[tcp]`.

use pgdog_jwt::reader::{Count, Filled, Flag, Key, NO_LIMIT, Setting, Time, key, setting};

pgdog_jwt::keys! {
    /// Socket options of every connection.
    pub(in crate::config) static TCP: Table = "[tcp]" {
        /// Send keep-alive probes, so that a dead peer is noticed.
        KEEPALIVE: Setting<Flag> = setting("keepalive", Flag, true);
        /// Idle time before the first probe.
        TIME: Key<Time> = key("time", Time::millis(0, NO_LIMIT)).or("kernel's");
        /// Time between probes.
        INTERVAL: Key<Time> = key("interval", Time::millis(0, NO_LIMIT)).or("kernel's");
        /// Probes without an answer before the connection is dead.
        RETRIES: Key<Count> = key("retries", Count::within(0, u32::MAX as i64)).or("kernel's");
        /// Longest wait for sent bytes to be acknowledged.
        USER_TIMEOUT: Key<Time> = key("user_timeout", Time::millis(0, NO_LIMIT)).or("kernel's");
        /// Congestion control algorithm.
        CONGESTION_CONTROL: Key<Filled> = key("congestion_control", Filled).or("kernel's");
    }
}
