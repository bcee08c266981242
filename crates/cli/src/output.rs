//! What is printed: words for people, JSON for programs.

use std::io::Write;

use crate::exit::Failed;

/// One line on standard output. A reader that has gone away is no failure of ours.
pub fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
}

/// Bytes on standard output, as they are.
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// A line for a person, on standard error.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// Why a command failed: on standard error, and with `-o json` as an object on standard output.
pub fn failure(json: bool, failed: &Failed) {
    if json {
        let outcome = failed.outcome.map(|o| o.as_str());
        line(
            serde_json::json!({ "error": failed.why, "outcome": outcome, "exit": failed.exit as u8 })
                .to_string(),
        );
    }
    note(format!("starling: {}", failed.why));
}
