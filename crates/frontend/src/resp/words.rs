//! Reading a request's options: words, some with a value after them.

use super::frame::Request;
use super::reply::Reply;

/// Goes through the arguments from one on.
#[derive(Debug)]
pub(super) struct Words<'a> {
    request: &'a Request<'a>,
    next: usize,
}

impl<'a> Words<'a> {
    pub(super) fn from(request: &'a Request<'a>, first: usize) -> Self {
        Self { request, next: first }
    }

    /// The next option, in capitals.
    pub(super) fn option(&mut self) -> Option<String> {
        (self.next < self.request.len()).then(|| capitals(self.take()))
    }

    /// The value of the option just read.
    pub(super) fn value(&mut self, option: &str) -> Result<&'a [u8], Reply> {
        if self.next == self.request.len() {
            return Err(Reply::error(format_args!("syntax error: {option} needs a value")));
        }
        Ok(self.take())
    }

    fn take(&mut self) -> &'a [u8] {
        self.next += 1;
        self.request.arg(self.next - 1)
    }
}

/// A word in capitals, cut to what can be quoted in an error.
pub(super) fn capitals(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(64)]).to_ascii_uppercase()
}

/// The answer to an option that the command does not have.
pub(super) fn no_such_option(option: &str, usage: &str) -> Reply {
    Reply::error(format_args!("syntax error at '{}': {usage}", option.escape_debug()))
}
