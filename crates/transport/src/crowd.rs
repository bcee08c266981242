//! Admission of connections: greetings under way are bounded for each address, and clients in number, so that neither takes the
//! room that peers need.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use tokio::time::Instant;

use crate::inbox::ClientId;
use crate::link::{Farewell, Link};

/// Greetings under way.
#[derive(Debug, Default)]
pub(crate) struct Greetings(RefCell<BTreeMap<IpAddr, usize>>);

/// One of them; over when dropped.
#[derive(Debug)]
pub(crate) struct Greeting {
    all: Rc<Greetings>,
    from: IpAddr,
}

impl Greetings {
    /// One more from `addr`, unless too many are under way from there.
    pub(crate) fn begin(self: &Rc<Self>, addr: SocketAddr) -> Option<Greeting> {
        let from = addr.ip();
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(from).or_default();
        (*count < EACH).then(|| {
            *count += 1;
            Greeting { all: self.clone(), from }
        })
    }

    /// How many are under way.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().values().sum()
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        let mut counts = self.all.0.borrow_mut();
        if let Some(count) = counts.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

/// Connected clients, each under a number that is never given again.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) links: BTreeMap<ClientId, Rc<Link>>,
    next: u64,
    most: usize,
}

impl Clients {
    /// Room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { links: BTreeMap::new(), next: 0, most }
    }

    /// Takes one more. If there is no room, the one that has been quiet longest makes some: it finds another node, or comes
    /// again when it has something to ask.
    pub(crate) fn take(&mut self, link: Rc<Link>) -> ClientId {
        let usable = || self.links.values().filter(|link| link.is_usable());
        if usable().count() >= self.most
            && let Some(quiet) = usable().min_by_key(|link| link.used())
        {
            quiet.retire();
            quiet.close(Farewell::Crowded, "the node has too many clients, and this one was quiet longest");
        }
        let id = ClientId(self.next);
        self.next += 1;
        self.links.insert(id, link);
        id
    }
}

/// When something was last sent or received.
pub(crate) type Used = Instant;

/// The moment of a use.
#[expect(clippy::disallowed_methods, reason = "the shell's clock")]
pub(crate) fn now() -> Used {
    Instant::now()
}

/// Greetings under way from one address.
const EACH: usize = 64;
