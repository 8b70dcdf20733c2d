//! A series: its labels, and numbers that one thread adds to while another reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::families::{BUCKETS, Family, Id, Kind, Unit};

/// One line of output, or those of one histogram.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) family: Id,
    /// Values of the family's labels, in order; of a family of workloads with the pod behind the workload.
    pub(super) labels: Box<[Arc<str>]>,
    pub(super) value: Value,
    /// A scrape had it: its numbers are known by its labels, and may not be shown by others.
    pub(super) shown: AtomicBool,
}

/// Numbers. Each is read and written alone: a scrape may see the bucket of a duration whose sum it sees the next time.
#[derive(Debug)]
pub(super) enum Value {
    /// A count.
    Whole(AtomicU64),
    /// The bits of a floating point number.
    Real(AtomicU64),
    /// Durations.
    Durations(Box<Durations>),
}

/// Counts of durations by bucket, not cumulative, the last one without an upper bound; their sum in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Durations {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_ns: AtomicU64,
}

impl Value {
    /// Nothing, of the kind that a family has.
    pub(super) fn of(family: &Family) -> Self {
        match (family.kind, family.unit) {
            (Kind::Histogram, _) => Self::Durations(Box::default()),
            // Kept in nanoseconds by the kernel, shown in seconds.
            (Kind::Counter, Some(Unit::Seconds)) | (Kind::Gauge, _) => Self::Real(AtomicU64::new(0)),
            (Kind::Counter | Kind::Info, _) => Self::Whole(AtomicU64::new(0)),
        }
    }

    /// Adds to a count.
    pub(super) fn add(&self, by: u64) {
        if let Self::Whole(count) = self {
            count.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Raises a count that somebody else keeps; a lower one is no news.
    pub(super) fn raise(&self, to: u64) {
        if let Self::Whole(count) = self {
            count.fetch_max(to, Ordering::Relaxed);
        }
    }

    /// Says what a gauge shows, or a sum of seconds that somebody else keeps.
    pub(super) fn set(&self, to: f64) {
        if let Self::Real(bits) = self {
            bits.store(to.to_bits(), Ordering::Relaxed);
        }
    }

    /// Adds a duration.
    pub(super) fn observe(&self, took: Duration) {
        if let Self::Durations(durations) = self {
            let seconds = took.as_secs_f64();
            let at = BUCKETS.partition_point(|bound| *bound < seconds);
            if let Some(bucket) = durations.buckets.get(at) {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
            let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            durations.sum_ns.fetch_add(ns, Ordering::Relaxed);
        }
    }

    /// Takes everything that another one of the same family has.
    pub(super) fn absorb(&self, other: &Self) {
        let take = |from: &AtomicU64, to: &AtomicU64| {
            to.fetch_add(from.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        };
        match (self, other) {
            (Self::Whole(to), Self::Whole(from)) => take(from, to),
            (Self::Durations(to), Self::Durations(from)) => {
                for (from, to) in from.buckets.iter().zip(&to.buckets) {
                    take(from, to);
                }
                take(&from.sum_ns, &to.sum_ns);
            }
            // What a gauge says is said anew.
            _ => {}
        }
    }
}

impl Durations {
    /// Counts by upper bound, and their sum in seconds.
    pub(super) fn read(&self) -> (Vec<(f64, u64)>, f64) {
        let bounds = BUCKETS.iter().copied().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        (bounds.zip(counts).collect(), sum)
    }
}
