//! An operator's settings for one node: flags before environment before file before default.
//!
//! Cluster-wide values (copies, buckets, layouts) are gossiped and never stand in a file. [`keys`] is the one table
//! that file, environment, flags, the annotated `config/starling.toml` and the user guide all come from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

mod annotated;
mod env;
mod error;
mod file;
mod flags;
mod keys;
mod rule;
#[cfg(test)]
mod tests;
mod value;

pub use error::{ConfigError, Origin};
pub use flags::Overrides;
pub use keys::{
    ClusterSettings, GossipSettings, LimitSettings, ListenSettings, NodeSettings, Settings, StorageSettings,
    TelemetrySettings, TlsSettings,
};

pub(crate) use value::size;

use keys::Key;

impl StorageSettings {
    /// How the engine is to run.
    pub fn engine(&self) -> starling_storage::Options {
        starling_storage::Options {
            cache_bytes: self.engine_cache_bytes.unwrap_or(self.memory_limit / 6),
            // Up to seven are in memory for data, and seldom any for hints.
            write_buffer_bytes: (self.memory_limit / 32).clamp(1 << 20, 32 << 20),
            sync: self.sync,
            scrub_rate: self.scrub_rate,
            ..starling_storage::Options::default()
        }
    }

    /// Bytes of decoded records.
    pub fn record_cache(&self) -> usize {
        let bytes = self.record_cache_bytes.unwrap_or(self.memory_limit / 4);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl Settings {
    /// Settings from `file` (none: no file), `env` (variables that set no key are passed over: see
    /// [`Settings::foreign`]) and `flags`, checked.
    ///
    /// # Errors
    /// The first value, key or variable that is not allowed: where it stands, what it is, what is allowed.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut loading = Loading::default();
        if let Some(path) = file {
            file::read(path)?.into_iter().try_for_each(|a| loading.assign(a))?;
        }
        env::read(env).into_iter().try_for_each(|a| loading.assign(a))?;
        flags.0.into_iter().try_for_each(|a| loading.assign(a))?;
        loading.finish()
    }

    /// A line about each of these environment variables that starts with `STARLING_` and that nothing reads.
    pub fn foreign(names: impl IntoIterator<Item = String>) -> Vec<String> {
        env::foreign(names)
    }

    /// A configuration file with these values and, as comments, what each key means, its default, how to choose
    /// it and what is allowed. `config/starling.toml` is this for the defaults.
    pub fn annotated(&self) -> String {
        annotated::render(self)
    }
}

/// One key, set in one place.
#[derive(Debug, Clone)]
struct Assignment {
    key: &'static Key,
    value: value::Given,
    origin: Origin,
}

/// Settings in the making, and where each value that is no default came from.
#[derive(Default)]
struct Loading {
    settings: Settings,
    origins: BTreeMap<String, Origin>,
}

impl Loading {
    fn assign(&mut self, Assignment { key, value, origin }: Assignment) -> Result<(), ConfigError> {
        if key.write(&mut self.settings, &value).is_none() {
            return Err(ConfigError::value(origin, key, value.to_string()));
        }
        self.origins.insert(key.path(), origin);
        Ok(())
    }

    fn finish(self) -> Result<Settings, ConfigError> {
        self.check_addresses()?;
        self.check_room_for_a_value()?;
        self.check_memory()?;
        Ok(self.settings)
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let listen = &self.settings.listen;
        if listen.quic.ip().is_unspecified() && listen.advertise.is_none() {
            return Err(self.conflict(
                "listen.quic",
                listen.quic,
                "it names no address that others can reach: set listen.advertise (STARLING_LISTEN_ADVERTISE, \
                 --advertise) to one"
                    .into(),
            ));
        }
        if overlap(listen.resp, listen.http) {
            let why = format!("listen.resp = {} is there already: choose another port", listen.resp);
            return Err(self.conflict("listen.http", listen.http, why));
        }
        Ok(())
    }

    fn check_room_for_a_value(&self) -> Result<(), ConfigError> {
        let limits = &self.settings.limits;
        if limits.max_in_flight_bytes >= limits.max_value {
            return Ok(());
        }
        let value = size(limits.max_in_flight_bytes as u64);
        let why = format!(
            "it must be at least limits.max_value = {} ({})",
            size(limits.max_value as u64),
            self.origin("limits.max_value")
        );
        Err(self.conflict("limits.max_in_flight_bytes", value, why))
    }

    /// The parts of the memory are less than the whole.
    fn check_memory(&self) -> Result<(), ConfigError> {
        let (storage, limits) = (&self.settings.storage, &self.settings.limits);
        let limit = storage.memory_limit;
        let whole =
            format!("storage.memory_limit = {} ({})", size(limit), self.origin("storage.memory_limit"));
        let (engine, records) = (storage.engine().cache_bytes, storage.record_cache() as u64);
        // Write buffers take a quarter.
        let caches = engine.saturating_add(records);
        if caches > limit - limit / 4 {
            let (key, bytes) = match engine > records {
                true => ("storage.engine_cache_bytes", engine),
                false => ("storage.record_cache_bytes", records),
            };
            let why = format!("the caches together may have three quarters of {whole}");
            return Err(self.conflict(key, size(bytes), why));
        }
        let largest = limits.max_value as u64;
        if largest > limit / 2 {
            let why = format!("it must be at most half of {whole}");
            return Err(self.conflict("limits.max_value", size(largest), why));
        }
        Ok(())
    }

    fn conflict(&self, key: &'static str, value: impl ToString, why: String) -> ConfigError {
        ConfigError::Conflict { origin: self.origin(key), key, value: value.to_string(), why }
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// Whether two TCP listeners would want the same port. Port 0 takes a free one.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let shared = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && shared
}
