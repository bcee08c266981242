//! Printed output. On standard output stands the *product*, the result that a command was asked for: it arrives whole,
//! or the command fails. All else is *talk*, for people: no work depends on its being read.

use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Write};
use std::ops::ControlFlow;

use starling_types::Outcome;

use crate::exit::{Exit, Failed};

/// A line of product.
///
/// # Errors
/// It could not be written whole. A reader that has gone away has had enough, which is no failure of ours.
pub fn product(text: impl AsRef<str>) -> Result<(), Failed> {
    let mut stream = Stream::new(io::stdout().lock());
    // The error is reported at the end.
    let _ = stream.line(text.as_ref());
    stream.finish()
}

/// The bytes of a value and nothing else, but on a terminal also the end of the line.
///
/// # Errors
/// As with [`product`].
pub fn value(bytes: &[u8]) -> Result<(), Failed> {
    let end: &[u8] = if is_terminal() { b"\n" } else { b"" };
    let mut stream = Stream::new(io::stdout().lock());
    let _ = stream.bytes(&[bytes, end]);
    stream.finish()
}

/// Reports that a command has done its work. For a program this is the product, for a person it is talk: the exit code
/// says it as well.
///
/// # Errors
/// As with [`product`], if `json`. The work is done all the same.
pub fn done(json: bool, text: impl AsRef<str>) -> Result<(), Failed> {
    if !json {
        remark(text);
        return Ok(());
    }
    product(text).map_err(|failed| {
        let why = format!("{}; what was asked for is done all the same", failed.why);
        Failed { why, outcome: Some(Outcome::Applied), ..failed }
    })
}

/// A line of talk on standard output.
pub fn remark(text: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
}

/// A line of talk on standard error; of a node, by way of its log, which waits for nobody.
pub fn note(text: impl AsRef<str>) {
    let line = format!("{}\n", text.as_ref());
    if !starling_server::log::say(&line) {
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

/// Why a command failed: on standard error, and with `-o json` as an object on standard output.
pub fn failure(json: bool, failed: &Failed) {
    if json {
        let outcome = failed.outcome.map(|o| o.as_str());
        remark(
            serde_json::json!({ "error": failed.why, "outcome": outcome, "exit": failed.exit as u8 })
                .to_string(),
        );
    }
    note(format!("starling: {}", failed.why));
}

/// Whether a person reads standard output.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A product of many lines on standard output.
pub fn stream() -> Stream<io::StdoutLock<'static>> {
    Stream::new(io::stdout().lock())
}

/// A product on its way out.
pub struct Stream<W: Write> {
    out: BufWriter<W>,
    /// The error that ended it early.
    broken: Option<io::Error>,
}

impl<W: Write> Stream<W> {
    /// To `out`.
    pub fn new(out: W) -> Self {
        Self { out: BufWriter::new(out), broken: None }
    }

    /// A line. After a break nothing arrives any more: [`finish`](Self::finish) says why.
    pub fn line(&mut self, text: &str) -> ControlFlow<()> {
        self.bytes(&[text.as_bytes(), b"\n"])
    }

    fn bytes(&mut self, parts: &[&[u8]]) -> ControlFlow<()> {
        if self.broken.is_none() {
            self.broken = parts.iter().try_for_each(|part| self.out.write_all(part)).err();
        }
        if self.broken.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// The end.
    ///
    /// # Errors
    /// As with [`product`].
    pub fn finish(mut self) -> Result<(), Failed> {
        let broken = self.broken.take().or_else(|| self.out.flush().err());
        // Bytes left in the buffer after an error have nowhere to go.
        let _ = self.out.into_parts();
        match broken {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failed::new(Exit::Failed, format!("standard output is not whole: {error}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails.
    struct Narrow(usize, ErrorKind);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(self.1.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_product_that_is_cut_off_is_a_failure_unless_its_reader_left() {
        for (room, lines) in [(3, 1), (100, 50), (20_000, 50_000)] {
            for (kind, fails) in [(ErrorKind::StorageFull, true), (ErrorKind::BrokenPipe, false)] {
                let mut stream = Stream::new(Narrow(room, kind));
                let broke = (0..lines).any(|_| stream.line("a line").is_break());
                assert_eq!(broke, lines == 50_000, "a long one ends early");
                let ended = stream.finish();
                assert_eq!(ended.is_err(), fails, "{room} {kind}");
                assert!(ended.is_ok() || ended.unwrap_err().exit == Exit::Failed);
            }
        }
        let mut stream = Stream::new(Narrow(7, ErrorKind::StorageFull));
        assert!(stream.line("a line").is_continue() && stream.finish().is_ok());
    }
}
