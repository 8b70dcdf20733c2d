//! How long to wait before asking again: longer and longer, as the server says, and never for the same time as others do.

use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::sleep;

use super::super::health::SHORT;
use super::request::ApiError;

/// Waiting before the next try begins with this ...
const FIRST: Duration = Duration::from_millis(500);
/// ... and ends with this.
const LAST: Duration = Duration::from_secs(30);
/// All the watches of a cluster that an API server ends at once, as when it is started again, begin within this time ...
const AFTER_ALL: Duration = Duration::from_secs(2);
/// Where they cannot go on, lists that its cache answers begin within this time ...
const LIST_CACHED: Duration = Duration::from_secs(5);
/// ... and those for which etcd has to be read within this one. What was known until then stays in use.
const LIST_READ: Duration = Duration::from_secs(30);

/// Waits longer and longer, never for the same time as others do.
#[derive(Debug, Default)]
pub(super) struct Wait {
    tries: u32,
    random: RandomState,
    asked: u64,
}

impl Wait {
    /// After a failure.
    pub(super) async fn after(&mut self, error: &ApiError) {
        sleep(self.time(error)).await;
    }

    /// How long to wait after a failure.
    pub(super) fn time(&mut self, error: &ApiError) -> Duration {
        let wait = self.next();
        // RBAC is not changed within moments.
        let wait = if error.is_forbidden() { LAST } else { wait };
        self.spread(error.retry_after().map_or(wait, |asked| asked.max(wait)))
    }

    /// Before a list that every client of the server may need at the same moment; never sooner than the last time.
    pub(super) async fn before_list(&mut self, cached: bool) {
        let least = self.next();
        let share = self.share(if cached { LIST_CACHED } else { LIST_READ });
        sleep(least.max(share)).await;
    }

    /// After a watch that lasted so long: one that lasted begins again almost at once.
    pub(super) async fn unless_long(&mut self, lasted: Duration) {
        if lasted >= SHORT {
            sleep(self.share(AFTER_ALL)).await;
        } else {
            // What worked for a moment works: no longer than it did.
            let wait = self.next().min(lasted.max(FIRST));
            sleep(self.spread(wait)).await;
        }
    }

    /// It works.
    pub(super) fn is_over(&mut self) {
        self.tries = 0;
    }

    fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.tries.min(6)).min(LAST);
        self.tries += 1;
        wait
    }

    /// This time and up to half as much more.
    pub(super) fn spread(&mut self, time: Duration) -> Duration {
        time + self.share(time / 2)
    }

    /// Some part of this time.
    fn share(&mut self, time: Duration) -> Duration {
        self.asked += 1;
        let share = self.random.hash_one(self.asked) % 1000;
        time.mul_f64(share as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, retry_after: Option<u64>) -> ApiError {
        ApiError::Status {
            code,
            message: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
            url: "http://x".to_owned(),
        }
    }

    #[test]
    fn waiting_grows_to_half_a_minute_and_heeds_the_server() {
        let mut wait = Wait::default();
        let mut before = Duration::ZERO;
        for _ in 0..20 {
            let next = wait.time(&status(500, None));
            assert!(next >= before.min(LAST) && next <= LAST + LAST / 2, "{next:?}");
            before = next.mul_f64(0.5);
        }
        assert!(before >= LAST / 2);
        wait.is_over();
        assert!(wait.time(&status(429, Some(100))) >= Duration::from_secs(100));
        assert!(wait.time(&status(403, None)) >= LAST);
        wait.is_over();
        assert!(wait.time(&status(500, None)) <= FIRST + FIRST / 2);
    }

    #[test]
    fn clients_that_begin_at_the_same_moment_do_not_come_at_the_same_moment() {
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            let at = Wait::default().share(LIST_READ);
            tenths[(at.as_secs_f64() / LIST_READ.as_secs_f64() * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|clients| *clients >= 40), "{tenths:?}");
    }
}
