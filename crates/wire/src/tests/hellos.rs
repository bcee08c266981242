//! The greeting among versions.

use starling_types::Generation;

use super::*;
use crate::hello::{PROTOCOLS, ProtocolGap, common_protocol};

#[test]
fn ends_speak_the_lower_of_their_newest_versions_or_learn_who_is_to_be_upgraded() {
    for (ours, theirs, spoken) in
        [((2, 3), (2, 2), 2), ((2, 2), (2, 3), 2), ((2, 5), (3, 9), 5), ((3, 3), (1, 3), 3)]
    {
        assert_eq!(common_protocol(ours, theirs), Ok(spoken), "{ours:?} {theirs:?}");
    }
    let words = |ours, theirs| {
        let gap = common_protocol(ours, theirs).unwrap_err();
        assert_eq!(gap, ProtocolGap { ours, theirs });
        gap.to_string()
    };
    let older = "this end speaks protocol versions 2 to 3, the other 4 to 5: upgrade this end to a release that speaks one of the other's";
    assert_eq!(words((2, 3), (4, 5)), older);
    assert!(words((4, 5), (2, 3)).contains("upgrade the other end"));
    words((2, 3), (5, 1));
}

/// As releases wrote it that did not remember their starts: they speak versions 2 and 3, and pass over what is new.
#[test]
fn a_hello_without_a_lineage_is_understood() {
    assert_eq!(common_protocol(PROTOCOLS, (2, 3)), Ok(3));
    let Message::Hello(hello) = samples().remove(0) else { panic!() };
    let node = packed(&hello.node);
    assert_eq!(node[0], 0x9b, "so many fields");
    let lineage = packed(&hello.node.as_ref().unwrap().lineage).len();
    let node = &node[1..node.len() - lineage];
    let shorter = [
        &[0x94][..],
        &packed(&hello.protocols),
        &packed(&hello.cluster),
        &[0x9a],
        node,
        &packed(&hello.wall),
    ]
    .concat();
    let Message::Hello(read) = Envelope::decode(&framed(1, &shorter)).unwrap().message else { panic!() };
    let (read, said) = (read.node.unwrap(), hello.node.unwrap());
    assert!(read.lineage.is_empty() && read.generation == said.generation);
    assert!(
        read.misses(Generation::of(said.generation.count(), 1)),
        "it is another start, and counts as far"
    );
}

fn packed(value: &impl serde::Serialize) -> Vec<u8> {
    rmp_serde::to_vec(value).unwrap()
}

#[test]
fn a_hello_that_later_releases_made_longer_is_understood() {
    let message = samples().remove(0);
    let Message::Hello(hello) = &message else { panic!() };
    let node = packed(&hello.node);
    let more = packed(&("site", vec![Some(1)], 7));
    let longer = [
        &[0x96][..],
        &packed(&hello.protocols),
        &packed(&hello.cluster),
        &[0x9d],
        &node[1..],
        &more,
        &[0xc0],
        &packed(&hello.wall),
        &more,
        &[0xc3],
    ];
    let longer = longer.concat();
    assert_eq!(Envelope::decode(&framed(1, &longer)).unwrap().message, message);
    assert!(Envelope::decode(&framed(1, &[&longer[..], &[0]].concat())).is_err(), "and nothing behind it");
}
