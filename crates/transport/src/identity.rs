//! The identity of an end of a connection: a key, a certificate of the cluster's authority, and the names in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use starling_types::NodeId;
use x509_parser::extensions::GeneralName;

use crate::files::{self, Readers};

/// The holder that a certificate of the cluster's authority names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// This node.
    Node(NodeId),
    /// A client of the cluster.
    Client,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Client => f.write_str("a client"),
        }
    }
}

/// Keys or certificates that cannot be used. Nothing was changed on disk unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file that should be there is not.
    #[error("{} is missing: {advice}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The advice for the operator.
        advice: &'static str,
    },
    /// A file or directory cannot be read or written.
    #[error("{}: {source}: check that this user may read and write there", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Text that should be a certificate or key is none.
    #[error(
        "{what} is not usable: {reason}: restore it, or issue new credentials from the cluster's authority"
    )]
    Malformed {
        /// Which text.
        what: String,
        /// The flaw.
        reason: String,
    },
    /// A certificate without one of the names that the authority gives.
    #[error(
        "the certificate names neither a node nor a client of a cluster: issue one with this cluster's authority"
    )]
    Nameless,
    /// The generator or the signature failed.
    #[error("cannot make a key or certificate: {0}")]
    Generation(String),
}

/// A key, the certificate for it, and the certificate of the authority that signed it and that must have signed all
/// others.
#[derive(Clone)]
pub struct Credentials {
    ca_pem: String,
    chain_pem: String,
    key_pem: String,
    identity: Identity,
}

/// Never shows the key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.identity)
    }
}

impl Credentials {
    /// Checks and keeps three PEM texts: the authority's certificate, the holder's certificate (with its
    /// chain, holder first) and the holder's key.
    pub fn from_pem(ca: String, chain: String, key: String) -> Result<Self, IdentityError> {
        let leaf = certificates(&chain, "the certificate")?.swap_remove(0);
        certificates(&ca, "the authority's certificate")?;
        let identity = identity_of(&leaf)?;
        let credentials = Self { ca_pem: ca, chain_pem: chain, key_pem: key, identity };
        credentials.key()?;
        Ok(credentials)
    }

    /// Reads `ca.pem`, `node.pem` and `node-key.pem` from a node's own directory.
    pub fn load_node(dir: &Path) -> Result<Self, IdentityError> {
        Self::load(dir, NODE)
    }

    /// Reads `ca.pem`, `client.pem` and `client-key.pem` from a directory.
    pub fn load_client(dir: &Path) -> Result<Self, IdentityError> {
        Self::load(dir, CLIENT)
    }

    /// Writes what [`Self::load_node`] or [`Self::load_client`] reads, whichever this is; the key with mode
    /// 0600, and last, so that a directory with a key is complete.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        std::fs::create_dir_all(dir).map_err(|source| IdentityError::Io { path: dir.into(), source })?;
        files::write(&dir.join(CA), self.ca_pem.as_bytes(), Readers::Everybody)?;
        self.save_leaf(dir)
    }

    /// Writes the certificate and the key without the authority's certificate.
    pub(crate) fn save_leaf(&self, dir: &Path) -> Result<(), IdentityError> {
        let names = match self.identity {
            Identity::Node(_) => NODE,
            Identity::Client => CLIENT,
        };
        files::write(&dir.join(names.certificate), self.chain_pem.as_bytes(), Readers::Everybody)?;
        files::write(&dir.join(names.key), self.key_pem.as_bytes(), Readers::Owner)
    }

    /// The identity that the certificate names.
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The authority's certificate as PEM text, for a program that shall trust this cluster.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    fn load(dir: &Path, names: Names) -> Result<Self, IdentityError> {
        let text = |name: &str| {
            let path = dir.join(name);
            let bytes = files::read(&path, names.advice)?;
            String::from_utf8(bytes).map_err(|e| malformed(path.display().to_string(), e))
        };
        Self::from_pem(text(CA)?, text(names.certificate)?, text(names.key)?)
    }

    pub(crate) fn roots(&self) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca_pem, CA)? {
            roots.add(certificate).map_err(|e| malformed(CA, e))?;
        }
        Ok(roots)
    }

    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        certificates(&self.chain_pem, "the certificate")
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|e| malformed("the private key", e))
    }
}

/// The name of a node's certificate, for an end that dials it knowing its id.
pub(crate) fn node_name(node: NodeId) -> String {
    format!("{node}{NODE_SUFFIX}")
}

/// The identity that a certificate names, without a look at the signer: the TLS handshake has checked that.
pub(crate) fn identity_of(certificate: &CertificateDer<'_>) -> Result<Identity, IdentityError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|e| malformed("the certificate", e))?;
    let names = parsed.subject_alternative_name().map_err(|e| malformed("the certificate", e))?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    names.iter().find_map(identity_named).ok_or(IdentityError::Nameless)
}

fn identity_named(name: &GeneralName<'_>) -> Option<Identity> {
    let GeneralName::DNSName(name) = *name else {
        return None;
    };
    if name == CLIENT_NAME {
        return Some(Identity::Client);
    }
    name.strip_suffix(NODE_SUFFIX)?.parse().ok().map(Identity::Node)
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match parsed {
        Ok(found) if found.is_empty() => Err(malformed(what, "no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(malformed(what, error)),
    }
}

pub(crate) fn malformed(what: impl Into<String>, reason: impl fmt::Display) -> IdentityError {
    IdentityError::Malformed { what: what.into(), reason: reason.to_string() }
}

#[derive(Clone, Copy)]
struct Names {
    certificate: &'static str,
    key: &'static str,
    advice: &'static str,
}

const NODE: Names = Names {
    certificate: "node.pem",
    key: "node-key.pem",
    advice: "copy it back from a backup of this node's data directory, or issue new credentials for this node id \
             with the cluster's authority",
};
const CLIENT: Names = Names {
    certificate: "client.pem",
    key: "client-key.pem",
    advice: "name the directory of the cluster's authority, or copy the client credentials from it",
};
pub(crate) const CA: &str = "ca.pem";
/// The name that every node answers to, for an end that dials an address without knowing whose it is.
pub(crate) const ANY_NODE: &str = "node.starling";
pub(crate) const CLIENT_NAME: &str = "client.starling";
const NODE_SUFFIX: &str = ".node.starling";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;

    #[test]
    fn credentials_survive_a_directory_and_the_key_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(&dir.path().join("ca")).unwrap();
        let node = NodeId::from_bits(7);
        authority.issue_node(node).unwrap().save(dir.path()).unwrap();
        let loaded = Credentials::load_node(dir.path()).unwrap();
        assert_eq!(loaded.identity(), Identity::Node(node));
        let mode = std::fs::metadata(dir.path().join("node-key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{loaded:?}").contains("KEY"));
    }

    #[test]
    fn errors_name_the_file_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(&dir.path().join("ca")).unwrap();
        authority.issue_node(NodeId::from_bits(7)).unwrap().save(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join("node-key.pem")).unwrap();
        let error = Credentials::load_node(dir.path()).unwrap_err().to_string();
        assert!(error.contains("node-key.pem") && error.contains("issue new credentials"), "{error}");
        std::fs::write(dir.path().join("node-key.pem"), "no key").unwrap();
        let error = Credentials::load_node(dir.path()).unwrap_err().to_string();
        assert!(error.contains("private key"), "{error}");
    }
}
