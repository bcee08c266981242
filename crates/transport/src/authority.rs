//! The cluster's certificate authority: a directory that an operator must have to add nodes or clients.
//!
//! Keys are Ed25519 (fixed-size signatures, cheap handshakes). Certificates are valid for a hundred years: a cluster
//! must not stop because a file was not renewed in time, and nodes do not have to agree on a date to talk. Trust is
//! withdrawn by making a new authority, not by waiting.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};
use starling_types::NodeId;

use crate::files::{self, Readers};
use crate::identity::{ANY_NODE, CA, CLIENT_NAME, Credentials, IdentityError, malformed, node_name};

/// Signs the certificates of one cluster's nodes and clients.
pub struct Authority {
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    client: Credentials,
}

impl Authority {
    /// Opens the authority in `dir`, making it if there is none. Processes that do so at once get the same
    /// one.
    pub fn open_or_create(dir: &Path) -> Result<Self, IdentityError> {
        let _held = files::lock_dir(dir)?;
        if !dir.join(CA).exists() {
            create(dir)?;
        }
        Self::open(dir)
    }

    /// Opens the authority in `dir`.
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let ca_pem = text(dir, CA)?;
        let key = KeyPair::from_pem(&text(dir, CA_KEY)?).map_err(|e| malformed(CA_KEY, e))?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key).map_err(|e| malformed(CA, e))?;
        let client = Credentials::load_client(dir)?;
        Ok(Self { ca_pem, issuer, client })
    }

    /// New credentials for a node. Their holder is that node: they go to its data directory and nowhere else.
    pub fn issue_node(&self, node: NodeId) -> Result<Credentials, IdentityError> {
        issue(&self.issuer, &self.ca_pem, vec![node_name(node), ANY_NODE.into()])
    }

    /// The credentials that all clients of the cluster share.
    pub fn client_credentials(&self) -> Credentials {
        self.client.clone()
    }
}

/// The authority's certificate is written last: without it there is no authority and all is made anew.
fn create(dir: &Path) -> Result<(), IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(generation)?;
    let key_pem = key.serialize_pem();
    let params = authority_params();
    let ca_pem = params.self_signed(&key).map_err(generation)?.pem();
    let issuer = Issuer::new(params, key);
    issue(&issuer, &ca_pem, vec![CLIENT_NAME.into()])?.save_leaf(dir)?;
    files::write(&dir.join(CA_KEY), key_pem.as_bytes(), Readers::Owner)?;
    files::write(&dir.join(CA), ca_pem.as_bytes(), Readers::Everybody)
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("starling authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    with_validity(params)
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    ca_pem: &str,
    names: Vec<String>,
) -> Result<Credentials, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&names[0]);
    params.subject_alt_names = CertificateParams::new(names).map_err(generation)?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(generation)?;
    let certificate = with_validity(params).signed_by(&key, issuer).map_err(generation)?;
    Credentials::from_pem(ca_pem.into(), certificate.pem(), key.serialize_pem())
}

fn with_validity(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn text(dir: &Path, name: &str) -> Result<String, IdentityError> {
    let path = dir.join(name);
    let bytes = files::read(&path, ADVICE)?;
    String::from_utf8(bytes).map_err(|e| malformed(path.display().to_string(), e))
}

fn generation(error: rcgen::Error) -> IdentityError {
    IdentityError::Generation(error.to_string())
}

const CA_KEY: &str = "ca-key.pem";
const ADVICE: &str = "name the directory in which this cluster's authority was made";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_opened_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Authority::open(dir.path()).is_err());
        let first = Authority::open_or_create(dir.path()).unwrap();
        let again = Authority::open_or_create(dir.path()).unwrap();
        assert_eq!(first.ca_pem, again.ca_pem);
        assert_eq!(first.ca_pem, Authority::open(dir.path()).unwrap().ca_pem);
    }

    #[test]
    fn authorities_made_at_once_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<String> = std::thread::scope(|scope| {
            let open = || Authority::open_or_create(dir.path()).unwrap().ca_pem;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|pem| *pem == made[0]));
    }

    #[test]
    fn what_a_crash_left_half_made_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CA_KEY), "half").unwrap();
        assert!(Authority::open_or_create(dir.path()).is_ok());
    }
}
