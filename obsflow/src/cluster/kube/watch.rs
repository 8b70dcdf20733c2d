//! Lists and follows one kind of object for ever.

use std::rc::Rc;
use std::time::Duration;

use kube::core::WatchEvent;
use tokio::time::{Instant, sleep, timeout_at};

use super::super::board::{Board, State};
use super::super::health::SHORT;
use super::access::Api;
use super::request::{ApiError, Events};
use super::resource::Resource;
use super::wait::Wait;

/// The shortest time for which a watch is asked for; up to half as much more is added, so that an API server that was away
/// does not see all watches end at once ever after.
const WATCH: Duration = Duration::from_secs(200);
/// A watch that did not end this long after it should have is dead, whatever it says.
const LATE: Duration = Duration::from_secs(5);
/// A watch that says nothing for so long is dead, where bookmarks come: an API server sends one a minute
/// (`defaultBookmarkFrequency` of `k8s.io/apiserver/pkg/storage/cacher`).
const SILENT: Duration = Duration::from_secs(150);
/// A watch that fails so often in a row where it is to begin may fail because of that: everything is listed again.
const STUCK: u32 = 3;
/// After so many events in a row others get their turn.
const TURN: u32 = 128;

/// How a watch ended.
enum End {
    /// The server ended it, after the time asked for or sooner, or the connection broke.
    Closed,
    /// It does not know the version any more.
    Gone,
    /// It failed.
    Failed(ApiError),
}

/// Follows.
pub(super) async fn follow<R: Resource>(api: &Rc<Api>, board: &Rc<Board>) {
    let what = R::what();
    let mut wait = Wait::default();
    let mut version: Option<String> = None;
    let mut round = 0;
    let mut stuck = 0;
    let mut marked = false;
    loop {
        let from = match version.take() {
            Some(version) => version,
            None => {
                round += 1;
                stuck = 0;
                match list::<R>(api, board, round).await {
                    Ok(version) => match R::PERIOD {
                        None => version,
                        Some(period) => {
                            wait.is_over();
                            sleep(wait.spread(period(listed::<R>(board)))).await;
                            continue;
                        }
                    },
                    Err(error) => {
                        failed::<R>(board, &error);
                        wait.after(&error).await;
                        continue;
                    }
                }
            }
        };
        let asked = wait.spread(WATCH);
        let seconds = u32::try_from(asked.as_secs()).unwrap_or(u32::MAX);
        let mut events = match api.watch(what, R::fields(api).as_deref(), &from, seconds).await {
            Ok(events) => events,
            Err(error) if error.is_gone() => {
                gone::<R>(board);
                wait.before_list(what.cached).await;
                continue;
            }
            Err(error) => {
                failed::<R>(board, &error);
                wait.after(&error).await;
                stuck += u32::from(is_of_the_version(&error));
                version = (stuck < STUCK).then_some(from);
                continue;
            }
        };
        listed::<R>(board);
        let mut life = Life::new(asked, marked);
        let mut at = from.clone();
        let end = run::<R>(&mut events, board, &mut at, round, &mut life).await;
        drop(events);
        let lasted = life.began.elapsed();
        marked = life.marked;
        if at != from || matches!(end, End::Closed) {
            stuck = 0;
        }
        if lasted >= SHORT {
            wait.is_over();
        }
        match end {
            End::Closed => {
                version = Some(at);
                board.with(|state| state.watches.ended(what, lasted));
                if lasted + LATE < asked {
                    restarted::<R>(board);
                    wait.unless_long(lasted).await;
                } else {
                    wait.is_over();
                }
            }
            End::Gone => {
                gone::<R>(board);
                wait.before_list(what.cached).await;
            }
            End::Failed(error) => {
                stuck += u32::from(is_of_the_version(&error));
                // What ends with an error, and was understood until then, is taken up where it was.
                let listed = matches!(error, ApiError::Garbage { .. }) || stuck >= STUCK;
                version = (!listed).then_some(at);
                restarted::<R>(board);
                failed::<R>(board, &error);
                wait.after(&error).await;
            }
        }
    }
}

/// Until when a watch is taken for alive.
#[derive(Debug)]
struct Life {
    began: Instant,
    /// When it should have ended by itself.
    over: Instant,
    /// When it said something last.
    heard: Instant,
    /// Whether bookmarks come, in this watch or one before.
    marked: bool,
}

impl Life {
    /// Of a watch that begins now, and was asked for so long.
    fn new(asked: Duration, marked: bool) -> Self {
        let began = Instant::now();
        Self {
            began,
            over: began + asked + LATE,
            heard: began,
            marked,
        }
    }

    /// It said something.
    fn said(&mut self, is_bookmark: bool) {
        self.heard = Instant::now();
        self.marked |= is_bookmark;
    }

    /// The moment to wait for, and no longer.
    fn end(&self) -> Instant {
        match self.marked {
            true => self.over.min(self.heard + SILENT),
            false => self.over,
        }
    }
}

/// Whether what a watch failed with may be about the version it was to begin with: neither about who asks, nor about a server
/// that is away or busy, which would only be busier with a list.
fn is_of_the_version(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { code, .. } if !matches!(code, 401 | 403 | 408 | 429 | 502..=504))
}

/// Everything there is. The version of the list.
async fn list<R: Resource>(api: &Api, board: &Board, round: u32) -> Result<String, ApiError> {
    if R::PERIOD.is_none() || round == 1 {
        board.with(|state| {
            state.watches.listing(R::what());
            state.dirty.watches = true;
        });
    }
    let mut token = None;
    loop {
        let page = api
            .list::<R::Object>(R::what(), R::fields(api).as_deref(), token)
            .await?;
        let mut objects = page.items.unwrap_or_default().into_iter().peekable();
        while objects.peek().is_some() {
            board.with(|state| {
                for object in objects.by_ref().take(TURN as usize) {
                    apply::<R>(state, object, round);
                }
            });
            tokio::task::yield_now().await;
        }
        if page.metadata.r#continue.is_empty() {
            board.with(|state| {
                R::sweep(state, round);
                R::touch(state);
                let count = R::count(state);
                state.watches.count(R::what(), count);
                R::listed(state, api);
            });
            return Ok(page.metadata.resource_version);
        }
        token = Some(page.metadata.r#continue);
    }
}

/// Takes an object in. Whether that changed something.
fn apply<R: Resource>(state: &mut State, object: R::Object, round: u32) -> bool {
    if R::count(state) < R::WHAT.most || R::knows(state, &object) {
        return R::apply(state, object, round);
    }
    if state.watches.is_full(R::what()) {
        tracing::warn!(
            "Kubernetes API: there are more than {} {}; the rest is not followed",
            R::WHAT.most,
            R::WHAT.name
        );
    }
    false
}

/// Takes events until the watch ends.
async fn run<R: Resource>(
    events: &mut Events<'_>,
    board: &Board,
    version: &mut String,
    round: u32,
    life: &mut Life,
) -> End {
    let mut turn = 0;
    loop {
        let event = match timeout_at(life.end(), events.next::<R::Object>()).await {
            // A connection that broke without a word.
            Err(_) | Ok(Ok(None)) => return End::Closed,
            Ok(Ok(Some(event))) => event,
            Ok(Err(error)) => return End::Failed(error),
        };
        life.said(matches!(event, WatchEvent::Bookmark(_)));
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                keep(version, R::version(&object));
                board.with(|state| {
                    if apply::<R>(state, object, round) {
                        changed::<R>(state);
                    }
                });
            }
            WatchEvent::Deleted(object) => {
                keep(version, R::version(&object));
                board.with(|state| {
                    if R::remove(state, &object) {
                        changed::<R>(state);
                    }
                });
            }
            WatchEvent::Bookmark(mark) => keep(version, &mark.metadata.resource_version),
            WatchEvent::Error(status) if status.code == 410 => return End::Gone,
            WatchEvent::Error(status) => {
                let code = status.code;
                return End::Failed(events.status(code, *status));
            }
        }
        turn += 1;
        if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn changed<R: Resource>(state: &mut State) {
    R::touch(state);
    let count = R::count(state);
    state.watches.count(R::what(), count);
}

fn keep(version: &mut String, newer: &str) {
    if !newer.is_empty() {
        newer.clone_into(version);
    }
}

fn failed<R: Resource>(board: &Board, error: &ApiError) {
    board.with(|state| {
        state.watches.away(R::what(), error);
        state.dirty.watches = true;
    });
}

/// It is followed. How many objects there are.
fn listed<R: Resource>(board: &Board) -> usize {
    board.with(|state| {
        let count = R::count(state);
        state.watches.watching(R::what(), count);
        state.dirty.watches = true;
        count
    })
}

/// It has to be listed again, some time from now.
fn gone<R: Resource>(board: &Board) {
    board.with(|state| state.watches.listing(R::what()));
    restarted::<R>(board);
}

fn restarted<R: Resource>(board: &Board) {
    board.with(|state| {
        state.watches.restarted(R::what());
        state.dirty.watches = true;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> ApiError {
        ApiError::Status {
            code,
            message: String::new(),
            retry_after: None,
            url: "http://x".to_owned(),
        }
    }

    #[test]
    fn a_watch_is_dead_when_it_should_have_ended_or_says_nothing_where_bookmarks_come() {
        let asked = Duration::from_secs(290);
        let mut life = Life::new(asked, false);
        let over = life.began + asked + LATE;
        assert_eq!(life.end(), over);
        // What it says does not make its life longer.
        life.heard += asked;
        life.said(false);
        assert_eq!(life.end(), over);
        life.said(true);
        assert_eq!(life.end(), life.heard + SILENT);
        // The next one is known to have them.
        let mut next = Life::new(asked, life.marked);
        assert_eq!(next.end(), next.began + SILENT);
        next.heard += asked;
        assert_eq!(next.end(), next.over);
    }

    #[test]
    fn a_list_does_not_help_a_server_that_is_away() {
        for code in [400, 404, 410, 500] {
            assert!(is_of_the_version(&status(code)), "{code}");
        }
        for code in [401, 403, 429, 502, 503, 504] {
            assert!(!is_of_the_version(&status(code)), "{code}");
        }
        let url = "http://x".to_owned();
        let waited = LATE;
        assert!(!is_of_the_version(&ApiError::Slow { url, waited }));
    }
}
