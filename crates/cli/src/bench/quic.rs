//! The load over the native protocol: one client for every node named, loops spread over them; each goes straight to
//! an owner of the key.

use std::rc::Rc;

use bytes::Bytes;
use starling_client::{Client, ClientError};
use starling_types::{BucketName, Key};
use tokio::task::JoinSet;

use super::{Run, Step, now};
use crate::connect::{self, Target};
use crate::exit::Failed;

/// Runs until the run is over.
pub async fn drive(target: &Target, outstanding: u16, run: &Rc<Run>) -> Result<(), Failed> {
    let mut clients = Vec::new();
    for addr in target.addresses()? {
        clients.push(connect::client_at(&[addr], target.tls.as_deref()).await?);
    }
    let mut loops = JoinSet::new();
    for client in clients.iter().cycle().take(usize::from(outstanding)) {
        loops.spawn_local(one(client.clone(), run.clone()));
    }
    while loops.join_next().await.is_some() {}
    for client in clients {
        client.close().await;
    }
    Ok(())
}

async fn one(client: Client, run: Rc<Run>) {
    while let Some(step) = run.next() {
        let begun = now();
        match perform(&client, step, run.value()).await {
            Ok(true) => run.done(begun),
            Ok(false) => run.failed("a key that was written is absent"),
            Err(error) => run.failed(error),
        }
    }
}

/// Whether the key was there, or is now.
async fn perform(client: &Client, step: Step, value: Bytes) -> Result<bool, ClientError> {
    // Keys of a benchmark are short and not empty.
    #[expect(clippy::expect_used, reason = "a benchmark's keys are short and not empty")]
    let key = |bytes: Vec<u8>| Key::new(bytes).expect("short and not empty");
    let bucket = BucketName::default_bucket();
    match step {
        Step::Put(k) => client.put(bucket, key(k), value).blind().send().await.map(|_| true),
        Step::Get(k) => client.get(bucket, key(k)).send().await.map(|reply| reply.newest().is_some()),
    }
}
