//! The data directory, and the node it belongs to: `node.json` beside the store.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use starling_types::{ClusterId, Formats, Generation, Lineage, NodeId, OtherFormat, remedy};

/// The formats of `node.json` and of the directory's layout that this version opens.
pub const FORMATS: Formats = Formats { oldest: 1, newest: 2 };
const FILE: &str = "node.json";

/// The inhabitant of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhabitant {
    /// Version of the directory's layout.
    pub format_version: u32,
    /// The node; made with the directory, so that a wiped disk is a new node.
    pub node_id: NodeId,
    /// Its cluster, once it has one.
    pub cluster_id: Option<ClusterId>,
    /// Its last start.
    pub generation: Generation,
    /// The starts before it that are remembered, and it; empty in a file of format 1.
    #[serde(default)]
    pub lineage: Lineage,
}

impl Inhabitant {
    /// One more start; the caller draws a number for it, so that it is told from a start of a copy.
    fn begin(&mut self, drawn: u32) {
        self.format_version = FORMATS.newest;
        self.generation = self.generation.next(drawn);
        self.lineage.begin(self.generation);
    }

    /// The node that `dir` belongs to, by its `node.json`; none if there is no such file.
    ///
    /// # Errors
    /// If the file cannot be read or understood.
    pub fn of(dir: &Path) -> Result<Option<Self>, HomeError> {
        let file = dir.join(FILE);
        match fs::read(&file) {
            Ok(bytes) => read(&file, &bytes).map(Some),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(HomeError::Io { path: file, source }),
        }
    }
}

/// Why a data directory cannot be lived in.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The operating system refused.
    #[error("{}: {source}: check that it exists, is writable, and has room", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: std::io::Error,
    },
    /// `node.json` is no such file.
    #[error("{} cannot be read ({why}): {}", path.display(), remedy::LOST_DISK)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The flaw of the file.
        why: String,
    },
    /// Written by another version.
    #[error("{} {format}", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: OtherFormat,
    },
    /// It belongs to a node of another cluster than configured.
    #[error("{} belongs to cluster {found}, the configuration says {wanted} (cluster.cluster_id): correct one of the two", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// The cluster that was configured.
        wanted: ClusterId,
    },
    /// There is a `node.json` but no store.
    #[error("{} names a node whose store is gone: it would answer for data that it no longer has; {}", path.display(), remedy::LOST_DISK)]
    StoreGone {
        /// The directory.
        path: PathBuf,
    },
    /// `node.json` and the store beside it are of different nodes.
    #[error("{} says node {written}, the store beside it is of node {stored}: {}", path.display(), remedy::LOST_DISK)]
    Strangers {
        /// The directory.
        path: PathBuf,
        /// The node that `node.json` names.
        written: NodeId,
        /// Whose store it is.
        stored: NodeId,
    },
    /// The directory has data but no `node.json`.
    #[error("{} holds a store but no node.json, so nobody can say whose it is: {}", path.display(), remedy::LOST_DISK)]
    Nobody {
        /// The directory.
        path: PathBuf,
    },
}

/// A data directory that is lived in.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
    inhabitant: Inhabitant,
}

impl Home {
    /// Moves in for one more start, under the lock of the store: a new node if the directory is new. Nothing is
    /// written before [`Home::settle`].
    pub fn enter(
        path: &Path,
        store: StoreState,
        drawn: Drawn,
        wanted: Option<ClusterId>,
    ) -> Result<Self, HomeError> {
        let mut inhabitant = match Inhabitant::of(path)? {
            Some(inhabitant) => owner(path, inhabitant, store)?,
            None => newcomer(path, store, drawn.node)?,
        };
        if let (Some(found), Some(wanted)) = (inhabitant.cluster_id, wanted)
            && found != wanted
        {
            return Err(HomeError::OtherCluster { path: path.into(), found, wanted });
        }
        inhabitant.begin(drawn.start);
        Ok(Self { path: path.into(), inhabitant })
    }

    /// Makes it durable; after the store's birth row.
    pub fn settle(&self) -> Result<(), HomeError> {
        self.write()
    }

    /// Where this directory is: a copy of it is somewhere else, and the node must not trust a clean stop that
    /// took place elsewhere. Zero where the system has no such thing.
    pub fn place(&self) -> u128 {
        use std::os::unix::fs::MetadataExt;
        let Ok(lock) = fs::metadata(self.path.join("LOCK")) else { return 0 };
        // Numbers of devices change from one start of a machine to the next, and those of files are used again: the time
        // at which the file was made tells them apart, where the system keeps it.
        let born = lock.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let birth = born.map_or(u128::from(lock.dev()), |since| since.as_nanos() & u128::from(u64::MAX));
        (birth << 64) | u128::from(lock.ino())
    }

    /// The node that the directory belongs to.
    pub const fn inhabitant(&self) -> &Inhabitant {
        &self.inhabitant
    }

    /// Where the node's certificate and secrets are.
    pub fn tls(&self) -> PathBuf {
        self.path.join("tls")
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Other members know the node at a higher count of starts than this directory does: it goes on above it.
    pub fn raise(&mut self, generation: Generation) -> Result<(), HomeError> {
        let before = self.inhabitant.clone();
        self.inhabitant.generation = generation;
        // Whatever it has forgotten is given up by now, and pulled from others.
        self.inhabitant.lineage = Lineage::since(generation);
        self.write().inspect_err(|_| self.inhabitant = before)
    }

    /// The node has joined a cluster. The layout in the store is what counts; this is for people and for a
    /// check before the store is read.
    pub fn join(&mut self, cluster: ClusterId) -> Result<(), HomeError> {
        if self.inhabitant.cluster_id != Some(cluster) {
            self.inhabitant.cluster_id = Some(cluster);
            self.write()?;
        }
        Ok(())
    }

    /// A directory whose inhabitant is known, without a start.
    pub fn of(path: &Path, inhabitant: Inhabitant) -> Self {
        Self { path: path.into(), inhabitant }
    }

    /// Takes the directory's data out of the reach of other users of the machine, whatever the umask was when it was made.
    ///
    /// # Errors
    /// If the system refuses: it is another user's directory.
    pub fn close(dir: &Path) -> Result<(), HomeError> {
        use std::os::unix::fs::PermissionsExt;
        let io = |source| HomeError::Io { path: dir.into(), source };
        let mode = fs::metadata(dir).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode & !0o077)).map_err(io)?;
        }
        Ok(())
    }

    /// Replaces `node.json` at once or not at all.
    fn write(&self) -> Result<(), HomeError> {
        let file = self.path.join(FILE);
        let fresh = self.path.join("node.json.new");
        let io = |source| HomeError::Io { path: file.clone(), source };
        let json = serde_json::to_vec_pretty(&self.inhabitant).map_err(|e| io(e.into()))?;
        let made =
            File::create(&fresh).and_then(|mut out| out.write_all(&json).and_then(|()| out.sync_all()));
        match made {
            Err(error) if error.kind() == ErrorKind::StorageFull && file.exists() => {
                let _ = fs::remove_file(&fresh);
                return overwrite(&file, &json).map_err(io);
            }
            made => made.map_err(io)?,
        }
        fs::rename(&fresh, &file).map_err(io)?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(io)
    }
}

/// The numbers that a start draws from the system's generator.
#[derive(Debug, Clone, Copy)]
pub struct Drawn {
    /// The identity of the node, if it is a new one.
    pub node: NodeId,
    /// Tells this start from one of a copy of the directory.
    pub start: u32,
}

/// On a volume without a free byte there is no other way. A file this small lies in one sector, which a disk writes whole
/// or not at all.
fn overwrite(file: &Path, json: &[u8]) -> std::io::Result<()> {
    let mut out = File::options().write(true).open(file)?;
    out.write_all(json)?;
    out.set_len(json.len() as u64)?;
    out.sync_all()
}

/// The store's own evidence, before a node takes the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreState {
    /// Whose it is, by the row that is written before `node.json` ever is.
    pub node: Option<NodeId>,
    /// Whether it holds any other row.
    pub has_rows: bool,
}

/// A node writes `node.json` after its store's first row: without that, what it promised is forgotten.
fn owner(path: &Path, inhabitant: Inhabitant, store: StoreState) -> Result<Inhabitant, HomeError> {
    let written = inhabitant.node_id;
    match store.node {
        Some(stored) if stored != written => Err(HomeError::Strangers { path: path.into(), written, stored }),
        None if !store.has_rows => Err(HomeError::StoreGone { path: path.into() }),
        _ => Ok(inhabitant),
    }
}

/// A first start, or one that was cut short before `node.json`.
fn newcomer(path: &Path, store: StoreState, fresh: NodeId) -> Result<Inhabitant, HomeError> {
    if store.has_rows {
        return Err(HomeError::Nobody { path: path.into() });
    }
    let node_id = store.node.unwrap_or(fresh);
    Ok(Inhabitant {
        format_version: FORMATS.newest,
        node_id,
        cluster_id: None,
        generation: Generation(0),
        lineage: Lineage::default(),
    })
}

fn read(file: &Path, bytes: &[u8]) -> Result<Inhabitant, HomeError> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let damaged = |e: serde_json::Error| HomeError::Damaged { path: file.into(), why: e.to_string() };
    // The version is read by itself first: a newer release may have added fields.
    let version: Version = serde_json::from_slice(bytes).map_err(damaged)?;
    let other = |format| HomeError::OtherFormat { path: file.into(), format };
    FORMATS.check(version.format_version).map_err(other)?;
    serde_json::from_slice(bytes).map_err(damaged)
}

#[cfg(test)]
#[path = "../../../tests/fixtures/sets.rs"]
mod sets;

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::from_bits(7);
    const EMPTY: StoreState = StoreState { node: None, has_rows: false };
    const BORN: StoreState = StoreState { node: Some(NODE), has_rows: false };
    const USED: StoreState = StoreState { node: Some(NODE), has_rows: true };

    fn drawn(number: u32) -> Drawn {
        Drawn { node: NodeId::from_bits(number.into()), start: number }
    }

    fn enter(dir: &Path, store: StoreState) -> Result<Home, HomeError> {
        let home = Home::enter(dir, store, drawn(7), None)?;
        home.settle()?;
        Ok(home)
    }

    #[test]
    fn a_node_keeps_its_identity_and_counts_its_starts() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = enter(dir.path(), EMPTY).unwrap();
        assert_eq!((first.inhabitant.node_id, first.inhabitant.generation), (NODE, Generation::of(1, 7)));
        first.join(ClusterId::from_bits(9)).unwrap();
        let again = Home::enter(dir.path(), USED, drawn(8), None).unwrap();
        assert_eq!((again.inhabitant.node_id, again.inhabitant.generation), (NODE, Generation::of(2, 8)));
        assert!(!again.inhabitant.lineage.misses(Generation::of(1, 7)));
        assert!(again.inhabitant.lineage.misses(Generation::of(2, 7)), "a start of another copy");
        assert_eq!(again.inhabitant.cluster_id, Some(ClusterId::from_bits(9)));
    }

    #[test]
    fn node_files_are_written_as_they_always_were() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = ClusterId::from_bits(9);
        enter(dir.path(), EMPTY).unwrap().join(cluster).unwrap();
        let today = [(FILE.to_owned(), fs::read(dir.path().join(FILE)).unwrap())].into();
        sets::hold("home.txt", today, |name, bytes| {
            let found = read(Path::new(name), bytes).unwrap();
            assert_eq!((found.node_id, found.cluster_id), (NODE, Some(cluster)));
            assert_eq!(found.generation.count(), 1);
        });
    }

    #[test]
    fn other_users_do_not_get_in() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Home::close(dir.path()).unwrap();
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_start_may_be_cut_short_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let cut_before_node_json = Home::enter(dir.path(), BORN, drawn(8), None).unwrap();
        assert_eq!(cut_before_node_json.inhabitant.node_id, NODE, "the store already says who it is");
        enter(dir.path(), BORN).unwrap();
        assert!(enter(dir.path(), BORN).is_ok(), "a node without data or cluster starts again");
    }

    #[test]
    fn what_does_not_belong_here_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        assert!(matches!(enter(dir.path(), USED), Err(HomeError::Nobody { .. })));
        enter(dir.path(), EMPTY).unwrap().join(ClusterId::from_bits(9)).unwrap();
        assert!(matches!(enter(dir.path(), EMPTY), Err(HomeError::StoreGone { .. })));
        let other = StoreState { node: Some(NodeId::from_bits(8)), has_rows: true };
        assert!(matches!(enter(dir.path(), other), Err(HomeError::Strangers { .. })));
        let other = Home::enter(dir.path(), USED, drawn(7), Some(ClusterId::from_bits(8)));
        assert!(matches!(other, Err(HomeError::OtherCluster { .. })));
        for (content, is_expected) in [
            (
                "{\"format_version\": 3, \"new\": 1}",
                (|e| matches!(e, HomeError::OtherFormat { format, .. } if format.found == 3))
                    as fn(&_) -> bool,
            ),
            ("{\"format_version\": 0}", |e| matches!(e, HomeError::OtherFormat { .. })),
            ("{\"format_version\": 1}", |e| matches!(e, HomeError::Damaged { .. })),
            ("nonsense", |e| matches!(e, HomeError::Damaged { .. })),
        ] {
            fs::write(&file, content).unwrap();
            let error = enter(dir.path(), USED).unwrap_err();
            assert!(is_expected(&error), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        }
    }
}
