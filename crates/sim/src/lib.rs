//! Deterministic world: event heap, network, disk, clocks, and the judge of a history
