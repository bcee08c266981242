//! How a causal context travels in text. Its meaning, and whether it is genuine, is judged where the key is.

use bytes::Bytes;
use starling_causality::{ContextToken, TokenError};
use starling_wire::Seen;

/// How much a writer says that it has seen, where it gives no token: one of three words, in any case. (No token is as
/// short.)
pub fn word(text: &[u8]) -> Option<Seen> {
    let words: [(&[u8], Seen); 3] =
        [(b"quorum", Seen::Quorum), (b"local", Seen::Local), (b"none", Seen::Nothing)];
    words.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, seen)| seen)
}

/// The token of a text that a client sent.
pub fn from_text(text: &[u8]) -> Result<Bytes, TokenError> {
    let text = std::str::from_utf8(text).map_err(|_| TokenError::Damaged)?;
    ContextToken::from_text(text).map(|token| token.as_bytes().clone())
}

/// The text of a token.
pub fn to_text(token: &Bytes) -> String {
    ContextToken::from_bytes(token.clone()).to_text()
}
