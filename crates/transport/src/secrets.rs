//! The secrets that an endpoint must remember over a restart so that its old connections end at once.
//!
//! A peer that sends to a restarted node gets a stateless reset (RFC 9000, section 10.3) only if the node can
//! derive the token it once announced: 24 ms instead of the idle timeout. Both keys are therefore kept beside
//! the credentials.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::files::{self, Readers};
use crate::identity::{IdentityError, malformed};

/// The keys of an endpoint's stateless resets and connection ids.
#[derive(Clone)]
pub struct EndpointSecrets([u8; LENGTH]);

/// Never shows the keys.
impl fmt::Debug for EndpointSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointSecrets")
    }
}

impl EndpointSecrets {
    /// New ones, for an endpoint that no peer will miss: a client's.
    pub fn random() -> Result<Self, IdentityError> {
        let mut bytes = [0; LENGTH];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| IdentityError::Generation("the system gave no random bytes".into()))?;
        Ok(Self(bytes))
    }

    /// Those of `dir` (file `endpoint.key`, mode 0600), made if there are none, or if the file is empty or holds zeros
    /// instead: some file systems leave that after a power cut, and with such keys any host could end this node's
    /// connections. New ones cost no more than that peers notice this start later.
    pub fn open_or_create(dir: &Path) -> Result<Self, IdentityError> {
        let _held = files::lock_dir(dir)?;
        let path = dir.join(FILE);
        if !path.exists() {
            files::write(&path, &Self::random()?.0, Readers::Owner)?;
        }
        let mut bytes = files::read(&path, "it was there a moment ago: start again")?;
        if bytes.iter().take(RESET).all(|byte| *byte == 0) {
            tracing::warn!(path = %path.display(), "it held no secret, as after a power cut: it is made anew");
            bytes = Self::random()?.0.to_vec();
            files::write(&path, &bytes, Readers::Owner)?;
        }
        let unusable = |what| {
            let advice = "it may be deleted, a new one is made at the next start";
            malformed(path.display().to_string(), format!("{what}; {advice}"))
        };
        let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| unusable("wrong length"))?;
        Ok(Self(bytes))
    }

    pub(crate) fn endpoint_config(&self) -> EndpointConfig {
        let (reset, rest) = self.0.split_at(RESET);
        let cid = rest.iter().fold(0, |key: u64, byte| key << 8 | u64::from(*byte));
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, reset)));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid)));
        config
    }
}

const FILE: &str = "endpoint.key";
const RESET: usize = 64;
const LENGTH: usize = RESET + size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_survive_a_restart_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let first = EndpointSecrets::open_or_create(dir.path()).unwrap();
        let again = EndpointSecrets::open_or_create(dir.path()).unwrap();
        assert_eq!(first.0, again.0);
        assert_ne!(first.0, EndpointSecrets::random().unwrap().0);
        std::fs::write(dir.path().join(FILE), "short").unwrap();
        let error = EndpointSecrets::open_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }

    #[test]
    fn zeros_are_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        EndpointSecrets::open_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let mut zeros = std::fs::read(&path).unwrap();
        zeros[..RESET].fill(0);
        for left in [zeros, vec![0; LENGTH], Vec::new()] {
            std::fs::write(&path, &left).unwrap();
            let made = EndpointSecrets::open_or_create(dir.path()).unwrap();
            assert!(made.0[..RESET].iter().any(|byte| *byte != 0));
            assert_eq!(std::fs::read(&path).unwrap(), made.0, "for the next start as well");
        }
    }
}
