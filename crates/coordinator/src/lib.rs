//! One request decided: plan, quorum tracker, put, get
