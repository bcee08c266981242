//! # Whole nodes under test
//!
//! **Job.** Tests that no single crate can hold: whole nodes in the simulator's world, pinned seeds, and stories
//! told step by step. (Real processes are tried in `crates/cli/tests`, beside the binary.)
//!
//! **Invariants.** Every test ends by itself in virtual time; a red seed prints its number and the story of the
//! key, and the same seed is red again.
//!
//! **Deliberately absent.** Code, but for what the stories share: this crate is its tests.
//!
//! **How to read this crate.** The transcripts in `golden/` (told by `tests/golden/main.rs`), [`calm`], the world that
//! stories begin in, `tests/stories.rs`, the storms in `tests/no_acked_write_lost.rs`, and a file for each promise
//! beside them.

pub mod calm;
