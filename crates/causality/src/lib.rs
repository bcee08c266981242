//! Dots, version vectors, dotted version vector sets, hybrid logical clock, context token
