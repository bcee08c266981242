//! A write whose outcome is unknown is sent again under its own id: it cannot become a second write.
//!
//! The client retries by itself within the time limit. After it the application decides: it can send the very same
//! request again, for a minute after it was made.
//!
//! ```sh
//! starling dev &                                   # a cluster of three nodes, data in ./starling-data
//! cargo run -p starling-client --example retry     # or with: ADDRESS TLS_DIRECTORY; kill a node meanwhile
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use std::time::Duration;

use starling_client::{Client, ClientError};
use starling_types::{BucketName, Key, Outcome};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    common::run(retry)
}

async fn retry(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    let bucket = BucketName::default_bucket();
    for number in 0..20 {
        let key = Key::new(format!("order-{number}"))?;
        // No context: were it written twice, the key would have two siblings.
        client.delete(bucket.clone(), key.clone()).blind().send().await?;
        write_once(&client, bucket.clone(), key.clone()).await?;
        let read = client.get(bucket.clone(), key).send().await?;
        println!("order-{number}: {} value", read.siblings.len());
    }
    Ok(())
}

/// Writes, and does not give up while it is unknown whether the write took place.
async fn write_once(client: &Client, bucket: BucketName, key: Key) -> Result<(), ClientError> {
    let call = client.put(bucket, key, "paid").timeout(Duration::from_millis(500));
    let mut request = call.as_request().clone();
    for _ in 0..TRIES {
        match client.request(request.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.outcome() == Outcome::Unknown => {
                println!("{error}");
                // Says that it may have been written: the owners are asked for the id first.
                request.attempt = request.attempt.saturating_add(1);
            }
            Err(error) => return Err(error),
        }
    }
    client.request(request).await.map(drop)
}

const TRIES: u32 = 20;
