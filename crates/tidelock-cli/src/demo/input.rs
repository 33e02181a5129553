//! Where the orders come from, and how they become jobs.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tidelock::Raw;
use tidelock::job::Job;
use tokio::sync::{mpsc, watch};

use super::audit::{Accepted, Sent, fingerprint};
use super::order::{self, Order};
use super::worker::Receipt;
use crate::lines::{self, Line};

/// The orders of the demo when none are given.
pub(crate) const BUILT_IN: &[u8] = include_bytes!("../../data/orders.ndjson");

/// Number of line batches that are read ahead.
const READ_AHEAD: usize = 4;

/// An opened input.
pub(crate) struct Input(Box<dyn BufRead + Send>);

impl Input {
    /// Opens a file, stdin (`-`), or the built-in orders.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let input: Box<dyn BufRead + Send> = match path {
            None => Box::new(BUILT_IN),
            Some(path) if path == Path::new("-") => Box::new(BufReader::new(io::stdin())),
            Some(path) => Box::new(BufReader::new(open(path)?)),
        };
        Ok(Self(input))
    }

    /// Reads batches of lines on a separate thread.
    fn batches(mut self) -> mpsc::Receiver<io::Result<Vec<Line>>> {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        tokio::task::spawn_blocking(move || {
            loop {
                let batch = lines::batch(&mut *self.0);
                let is_last = batch.as_ref().map_or(true, Vec::is_empty);
                if sender.blocking_send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        receiver
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    let describe = || format!("cannot read the orders in {}", PathBuf::from(path).display());
    let file = File::open(path).with_context(describe)?;
    if file.metadata().with_context(describe)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory)).with_context(describe);
    }
    Ok(file)
}

/// Submits every line unchanged, under its order's id if that is readable. Ends early when told to stop.
pub(crate) async fn feed(
    input: Input,
    orders: Job<Raw, Receipt>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Sent> {
    let mut batches = input.batches();
    let mut sent = Sent::default();
    loop {
        let batch = tokio::select! {
            batch = batches.recv() => batch.unwrap_or_else(|| Ok(Vec::new())).context("cannot read the orders")?,
            _ = stop.wait_for(|stop| *stop) => return Ok(sent),
        };
        if batch.is_empty() {
            return Ok(sent);
        }
        submit(batch, &orders, &mut sent).await?;
    }
}

async fn submit(batch: Vec<Line>, orders: &Job<Raw, Receipt>, sent: &mut Sent) -> anyhow::Result<()> {
    sent.lines += batch.len() as u64;
    let mut lines = Vec::with_capacity(batch.len());
    for line in batch {
        match line {
            Line::Bytes(line) => lines.push(Raw(line)),
            Line::Blank => sent.blank += 1,
            Line::TooLong => sent.too_long += 1,
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let requests = lines.iter().map(|line| {
        let request = orders.submit(line);
        match order::readable_id(&line.0) {
            Some(id) => request.dedup_key(&id),
            None => request,
        }
    });
    let answers = orders.submit_many(requests).await?;
    for (answer, line) in answers.into_iter().zip(&lines) {
        if answer.duplicate {
            sent.duplicates += 1;
        } else {
            sent.accepted.insert(super::number(answer.id), content(&line.0));
        }
    }
    Ok(())
}

fn content(line: &[u8]) -> Accepted {
    match Order::parse(line) {
        Ok(order) => Accepted::Order { id: order.id, amount_cents: order.amount_cents, quantity: order.quantity },
        Err(_) => Accepted::Bad { fingerprint: fingerprint(line) },
    }
}
