//! Two writers who do not know of each other: both values stay, until a writer who has seen both says what shall be.
//!
//! ```sh
//! starling dev &                                      # a cluster of three nodes, data in ./starling-data
//! cargo run -p starling-client --example siblings     # or with: ADDRESS TLS_DIRECTORY
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use std::collections::BTreeSet;

use starling_client::Client;
use starling_types::{BucketName, Key};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run(siblings)
}

async fn siblings(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    let bucket = BucketName::default_bucket();
    let key = Key::new("basket")?;
    client.delete(bucket.clone(), key.clone()).blind().send().await?;

    // Neither has seen the other's: a put without a context replaces nothing.
    for item in ["apples", "pears"] {
        let written = client.put(bucket.clone(), key.clone(), item).send().await?;
        println!("put {item}: {} siblings now", written.siblings);
    }

    // Every reader sees both, and merges them as only the application can.
    let read = client.get(bucket.clone(), key.clone()).send().await?;
    let items: BTreeSet<String> =
        read.siblings.iter().map(|s| String::from_utf8_lossy(&s.value).into_owned()).collect();
    let merged = items.into_iter().collect::<Vec<_>>().join(", ");
    let seen = read.context.ok_or("a key with values has a context")?;
    let written = client.put(bucket.clone(), key.clone(), merged.clone()).context(seen).send().await?;
    println!("put {merged}: {} sibling now", written.siblings);
    Ok(())
}
