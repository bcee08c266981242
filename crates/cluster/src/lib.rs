//! # Nodes as processes
//!
//! **Job.** Start nodes as real processes, learn from the ready line that they serve, signal them, wait for their end,
//! and read what they said. For `starling dev`, and for tests that do to nodes what happens to processes.
//!
//! **Invariants.**
//! - No process outlives its [`NodeProcess`]: dropped, it is killed and waited for. A node started by [`Place::command`]
//!   does not outlive this process either, however that ends: it stops when its standard input does.
//! - Every wait has a limit that the caller names, but [`NodeProcess::ended`], which is for a caller that serves.
//! - The ready line is written and read by one type, [`Ready`].
//!
//! **Deliberately absent.** The work of nodes once they serve: ask them, by a client or a door. Founding a cluster,
//! restarts, faults. How a node is told its settings otherwise than by its arguments.
//!
//! **How to read this crate.** [`place`] a node's directories and addresses, and the command that runs it there,
//! [`ready`] what it says when it serves, [`process`] its process; [`ports`] for nodes that are to come back to their
//! addresses.

pub mod place;
pub mod ports;
pub mod process;
pub mod ready;

pub use place::{Doors, Place};
pub use process::{NodeProcess, NotReady};
pub use ready::{Ready, ReadyNode};
pub use rustix::process::Signal;
