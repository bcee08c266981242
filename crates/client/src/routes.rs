//! Where keys live, as far as the client knows: the newest layout a node has shown it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use starling_types::{BucketName, ClusterId, Key, LayoutVersion, NodeId, Token};
use starling_wire::client::Layout;
use tokio::time::Instant;

/// The layout in use, and when to ask for another.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    layout: RefCell<Option<Rc<Layout>>>,
    asking: Cell<bool>,
    asked: Cell<Option<Instant>>,
}

impl Routes {
    /// The layout in use.
    pub(crate) fn layout(&self) -> Option<Rc<Layout>> {
        self.layout.borrow().clone()
    }

    /// Its version; none before there is one.
    pub(crate) fn version(&self) -> LayoutVersion {
        self.layout.borrow().as_ref().map_or(LayoutVersion::NONE, |layout| layout.version())
    }

    /// The owners of a key, primary first; none before there is a layout.
    pub(crate) fn owners(&self, bucket: &BucketName, key: &Key) -> Vec<NodeId> {
        let layout = self.layout.borrow();
        let owners = layout.as_ref().map(|layout| {
            let token = Token::of(layout.cluster().hash_seed(), bucket.as_str().as_bytes(), key.as_bytes());
            layout.owners(layout.partition_of(token)).collect()
        });
        owners.unwrap_or_default()
    }

    /// Puts a layout of `cluster` into use if it is newer; whether it is.
    pub(crate) fn adopt(&self, cluster: ClusterId, layout: Layout) -> bool {
        let is_news = layout.cluster() == cluster && layout.version() > self.version();
        if is_news {
            *self.layout.borrow_mut() = Some(Rc::new(layout));
        }
        is_news
    }

    /// Whether to ask a node for its layout after an answer. `epoch` is the version by which the node answered; it went
    /// `astray` if the node was asked as an owner and passed the request on. The caller asks if this is true, and says
    /// so when it is [`done`](Self::done).
    pub(crate) fn wants(&self, epoch: LayoutVersion, astray: bool, now: Instant) -> bool {
        let rested = self.asked.get().is_none_or(|asked| now >= asked + REST);
        let wants = !self.asking.get() && (epoch > self.version() || astray) && rested;
        if wants {
            self.asking.set(true);
        }
        wants
    }

    /// A node was asked.
    pub(crate) fn done(&self, now: Instant) {
        self.asking.set(false);
        self.asked.set(Some(now));
    }
}

/// Between two questions: a node that cannot show what it answers by must not be asked after every answer.
const REST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_asked_for_when_it_is_old_or_led_astray_and_not_too_often() {
        let (routes, now) = (Routes::default(), crate::clock::now());
        assert!(!routes.wants(LayoutVersion::NONE, false, now));
        assert!(routes.wants(LayoutVersion(1), false, now));
        assert!(!routes.wants(LayoutVersion(2), true, now), "a question is under way");
        routes.done(now);
        assert!(!routes.wants(LayoutVersion(2), true, now), "too soon");
        assert!(routes.wants(LayoutVersion::NONE, true, now + REST));
    }
}
