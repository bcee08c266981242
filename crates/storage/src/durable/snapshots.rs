//! The views of the open snapshots of a store: let go of when the store is closed.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::trees::View;

/// None once the store is closed. A table that was replaced is removed when the last view of it goes: that must not be
/// after another process has opened the directory, and may have made another table of that number.
pub(super) type Held = RwLock<Option<View>>;

/// The open snapshots.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Vec<Weak<Held>>>);

impl Snapshots {
    pub(super) fn hold(&self, view: View) -> Arc<Held> {
        let held = Arc::new(RwLock::new(Some(view)));
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|held| held.strong_count() > 0);
        open.push(Arc::downgrade(&held));
        held
    }

    /// Lets go of what all of them see.
    pub(super) fn close(&self) {
        for held in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(held) = held.upgrade() {
                *held.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
    }
}
