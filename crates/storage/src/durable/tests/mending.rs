//! Damaged tables, mended while the store is open and before.

use super::damage::Files;
use super::*;
use crate::excavate;

const ROWS: u32 = 3_000;
const LIMIT: ScanLimit = ScanLimit { rows: 99_999, bytes: 64 << 20 };

fn key(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

/// Not to be compressed to nothing.
fn value(n: u32, round: u32) -> Vec<u8> {
    (0..60u32)
        .flat_map(|i| (n.wrapping_mul(2_654_435_761) ^ i.wrapping_mul(40_503) ^ round).to_be_bytes())
        .collect()
}

/// A store with old tables of all rows in the last level, and a younger one of every third.
fn filled() -> (Directory, DurableEngine) {
    let mut home = Directory::new();
    let engine = home.open();
    fill(&engine, 1, 0);
    engine.compact().unwrap();
    fill(&engine, 3, 1);
    (home, engine)
}

fn fill(engine: &DurableEngine, step: usize, round: u32) {
    for n in (0..ROWS).step_by(step) {
        engine.commit(&[put(key(n), value(n, round))], Durability::Buffered).unwrap();
    }
    engine.flush().unwrap();
}

fn expected(n: u32) -> Bytes {
    value(n, u32::from(n.is_multiple_of(3))).into()
}

fn tables(home: &Directory) -> Vec<PathBuf> {
    let dir = home.path().join("tables/data/tables");
    let mut tables: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    tables.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap());
    tables
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// As the shell does: what was told is noted by the node, and the store may go on.
fn mend(engine: &DurableEngine) -> Vec<RowRange> {
    engine.compact().unwrap();
    let told = engine.take_damage();
    engine.damage_noted();
    engine.compact().unwrap();
    told
}

/// Rows outside of `lost` are all there; inside, what is there is a version that was written.
fn check(engine: &DurableEngine, lost: &[RowRange]) -> usize {
    let is_lost = |n: u32| lost.iter().any(|range| range.contains(&key(n)));
    let page = engine.scan(Space::Data, &RowRange::all(), LIMIT).unwrap();
    assert_eq!(page.damaged, []);
    for n in 0..ROWS {
        let found = engine.get(Space::Data, &key(n)).unwrap();
        let scanned = page.rows.iter().find(|(found, _)| *found == key(n)).map(|(_, value)| value.clone());
        assert_eq!(found, scanned, "row {n}");
        match is_lost(n) {
            true => {
                assert!(found.is_none_or(|found| found == value(n, 0) || found == value(n, 1)), "row {n}")
            }
            false => assert_eq!(found, Some(expected(n)), "row {n}"),
        }
    }
    (0..ROWS).filter(|n| is_lost(*n)).count()
}

#[test]
fn a_damaged_table_is_mended_in_its_place_once_its_loss_is_noted() {
    for young in [false, true] {
        let (mut home, engine) = filled();
        let tables = tables(&home);
        let table = if young { tables.last() } else { tables.first() }.unwrap();
        let before = fs::read(table).unwrap();
        engine.close().unwrap();
        flip(table, before.len() as u64 / 3);
        let engine = home.open();
        assert!(!engine.report().has_losses(), "nobody has looked yet");
        let page = engine.scan(Space::Data, &RowRange::all(), LIMIT).unwrap();
        assert_eq!(page.damaged.len(), 1);
        engine.compact().unwrap();
        assert_eq!(engine.sizes().damaged_tables, 1);
        let is_unreadable = |n| engine.get(Space::Data, &key(n)).is_err();
        assert!((0..ROWS).any(is_unreadable), "not absent before anybody has noted that");

        let lost = mend(&engine);
        assert_eq!((lost.len(), engine.sizes().damaged_tables, engine.sizes().ruins), (1, 0, 1));
        let count = check(&engine, &lost);
        assert!(count > 0 && count < ROWS as usize / 4, "young {young}: {count} rows of {ROWS}");
        assert!(
            !tables.iter().all(|path| path.exists()),
            "the damaged file is not among the tables any more"
        );
        fill(&engine, 3, 1);
        engine.compact().unwrap();
        drop(engine);
        let engine = home.open();
        assert!(!engine.report().has_losses());
        check(&engine, &lost);
        drop(engine);
        // The ruin holds what the file held, damage included.
        let ruin = home.path().join("tables/data.ruin-1");
        let file = ruin.join("tables").join(table.file_name().unwrap());
        assert_eq!(fs::read(file).unwrap().len(), before.len());
        let mut rows = 0;
        let found = excavate::<StorageError>(&home.path(), &ruin, &mut |_, _, _| {
            rows += 1;
            Ok(())
        });
        assert!(found.unwrap().rows == rows && rows > 0);
    }
}

/// A flip in a filter, or in what nobody reads, costs no row: none is told as lost.
#[test]
fn wherever_a_byte_flips_in_a_table_all_rows_but_a_part_are_kept() {
    let (mut home, engine) = filled();
    engine.close().unwrap();
    let files = Files::of(&home.path());
    let table = tables(&home).first().unwrap().clone();
    let length = fs::metadata(&table).unwrap().len();
    for part in 0..12 {
        files.restore(&home.path());
        flip(&table, part * (length - 1) / 11);
        let engine = home.open();
        let lost_at_open = engine.report().lost_ranges.clone();
        assert!(!engine.report().may_have_lost_anything(), "part {part}: {}", engine.report());
        engine.with_store(|store| Ok(store.clone())).unwrap().casualties.suspect_tree(Space::Data);
        let lost = [mend(&engine), lost_at_open].concat();
        assert_eq!(engine.sizes().damaged_tables, 0, "part {part}");
        check(&engine, &lost);
        drop(engine);
        let engine = home.open();
        check(&engine, &lost);
    }
}

#[test]
fn a_table_that_cannot_be_opened_is_left_out_and_its_keys_are_lost_until_that_is_noted() {
    let (mut home, engine) = filled();
    engine.close().unwrap();
    let table = tables(&home).pop().unwrap();
    let length = fs::metadata(&table).unwrap().len();
    // Somewhere in its last bytes is what an open cannot do without.
    (1..=40).for_each(|back| flip(&table, length - back));
    for _ in 0..2 {
        let engine = home.open();
        let report = engine.report();
        assert!(report.has_losses() && !report.may_have_lost_anything(), "{report}");
        assert_eq!(engine.sizes().ruins, 1, "the others stay where they are");
        check(&engine, &report.lost_ranges.clone());
    }
    let engine = home.open();
    engine.acknowledge_losses().unwrap();
    drop(engine);
    let engine = home.open();
    assert!(!engine.report().has_losses());
    assert_eq!(engine.get(Space::Data, &key(3)).unwrap(), Some(value(3, 0).into()), "an older version");
}

#[test]
fn a_damaged_table_that_compaction_meets_does_not_end_compaction() {
    let (mut home, engine) = filled();
    let table = tables(&home).first().unwrap().clone();
    engine.close().unwrap();
    let length = fs::metadata(&table).unwrap().len();
    flip(&table, length / 2);
    let engine = home.open();
    let mut lost = Vec::new();
    for _ in 0..12 {
        fill(&engine, 3, 1);
        lost.extend(mend(&engine));
    }
    assert!(!lost.is_empty() && engine.sizes().damaged_tables == 0 && engine.sizes().l0_runs < 6);
    check(&engine, &lost);
}

#[test]
fn more_damage_than_was_noted_is_told_before_it_is_mended() {
    let (mut home, engine) = filled();
    let table = tables(&home).first().unwrap().clone();
    engine.close().unwrap();
    let length = fs::metadata(&table).unwrap().len();
    flip(&table, length / 3);
    let engine = home.open();
    let _ = engine.scan(Space::Data, &RowRange::all(), LIMIT).unwrap();
    engine.compact().unwrap();
    let first = engine.take_damage();
    // It rots on.
    flip(&table, length / 3 * 2);
    engine.damage_noted();
    engine.compact().unwrap();
    assert_eq!((first.len(), engine.sizes().damaged_tables), (1, 1));
    let lost = mend(&engine);
    assert!(lost.len() == 2 && engine.sizes().damaged_tables == 0, "{lost:?}");
    check(&engine, &lost);
}
