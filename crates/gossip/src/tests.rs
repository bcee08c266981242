//! Whole clusters of machines in a small deterministic world.

mod detection;
mod hostile;
mod properties;
mod story;
mod turns;
mod world;
