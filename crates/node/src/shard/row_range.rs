//! Ranges of row keys, as damage is told in them.

pub(super) use starling_custody::tokens::{token_of, tokens_of, touch};
