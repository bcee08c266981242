//! How eager the failure detector is. Members may differ: nothing here has to be equal across a cluster.

use std::str::FromStr;
use std::time::Duration;

/// Timers and bounds. Start from a [`Preset`]; `ring-and-layout`, section 3 has the measurements behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Time between two probes. Shorter finds deaths sooner and costs one ping and ack each.
    pub period: Duration,
    /// How long a ping may take before others are asked to help; stretched for peers known to be slow. Must be
    /// well under `period`, which has to fit the helpers' round trips too.
    pub ping_timeout: Duration,
    /// Shortest suspicion, in periods, for up to ten members; grows with the logarithm of the member count.
    pub suspicion_periods: u32,
    /// An unconfirmed suspicion lasts this many times as long as a confirmed one.
    pub suspicion_stretch: u32,
    /// Accusers beyond the first that bring a suspicion down to its shortest.
    pub confirmations: u32,
    /// Members asked to ping in our stead.
    pub helpers: usize,
    /// Time between two rounds of rumours, while there are any.
    pub rumour_interval: Duration,
    /// Members told in one round of rumours.
    pub rumour_fanout: usize,
    /// A rumour is sent this many times the digits of the member count, by everyone who hears it.
    pub retransmits: u32,
    /// Local health stretches period and timeouts by 1 up to this.
    pub health_limit: u32,
    /// One dead member is probed this often, so that partitions heal.
    pub revive_interval: Duration,
    /// Tables are compared with a random member this often.
    pub compare_interval: Duration,
}

/// A name for a set of timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// One site: a death is known in about two seconds, a pause beyond that passes for one.
    #[default]
    Lan,
    /// One site whose nodes may pause for seconds: about four seconds.
    Calm,
    /// Several sites: about ten seconds.
    Wan,
}

/// A preset's name was none of `lan`, `calm`, `wan`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no gossip preset: choose lan, calm or wan")]
pub struct UnknownPreset(String);

/// Timers that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A span or count is zero.
    #[error("a gossip timer or count is 0: only confirmations and helpers may be")]
    Zero,
    /// Helpers would have no time left to answer within the period.
    #[error(
        "gossip ping_timeout {ping_timeout:?} is more than half the period {period:?}: lower the one or raise the other"
    )]
    PingTimeout {
        /// As configured.
        ping_timeout: Duration,
        /// As configured.
        period: Duration,
    },
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(text: &str) -> Result<Self, UnknownPreset> {
        match text {
            "lan" => Ok(Self::Lan),
            "calm" => Ok(Self::Calm),
            "wan" => Ok(Self::Wan),
            unknown => Err(UnknownPreset(unknown.into())),
        }
    }
}

impl Config {
    /// The timers of `preset`.
    pub const fn preset(preset: Preset) -> Self {
        match preset {
            Preset::Lan => LAN,
            Preset::Calm => CALM,
            Preset::Wan => WAN,
        }
    }

    /// Whether the timers fit each other; a machine needs a config that passes.
    pub fn check(&self) -> Result<(), ConfigError> {
        let spans = [self.ping_timeout, self.rumour_interval, self.revive_interval, self.compare_interval];
        let counts = [self.suspicion_periods, self.suspicion_stretch, self.retransmits, self.health_limit];
        if spans.iter().any(Duration::is_zero) || counts.contains(&0) || self.rumour_fanout == 0 {
            return Err(ConfigError::Zero);
        }
        if self.ping_timeout.saturating_mul(2) > self.period {
            return Err(ConfigError::PingTimeout { ping_timeout: self.ping_timeout, period: self.period });
        }
        Ok(())
    }

    /// The shortest suspicion among `members` live members.
    pub(crate) fn suspicion_floor(&self, members: usize) -> Duration {
        let digits = (members.max(1) as f64).log10().max(1.0);
        self.period.saturating_mul(self.suspicion_periods).mul_f64(digits)
    }

    /// How often one rumour is sent among `members` live members: retransmits * ceil(log10(members + 1)).
    pub(crate) fn rumour_limit(&self, members: usize) -> u32 {
        self.retransmits * (members.max(1).ilog10() + 1)
    }
}

impl Default for Config {
    fn default() -> Self {
        LAN
    }
}

const LAN: Config = Config {
    period: Duration::from_millis(400),
    ping_timeout: Duration::from_millis(120),
    suspicion_periods: 2,
    suspicion_stretch: 5,
    confirmations: 1,
    helpers: 3,
    rumour_interval: Duration::from_millis(100),
    rumour_fanout: 3,
    retransmits: 4,
    health_limit: 8,
    revive_interval: Duration::from_secs(10),
    compare_interval: Duration::from_secs(10),
};

const CALM: Config = Config {
    period: Duration::from_millis(500),
    ping_timeout: Duration::from_millis(150),
    suspicion_periods: 3,
    suspicion_stretch: 4,
    confirmations: 2,
    ..LAN
};

const WAN: Config = Config {
    period: Duration::from_millis(1_000),
    ping_timeout: Duration::from_millis(500),
    suspicion_periods: 4,
    suspicion_stretch: 6,
    confirmations: 2,
    rumour_interval: Duration::from_millis(200),
    revive_interval: Duration::from_secs(30),
    compare_interval: Duration::from_secs(30),
    ..LAN
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rumours_are_sent_four_times_the_digits() {
        let config = Config::default();
        for (members, limit) in [(1, 4), (3, 4), (9, 4), (10, 8), (99, 8), (100, 12), (1000, 16)] {
            assert_eq!(config.rumour_limit(members), limit, "{members} members");
            let formula = 4 * f64::from(u32::try_from(members).unwrap() + 1).log10().ceil() as u32;
            assert_eq!(limit, formula, "{members} members");
        }
    }

    #[test]
    fn suspicion_grows_with_the_logarithm_but_not_below_ten() {
        let config = Config::default();
        assert_eq!(config.suspicion_floor(2), Duration::from_millis(800));
        assert_eq!(config.suspicion_floor(10), Duration::from_millis(800));
        assert_eq!(config.suspicion_floor(100), Duration::from_millis(1_600));
    }

    #[test]
    fn presets_have_names_and_fit_their_own_period() {
        for (name, preset) in [("lan", Preset::Lan), ("calm", Preset::Calm), ("wan", Preset::Wan)] {
            assert_eq!(name.parse(), Ok(preset));
            assert_eq!(Config::preset(preset).check(), Ok(()), "{name}");
        }
        let hasty = Config { period: LAN.ping_timeout, ..LAN };
        assert!(hasty.check().unwrap_err().to_string().contains("more than half the period"));
        assert_eq!(Config { rumour_fanout: 0, ..LAN }.check(), Err(ConfigError::Zero));
        assert!("fast".parse::<Preset>().unwrap_err().to_string().contains("choose lan, calm or wan"));
    }
}
