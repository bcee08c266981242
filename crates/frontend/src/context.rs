//! How a causal context travels in text. What it means, and whether it is genuine, is judged where the key is.

use bytes::Bytes;
use starling_causality::{ContextToken, TokenError};

/// The token of a text that a client sent.
pub fn from_text(text: &[u8]) -> Result<Bytes, TokenError> {
    let text = std::str::from_utf8(text).map_err(|_| TokenError::Damaged)?;
    ContextToken::from_text(text).map(|token| token.as_bytes().clone())
}

/// The text of a token.
pub fn to_text(token: &Bytes) -> String {
    ContextToken::from_bytes(token.clone()).to_text()
}
