//! The log: lines for people, which never hold up the node. They go through a bounded queue to a thread of their own; what
//! it cannot take is dropped and counted. What is said again and again is counted, and said once an interval.

mod queue;
mod repeats;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use queue::Queue;
use repeats::Repeats;

/// Lines that were not written since the process began: the queue was full, or standard error failed.
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Lines that were only counted, because others like them had been written.
static REPEATED: AtomicU64 = AtomicU64::new(0);
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    lines: Lines,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Lines not written, and lines only counted, since the process began.
pub fn counts() -> (u64, u64) {
    (DROPPED.load(Ordering::Relaxed), REPEATED.load(Ordering::Relaxed))
}

/// Starts the log of this process on standard error. To be called once.
///
/// # Errors
/// In words: the directives are none, or the thread cannot be started.
pub fn start(directives: &str) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(parse(directives)?);
    let queue = Queue::start(io::stderr()).map_err(|e| format!("the log's thread cannot be started: {e}"))?;
    let lines = Lines { queue: Arc::new(queue), repeats: Arc::default() };
    let layer = fmt::layer().with_ansi(false).log_internal_errors(false).with_writer(lines.clone());
    let started = tracing_subscriber::registry().with(filter).with(layer).try_init();
    started.map_err(|e| e.to_string())?;
    let repeats = lines.repeats.clone();
    // A log that was started twice would be an error above.
    let _ = LOG.set(Log { lines, filter: handle });
    let watch = move || {
        loop {
            std::thread::park_timeout(repeats::INTERVAL / 4);
            tell(&repeats);
        }
    };
    let watched = std::thread::Builder::new().name("log-repeats".into()).spawn(watch);
    watched.map(drop).map_err(|e| format!("the log's thread cannot be started: {e}"))
}

/// Puts other directives in force.
///
/// # Errors
/// In words: they are none. Those before stay in force.
pub fn reload(directives: &str) -> Result<(), String> {
    let filter = parse(directives)?;
    LOG.get().map_or(Ok(()), |log| log.filter.reload(filter).map_err(|e| e.to_string()))
}

/// Passes text on to standard error as it is. False: there is no log.
pub fn say(text: &str) -> bool {
    LOG.get().map(|log| log.lines.queue.offer(text.as_bytes())).is_some()
}

/// Says what has only been counted so far, and waits until all is written, but not longer than `limit`.
pub fn finish(limit: Duration) {
    if let Some(log) = LOG.get() {
        tell(&log.lines.repeats);
        log.lines.queue.flush(limit);
    }
}

fn parse(directives: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(directives).map_err(|e| format!("telemetry.log {directives:?}: {e}"))
}

fn tell(repeats: &Mutex<Repeats>) {
    let due = repeats.lock().unwrap_or_else(PoisonError::into_inner).due(now());
    for (count, text) in due {
        tracing::info!("{count} more like this in the last minute: {text}");
    }
}

/// The log's own clock, for intervals.
#[expect(clippy::disallowed_methods, reason = "the shell's clock")]
fn now() -> Instant {
    Instant::now()
}

/// Where formatted lines go.
#[derive(Clone)]
struct Lines {
    queue: Arc<Queue>,
    repeats: Arc<Mutex<Repeats>>,
}

/// One event's way to the queue.
struct Line<'a> {
    lines: &'a Lines,
    /// Where in the program it comes from, unless it is to be written whatever was said before.
    site: Option<Identifier>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, site: None }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line<'a> {
        // Finer levels were asked for by somebody who looks for something; and our own lines are the counts.
        let counts = *of.level() <= Level::INFO && of.target() != module_path!();
        Line { lines: self, site: counts.then(|| of.callsite()) }
    }
}

impl Write for Line<'_> {
    /// Takes the whole line: the formatter writes each at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(site) = self.site.take() {
            let text = String::from_utf8_lossy(line);
            // The time of day stands first, and is never the same.
            let said = text.split_once(' ').map_or(&*text, |(_, said)| said).trim();
            let mut repeats = self.lines.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            if !repeats.admit(now(), site, said) {
                REPEATED.fetch_add(1, Ordering::Relaxed);
                return Ok(line.len());
            }
        }
        self.lines.queue.offer(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
