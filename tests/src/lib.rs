//! Whole nodes and whole clusters under test: the simulator's pinned seeds, and stories told step by step.
