//! NTP timestamps (RFC 5905 section 6), as sender reports carry them (RFC 3550 section 4). Answers to libwebrtc's
//! `system_wrappers/include/ntp_time.h` and `rtc_base/time/ntp`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peerstack_base::WallClock;

/// Seconds from 1900, where NTP begins, to 1970.
const UNIX_OFFSET: u64 = 2_208_988_800;

/// Seconds since 1900 in 32.32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The date; before 1970 or after 2036 it wraps, as NTP does.
    pub fn from_system_time(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().wrapping_add(UNIX_OFFSET) & 0xFFFF_FFFF;
        Self(seconds << 32 | fraction(since.subsec_nanos()))
    }

    /// The date it stands for, in the era that began in 1900; `None` before 1970.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let seconds = (self.0 >> 32).checked_sub(UNIX_OFFSET)?;
        let nanos = ((self.0 & 0xFFFF_FFFF) * 1_000_000_000) >> 32;
        UNIX_EPOCH.checked_add(Duration::new(seconds, nanos as u32))
    }

    /// The middle 32 bits: seconds in 16.16 (RFC 3550 section 4), as report blocks carry them.
    pub fn compact(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

fn fraction(nanos: u32) -> u64 {
    (u64::from(nanos) << 32) / 1_000_000_000
}

/// A duration in units of 1/65536 s, clamped to 32 bits.
pub(crate) fn compact_duration(duration: Duration) -> u32 {
    let units = (duration.as_nanos() << 16) / 1_000_000_000;
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// What units of 1/65536 s amount to.
pub(crate) fn from_compact(units: u32) -> Duration {
    Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16)
}

/// Dates by a clock that only goes forward: the date is asked for once, then instants are counted from it, so that
/// a correction of the system's date does not spoil round-trip times.
#[derive(Debug, Clone, Copy)]
pub struct NtpClock {
    base: SystemTime,
    at: Instant,
}

impl NtpClock {
    /// A clock that shows `wall_clock`'s date at `now`.
    pub fn new(now: Instant, wall_clock: &dyn WallClock) -> Self {
        Self { base: wall_clock.now(), at: now }
    }

    /// The date at an instant.
    pub fn date(&self, now: Instant) -> SystemTime {
        let forward = self.base.checked_add(now.saturating_duration_since(self.at));
        let backward = self.at.saturating_duration_since(now);
        forward.and_then(|date| date.checked_sub(backward)).unwrap_or(self.base)
    }

    /// The NTP time at an instant.
    pub fn ntp(&self, now: Instant) -> NtpTime {
        NtpTime::from_system_time(self.date(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::{FixedClock, start};

    #[test]
    fn dates_there_and_back() {
        let date = UNIX_EPOCH + Duration::new(1_000_000_000, 500_000_000);
        let ntp = NtpTime::from_system_time(date);
        assert_eq!(ntp.0, (1_000_000_000 + UNIX_OFFSET) << 32 | 1 << 31);
        assert_eq!(ntp.to_system_time(), Some(date));
        assert_eq!(u64::from(ntp.compact()), (ntp.0 >> 16) & 0xFFFF_FFFF);
        assert_eq!(NtpTime(0).to_system_time(), None);
        assert!(NtpTime(u64::MAX).to_system_time().is_some());
    }

    #[test]
    fn durations_in_65536ths() {
        assert_eq!(compact_duration(Duration::from_millis(1500)), 98_304);
        assert_eq!(from_compact(98_304), Duration::from_millis(1500));
        assert_eq!(compact_duration(Duration::MAX), u32::MAX);
    }

    #[test]
    fn the_clock_goes_on_by_instants() {
        let now = start();
        let clock = NtpClock::new(now, &FixedClock);
        assert_eq!(clock.date(now + Duration::from_secs(2)), FixedClock.now() + Duration::from_secs(2));
        assert!(clock.ntp(now + Duration::from_millis(1)) > clock.ntp(now));
    }
}
