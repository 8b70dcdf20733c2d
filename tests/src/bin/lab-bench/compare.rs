//! The same traffic under several watchers in turn, round after round: A B C, B C A, ... so that what the machine does
//! meanwhile hits all of them alike. Rates count, and their ratios to the bare one of the same round.

use anyhow::Result;

use crate::place::Place;
use crate::programs::median;
use crate::watcher::{Watcher, Watching, seen_and_lost};

/// What came out for one watcher.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) name: String,
    /// Median of the values of each metric.
    pub(crate) values: Vec<f64>,
    /// Median of their ratios to the first watcher's value in the same round.
    pub(crate) ratios: Vec<f64>,
    /// Events or packets that it says it saw, and lost, in all rounds.
    pub(crate) counts: Option<(u64, u64)>,
    /// Why there are no values.
    pub(crate) missing: Option<String>,
}

/// Runs `measure`, which gives one value for each metric, `rounds` times under each of `watchers`. The first of them is what
/// the others are compared with. One that does not start here is a column without values.
pub(crate) fn compare(
    place: &Place,
    watchers: &[(String, Watcher)],
    at_root: bool,
    rounds: usize,
    mut measure: impl FnMut(&Place, &mut Watching) -> Result<Vec<f64>>,
) -> Result<Vec<Column>> {
    let mut counts = vec![None; watchers.len()];
    let mut missing: Vec<Option<String>> = vec![None; watchers.len()];
    // By round, then by watcher.
    let mut values: Vec<Vec<Vec<f64>>> = Vec::new();
    for round in 0..rounds {
        let mut row = vec![Vec::new(); watchers.len()];
        for step in 0..watchers.len() {
            let index = (round + step) % watchers.len();
            let Some((_, watcher)) = watchers.get(index).filter(|_| missing[index].is_none()) else {
                continue;
            };
            match watcher.start(place, at_root) {
                Ok(mut watching) => {
                    row[index] = measure(place, &mut watching)?;
                    if let Some((seen, lost)) = seen_and_lost(&watching.stop()?) {
                        let (all, all_lost) = counts[index].unwrap_or((0, 0));
                        counts[index] = Some((all + seen, all_lost + lost));
                    }
                }
                // A peer that cannot run on this machine is told, obsflow that cannot is an error.
                Err(error) if matches!(watcher, Watcher::Peer(_)) => {
                    missing[index] = Some(format!("{error:#}"))
                }
                Err(error) => return Err(error),
            }
        }
        values.push(row);
    }
    let columns = watchers.iter().zip(missing).enumerate();
    Ok(columns
        .map(|(index, ((name, _), missing))| {
            let metrics = values.iter().map(|row| row[index].len()).max().unwrap_or(0);
            let of = |metric: usize, relative: bool| {
                median(values.iter().filter_map(|row| {
                    let value = *row[index].get(metric)?;
                    let base = if relative { *row[0].get(metric)? } else { 1.0 };
                    Some(value / base)
                }))
            };
            Column {
                name: name.clone(),
                values: (0..metrics).map(|metric| of(metric, false)).collect(),
                counts: counts[index],
                ratios: (0..metrics).map(|metric| of(metric, true)).collect(),
                missing,
            }
        })
        .collect())
}
