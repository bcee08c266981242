//! Messages that are sent arrive.

use super::*;
use crate::{Channel, ChannelInbox, Dialer};

#[test]
fn frames_cross_in_every_lane_and_in_both_directions() {
    run(async |authority: Authority| {
        let (one, two) = pair(&authority).await;
        let classes = [Class::Control, Class::Foreground, Class::Background, Class::Datagram];
        for (class, request) in classes.into_iter().zip(1..) {
            assert_eq!(one.send(2, class, &merge(request, 1_000)), Sent::Queued);
            assert_eq!(two.send(1, class, &merge(request, 1_000)), Sent::Queued);
        }
        for node in [&one, &two] {
            let mut frames = node.inbox.frames(4).await;
            frames.sort_by_key(|frame| frame.exchange);
            let expected: Vec<_> = (1..=4).map(|request| merge(request, 1_000)).collect();
            assert_eq!(frames, expected);
            let counters = node.transport.counters();
            assert_eq!((counters.frames_in.get(), counters.frames_out.get()), (4, 4));
            assert_eq!((counters.queued_frames.get(), counters.queued_bytes.get()), (0, 0));
        }
    });
}

#[test]
fn large_messages_and_large_datagrams_arrive_whole() {
    run(async |authority: Authority| {
        let (one, two) = pair(&authority).await;
        assert_eq!(one.send(2, Class::Foreground, &merge(1, 20 << 20)), Sent::Queued);
        assert_eq!(one.send(2, Class::Datagram, &merge(2, 30_000)), Sent::Queued);
        assert_eq!(one.send(2, Class::Background, &merge(3, 100_000)), Sent::Queued);
        let mut frames = two.inbox.frames(3).await;
        frames.sort_by_key(|frame| frame.exchange);
        assert!(frames == [merge(1, 20 << 20), merge(2, 30_000), merge(3, 100_000)]);
    });
}

#[test]
fn a_lane_keeps_order_over_many_frames() {
    run(async |authority: Authority| {
        let (one, two) = pair(&authority).await;
        for request in 1..=3_000 {
            assert_eq!(one.send(2, Class::Background, &merge(request, 700)), Sent::Queued);
        }
        let frames = two.inbox.frames(3_000).await;
        assert!(
            frames.iter().zip(1..).all(|(frame, request)| frame.exchange == ExchangeId::from_bits(request))
        );
        assert!(two.inbox.batches.get() < 3_000, "frames that arrive together are delivered together");
    });
}

#[test]
fn two_dials_at_once_lose_nothing_and_the_surplus_can_go() {
    run(async |authority: Authority| {
        let (one, two) = (Node::new(&authority, 1), Node::new(&authority, 2));
        one.dial(&two);
        two.dial(&one);
        while one.transport.links().len() < 2 || two.transport.links().len() < 2 {
            tokio::task::yield_now().await;
        }
        let exchange = |from: u128| {
            for request in from..from + 100 {
                assert_eq!(one.send(2, Class::Foreground, &merge(request, 50)), Sent::Queued);
                assert_eq!(two.send(1, Class::Foreground, &merge(request, 50)), Sent::Queued);
            }
        };
        exchange(0);
        // Only the higher node has a surplus: what the lower node dialed is sent on by both.
        assert!(one.transport.surplus(NodeId::from_bits(2)).is_empty());
        let surplus = two.transport.surplus(NodeId::from_bits(1));
        assert_eq!(surplus.len(), 1);
        let other_end = one.transport.links().remove(1);
        for request in 300..400 {
            assert_eq!(surplus[0].send(Class::Background, &merge(request, 9_000)), Sent::Queued);
            assert_eq!(other_end.send(Class::Control, &merge(request, 90_000)), Sent::Queued);
        }
        surplus[0].retire();
        exchange(100);
        while one.transport.links().len() > 1 || two.transport.links().len() > 1 {
            tokio::task::yield_now().await;
        }
        exchange(200);
        for node in [&one, &two] {
            assert_eq!(node.inbox.frames(400).await.len(), 400);
            let ups = node.inbox.told.borrow().iter().filter(|told| matches!(told, Told::Up(_))).count();
            assert_eq!(ups, 1);
            assert!(!node.inbox.told.borrow().iter().any(|told| matches!(told, Told::Down(..))));
        }
    });
}

#[derive(Default)]
struct Replies {
    frames: RefCell<Vec<Envelope>>,
    news: Notify,
}

impl ChannelInbox for Replies {
    fn frame(&self, envelope: Envelope) {
        self.frames.borrow_mut().push(envelope);
        self.news.notify_one();
    }

    fn gone(&self, _reason: &str) {
        self.news.notify_one();
    }
}

async fn client(authority: &Authority, node: &Node) -> (Dialer, Channel, Rc<Replies>) {
    let dialer = Dialer::bind(&authority.client_credentials(), node.addr()).unwrap();
    let replies = Rc::new(Replies::default());
    let channel = dialer.connect(node.addr(), ClusterId::NONE, replies.clone()).await.unwrap();
    (dialer, channel, replies)
}

#[test]
fn a_client_asks_and_is_answered_until_it_goes() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1);
        let (_dialer, channel, replies) = client(&authority, &node).await;
        assert_eq!(channel.node().node, NodeId::from_bits(1));
        assert_eq!(channel.send(&merge(1, 10)), Sent::Queued);
        let from = |told: &Told| {
            if let Told::Client(id, _) = told { Some(*id) } else { None }
        };
        let id = node.inbox.first(from).await;
        assert_eq!(node.transport.reply(id, &merge(1, 200_000)), Sent::Queued);
        replies.news.notified().await;
        assert_eq!(*replies.frames.borrow(), [merge(1, 200_000)]);
        drop(channel);
        node.inbox.first(|told| (*told == Told::Gone(id)).then_some(())).await;
        assert_eq!(node.transport.reply(id, &merge(1, 10)), Sent::NotConnected);
    });
}

#[test]
fn who_leaves_says_so_and_still_answers() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1);
        let (_dialer, channel, replies) = client(&authority, &node).await;
        assert_eq!(channel.send(&merge(1, 10)), Sent::Queued);
        let from = |told: &Told| {
            if let Told::Client(id, _) = told { Some(*id) } else { None }
        };
        let id = node.inbox.first(from).await;
        assert!(channel.is_usable());
        node.transport.leave("upgrade");
        assert_eq!(node.transport.reply(id, &merge(1, 10)), Sent::Queued);
        while replies.frames.borrow().len() < 2 {
            replies.news.notified().await;
        }
        assert!(!channel.is_usable());
        assert_eq!(replies.frames.borrow()[1], merge(1, 10));
    });
}
