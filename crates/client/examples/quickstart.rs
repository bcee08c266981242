//! Write a value, read it, replace it, delete it.
//!
//! ```sh
//! starling dev &                                        # a cluster of three nodes, data in ./starling-data
//! cargo run -p starling-client --example quickstart     # or with: ADDRESS TLS_DIRECTORY
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use starling_client::Client;
use starling_types::{BucketName, Key};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run(quickstart)
}

async fn quickstart(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    let bucket = BucketName::default_bucket();
    let key = Key::new("greeting")?;

    // Blind: replaces the value that the coordinating replica holds.
    client.put(bucket.clone(), key.clone(), "hello").blind().send().await?;
    let read = client.get(bucket.clone(), key.clone()).send().await?;
    for sibling in &read.siblings {
        println!("{}: {}", sibling.dot, sibling.value.escape_ascii());
    }

    // With the context of that read: replaces exactly what it has shown, on all three owners before it is acked.
    let seen = read.context.ok_or("a key with a value has a context")?;
    let put = client.put(bucket.clone(), key.clone(), "good day").context(seen).quorum(3).strict(true);
    let written = put.send().await?;
    println!(
        "held by {} nodes as {}",
        written.receipt.acked,
        written.receipt.dot.map(|dot| dot.to_string()).unwrap_or_default()
    );

    client.delete(bucket.clone(), key.clone()).blind().send().await?;
    let read = client.get(bucket, key).send().await?;
    println!("{} values after the delete", read.siblings.len());
    Ok(())
}
