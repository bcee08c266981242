//! The report of an open: whether everything this store once acknowledged is still there.

use std::fmt;

use super::salvage::Salvage;
use crate::Space;
use crate::log::{Findings, Sequence};
use starling_types::row::RowRange;

/// The findings of the open of a store. A store that lost something is open all the same, with what is left: its caller must
/// not take a missing row for one that never was, until it has been compared with other replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The findings of the log.
    pub log: Findings,
    /// Tables that had to be made anew.
    pub salvaged: Vec<(Space, Salvage)>,
    /// Of each table that could not be opened and was left out, whose it was.
    pub left_out: Vec<Space>,
    /// Ranges of data rows that may be missing with such tables: of this open and of earlier ones whose losses are not
    /// acknowledged.
    pub lost_ranges: Vec<RowRange>,
    /// The log ended at the first of these batches, tables hold the second: it is an older one than they.
    pub log_behind: Option<(Sequence, Sequence)>,
    /// An earlier open found a loss that was not acknowledged yet ([`super::DurableEngine::acknowledge_losses`]).
    pub lost_before: bool,
}

impl OpenReport {
    /// Whether acknowledged rows may be missing, or be there in an older version.
    pub fn has_losses(&self) -> bool {
        self.may_have_lost_anything() || !self.lost_ranges.is_empty()
    }

    /// Whether rows anywhere may be; otherwise only in [`OpenReport::lost_ranges`].
    pub fn may_have_lost_anything(&self) -> bool {
        !self.log.lost.is_empty()
            || !self.salvaged.is_empty()
            || self.log_behind.is_some()
            || self.lost_before
    }
}

impl fmt::Display for OpenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.log)?;
        for (namespace, salvage) in &self.salvaged {
            let Salvage { whole_tables, damaged_tables, rows } = salvage;
            write!(
                f,
                "; the tables of {namespace} were rebuilt with {rows} rows from {whole_tables} whole files, "
            )?;
            write!(f, "{damaged_tables} were damaged")?;
        }
        if !self.left_out.is_empty() {
            write!(f, "; {} damaged tables were set aside", self.left_out.len())?;
        }
        if !self.lost_ranges.is_empty() {
            write!(
                f,
                "; rows in {} ranges of keys may be missing with damaged tables",
                self.lost_ranges.len()
            )?;
        }
        if let Some((log, tables)) = self.log_behind {
            write!(
                f,
                "; the log ends at batch {}, although tables hold batch {}: it was replaced by an older one",
                log.0, tables.0
            )?;
        }
        if self.lost_before {
            write!(f, "; an earlier loss has not been made good")?;
        }
        Ok(())
    }
}
