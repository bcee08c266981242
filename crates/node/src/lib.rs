//! ControlPlane and Shard: the whole node as a deterministic machine
