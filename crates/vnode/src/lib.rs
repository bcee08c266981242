//! One replica of one partition: record cache, coordinate, merge, read
