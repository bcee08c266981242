//! `starling put`, `get` and `del`.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use starling_causality::ContextToken;
use starling_client::{Call, Client};
use starling_types::{BucketName, Key};
use starling_wire::client::{ReadReply, WriteReply};

use crate::args::{DelArgs, GetArgs, KeyArgs, PutArgs, WriteArgs};
use crate::connect;
use crate::exit::{Exit, Failed};
use crate::output;

/// `starling put`
pub async fn put(args: PutArgs, json: bool) -> Result<Exit, Failed> {
    let (bucket, key) = names(&args.key)?;
    let value = value(args.value)?;
    let client = connect::client(&args.key.target).await?;
    let mut call = write_options(client.put(bucket, key, value), &args.key, &args.write)?;
    if let Some(ms) = args.ttl_ms {
        call = call.ttl(Duration::from_millis(ms));
    }
    let reply = call.send().await;
    finish(&client).await;
    show_write(&reply?, &args.write, json);
    Ok(Exit::Done)
}

/// `starling del`
pub async fn del(args: DelArgs, json: bool) -> Result<Exit, Failed> {
    let (bucket, key) = names(&args.key)?;
    let client = connect::client(&args.key.target).await?;
    let reply = write_options(client.delete(bucket, key), &args.key, &args.write)?.send().await;
    finish(&client).await;
    show_write(&reply?, &args.write, json);
    Ok(Exit::Done)
}

/// `starling get`
pub async fn get(args: GetArgs, json: bool) -> Result<Exit, Failed> {
    let (bucket, key) = names(&args.key)?;
    let client = connect::client(&args.key.target).await?;
    let mut call = client.get(bucket, key);
    if let Some(r) = args.r {
        call = call.quorum(r);
    }
    if args.key.strict {
        call = call.strict(true);
    }
    if let Some(ms) = args.key.timeout_ms {
        call = call.timeout(Duration::from_millis(u64::from(ms)));
    }
    let reply = call.send().await;
    finish(&client).await;
    show_read(&reply?, json)
}

fn write_options<'c>(
    call: Call<'c, WriteReply>,
    key: &KeyArgs,
    write: &WriteArgs,
) -> Result<Call<'c, WriteReply>, Failed> {
    let mut call = match &write.context {
        None => call.blind(),
        Some(text) => call.context(token(text)?),
    };
    if let Some(w) = write.w {
        call = call.quorum(w);
    }
    if key.strict {
        call = call.strict(true);
    }
    if let Some(ms) = key.timeout_ms {
        call = call.timeout(Duration::from_millis(u64::from(ms)));
    }
    Ok(call)
}

fn token(text: &str) -> Result<bytes::Bytes, Failed> {
    let token =
        ContextToken::from_text(text).map_err(|e| Failed::new(Exit::Usage, format!("--context: {e}")))?;
    Ok(token.as_bytes().clone())
}

fn names(args: &KeyArgs) -> Result<(BucketName, Key), Failed> {
    let usage = |e: starling_types::key::NameError| Failed::new(Exit::Usage, e.to_string());
    Ok((
        BucketName::new(&args.bucket).map_err(usage)?,
        Key::new(args.key.clone().into_bytes()).map_err(usage)?,
    ))
}

fn value(argument: String) -> Result<Vec<u8>, Failed> {
    if argument != "-" {
        return Ok(argument.into_bytes());
    }
    let mut value = Vec::new();
    let most = starling_types::limits::MAX_VALUE as u64 + 1;
    std::io::stdin()
        .take(most)
        .read_to_end(&mut value)
        .map_err(|e| Failed::new(Exit::Failed, format!("standard input: {e}")))?;
    Ok(value)
}

async fn finish(client: &Client) {
    client.close().await;
}

fn show_write(reply: &WriteReply, args: &WriteArgs, json: bool) {
    let context = reply.context.as_ref().map(text);
    let receipt = &reply.receipt;
    let receipt = serde_json::json!({
        "dot": receipt.dot.map(|dot| dot.to_string()), "coordinator": receipt.coordinator, "acked": receipt.acked,
        "owners": receipt.owners, "w": receipt.w, "n": receipt.n, "durable": receipt.durable,
        "hinted": receipt.hinted, "unvouched": receipt.unvouched,
    });
    if json {
        let mut out = serde_json::json!({ "context": context, "siblings": reply.siblings });
        if args.receipt {
            out["receipt"] = receipt;
        }
        return output::line(out.to_string());
    }
    match reply.siblings {
        0 | 1 => output::line("OK"),
        n => {
            output::line(format!("OK ({n} siblings now: get the key, and put with the context of that get)"))
        }
    }
    if args.receipt {
        output::line(receipt.to_string());
    }
}

/// A value alone is printed as it is, so that it can be piped; anything else is explained.
fn show_read(reply: &ReadReply, json: bool) -> Result<Exit, Failed> {
    let context = reply.context.as_ref().map(text);
    if json {
        let siblings = reply.siblings.iter().map(|s| {
            serde_json::json!({
                "value": STANDARD.encode(&s.value), "dot": s.dot.to_string(), "time_ms": s.dot.hlc.millis(),
            })
        });
        let siblings: Vec<_> = siblings.collect();
        output::line(serde_json::json!({ "siblings": siblings, "context": context }).to_string());
    }
    match (&reply.siblings[..], json) {
        ([], true) => return Ok(Exit::Failed),
        ([], false) => return Err(Failed::new(Exit::Failed, "no such key")),
        (_, true) => {}
        ([only], false) => {
            output::raw(&only.value);
            output::raw(b"\n");
        }
        (several, false) => {
            output::line(format!("{} siblings, oldest first:", several.len()));
            for s in several {
                output::line(format!("  {}  {}", s.dot, s.value.escape_ascii()));
            }
            output::line(format!("context: {}", context.unwrap_or_default()));
            output::line("to resolve: starling put KEY VALUE --context TOKEN");
        }
    }
    Ok(Exit::Done)
}

fn text(token: &bytes::Bytes) -> String {
    ContextToken::from_bytes(token.clone()).to_text()
}
