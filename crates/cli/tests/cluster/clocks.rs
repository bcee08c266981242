//! The operator's view of clocks, and the commands about them.

use serde_json::json;

use crate::support::command::run_at;
use crate::support::node::Cluster;

#[test]
fn a_clock_that_has_not_jumped_is_accepted_as_it_is_and_the_status_tells_of_it() {
    let cluster = Cluster::of_three();
    let node = &cluster.nodes[0];
    let said = run_at(node.quic, &cluster.tls, &["clock", "accept", "-o", "json"]).well().json();
    assert_eq!(said, json!({ "moved_ms": 0 }));
    let status = node.status();
    assert_eq!(status["clock"]["jump_ms"], json!(null), "{status}");
    assert_eq!(status["clock"]["outlying_mints"], json!(0), "{status}");
    assert_eq!(node.metric("starling_clock_jump_seconds"), 0.0);
}
