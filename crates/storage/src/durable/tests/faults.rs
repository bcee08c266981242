//! The engine on a log whose disk fails, fills up, or takes its time.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::files::{FaultyFiles, Files, LogFile, Unsynced, WriteFault};

pub(super) fn open_on(home: &Directory, disk: &FaultyFiles) -> Result<DurableEngine, StorageError> {
    open_with(home, disk, small())
}

fn open_with(home: &Directory, disk: &FaultyFiles, options: Options) -> Result<DurableEngine, StorageError> {
    let disk = disk.clone();
    let log_files: OpenFiles = Arc::new(move |_: &Path| Ok(Arc::new(disk.clone()) as Arc<dyn Files>));
    let surroundings = Surroundings { log_files, ..Surroundings::default() };
    DurableEngine::open_in(&home.path(), options, surroundings)
}

#[test]
fn a_failed_fsync_poisons_and_what_it_left_shows_at_the_next_open() {
    for kept in [Unsynced::Lost, Unsynced::Kept] {
        let (home, disk) = (Directory::new(), FaultyFiles::new(1));
        let engine = open_on(&home, &disk).unwrap();
        engine.commit(&[put("a", "1")], Durability::Synced).unwrap();
        disk.fail_next_sync();
        let first = engine.commit(&[put("b", "2")], Durability::Synced).unwrap_err();
        assert!(matches!(first, StorageError::Io { .. }), "{first}");
        let cause = first.to_string();
        let poisoned = StorageError::Poisoned { cause };
        assert_eq!(engine.commit(&[put("c", "3")], Durability::Buffered), Err(poisoned.clone()));
        assert_eq!(engine.get(Space::Data, b"a"), Err(poisoned.clone()));
        assert!(engine.close().is_err());
        drop(engine);

        disk.crash(kept);
        let engine = open_on(&home, &disk).unwrap();
        assert!(!engine.report().has_losses(), "{}", engine.report());
        assert_eq!(engine.get(Space::Data, b"a").unwrap(), Some("1".into()));
        assert_eq!(engine.get(Space::Data, b"c").unwrap(), None);
        engine.commit(&[put("d", "4")], Durability::Synced).unwrap();
    }
}

#[test]
fn a_failed_write_poisons() {
    for fault in [WriteFault::NoSpace, WriteFault::Short, WriteFault::Io] {
        let (home, disk) = (Directory::new(), FaultyFiles::new(2));
        let engine = open_on(&home, &disk).unwrap();
        engine.commit(&[put("a", "1")], Durability::Synced).unwrap();
        disk.fail_next_write(fault);
        assert!(engine.commit(&[put("b", "2")], Durability::Synced).is_err(), "{fault:?}");
        assert!(matches!(engine.get(Space::Data, b"a"), Err(StorageError::Poisoned { .. })), "{fault:?}");
        drop(engine);
        disk.crash(Unsynced::Kept);
        let engine = open_on(&home, &disk).unwrap();
        assert!(!engine.report().has_losses(), "{fault:?}: {}", engine.report());
        assert_eq!(engine.get(Space::Data, b"a").unwrap(), Some("1".into()), "{fault:?}");
    }
}

#[test]
fn a_full_disk_refuses_whole_submissions_and_takes_more_when_there_is_room() {
    let (home, disk) = (Directory::new(), FaultyFiles::new(3));
    let engine = open_on(&home, &disk).unwrap();
    let value = Bytes::from(vec![7; 200 << 10]);
    engine.commit(&[put(vec![0], value.clone())], Durability::Synced).unwrap();
    disk.set_full(true);
    let mut taken = 1u8;
    let refused = loop {
        match engine.commit(&[put(vec![taken], value.clone())], Durability::Synced) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StorageError::NoSpace { .. }), "{refused}");
    assert!(taken > 1, "what was prepared can be used: {taken}");
    assert_eq!(engine.get(Space::Data, &[taken]).unwrap(), None);
    for n in 0..taken {
        assert_eq!(engine.get(Space::Data, &[n]).unwrap(), Some(value.clone()));
    }
    disk.set_full(false);
    engine.commit(&[put(vec![taken], value.clone())], Durability::Synced).unwrap();
    drop(engine);
    let engine = open_on(&home, &disk).unwrap();
    assert!(!engine.report().has_losses(), "{}", engine.report());
    assert_eq!(engine.get(Space::Data, &[taken]).unwrap(), Some(value));
}

/// Power cuts at every step of a small story: what was answered as synced is there, nothing else is reported lost.
#[test]
fn no_power_cut_takes_what_was_answered() {
    for seed in 0..40 {
        let (home, disk) = (Directory::new(), FaultyFiles::new(seed));
        for life in 0..4u8 {
            let engine = open_on(&home, &disk).unwrap();
            assert!(!engine.report().has_losses(), "seed {seed}, life {life}: {}", engine.report());
            for earlier in 0..life {
                for n in 0..20u8 {
                    let found = engine.get(Space::Data, &[earlier, n]).unwrap();
                    assert_eq!(found, Some(vec![n; 700].into()), "seed {seed}, life {life}, {earlier} {n}");
                }
            }
            for n in 0..20u8 {
                engine.commit(&[put(vec![life, n], vec![n; 700])], Durability::Synced).unwrap();
            }
            // On its way when the power goes.
            let _unanswered = engine.stage(vec![put(vec![99], vec![life; 9_000])], Durability::Synced);
            disk.crash(Unsynced::Torn);
            drop(engine);
        }
    }
}

#[test]
fn what_a_node_must_know_of_itself_is_synced_in_every_mode() {
    let (home, disk) = (Directory::new(), FaultyFiles::new(5));
    let engine = open_with(&home, &disk, Options { sync: SyncMode::Os, ..small() }).unwrap();
    let mut batch = Batch::new();
    batch.put(Space::Meta, "suspect", "everything");
    engine.commit(&[batch], Durability::Synced).unwrap();
    engine.commit(&[put("a", "1")], Durability::Synced).unwrap();
    // Upkeep with nothing to do, as after each start, pays for no sync either.
    engine.with_store(|store| store.flush(false).and_then(|()| store.apply_tombstones())).unwrap();
    disk.crash(Unsynced::Lost);
    drop(engine);
    let engine = open_on(&home, &disk).unwrap();
    assert_eq!(engine.get(Space::Meta, b"suspect").unwrap(), Some("everything".into()));
    assert_eq!(engine.get(Space::Data, b"a").unwrap(), None, "the rest was left to the system");
    assert!(engine.report().has_losses(), "and its answer is known to have been given");
}

#[test]
fn no_table_holds_what_a_power_cut_takes_from_the_log() {
    let (home, disk) = (Directory::new(), FaultyFiles::new(8));
    let engine = open_with(&home, &disk, Options { write_buffer_bytes: 16 << 10, ..small() }).unwrap();
    let row = |n: u32| put(n.to_be_bytes().to_vec(), vec![3; 1 << 10]);
    let tables =
        || engine.with_store(|store| Ok(store.trees.of(Space::Data).published().table_bytes())).unwrap();
    let mut rows = (0..).take_while(|_| tables() == 0);
    rows.by_ref().for_each(|n| engine.commit(&[row(n)], Durability::Buffered).unwrap());
    disk.crash(Unsynced::Lost);
    drop(engine);
    let engine = open_on(&home, &disk).unwrap();
    // Batches acknowledged unsynced may be gone, and are said to be; nothing of them is in a table.
    assert_eq!(engine.report().log_behind, None, "{}", engine.report());
    assert!(engine.get(Space::Data, &0u32.to_be_bytes()).unwrap().is_some(), "there was a table");
}

#[test]
fn a_panic_in_a_thread_of_the_store_poisons_instead_of_leaving_others_to_wait() {
    let (home, disk) = (Directory::new(), FaultyFiles::new(6));
    let engine = open_on(&home, &disk).unwrap();
    engine.submit(vec![put("a", "1")], Durability::Synced, Box::new(|_| panic!("a mistake")));
    // Those that were on their way hear of it an instant before the store does.
    let failure = (0..).find_map(|_: u64| {
        drop(engine.commit(&[put("b", "2")], Durability::Synced));
        engine.failure()
    });
    assert!(matches!(failure, Some(StorageError::Poisoned { .. })));
    assert!(engine.close().is_err());
}

/// Files whose fsyncs wait for a word.
#[derive(Debug)]
struct Gated {
    disk: FaultyFiles,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    /// An fsync has begun.
    begun: Mutex<Sender<()>>,
    /// It may end.
    go: Mutex<Receiver<()>>,
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn LogFile>,
    gate: Arc<Gate>,
}

impl Files for Gated {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(GatedFile { file: self.disk.create(name, length)?, gate: self.gate.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(GatedFile { file: self.disk.open(name)?, gate: self.gate.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
}

impl LogFile for GatedFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let told = self.gate.begun.lock().unwrap().send(());
        if told.is_ok() {
            // The other end is gone: no more waiting.
            let _ = self.gate.go.lock().unwrap().recv();
        }
        self.file.sync_data()
    }
}

#[test]
fn reads_go_on_and_the_next_group_is_under_way_while_an_fsync_is() {
    let home = Directory::new();
    open_on(&home, &FaultyFiles::new(0)).unwrap();
    let (begun, fsyncs) = channel();
    let (go, gate) = channel();
    let gate = Arc::new(Gate { begun: Mutex::new(begun), go: Mutex::new(gate) });
    let disk = FaultyFiles::new(4);
    let log_files: OpenFiles = Arc::new(move |_: &Path| {
        Ok(Arc::new(Gated { disk: disk.clone(), gate: gate.clone() }) as Arc<dyn Files>)
    });
    let surroundings = Surroundings { log_files, ..Surroundings::default() };
    let path = home.path();
    let opening = std::thread::Builder::new()
        .spawn(move || DurableEngine::open_in(&path, small(), surroundings).unwrap())
        .unwrap();
    while !opening.is_finished() {
        pass(&fsyncs, &go);
    }
    let engine = opening.join().unwrap();
    while pass(&fsyncs, &go) {}

    let first = engine.stage(vec![put("a", "1")], Durability::Synced);
    fsyncs.recv().unwrap();
    assert_eq!(engine.get(Space::Data, b"a").unwrap(), None, "not before it is durable");
    let second = engine.stage(vec![put("b", "2")], Durability::Synced);
    go.send(()).unwrap();
    // The second group's fsync is under way, and the first is answered all the same.
    fsyncs.recv().unwrap();
    first.wait().unwrap();
    assert_eq!(engine.get(Space::Data, b"a").unwrap(), Some("1".into()));
    assert_eq!(engine.get(Space::Data, b"b").unwrap(), None);
    go.send(()).unwrap();
    second.wait().unwrap();
    drop((fsyncs, go));
}

/// Lets one fsync pass, if there is one within a moment.
fn pass(fsyncs: &Receiver<()>, go: &Sender<()>) -> bool {
    let begun = fsyncs.recv_timeout(Duration::from_millis(50)).is_ok();
    begun && go.send(()).is_ok()
}
