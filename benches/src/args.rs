//! Arguments that every benchmark takes.

use std::time::Duration;

/// How long, how often, and how to print.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// One round of a fifth of a second for each cell: shows that it runs, measures little.
    #[arg(long)]
    pub quick: bool,
    /// Rounds; figures are medians over them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    pub rounds: u8,
    /// Seconds measured for each cell in each round, after a warm-up of a quarter of that.
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Common {
    /// Rounds in force.
    pub fn rounds(&self) -> u8 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Time measured for one cell in one round.
    pub fn span(&self) -> Duration {
        Duration::from_secs_f64(if self.quick { 0.2 } else { self.seconds })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=600.0).contains(&seconds) { Ok(seconds) } else { Err("between 0.01 and 600".into()) }
}
