//! The places of one door: who holds them, and whose is given away when more clients come than there is room for.
//!
//! Nothing is taken from anybody while there is room. Then the address with most places gives up the one that has been
//! idle longest, so that an address may hold all places but those that others ask for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The places of a door.
#[derive(Debug)]
pub(crate) struct Places {
    /// Connections at a time.
    most: usize,
    /// Beyond them: connections that get in for a moment, to ask how the node is.
    spare: usize,
    taken: RefCell<BTreeMap<u64, Rc<Place>>>,
    next: Cell<u64>,
}

/// The answer to one that wants in.
#[derive(Debug)]
pub(crate) enum Admission {
    /// There is a place.
    Taken(Seat),
    /// A place may be had at this moment: the one that has been idle longest has been so for too short a time.
    Later(Instant),
    /// No place can be had.
    Full,
}

/// The activity of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// Nothing is asked.
    Idle,
    /// A part of a request has arrived.
    Asking,
    /// An answer is due, or under way to the client.
    Waiting,
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    origin: Origin,
    spare: Cell<bool>,
    state: Cell<(Use, Instant)>,
    /// Whether anything was ever asked here.
    used: Cell<bool>,
    lost: Cell<bool>,
    told: Notify,
}

impl Place {
    /// A place without a door, for a connection that is served by itself.
    #[cfg(test)]
    pub(crate) fn alone() -> Rc<Self> {
        Rc::new(Self::of(Origin(0), false))
    }

    fn of(origin: Origin, spare: bool) -> Self {
        let (state, used, lost) = (Cell::new((Use::Idle, now())), Cell::new(false), Cell::new(false));
        Self { origin, spare: Cell::new(spare), state, used, lost, told: Notify::new() }
    }

    /// Notes what the connection does now.
    pub(crate) fn is(&self, doing: Use) {
        if self.state.get().0 != doing {
            self.state.set((doing, now()));
            self.used.set(true);
        }
    }

    /// The activity of the connection.
    pub(crate) fn what(&self) -> Use {
        self.state.get().0
    }

    /// Completes when the place is given to another.
    pub(crate) async fn lost(&self) {
        while !self.lost.get() {
            self.told.notified().await;
        }
    }

    /// From when on it may be given away. One that was used just now is spared: clients that come and go would only drive
    /// each other out.
    fn ripe(&self) -> Instant {
        let (doing, since) = self.state.get();
        if doing == Use::Idle && !self.used.get() { since } else { since + SPARED }
    }

    fn give_away(&self) {
        self.lost.set(true);
        self.told.notify_one();
    }
}

/// A place that is held; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Rc<Places>,
    number: u64,
    /// The place.
    pub(crate) place: Rc<Place>,
}

impl Seat {
    /// Whether this is one of the few beyond the limit.
    pub(crate) fn is_spare(&self) -> bool {
        self.place.spare.get()
    }

    /// Makes a spare place an ordinary one, if one can be had soon.
    pub(crate) async fn settle(&self) -> bool {
        let patience = now() + SPARED;
        while self.is_spare() {
            if self.places.make_room(self.place.origin, now()).is_ok() {
                self.place.spare.set(false);
            } else if now() >= patience {
                return false;
            } else {
                tokio::time::sleep(SPARED / 10).await;
            }
        }
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.taken.borrow_mut().remove(&self.number);
    }
}

impl Places {
    /// So many, and so many `spare` ones beyond them.
    pub(crate) fn new(most: usize, spare: usize) -> Rc<Self> {
        Rc::new(Self { most, spare, taken: RefCell::default(), next: Cell::new(0) })
    }

    /// A place for a client from `addr`.
    pub(crate) fn admit(self: &Rc<Self>, addr: SocketAddr) -> Admission {
        let origin = Origin::of(addr.ip());
        let spare = match self.make_room(origin, now()) {
            Ok(()) => false,
            Err(_) if self.spares() < self.spare => true,
            Err(Some(later)) => return Admission::Later(later),
            Err(None) => return Admission::Full,
        };
        let number = self.next.replace(self.next.get() + 1);
        let place = Rc::new(Place::of(origin, spare));
        self.taken.borrow_mut().insert(number, place.clone());
        Admission::Taken(Seat { places: self.clone(), number, place })
    }

    fn spares(&self) -> usize {
        self.taken.borrow().values().filter(|place| place.spare.get()).count()
    }

    /// Sees to it that there is room for one more from `origin`; otherwise says when there may be.
    fn make_room(&self, origin: Origin, now: Instant) -> Result<(), Option<Instant>> {
        let taken = self.taken.borrow();
        if taken.len() < self.most {
            return Ok(());
        }
        let places = taken.values().filter(|place| !place.spare.get() && !place.lost.get());
        if places.clone().count() < self.most {
            return Ok(());
        }
        let mut held = BTreeMap::<Origin, usize>::new();
        places.clone().for_each(|place| *held.entry(place.origin).or_default() += 1);
        let most = held.values().copied().max().unwrap_or(0);
        let own = held.get(&origin).copied().unwrap_or(0);
        let open = places.filter_map(|place| {
            let theirs = held.get(&place.origin).copied().unwrap_or(0);
            let (doing, since) = place.state.get();
            let rank = rank(doing, theirs, own, most)?;
            Some(((place.ripe() > now, rank, since), place))
        });
        let Some(((is_unripe, ..), place)) = open.min_by_key(|(order, _)| *order) else { return Err(None) };
        if is_unripe {
            return Err(Some(place.ripe()));
        }
        place.give_away();
        Ok(())
    }
}

/// In which order places are given up for one who has `own`, at a door where nobody has more than `most`; none: this one
/// is not. An answer that is due is waited for unless its address has more than its share.
fn rank(doing: Use, theirs: usize, own: usize, most: usize) -> Option<u8> {
    let is_greedy = theirs > own + 1;
    match doing {
        Use::Idle if theirs == most => Some(0),
        Use::Idle if is_greedy => Some(1),
        Use::Asking if is_greedy => Some(2),
        Use::Waiting if is_greedy => Some(3),
        _ => None,
    }
}

/// Where a client comes from: what one of them may hold, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Origin(u64);

impl Origin {
    /// An IPv4 address; of an IPv6 address the network, since a host has as many addresses in it as it likes.
    fn of(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Self(u64::from(addr.to_bits())),
            IpAddr::V6(addr) => Self((addr.to_bits() >> 64) as u64),
        }
    }
}

/// The clock of this crate: how long a client has been idle, and how long a connection has kept the thread.
#[expect(clippy::disallowed_methods, reason = "the shell's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A place is not given away sooner after its last use.
const SPARED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
