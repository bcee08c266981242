//! Token to partition to preference list; placement; layouts and their first decision
