//! Ends of several releases.

use starling_wire::hello::ProtocolGap;

use super::*;
use crate::{Channel, ChannelInbox, Dialer};

const TODAY: (u16, u16) = PROTOCOLS;
const LATER: (u16, u16) = (TODAY.1 + 1, TODAY.1 + 2);

fn node_of(authority: &Authority, id: u64, protocols: (u16, u16)) -> Node {
    let node = Node::new(authority, id);
    node.inbox.hello.borrow_mut().protocols = protocols;
    node
}

struct Deaf;

impl ChannelInbox for Deaf {
    fn frame(&self, _: Envelope) {}
    fn gone(&self, _: &str) {}
}

async fn client_of(authority: &Authority, node: &Node) -> Result<Channel, GreetingError> {
    let dialer = Dialer::bind(&authority.client_credentials(), node.addr()).unwrap();
    dialer.connect(node.addr(), ClusterId::NONE, Rc::new(Deaf)).await
}

#[test]
fn both_ends_speak_the_lower_of_their_newest_versions() {
    run(async |authority: Authority| {
        // Said by the release before, and by one that speaks more.
        for (theirs, spoken) in [((TODAY.0 - 1, TODAY.0), TODAY.0), ((TODAY.1, TODAY.1 + 4), TODAY.1)] {
            let (one, two) = (Node::new(&authority, 1), node_of(&authority, 2, theirs));
            assert_eq!(one.transport.protocol(NodeId::from_bits(2)), None);
            one.dial(&two);
            one.inbox.up(2).await;
            two.inbox.up(1).await;
            assert_eq!(one.transport.protocol(NodeId::from_bits(2)), Some(spoken));
            assert_eq!(two.transport.protocol(NodeId::from_bits(1)), Some(spoken));
            assert_eq!(client_of(&authority, &two).await.unwrap().protocol(), spoken);
        }
    });
}

#[test]
fn ends_without_a_common_version_say_who_is_to_be_upgraded_and_leave_each_other_alone() {
    run(async |authority: Authority| {
        let (one, two) = (Node::new(&authority, 1), node_of(&authority, 2, LATER));
        one.dial(&two);
        let error = one.inbox.failed().await;
        assert_eq!(error, GreetingError::Versions(ProtocolGap { ours: TODAY, theirs: LATER }));
        assert!(error.to_string().contains("upgrade this end"), "{error}");
        two.dial(&one);
        let error = two.inbox.failed().await;
        assert_eq!(error, GreetingError::Versions(ProtocolGap { ours: LATER, theirs: TODAY }));
        assert!(error.to_string().contains("upgrade the other end"), "{error}");
        for (from, to) in [(&one, &two), (&two, &one)] {
            from.dial(to);
            assert!(from.transport.is_dialing(to.addr()), "it rests: the dial before is not over");
            assert_eq!(from.transport.counters().dials_failed.get(), 1);
        }
        let client = client_of(&authority, &two).await;
        let gap = ProtocolGap { ours: TODAY, theirs: LATER };
        assert_eq!(client.map(|_| ()), Err(GreetingError::Versions(gap)));
    });
}
