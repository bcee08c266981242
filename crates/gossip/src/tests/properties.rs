//! The invariants G1 to G6 (`ring-and-layout`, section 4) under drawn schedules of faults.

use std::time::Duration;

use proptest::prelude::*;

use super::world::World;
use crate::testing::node;
use crate::{Event, Notice, Status};

const SECOND: Duration = Duration::from_secs(1);
const MEMBERS: u64 = 5;

/// One thing the nemesis does.
#[derive(Debug, Clone)]
enum Fault {
    Crash(u64),
    Restart(u64),
    Leave(u64),
    Cut(u64),
    Heal,
    Pause(u64, u64),
    Disconnect(u64, u64),
    Wait(u64),
}

fn fault() -> impl Strategy<Value = Fault> {
    let member = || 1..=MEMBERS;
    prop_oneof![
        member().prop_map(Fault::Crash),
        member().prop_map(Fault::Restart),
        member().prop_map(Fault::Leave),
        (1..(1u64 << MEMBERS)).prop_map(Fault::Cut),
        Just(Fault::Heal),
        (member(), 1..6_000u64).prop_map(|(who, ms)| Fault::Pause(who, ms)),
        (member(), member()).prop_map(|(who, whom)| Fault::Disconnect(who, whom)),
        (1..8_000u64).prop_map(Fault::Wait),
    ]
}

struct Ordeal {
    world: World,
    generations: [u64; MEMBERS as usize + 1],
}

impl Ordeal {
    fn new(seed: u64, loss: f64) -> Self {
        let world = World::cluster(seed, loss, MEMBERS, 2 * SECOND);
        Self { world, generations: [1; MEMBERS as usize + 1] }
    }

    fn suffer(&mut self, fault: &Fault) {
        match *fault {
            Fault::Crash(who) => self.world.crash(who),
            Fault::Restart(who) => self.restart(who),
            Fault::Leave(who) => {
                self.world.tell(who, Event::Leave);
                self.world.run(Duration::from_millis(300));
                self.world.crash(who);
            }
            Fault::Cut(mask) => {
                let (left, right): (Vec<u64>, Vec<u64>) =
                    (1..=MEMBERS).partition(|m| mask >> (m - 1) & 1 == 1);
                self.world.cut(&left, &right);
            }
            Fault::Heal => self.world.heal(),
            Fault::Pause(who, ms) => self.world.pause(who, Duration::from_millis(ms)),
            Fault::Disconnect(who, whom) => self.world.tell(who, Event::Disconnected(node(whom))),
            Fault::Wait(ms) => self.world.run(Duration::from_millis(ms)),
        }
        self.world.run(Duration::from_millis(50));
    }

    fn restart(&mut self, who: u64) {
        let generation = &mut self.generations[who as usize];
        *generation += 1;
        let seeds: Vec<u64> = (1..=MEMBERS).collect();
        self.world.start(who, *generation, &seeds);
    }

    /// Heals, starts the nodes that are down, and waits for quiet.
    fn recover(&mut self) -> bool {
        self.world.heal();
        self.world.resume();
        for who in 1..=MEMBERS {
            if !self.world.nodes.contains_key(&who) {
                self.restart(who);
            }
        }
        // Old verdicts may still be on their way.
        self.world.run(5 * SECOND);
        self.world.run_for(120 * SECOND, World::agrees)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// G4, and with it G2: after any faults, all are alive in all tables once all is well; and it stays so.
    #[test]
    fn views_are_equal_after_the_storm(
        seed: u64,
        loss in 0.0..0.2f64,
        faults in prop::collection::vec(fault(), 0..12),
    ) {
        let mut ordeal = Ordeal::new(seed, loss);
        faults.iter().for_each(|fault| ordeal.suffer(fault));
        ordeal.world.loss = 0.02;
        prop_assert!(ordeal.recover(), "views differ after two minutes of quiet");
        ordeal.world.notices.clear();
        ordeal.world.run(30 * SECOND);
        prop_assert_eq!(ordeal.world.convictions(), 0);
    }

    /// G1: the same seed and events give the same effects, to the byte.
    #[test]
    fn the_same_seed_tells_the_same_story(seed: u64, faults in prop::collection::vec(fault(), 0..6)) {
        let tell = |seed| {
            let mut ordeal = Ordeal::new(seed, 0.1);
            faults.iter().for_each(|fault| ordeal.suffer(fault));
            ordeal.world.trace
        };
        prop_assert_eq!(tell(seed), tell(seed));
        prop_assert_ne!(tell(seed), tell(seed ^ 1));
    }

    /// G3: no node is told Dead, Suspect or Alive of a member that left, until its next generation.
    #[test]
    fn left_is_final_for_a_generation(seed: u64, faults in prop::collection::vec(fault(), 0..12)) {
        let mut ordeal = Ordeal::new(seed, 0.1);
        faults.iter().for_each(|fault| ordeal.suffer(fault));
        let mut gone = std::collections::BTreeSet::new();
        for (_, who, notice) in &ordeal.world.notices {
            match notice {
                Notice::Left(node) => { gone.insert((*who, *node)); }
                Notice::Changed(info) | Notice::Joined(info) => { gone.remove(&(*who, info.node)); }
                Notice::Alive(node) | Notice::Suspect(node) | Notice::Dead(node) =>
                    prop_assert!(!gone.contains(&(*who, *node)), "{} hears {:?} after Left", who, notice),
                _ => {}
            }
        }
    }
}

/// G2: a live member that hears of its own suspicion refutes it, however high the incarnation.
#[test]
fn suspicion_of_the_living_is_refuted() {
    let mut world = World::cluster(1, 0.0, 4, 5 * SECOND);
    for incarnation in [1, 2, 50, 1 << 61, (1 << 62) - 1] {
        let claim = super::hostile::claim(3, 1, incarnation, Status::Suspect);
        world.notices.clear();
        super::hostile::whisper(&mut world, 1, claim);
        world.run(5 * SECOND);
        assert_eq!(world.convictions(), 0, "incarnation {incarnation}");
        assert!(world.agrees(), "incarnation {incarnation}");
        let word = world.nodes[&1].members().find(|member| member.info.node == node(3)).unwrap();
        assert_eq!(word.incarnation, incarnation + 1);
    }
}
