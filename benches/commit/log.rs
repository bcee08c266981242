//! What it is held against: a file that only grows. No tables, no order, no reads.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Committer, Groups, Put};

/// The thread that appends, and both ways to it.
pub struct Log {
    puts: Sender<Vec<Put>>,
    answered: UnboundedReceiver<Vec<usize>>,
    thread: JoinHandle<io::Result<()>>,
}

impl Log {
    /// A new file at `path`.
    pub fn start(path: &Path, groups: Groups) -> Result<Self> {
        let file = File::create_new(path)?;
        let (puts, queue) = channel();
        let (answers, answered) = unbounded_channel();
        let work = move || append(file, &queue, &answers, &groups);
        let thread = std::thread::Builder::new().name("log".into()).spawn(work)?;
        Ok(Self { puts, answered, thread })
    }
}

impl Committer for Log {
    fn submit(&self, puts: Vec<Put>) {
        // The thread ends early only with an error, which `finish` reports.
        let _ = self.puts.send(puts);
    }

    async fn answers(&mut self) -> Result<Vec<usize>> {
        self.answered.recv().await.context("the log has ended")
    }

    fn finish(self) -> Result<()> {
        drop(self.puts);
        Ok(self.thread.join().map_err(|_| anyhow!("the log panicked"))??)
    }
}

fn append(
    mut file: File,
    queue: &Receiver<Vec<Put>>,
    answers: &UnboundedSender<Vec<usize>>,
    groups: &Groups,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Ok(first) = queue.recv() {
        buffer.clear();
        let mut writers = Vec::new();
        for put in std::iter::once(first).chain(queue.try_iter()).flatten() {
            frame(&put, &mut buffer);
            writers.push(put.writer);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        groups.fetch_add(1, Relaxed);
        if answers.send(writers).is_err() {
            break;
        }
    }
    Ok(())
}

/// Both lengths, the bytes, and a checksum over all of it.
fn frame(put: &Put, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&(put.key.len() as u32).to_le_bytes());
    out.extend_from_slice(&(put.value.len() as u32).to_le_bytes());
    out.extend_from_slice(&put.key);
    out.extend_from_slice(&put.value);
    let checksum = xxh3_64(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}
