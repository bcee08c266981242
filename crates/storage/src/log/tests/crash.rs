//! Any work, then any power cut: what was synced is there, nothing false is, and no loss is reported.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        batches: u64,
        bytes: usize,
    },
    Sync,
    /// Tables hold everything but the last so many synced batches.
    Release {
        but: u64,
    },
    Prepare,
    Full(bool),
    FailSync,
    FailWrite(WriteFault),
    Crash(Unsynced),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![Just(WriteFault::NoSpace), Just(WriteFault::Short), Just(WriteFault::Io)];
    let unsynced =
        prop_oneof![4 => Just(Unsynced::Torn), 1 => Just(Unsynced::Lost), 1 => Just(Unsynced::Kept)];
    prop_oneof![
        12 => (1u64..6, 0usize..2500).prop_map(|(batches, bytes)| Step::Append { batches, bytes }),
        6 => Just(Step::Sync),
        2 => (0u64..12).prop_map(|but| Step::Release { but }),
        1 => Just(Step::Prepare),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::FailSync),
        1 => fault.prop_map(Step::FailWrite),
        4 => unsynced.prop_map(Step::Crash),
    ]
}

/// A store and what is known of it.
struct World {
    files: FaultyFiles,
    meta: FaultyFiles,
    log: Log,
    watermark: Watermark,
    /// The payload of each batch; the first is batch 1. With those whose write failed.
    written: Vec<Vec<u8>>,
    synced: u64,
    flushed: u64,
    lives: u8,
}

impl World {
    fn new(seed: u64) -> Self {
        let (files, meta) = (FaultyFiles::new(seed), FaultyFiles::new(!seed));
        let (watermark, acknowledged) =
            Watermark::open(Arc::new(meta.clone()), STORE, &reading(&[])).unwrap();
        assert_eq!(acknowledged, None);
        let log = try_open(&files, Known::default()).unwrap().log;
        Self { files, meta, log, watermark, written: Vec::new(), synced: 0, flushed: 0, lives: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { batches, bytes } => self.append(batches, bytes),
            Step::Sync => {
                if self.log.sync().is_ok() {
                    self.synced = self.log.last().0;
                    self.watermark.record(Sequence(self.synced)).unwrap();
                }
            }
            Step::Release { but } => {
                let flushed = self.flushed.max(self.synced.saturating_sub(but));
                if self.log.release(Sequence(flushed)).is_ok() {
                    self.flushed = flushed;
                    assert!(!self.log.can_release(Sequence(flushed)));
                }
            }
            Step::Prepare => drop(self.log.spare_maker().prepare()),
            Step::Full(full) => self.files.set_full(full),
            Step::FailSync => self.files.fail_next_sync(),
            Step::FailWrite(fault) => self.files.fail_next_write(fault),
            Step::Crash(unsynced) => self.crash(unsynced),
        }
    }

    fn append(&mut self, batches: u64, bytes: usize) {
        let before = self.log.last().0 as usize;
        let mut group = self.log.group();
        let mut payloads = Vec::new();
        for batch in 0..batches {
            // A log opened again never writes the same.
            let payload =
                vec![self.lives ^ (before as u8 + batch as u8).rotate_left(3); bytes + batch as usize];
            group.push(bytes, |out| out.put_slice(&payload));
            payloads.push(payload);
        }
        match self.log.append(&group.freeze()) {
            Ok(()) => {
                assert_eq!(self.written.len(), before);
                self.written.append(&mut payloads);
            }
            Err(LogError::NoSpace { .. }) => assert_eq!(self.log.last().0 as usize, before),
            // Some of it may be there.
            Err(LogError::Io { .. }) => self.written.append(&mut payloads),
            Err(LogError::Failed { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn crash(&mut self, unsynced: Unsynced) {
        self.lives += 1;
        let failed = self.log.failure.is_some();
        self.files.crash(unsynced);
        self.meta.crash(unsynced);
        let (watermark, acknowledged) =
            Watermark::open(Arc::new(self.meta.clone()), STORE, &reading(&[])).unwrap();
        assert!(acknowledged.is_some());
        self.watermark = watermark;
        let flushed = Sequence(self.flushed);
        let opened = open(&self.files, Known { flushed, persisted: flushed, acknowledged });
        let last = opened.log.last().0;
        assert!(last >= self.synced, "{last} of {}: {}", self.synced, opened.findings);
        assert!(last as usize <= self.written.len());
        if unsynced == Unsynced::Kept && !failed {
            assert_eq!(last as usize, self.written.len());
            assert_eq!(opened.findings.torn_bytes, None);
        }
        assert_eq!(ranges(&opened.findings), [], "{}", opened.findings);
        assert_eq!(opened.sequences(), (self.flushed + 1..=last).collect::<Vec<_>>());
        for (sequence, payload) in &opened.replayed {
            assert_eq!(*payload, self.written[*sequence as usize - 1], "batch {sequence}");
        }
        self.written.truncate(last as usize);
        self.synced = last;
        self.log = opened.log;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_takes_nothing_that_was_synced(seed: u64, steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(seed);
        steps.into_iter().for_each(|step| world.step(step));
        world.crash(Unsynced::Torn);
        world.crash(Unsynced::Torn);
    }
}

/// A cut within the repair after a cut leaves nothing behind that is taken for more.
#[test]
fn a_group_torn_in_the_middle_is_cut_off() {
    let mut cut = 0;
    for seed in 0..200 {
        let files = FaultyFiles::new(seed);
        let mut log = written(&files, &[3]);
        append(&mut log, 8).unwrap();
        files.crash(Unsynced::Torn);
        let mut opened = open(&files, known(0, 3));
        let last = opened.log.last().0;
        assert_whole(&opened, 1..=last);
        cut += u32::from(opened.findings.dropped > 0);
        append(&mut opened.log, 1).unwrap();
        opened.log.sync().unwrap();
        assert_whole(&open(&files, known(0, 3)), 1..=last + 1);
    }
    assert!(cut > 50, "only {cut} cuts left whole batches behind a torn one");
}
