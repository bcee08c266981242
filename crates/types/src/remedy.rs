//! Remedies, in one place. Each is true for a running cluster with data: it names only what
//! exists, and none orders the removal of a directory that may hold the only copy of something. A test of the command
//! line holds every command that is named here, in messages, alerts and docs against what can be typed.

/// A node belongs to no cluster: it is new, or its disk was lost.
pub const NO_CLUSTER: &str = "run `starling cluster init --nodes A,B,C` to make a new cluster; a node whose disk was lost \
                              comes back by `starling backup restore BACKUP --data DIR` instead";

/// A data directory is not what the node has promised by.
pub const LOST_DISK: &str = "put the whole directory back as it was; if that cannot be, change nothing on the other nodes, \
                             whose copies suffice as long as quorums are reached, keep this directory, and bring the node \
                             back with a backup of it, however old, into a new one: \
                             `starling backup restore BACKUP --data DIR`";

/// `cluster init` was asked of nodes of a cluster that exists.
pub const RUNNING_CLUSTER: &str = "nothing was changed anywhere, and nothing is to be done on its nodes: keep them and \
                                   their data as they are. A node without a cluster cannot be given to a running one yet; \
                                   one that stands for a node whose disk was lost comes back by \
                                   `starling backup restore BACKUP --data DIR`";

/// A node waits for a first layout that was never decided.
pub const UNFINISHED: &str = "run `starling cluster init` with exactly those nodes to finish it; a node that is to go \
                              elsewhere starts with a data directory of its own (--data), and the old one is kept until \
                              the cluster serves";

/// The certificate in a data directory is another node's.
pub const OTHER_CERTIFICATE: &str = "move the tls directory inside it aside, and the node gets a certificate of its own at \
                                     the next start, from the authority in tls.dir";

/// All of them.
pub const ALL: &[&str] = &[NO_CLUSTER, LOST_DISK, RUNNING_CLUSTER, UNFINISHED, OTHER_CERTIFICATE];
