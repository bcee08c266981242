use super::*;

fn from(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 1_000))
}

fn seat(places: &Rc<Places>, host: u8) -> Seat {
    match places.admit(from(host)) {
        Admission::Taken(seat) => seat,
        other => panic!("{other:?}"),
    }
}

async fn pass() {
    tokio::time::advance(SPARED).await;
}

#[tokio::test(start_paused = true)]
async fn the_place_that_was_idle_longest_goes_first_and_none_while_there_is_room() {
    let places = Places::new(3, 0);
    let mut seats = Vec::new();
    for _ in 0..3 {
        seats.push(seat(&places, 1));
        pass().await;
    }
    seats[0].place.is(Use::Asking);
    seats[0].place.is(Use::Idle);
    pass().await;
    let newcomer = seat(&places, 1);
    let lost: Vec<_> = seats.iter().map(|seat| seat.place.lost.get()).collect();
    assert_eq!(lost, [false, true, false]);
    assert!(matches!(places.admit(from(1)), Admission::Taken(_)), "the next one after it");
    drop((newcomer, seats));
    assert!(places.taken.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_was_used_just_now_is_waited_for() {
    let places = Places::new(1, 0);
    let first = seat(&places, 1);
    first.place.is(Use::Asking);
    first.place.is(Use::Idle);
    let Admission::Later(when) = places.admit(from(1)) else { panic!("it was given away at once") };
    assert_eq!(when, now() + SPARED);
    first.place.is(Use::Waiting);
    pass().await;
    assert!(matches!(places.admit(from(1)), Admission::Full), "its own answers are waited for");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_holds_all_places_gives_them_up_to_others_whatever_it_does() {
    for (doing, own) in [(Use::Idle, true), (Use::Asking, false), (Use::Waiting, false)] {
        let places = Places::new(4, 0);
        let greedy: Vec<_> = (0..4).map(|_| seat(&places, 1)).collect();
        greedy.iter().for_each(|seat| seat.place.is(doing));
        pass().await;
        let other = seat(&places, 2);
        assert_eq!(greedy.iter().filter(|seat| seat.place.lost.get()).count(), 1, "{doing:?}");
        assert!(!other.place.lost.get());
        pass().await;
        let more = matches!(places.admit(from(1)), Admission::Taken(_));
        assert_eq!((more, other.place.lost.get()), (own, false), "{doing:?}: not at the cost of others");
    }
}

#[tokio::test(start_paused = true)]
async fn spare_places_are_few_and_become_ordinary_when_there_is_room() {
    let places = Places::new(1, 1);
    let first = seat(&places, 1);
    first.place.is(Use::Waiting);
    let spare = seat(&places, 1);
    assert!(spare.is_spare() && matches!(places.admit(from(1)), Admission::Full));
    assert!(!spare.settle().await);
    first.place.is(Use::Idle);
    assert!(spare.settle().await && !spare.is_spare() && first.place.lost.get());
}

#[test]
fn a_host_is_known_by_its_address_or_its_network() {
    let of = |text: &str| Origin::of(text.parse().unwrap());
    assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
}
