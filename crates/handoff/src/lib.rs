//! Hint replay
