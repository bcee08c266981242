//! Space that is given back because room is short.

use super::*;

const ROWS: u32 = 600;

fn key(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn value(n: u32) -> Vec<u8> {
    (0..1_000u32)
        .flat_map(|i| (n.wrapping_mul(2_654_435_761) ^ i.wrapping_mul(2_246_822_519)).to_be_bytes())
        .collect()
}

/// A store whose rows lie in the last level.
fn filled() -> (Directory, DurableEngine) {
    let mut home = Directory::new();
    let engine = home.open();
    for n in 0..ROWS {
        engine.commit(&[put(key(n), value(n))], Durability::Buffered).unwrap();
    }
    engine.flush().unwrap();
    engine.compact().unwrap();
    (home, engine)
}

fn table_bytes(engine: &DurableEngine) -> u64 {
    let sizes = engine.sizes();
    sizes.disk_bytes - sizes.log_bytes
}

#[test]
fn replaced_rows_give_their_space_back_when_room_is_short_and_not_before() {
    let (mut home, engine) = filled();
    let before = table_bytes(&engine);
    let snapshot = engine.snapshot().unwrap();
    for n in 0..ROWS - 100 {
        engine.commit(&[put(key(n), "deleted")], Durability::Buffered).unwrap();
    }
    engine.compact().unwrap();
    assert!(table_bytes(&engine) >= before, "nothing was short");
    engine.note_supply(Supply::Short);
    engine.compact().unwrap();
    let after = table_bytes(&engine);
    assert!(after < before / 3, "{before} bytes before, {after} after");
    let check = |engine: &DurableEngine| {
        for n in 0..ROWS {
            let expected = if n < ROWS - 100 { Bytes::from("deleted") } else { value(n).into() };
            assert_eq!(engine.get(Space::Data, &key(n)).unwrap(), Some(expected), "row {n}");
        }
    };
    check(&engine);
    drop(snapshot);
    drop(engine);
    let engine = home.open();
    assert!(!engine.report().has_losses());
    check(&engine);
}

/// Deletes of the store leave no row at all: the table goes without another in its place.
#[test]
fn a_table_none_of_whose_rows_is_alive_needs_no_room_to_go() {
    let (mut home, engine) = filled();
    for n in 0..ROWS {
        let mut batch = Batch::new();
        batch.delete(Space::Data, key(n));
        engine.commit(&[batch], Durability::Buffered).unwrap();
    }
    engine.note_supply(Supply::Short);
    engine.compact().unwrap();
    assert!(table_bytes(&engine) < 64 << 10, "{} bytes", table_bytes(&engine));
    drop(engine);
    let engine = home.open();
    let all = ScanLimit { rows: 9, bytes: 99 };
    assert_eq!(engine.scan(Space::Data, &RowRange::all(), all).unwrap().rows, []);
}
