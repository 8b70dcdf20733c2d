//! Pages of metrics. A page is large: they are written one at a time, whoever waited for one shares it, and no more of them are
//! in memory than there is room for, however slowly they are read.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::sinks::metrics::{Format, Scraper};

/// Pages in memory: a pair of Prometheis may scrape at the same time.
const ROOM: usize = 2;
/// How long a scrape waits for its page; Prometheus gives up after 10 s, unless it is told otherwise.
const WAIT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Pages {
    scraper: Scraper,
    /// How long for a page.
    wait: Duration,
    room: Arc<Semaphore>,
    newest: Mutex<Newest>,
}

/// The newest page of each format, if somebody still reads it.
#[derive(Debug, Default)]
struct Newest {
    open_metrics: Weak<Page>,
    text: Weak<Page>,
}

#[derive(Debug)]
struct Page {
    /// It has everything until then.
    begun: Instant,
    text: String,
    _room: OwnedSemaphorePermit,
}

/// A page for one reader.
struct Reading(Arc<Page>);

impl AsRef<[u8]> for Reading {
    fn as_ref(&self) -> &[u8] {
        self.0.text.as_bytes()
    }
}

impl Pages {
    pub(super) fn new(scraper: Scraper) -> Self {
        Self::waiting(scraper, WAIT)
    }

    pub(super) fn waiting(scraper: Scraper, wait: Duration) -> Self {
        Self {
            scraper,
            wait,
            room: Arc::new(Semaphore::new(ROOM)),
            newest: Mutex::default(),
        }
    }

    /// Everything until now. `None` when there is no room for another page, and none comes free in time.
    pub(super) async fn page(&self, format: Format) -> Option<Bytes> {
        let page = timeout(self.wait, self.since(Instant::now(), format)).await;
        Some(Bytes::from_owner(Reading(page.ok()??)))
    }

    async fn since(&self, asked: Instant, format: Format) -> Option<Arc<Page>> {
        let mut newest = self.newest.lock().await;
        let newest = match format {
            Format::OpenMetrics => &mut newest.open_metrics,
            Format::Text => &mut newest.text,
        };
        if let Some(page) = newest.upgrade().filter(|page| page.begun >= asked) {
            return Some(page);
        }
        let room = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let begun = Instant::now();
        self.scraper.refresh().await;
        let scraper = self.scraper.clone();
        // On a thread of its own: other answers of this one need not wait for thousands of lines. It has the room also when
        // nobody waits for it any more.
        let written = tokio::task::spawn_blocking(move || Page {
            begun,
            text: scraper.encode(format),
            _room: room,
        });
        let page = Arc::new(written.await.ok()?);
        *newest = Arc::downgrade(&page);
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::metrics::{Options, Own, metrics};

    fn pages(wait: u64) -> Pages {
        let (mut metrics, scraper) = metrics(Options::default());
        metrics.own(&Own::default());
        Pages::waiting(scraper, Duration::from_millis(wait))
    }

    #[tokio::test]
    async fn there_is_room_for_some_and_others_are_told() {
        let pages = pages(1000);
        let first = pages.page(Format::Text).await.unwrap();
        let second = pages.page(Format::OpenMetrics).await.unwrap();
        assert!(first.starts_with(b"# HELP obsflow_") && second.ends_with(b"# EOF\n"));
        assert_eq!(pages.page(Format::Text).await, None);
        // As long as a part of it is there, all of it is.
        let rest = first.slice(10..);
        drop(first);
        assert_eq!(pages.page(Format::Text).await, None);
        drop(rest);
        assert!(pages.page(Format::Text).await.is_some());
    }

    #[tokio::test]
    async fn whoever_waits_shares_and_nothing_is_older_than_asked_for() {
        let pages = pages(60_000);
        let page = || pages.page(Format::Text);
        // The second begins when the first one is done, and the third has asked by then.
        let (first, second, third) = tokio::join!(page(), page(), page());
        let [first, second, third] = [first, second, third].map(Option::unwrap);
        assert_ne!(first.as_ptr(), second.as_ptr());
        assert_eq!(second.as_ptr(), third.as_ptr());
        // There is room again when somebody has read.
        let mut open = std::pin::pin!(pages.page(Format::OpenMetrics));
        assert!(timeout(Duration::from_millis(10), &mut open).await.is_err());
        drop((second, third));
        assert!(open.await.is_some());
    }
}
