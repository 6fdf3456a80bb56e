//! Wall-clock time, for what needs a date: RTCP's NTP timestamps, statistics, certificate validity.

use std::time::SystemTime;

/// Where dates come from. Layers that only need intervals are told an [`std::time::Instant`] instead.
pub trait WallClock: Send + Sync + std::fmt::Debug {
    /// The date and time now.
    fn now(&self) -> SystemTime;
}

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the date")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
