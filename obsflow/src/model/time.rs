//! Kernel time and wall-clock time.

use std::time::Duration;

use jiff::Timestamp;

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of every kernel record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus `by`.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Turns kernel time into wall-clock time. A capture file carries the clock of the machine that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// `CLOCK_REALTIME - CLOCK_MONOTONIC`, in nanoseconds since the Unix epoch.
    pub offset_ns: i128,
}

impl Clock {
    /// The wall-clock time of `at`; the epoch when it is out of range.
    #[must_use]
    pub fn wall(&self, at: Mono) -> Timestamp {
        Timestamp::from_nanosecond(self.offset_ns + i128::from(at.0)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The kernel time of a wall-clock time; zero when it is before boot.
    #[must_use]
    pub fn mono(&self, at: Timestamp) -> Mono {
        Mono(u64::try_from(at.as_nanosecond() - self.offset_ns).unwrap_or(0))
    }

    /// The clock of this machine, now.
    #[must_use]
    pub fn now() -> Self {
        let mono = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let mono_ns = i128::from(mono.tv_sec) * 1_000_000_000 + i128::from(mono.tv_nsec);
        Self {
            offset_ns: Timestamp::now().as_nanosecond() - mono_ns,
        }
    }
}
