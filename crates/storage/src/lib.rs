//! Durable ordered bytes: the Engine trait and its engines
