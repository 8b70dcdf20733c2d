use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(u64);

impl Entry for Number {
    fn at(&self) -> Mono {
        Mono(self.0)
    }
}

fn limits(entries: usize, age_ns: u64) -> Limits {
    Limits {
        entries,
        bytes: usize::MAX,
        age: Duration::from_nanos(age_ns),
    }
}

/// Everything that a cursor finds until the end, and how many it was told to have lost.
fn drain(cursor: &mut Cursor<Number>) -> (Vec<u64>, u64) {
    let (mut found, mut lost) = (Vec::new(), 0);
    loop {
        match cursor.read() {
            Next::Entry(entry) => found.push(entry.0),
            Next::Lost(count) => lost += count,
            Next::End => return (found, lost),
        }
    }
}

#[test]
fn an_empty_store_has_nothing_to_say() {
    let writer = Writer::<Number>::new(limits(10, u64::MAX));
    let store = writer.store();
    assert!(store.kept().is_empty());
    assert_eq!(store.oldest(), None);
    assert_eq!(drain(&mut store.cursor(0)), (vec![], 0));
}

#[test]
fn a_reader_that_falls_behind_is_told_how_much_it_missed() {
    let mut writer = Writer::new(limits(CHUNK, u64::MAX));
    let store = writer.store();
    let mut reader = store.cursor(0);
    let many = 10 * CHUNK as u64;
    for number in 0..many {
        writer.push(Number(number), 0);
    }
    let (found, lost) = drain(&mut reader);
    assert_eq!(lost, many - CHUNK as u64);
    assert_eq!(found, (lost..many).collect::<Vec<_>>());
    assert_eq!(store.oldest(), Some(Mono(lost)));
}

#[test]
fn what_a_slow_reader_holds_is_one_chunk() {
    let mut writer = Writer::new(limits(2 * CHUNK, u64::MAX));
    let store = writer.store();
    writer.push(Number(0), 0);
    let mut slow = store.cursor(0);
    assert_eq!(slow.read(), Next::Entry(&Number(0)));
    let held = Arc::downgrade(&slow.chunk.as_ref().unwrap().1);
    for number in 1..20 * CHUNK as u64 {
        writer.push(Number(number), 0);
    }
    assert_eq!(store.shared.chunks().chunks.len(), 2 + 1);
    assert!(held.upgrade().is_some());
    let (found, lost) = drain(&mut slow);
    assert!(held.upgrade().is_none());
    assert_eq!(found.len() as u64 + lost + 1, 20 * CHUNK as u64);
}

#[test]
fn what_takes_more_than_there_is_room_for_keeps_less() {
    let place = Chunk::<Number>::PLACE;
    let mut writer = Writer::new(Limits {
        bytes: 4 * CHUNK * (place + 100),
        ..limits(100 * CHUNK, u64::MAX)
    });
    let store = writer.store();
    for number in 0..20 * CHUNK as u64 {
        writer.push(Number(number), 100);
    }
    assert_eq!(store.kept().len(), 5 * CHUNK as u64);
    assert_eq!(store.gone(), Some((Mono(0), Mono(15 * CHUNK as u64 - 1))));
    // Larger ones: two of the old chunks for each of theirs.
    for number in 0..2 * CHUNK as u64 {
        writer.push(Number(20 * CHUNK as u64 + number), 200 + place);
    }
    writer.push(Number(22 * CHUNK as u64), 0);
    assert_eq!(store.kept().len(), 2 * CHUNK as u64 + 1);
}

#[test]
fn what_went_is_told_with_its_times() {
    let mut writer = Writer::new(limits(10, u64::MAX));
    let store = writer.store();
    for number in 0..10 {
        writer.push(Number(number), 0);
    }
    assert_eq!(store.gone(), None);
    for number in 10..CHUNK as u64 * 3 {
        writer.push(Number(number), 0);
        assert_eq!(store.gone(), Some((Mono(0), Mono(number - 10))));
    }
}

#[tokio::test]
async fn a_reader_at_the_end_waits_for_more() {
    let mut writer = Writer::new(limits(10, u64::MAX));
    let mut reader = writer.store().cursor(0);
    let follower = tokio::spawn(async move {
        let mut found = Vec::new();
        while reader.wait().await {
            found.extend(drain(&mut reader).0);
        }
        found
    });
    for number in 0..5 {
        writer.push(Number(number), 0);
        writer.publish(false);
        tokio::task::yield_now().await;
    }
    drop(writer);
    assert_eq!(follower.await.unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn nothing_is_invented_and_nothing_uncounted_while_threads_read_and_write() {
    const MANY: u64 = 200_000;
    let mut writer = Writer::<Number>::new(limits(3 * CHUNK, u64::MAX));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let mut reader = writer.store().cursor(0);
            std::thread::spawn(move || {
                let (mut expected, mut lost) = (0, 0);
                while expected < MANY {
                    match reader.read() {
                        Next::Entry(entry) => {
                            assert_eq!(entry.0, expected);
                            expected += 1;
                        }
                        Next::Lost(count) => {
                            expected += count;
                            lost += count;
                        }
                        Next::End => std::thread::yield_now(),
                    }
                }
                lost
            })
        })
        .collect();
    for number in 0..MANY {
        writer.push(Number(number), 0);
    }
    for reader in readers {
        assert!(reader.join().unwrap() <= MANY);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u16),
    Expire(u64),
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            (0..700u16).prop_map(Step::Push),
            (0..3_000u64).prop_map(Step::Expire),
            (0..2_000usize).prop_map(Step::Read),
        ],
        0..40,
    )
}

proptest! {
    #[test]
    fn it_keeps_what_a_queue_would(steps in steps(), entries in 1..1_000usize, age in 0..2_000u64) {
        let mut writer = Writer::new(limits(entries, age));
        let store = writer.store();
        let mut model: VecDeque<u64> = VecDeque::new();
        let mut reader = store.cursor(0);
        let (mut seen, mut next) = (0u64, 0u64);
        for step in steps {
            match step {
                Step::Push(count) => {
                    for _ in 0..count {
                        writer.push(Number(next), 0);
                        model.push_back(next);
                        next += 1;
                        while model.len() > entries {
                            model.pop_front();
                        }
                    }
                }
                Step::Expire(now) => {
                    writer.expire(Mono(now));
                    while model.front().is_some_and(|at| at.saturating_add(age) < now) {
                        model.pop_front();
                    }
                }
                Step::Read(count) => {
                    for _ in 0..count {
                        match reader.read() {
                            Next::Entry(entry) => {
                                prop_assert_eq!(entry.0, seen);
                                seen += 1;
                            }
                            Next::Lost(count) => seen += count,
                            Next::End => break,
                        }
                    }
                }
            }
            let kept = store.kept();
            prop_assert_eq!(kept.end, next);
            let (found, lost) = drain(&mut store.cursor(kept.begin));
            prop_assert_eq!(lost, 0);
            prop_assert!(found.iter().eq(model.iter()));
        }
        let (found, lost) = drain(&mut reader);
        prop_assert_eq!(seen + lost + found.len() as u64, next);
    }
}
