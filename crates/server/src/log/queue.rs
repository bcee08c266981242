//! A bounded queue of lines, and the thread that writes them: only it waits for whatever reads them.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::{DROPPED, now};

/// Lines on their way to a writer.
#[derive(Debug)]
pub(super) struct Queue {
    lines: SyncSender<Item>,
    bytes: Arc<AtomicUsize>,
    /// Lines dropped since that was last said.
    unsaid: Arc<AtomicU64>,
}

enum Item {
    Line(Box<[u8]>),
    /// Everything before this is written.
    Mark(SyncSender<()>),
}

impl Queue {
    /// Writes what is offered to `out`, on a thread of its own.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel(LINES);
        let (bytes, unsaid) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let writer = Writer { out, bytes: bytes.clone(), unsaid: unsaid.clone() };
        std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&queue))?;
        Ok(Self { lines, bytes, unsaid })
    }

    /// Takes a line, or drops it where too much waits.
    pub(super) fn offer(&self, line: &[u8]) {
        let line = &line[..line.len().min(LONGEST)];
        let fits = self.bytes.fetch_add(line.len(), Ordering::Relaxed) + line.len() <= BYTES;
        if !fits || self.lines.try_send(Item::Line(line.into())).is_err() {
            self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all that was offered before is written, but not longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let (written, heard) = sync_channel(1);
        let until = now() + limit;
        let mut mark = Item::Mark(written);
        while let Err(error) = self.lines.try_send(mark) {
            let (std::sync::mpsc::TrySendError::Full(back)
            | std::sync::mpsc::TrySendError::Disconnected(back)) = error;
            if now() >= until {
                return;
            }
            mark = back;
            std::thread::park_timeout(limit / 50);
        }
        // Late, or the thread is gone: either way the time is over.
        let _ = heard.recv_timeout(until.saturating_duration_since(now()));
    }
}

struct Writer<W> {
    out: W,
    bytes: Arc<AtomicUsize>,
    unsaid: Arc<AtomicU64>,
}

impl<W: Write> Writer<W> {
    fn run(mut self, queue: &Receiver<Item>) {
        while let Ok(item) = queue.recv() {
            match item {
                Item::Line(line) => {
                    self.write(&line);
                    self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                }
                Item::Mark(written) => {
                    // Whether it is still waited for does not matter.
                    let _ = self.out.flush();
                    let _ = written.try_send(());
                }
            }
        }
    }

    /// A line that cannot be written is lost: to say so would be to write to the same place.
    fn write(&mut self, line: &[u8]) {
        let dropped = self.unsaid.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let words = format!(
                "... {dropped} lines of the log are missing here: they could not be written in time\n"
            );
            if self.out.write_all(words.as_bytes()).is_err() {
                self.unsaid.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if self.out.write_all(line).is_err() {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Lines that may wait.
const LINES: usize = 4_096;
/// Bytes of lines that may wait.
const BYTES: usize = 1 << 20;
/// Longer lines are cut.
const LONGEST: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A reader that takes a line only when it is told to.
    struct Gate {
        open: Receiver<()>,
        seen: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.seen.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_is_told_how_many() {
        let ((open, gate), (seen, lines)) = (channel(), channel());
        let queue = Queue::start(Gate { open: gate, seen }).unwrap();
        // Returns although nothing is read, for as many lines as one likes.
        (0..3 * LINES).for_each(|n| queue.offer(format!("{n}\n").as_bytes()));
        queue.flush(Duration::ZERO);
        let unsaid = || queue.unsaid.load(Ordering::Relaxed) as usize;
        let next = || {
            open.send(()).unwrap();
            String::from_utf8(lines.recv().unwrap()).unwrap()
        };
        let count = |line: &str| line.split(' ').nth(1).and_then(|count| count.parse::<usize>().ok());
        let (mut written, mut told) = (0, 0);
        // The thread may take the first line, or the first count, while lines are still offered.
        while written + told + unsaid() < 3 * LINES {
            match count(&next()) {
                Some(missing) => told += missing,
                None => written += 1,
            }
        }
        assert!((LINES..=LINES + 1).contains(&written), "{written}");
        queue.offer(b"x\n");
        loop {
            let line = next();
            told += count(&line).unwrap_or(0);
            if line == "x\n" {
                break;
            }
        }
        assert_eq!((written + told, unsaid()), (3 * LINES, 0), "it is told how many are missing");
        // A reader that is gone is no trouble either.
        drop(open);
        queue.offer(b"x\n");
        queue.flush(Duration::MAX.min(Duration::from_secs(60)));
        assert!(queue.bytes.load(Ordering::Relaxed) <= BYTES);
    }
}
