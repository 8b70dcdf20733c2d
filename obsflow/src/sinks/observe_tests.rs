//! Selecting, filtering, and readers that go away.

use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::rc::Rc;

use jiff::Timestamp;

use super::{ObserveSink, PrinterOptions, Selector};
use crate::config::View;
use crate::filter::{self, Flag, Term};
use crate::flow::samples::{self, tcp};
use crate::model::observation::{Observation, What};
use crate::model::{Clock, Mono};

/// A writer that others can look at, and that breaks after some bytes.
#[derive(Clone, Debug, Default)]
struct Pipe {
    written: Rc<RefCell<Vec<u8>>>,
    breaks: bool,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.breaks {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.written.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pipe {
    fn text(&self) -> String {
        String::from_utf8(self.written.borrow().clone()).unwrap()
    }
}

fn sink(selector: Selector, terms: &[(Flag, &str)], pipe: &Pipe) -> ObserveSink<Pipe> {
    let terms: Vec<_> = terms
        .iter()
        .map(|(flag, value)| Term {
            flag: *flag,
            value: (*value).to_owned(),
        })
        .collect();
    let filters = filter::parse(&terms).unwrap().compile().unwrap();
    let view = View {
        selector,
        socket_state: filters.asks_for_socket_state(),
        filters,
        printer: PrinterOptions::default(),
    };
    ObserveSink::new(&view, "k8s1".into(), Clock { offset_ns: 0 }, pipe.clone())
}

/// Attempts, one a second.
fn attempts(number: u64) -> Vec<Observation> {
    let at = |second: u64| Observation {
        at: Mono(second * 1_000_000_000),
        cookie: second,
        ..tcp(What::Attempt)
    };
    (0..number).map(at).collect()
}

fn run(selector: Selector, terms: &[(Flag, &str)], observations: &[Observation]) -> Vec<String> {
    let pipe = Pipe::default();
    let mut sink = sink(selector, terms, &pipe);
    for observation in observations {
        if sink.push(observation).unwrap().is_break() {
            break;
        }
    }
    let printed = sink.finish().unwrap();
    let text = pipe.text();
    assert_eq!(
        text.lines().filter(|line| !line.contains("LOST")).count() as u64,
        printed
    );
    let stamps = text.lines().filter_map(|line| line.get(7..15));
    stamps.map(str::to_owned).collect()
}

#[test]
fn first_ends_and_last_keeps_the_newest() {
    let five = attempts(5);
    let of = |number, newest| Selector {
        number,
        newest,
        ..Selector::default()
    };
    assert_eq!(run(of(Some(2), false), &[], &five), ["00:00:00", "00:00:01"]);
    assert_eq!(run(of(Some(2), true), &[], &five), ["00:00:03", "00:00:04"]);
    assert_eq!(run(of(None, false), &[], &five).len(), 5);
    assert_eq!(run(of(Some(0), true), &[], &five).len(), 0);
    assert_eq!(run(of(Some(0), false), &[], &five).len(), 0);
    assert_eq!(run(of(Some(9), true), &[], &five).len(), 5);

    let pipe = Pipe::default();
    let mut sink = sink(of(Some(1), false), &[], &pipe);
    assert_eq!(sink.push(&five[0]).unwrap(), ControlFlow::Break(()));
    assert_eq!(pipe.text(), "", "nothing is visible before a flush");
    assert_eq!(sink.flush().unwrap(), ControlFlow::Continue(()));
    assert_eq!(pipe.text().lines().count(), 1);
    assert_eq!(sink.push(&five[1]).unwrap(), ControlFlow::Break(()));
    assert_eq!(sink.finish().unwrap(), 1);
}

#[test]
fn windows_include_their_ends() {
    let time = |second: i64| Some(Timestamp::from_second(second).unwrap());
    let window = |since, until| Selector {
        since,
        until,
        ..Selector::default()
    };
    let five = attempts(5);
    assert_eq!(
        run(window(time(1), time(3)), &[], &five),
        ["00:00:01", "00:00:02", "00:00:03"]
    );
    assert_eq!(run(window(time(4), None), &[], &five), ["00:00:04"]);
    assert_eq!(run(window(None, time(0)), &[], &five), ["00:00:00"]);
}

#[test]
fn loss_passes_filters_and_is_not_counted() {
    let mut observations = attempts(3);
    observations.insert(1, tcp(What::Lost { count: 5 }));
    let none = [(Flag::Verdict, "DROPPED")];
    assert_eq!(run(Selector::default(), &none, &observations), ["00:20:34"]);
    let last = |number| Selector {
        number: Some(number),
        newest: true,
        ..Selector::default()
    };
    assert_eq!(run(last(2), &[], &observations).len(), 3);
    assert_eq!(run(last(1), &[], &observations), ["00:00:02"]);
}

#[test]
fn periodic_state_is_for_those_who_ask() {
    let all = samples::all();
    let infos = |terms: &[(Flag, &str)]| run(Selector::default(), terms, &all).len();
    assert_eq!(infos(&[]), all.len() - 1);
    // What was connected before, periodic state, and loss.
    assert_eq!(infos(&[(Flag::Type, "trace-sock")]), 3);
    assert_eq!(infos(&[(Flag::Type, "7")]), 3);
}

#[test]
fn a_reader_that_goes_away_is_an_end() {
    let pipe = Pipe {
        breaks: true,
        ..Pipe::default()
    };
    let five = attempts(5);
    let mut one = sink(Selector::default(), &[], &pipe);
    assert_eq!(one.push(&five[0]).unwrap(), ControlFlow::Continue(()));
    assert_eq!(one.flush().unwrap(), ControlFlow::Break(()));
    assert_eq!(one.push(&five[1]).unwrap(), ControlFlow::Break(()));
    one.finish().unwrap();
    let mut at_the_end = sink(Selector::default(), &[], &pipe);
    let _ = at_the_end.push(&five[0]).unwrap();
    at_the_end.finish().unwrap();
}
