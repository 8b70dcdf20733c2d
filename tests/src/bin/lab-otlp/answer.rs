//! What a receiver answers, on order.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::json;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is taken.
    #[default]
    Accept,
    /// An HTTP status, or a gRPC status in a trailers-only answer.
    Status {
        code: u16,
        /// Seconds of `Retry-After`.
        retry_after: Option<u32>,
    },
    /// It is taken, and one item of it is said to be rejected.
    Partial,
    /// Nothing, on a connection that stays.
    Never,
}

/// An answer, for so many requests; then the receiver accepts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    answer: Answer,
    times: Option<u32>,
}

impl FromStr for Order {
    type Err = anyhow::Error;

    /// `ok`, `status=N`, `partial` or `never`, then `,retry-after=SECONDS` and `,times=N`.
    fn from_str(text: &str) -> Result<Self> {
        let mut order = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = || value.parse().with_context(|| format!("{part} needs a number"));
            match name {
                "ok" => order.answer = Answer::Accept,
                "partial" => order.answer = Answer::Partial,
                "never" => order.answer = Answer::Never,
                "status" => {
                    order.answer = Answer::Status {
                        code: u16::try_from(number()?)?,
                        retry_after: None,
                    }
                }
                "retry-after" => match &mut order.answer {
                    Answer::Status { retry_after, .. } => *retry_after = Some(number()?),
                    _ => bail!("retry-after goes with a status"),
                },
                "times" => order.times = Some(number()?),
                _ => bail!("no such answer: {part}"),
            }
        }
        Ok(order)
    }
}

/// What is answered over HTTP and over gRPC; may change while the receivers run.
#[derive(Clone, Default)]
pub(crate) struct Orders(Arc<Mutex<[Order; 2]>>);

/// Which receiver.
#[derive(Clone, Copy)]
pub(crate) enum Via {
    Http,
    Grpc,
}

impl Orders {
    /// `http=ORDER` or `grpc=ORDER`.
    pub(crate) fn set(&self, text: &str) -> Result<()> {
        let (via, order) = text.split_once('=').context("an order is http=… or grpc=…")?;
        let via = match via {
            "http" => Via::Http,
            "grpc" => Via::Grpc,
            other => bail!("no such receiver: {other}"),
        };
        self.lock()[via as usize] = order.parse()?;
        Ok(())
    }

    /// The answer to the next request.
    pub(crate) fn next(&self, via: Via) -> Answer {
        let order = &mut self.lock()[via as usize];
        let answer = order.answer;
        match &mut order.times {
            Some(0) => return Answer::Accept,
            Some(left) => *left -= 1,
            None => {}
        }
        answer
    }

    /// Takes orders from standard input, one a line, and says so for each; for as long as it is open.
    pub(crate) fn obey(&self) {
        let orders = self.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                match orders.set(&line) {
                    Ok(()) => println!("{}", json!({"order": line})),
                    Err(error) => eprintln!("{line}: {error:#}"),
                }
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Order; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
