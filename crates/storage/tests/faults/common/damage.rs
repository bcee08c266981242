//! Whether a store whose files were damaged is honest: every row has its value, or reads as corrupt, or the open
//! reported that something is gone, or refused. Never another value; never a row gone in silence.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use bytes::Bytes;
use starling_storage::{DurableEngine, Engine, StorageError};
use starling_types::row::{RowRange, Space};

use super::child::{Manner, Orders};
use super::files::Files;
use super::judge::{PAGE, Rows, judge, rows_after};
use super::ledger::Ledger;
use super::process::{Child, Moment, Survives};
use super::workload::{HOT, Sizes, Workload, cell_of, cells, key};
use super::{data_dir, is_clear, open, reported, scratch};

/// A store whose process was killed, and the same closed properly.
pub struct Prepared {
    pub killed: Files,
    pub closed: Files,
    /// Once it is closed.
    pub ledger: Ledger,
    /// The batches that an open of `killed` may find: a submission that was not answered is there, or not.
    pub known_killed: Known,
    /// When each file of `killed` was last changed.
    pub changed: BTreeMap<PathBuf, SystemTime>,
    pub known_closed: Known,
}

/// The store that the tests damage, in copies: rows in tables, and newer ones in the log.
pub fn prepared() -> &'static Prepared {
    static PREPARED: OnceLock<Prepared> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let workload = Workload { seed: 44, writers: 6, sizes: Sizes::LargeMeta };
        Prepared::grown(&Files::default(), Ledger::new(workload))
    })
}

/// Answers of one run of the process: enough, in two or three, to fill the smallest write buffer.
const ANSWERS: u64 = 200;
/// Runs after which there are tables.
const LIVES: usize = 20;

impl Prepared {
    /// A store grown from another one, until it has more tables.
    pub fn grown(files: &Files, mut ledger: Ledger) -> Self {
        let home = scratch();
        let dir = data_dir(home.path());
        files.lay_out(&dir);
        let orders = Orders { dir: dir.clone(), workload: ledger.workload, manner: Manner::Synced };
        let copy = data_dir(&home.path().join("copy"));
        let tables = |files: &Files| {
            files.lay_out(&copy);
            let sizes = open(&copy).unwrap().sizes();
            sizes.disk_bytes.saturating_sub(sizes.log_bytes)
        };
        let before = tables(files);
        let killed = (0..LIVES).find_map(|_| {
            let moment = Moment::Answers(ANSWERS);
            Child::start(&orders).live(moment, &mut ledger, Survives::Answered, Child::kill);
            let killed = Files::of(&dir);
            (tables(&killed) > before).then_some(killed)
        });
        let killed = killed.expect("write buffers become tables");
        let changed = |path: &Path| fs::metadata(dir.join(path)).and_then(|file| file.modified()).unwrap();
        let changed = killed.contents().map(|(path, _)| (path.to_path_buf(), changed(path))).collect();
        let engine = open(&dir).unwrap();
        let verdict = judge(&engine, &ledger);
        verdict.assert_none("before any damage");
        engine.close().unwrap();
        let known_killed = Known::between(&ledger, &verdict.found);
        ledger.settle(&verdict.found);
        let known_closed = Known::between(&ledger, &verdict.found);
        Self { killed, closed: Files::of(&dir), ledger, known_killed, changed, known_closed }
    }

    /// The file of `killed` that was changed last, of those `wanted`. Of files too small to hold rows it says nothing.
    pub fn newest(&self, wanted: impl Fn(&Path) -> bool) -> PathBuf {
        let large = |path: &Path| {
            self.killed.contents().any(|(other, content)| other == path && content.used().len() > 4_096)
        };
        let files = self.changed.iter().filter(|(path, _)| wanted(path) && large(path));
        files.max_by_key(|(_, changed)| **changed).expect("there is one").0.clone()
    }
}

/// The values that the rows of a store may have.
#[derive(Debug, Clone)]
pub struct Known {
    workload: Workload,
    /// For each writer, the states its rows may be in.
    states: Vec<Vec<Rows>>,
}

impl Known {
    /// From what was promised to what was found.
    fn between(ledger: &Ledger, found: &[u64]) -> Self {
        let states = ledger.writers().zip(found).map(|((writer, promise), &found)| {
            (promise.kept..=found).map(|n| rows_after(&ledger.workload, writer, n)).collect()
        });
        Self { workload: ledger.workload, states: states.collect() }
    }
}

/// How a damaged store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All rows are there.
    Intact,
    /// Some rows read as corrupt, all others are there.
    Corrupt,
    /// It opened, and reported what is gone.
    Reported,
    /// It did not open.
    Refused,
}

/// How often each outcome was seen, and what was wrong.
#[derive(Debug, Default)]
pub struct Findings {
    pub outcomes: BTreeMap<Outcome, usize>,
    pub faults: Vec<String>,
}

impl Findings {
    /// Lays the files out in `dir` and holds the store in them against what it may hold.
    pub fn examine(&mut self, what: impl Debug, files: &Files, dir: &Path, known: &Known) {
        files.lay_out(dir);
        self.note(what, examine(dir, known));
    }

    /// Takes note of an outcome.
    pub fn note(&mut self, what: impl Debug, outcome: Result<Outcome, String>) {
        match outcome {
            Ok(outcome) => *self.outcomes.entry(outcome).or_default() += 1,
            Err(fault) => self.faults.push(format!("{what:?}: {fault}")),
        }
    }

    /// Fails the test if there are faults.
    #[track_caller]
    pub fn assert_none(&self) {
        println!("{:?}", self.outcomes);
        let some: Vec<_> = self.faults.iter().take(12).collect();
        assert!(some.is_empty(), "{:?}, {} faults, the first: {some:#?}", self.outcomes, self.faults.len());
    }
}

/// Opens a store and holds it against what it may hold.
pub fn examine(dir: &Path, known: &Known) -> Result<Outcome, String> {
    let examined = catch_unwind(AssertUnwindSafe(|| match open(dir) {
        Ok(engine) => {
            let outcome = Examination::of(&engine, known)?.outcome();
            // A close that can write no more is no news.
            let _ = engine.close();
            outcome
        }
        Err(refusal) if is_clear(&refusal) => Ok(Outcome::Refused),
        Err(refusal) => Err(format!("refused, and an operator does not know why: {refusal}")),
    }));
    examined.unwrap_or_else(|_| Err("panicked".into()))
}

/// All rows, as read one by one.
struct Examination<'a> {
    engine: &'a DurableEngine,
    known: &'a Known,
    /// None where reading says corrupt.
    read: BTreeMap<(Space, Bytes), Option<Option<Bytes>>>,
}

impl<'a> Examination<'a> {
    fn of(engine: &'a DurableEngine, known: &'a Known) -> Result<Self, String> {
        let mut read = BTreeMap::new();
        let own = (0..known.workload.writers).flat_map(|writer| cells().map(move |cell| (writer, cell)));
        for (writer, cell) in own.chain([(0, HOT)]) {
            let row = (cell.namespace, key(writer, cell));
            let found = match engine.get(row.0, &row.1) {
                Ok(found) => Some(found),
                Err(StorageError::Corrupt { .. }) => None,
                Err(error) => return Err(format!("writer {writer}, {cell:?}: {error}")),
            };
            read.insert(row, found);
        }
        Ok(Self { engine, known, read })
    }

    fn outcome(&self) -> Result<Outcome, String> {
        self.check_values()?;
        if reported(self.engine) {
            return self.scan(&[]).map(|()| Outcome::Reported);
        }
        let states = self.fitting_states()?;
        self.check_hot()?;
        self.scan(&states)?;
        let corrupt = self.read.values().any(Option::is_none);
        Ok(if corrupt { Outcome::Corrupt } else { Outcome::Intact })
    }

    /// Every value that is read was once written there.
    fn check_values(&self) -> Result<(), String> {
        self.read.iter().try_for_each(|((namespace, key), found)| match found {
            Some(Some(value)) => self.check_value(*namespace, key, value),
            _ => Ok(()),
        })
    }

    fn check_value(&self, namespace: Space, key: &[u8], value: &[u8]) -> Result<(), String> {
        let row = cell_of(namespace, key).ok_or_else(|| format!("a strange row {}", key.escape_ascii()))?;
        match self.known.workload.origin(row.1, value) {
            Some((by, _)) if by == row.0 || row.1 == HOT => Ok(()),
            _ => Err(format!("writer {}, {:?}: AN ALTERED VALUE", row.0, row.1)),
        }
    }

    /// For each writer the states that its rows may be in, from all that can be read.
    fn fitting_states(&self) -> Result<Vec<Vec<&'a Rows>>, String> {
        let writers = (0u16..).zip(&self.known.states);
        let fitting = writers.map(|(writer, states)| {
            let fitting: Vec<_> = states.iter().filter(|state| self.fits(writer, state)).collect();
            match fitting.len() {
                0 => Err(format!("writer {writer}, in silence: {}", self.misfits(writer, &states[0]))),
                _ => Ok(fitting),
            }
        });
        fitting.collect()
    }

    fn fits(&self, writer: u16, state: &Rows) -> bool {
        cells().all(|cell| {
            let row = (cell.namespace, key(writer, cell));
            self.read[&row].as_ref().is_none_or(|found| found.as_ref() == state.get(&row))
        })
    }

    fn misfits(&self, writer: u16, state: &Rows) -> String {
        let mut count = BTreeMap::new();
        for cell in cells() {
            let row = (cell.namespace, key(writer, cell));
            let misfit = match (&self.read[&row], state.get(&row)) {
                (Some(found), expected) if found.as_ref() == expected => continue,
                (Some(None), _) => "gone",
                (Some(Some(_)), Some(_)) => "another version",
                (Some(Some(_)), None) => "back after its delete",
                (None, _) => continue,
            };
            *count.entry(misfit).or_insert(0) += 1;
        }
        format!("{count:?}")
    }

    /// The hot row is the last of its writer's.
    fn check_hot(&self) -> Result<(), String> {
        let row = (HOT.namespace, key(0, HOT));
        let hot = match &self.read[&row] {
            None => return Ok(()),
            Some(None) => return Err("the hot row is gone in silence".into()),
            Some(Some(hot)) => hot,
        };
        let Some((writer, n)) = self.known.workload.origin(HOT, hot) else {
            return Err("the hot row: AN ALTERED VALUE".into());
        };
        let states = &self.known.states[usize::from(writer)];
        let last = states.iter().any(|state| *state == rows_after(&self.known.workload, writer, n));
        if last { Ok(()) } else { Err(format!("the hot row is of writer {writer}, batch {n}, in silence")) }
    }

    /// A scan finds what reading finds, or says where it could not look. Without states to compare with, only values
    /// count.
    fn scan(&self, states: &[Vec<&Rows>]) -> Result<(), String> {
        for namespace in Space::ALL {
            let (seen, damaged) = self.scan_namespace(namespace)?;
            let mut must = states.iter().flat_map(|states| states[0].keys().map(move |row| (states, row)));
            let missed = must.find(|(states, row)| {
                let everywhere = states.iter().all(|state| state.contains_key(*row));
                let looked = !damaged.iter().any(|range| range.contains(&row.1));
                row.0 == namespace && everywhere && looked && !seen.contains_key(&row.1)
            });
            if let Some((_, (_, key))) = missed {
                return Err(format!("the scan of {namespace} misses {}", key.escape_ascii()));
            }
            for (key, value) in seen {
                self.check_scanned(namespace, &key, &value, states)?;
            }
        }
        Ok(())
    }

    fn check_scanned(
        &self,
        namespace: Space,
        key: &Bytes,
        value: &Bytes,
        states: &[Vec<&Rows>],
    ) -> Result<(), String> {
        self.check_value(namespace, key, value)?;
        let row = (namespace, key.clone());
        let got = self.read.get(&row).and_then(Option::as_ref);
        let writer = cell_of(namespace, key).map(|(writer, _)| usize::from(writer));
        let states = writer.and_then(|writer| states.get(writer));
        let agrees = got.is_none_or(|got| got.as_ref() == Some(value));
        let expected = states.is_none_or(|states| states.iter().any(|state| state.get(&row) == Some(value)));
        match agrees && expected {
            true => Ok(()),
            false => Err(format!("the scan of {namespace} finds another row {}", key.escape_ascii())),
        }
    }

    fn scan_namespace(&self, namespace: Space) -> Result<(BTreeMap<Bytes, Bytes>, Vec<RowRange>), String> {
        let (mut seen, mut damaged) = (BTreeMap::new(), Vec::new());
        let mut rest = Some(RowRange::all());
        while let Some(range) = rest {
            let page = self.engine.scan(namespace, &range, PAGE);
            let page = page.map_err(|error| format!("the scan of {namespace}: {error}"))?;
            seen.extend(page.rows);
            damaged.extend(page.damaged);
            rest = page.next.map(|next| range.resume(next));
        }
        Ok((seen, damaged))
    }
}
