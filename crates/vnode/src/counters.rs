//! The counters of the vnodes.

starling_types::counters! {
    /// The machine's counts since it started.
    Counters {
        /// Writes that this node gave a dot.
        minted = "starling_dots_minted_total",
        /// Records merged into this node's replicas, by whether they brought something new.
        merged = "starling_merges_total" { changed: "yes" },
        /// Merges that brought nothing new.
        merged_nothing_new = "starling_merges_total" { changed: "no" },
        /// Hints that were written over an earlier one of the same key and owner: of the two one is delivered.
        hints_superseded = "starling_hints_superseded_total",
        /// Reads of a replica answered from memory.
        cache_hits = "starling_cache_hits_total",
        /// Reads of a replica that needed the disk.
        cache_misses = "starling_cache_misses_total",
        /// Retries recognised by their request id: nothing was written again.
        repeats = "starling_repeated_requests_total",
        /// Merges in which one side had forgotten its past; must stay 0.
        conflicts = "starling_forgotten_past_total",
        /// Deletes that stored nothing, because no owner held anything.
        deletes_of_nothing = "starling_deletes_of_nothing_total",
        /// Tries of writes that were not made because they would have lost at once, where the last write wins.
        outranked = "starling_writes_outranked_total",
        /// Writes and merges that left 25 siblings or more.
        many_siblings = "starling_many_siblings_total",
        /// Commits that raised the hybrid clock's durable ceiling.
        leases = "starling_clock_leases_total",
        /// Writes of keys, or with contexts, that some clock had put further ahead than the hybrid clock follows.
        outlying_mints = "starling_outlying_mints_total",
        /// Merges that left a larger record than a client's write may leave: its siblings should be resolved.
        outsized = "starling_outsized_records_total",
        /// Rows that could not be read, or not decoded.
        load_errors = "starling_load_errors_total",
        /// Rows whose bytes were not those that were written.
        damaged = "starling_damaged_rows_total",
        /// Damaged rows given up because no other copy was found.
        discarded = "starling_discarded_rows_total",
        /// Commits refused because the disk was full.
        no_space,
    }
}
