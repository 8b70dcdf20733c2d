//! What an agent's `/metrics` answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};

/// Asks for `/metrics` in a format of one's choice: head, in small letters, and body.
///
/// # Errors
/// When nobody answers, or not with 200.
pub fn get(address: SocketAddr, accept: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok((head.to_lowercase(), body.to_owned()))
}

/// Samples of one scrape.
#[derive(Debug)]
pub struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Scrapes.
    ///
    /// # Errors
    /// When there is no answer, or a line of it is no sample.
    pub fn of(address: SocketAddr) -> Result<Self> {
        let (_, body) = get(address, "text/plain")?;
        let samples = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').context("no value")?;
            Ok((name.to_owned(), value.parse()?))
        });
        samples.collect::<Result<_>>().map(Self)
    }

    fn of_family<'a>(
        &'a self,
        family: &'a str,
        labels: &'a [&'a str],
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter_map(move |(name, value)| {
            let (of, rest) = name.split_once('{').unwrap_or((name, ""));
            let is_it = of == family && labels.iter().all(|label| rest.contains(label));
            is_it.then_some((rest, *value))
        })
    }

    /// The sum of a family's samples that have all these labels (`sink="x"`); `None` without any.
    #[must_use]
    pub fn sum(&self, family: &str, labels: &[&str]) -> Option<f64> {
        let mut found = self.of_family(family, labels).map(|(_, value)| value).peekable();
        found.peek().is_some().then(|| found.sum())
    }

    /// What a label says in a family's samples that have all these labels.
    #[must_use]
    pub fn values(&self, family: &str, label: &str, labels: &[&str]) -> BTreeSet<String> {
        let begins = format!("{label}=\"");
        let value = |rest: &str| {
            let (_, rest) = rest.split_once(&*begins)?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        self.of_family(family, labels)
            .filter_map(|(rest, _)| value(rest))
            .collect()
    }
}
