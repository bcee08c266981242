//! `starling put`, `get` and `del`.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use starling_causality::ContextToken;
use starling_client::{Call, Client, ClientError};
use starling_types::{BucketName, Key};
use starling_wire::Seen;
use starling_wire::client::{Field, Grounds, ReadReply, Receipt, SiblingView, WriteReply};

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
    write(&client, call, (&args.key, &args.write), json).await
}

/// `starling del`
pub async fn del(args: DelArgs, json: bool) -> Result<Exit, Failed> {
    let (bucket, key) = names(&args.key)?;
    if args.write.context == "none" {
        let why = "a delete that has seen nothing deletes nothing: --context with a token, quorum or local";
        return Err(Failed::new(Exit::Usage, why));
    }
    let client = connect::client(&args.key.target).await?;
    let call = write_options(client.delete(bucket, key), &args.key, &args.write)?;
    write(&client, call, (&args.key, &args.write), json).await
}

async fn write(
    client: &Client,
    call: Call<'_, WriteReply>,
    (key, args): (&KeyArgs, &WriteArgs),
    json: bool,
) -> Result<Exit, Failed> {
    let grounds = call.as_request().op.seen().map_or(Grounds::Nothing, Seen::grounds);
    let reply = call.send().await;
    finish(client).await;
    show_write(&about(key, reply)?, grounds, args.receipt, json)?;
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
    show_read(&args.key, &about(&args.key, reply)?, json)
}

/// Says of which key an error is: a script that asks for many could not tell.
fn about<T>(key: &KeyArgs, reply: Result<T, ClientError>) -> Result<T, Failed> {
    reply.map_err(|error| {
        let failed = Failed::from(error);
        Failed { why: format!("{}: {}", named(key), failed.why), ..failed }
    })
}

fn named(key: &KeyArgs) -> String {
    format!("key {:?} of bucket {:?}", key.key, key.bucket)
}

fn write_options<'c>(
    call: Call<'c, WriteReply>,
    key: &KeyArgs,
    write: &WriteArgs,
) -> Result<Call<'c, WriteReply>, Failed> {
    let mut call = match write.context.as_str() {
        "quorum" => call.blind(),
        "local" => call.blind_local(),
        "none" => call,
        text => call.context(token(text)?),
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

fn show_write(reply: &WriteReply, grounds: Grounds, receipt: bool, json: bool) -> Result<(), Failed> {
    let shown = receipt.then(|| receipt_json(&reply.receipt, grounds));
    if json {
        let mut out =
            serde_json::json!({ "context": reply.context.as_ref().map(text), "siblings": reply.siblings });
        if let Some(receipt) = shown {
            out["receipt"] = receipt;
        }
        return output::done(true, out.to_string());
    }
    match reply.siblings {
        0 | 1 => output::remark("OK"),
        n => output::remark(format!(
            "OK ({n} siblings now: get the key, and put with the context of that get)"
        )),
    }
    if reply.receipt.partial {
        output::note(
            "starling: too few owners answered to be sure that all earlier writes are replaced: get the key to see",
        );
    }
    shown.map_or(Ok(()), |receipt| output::done(true, receipt.to_string()))
}

fn receipt_json(receipt: &Receipt, grounds: Grounds) -> serde_json::Value {
    let json = |field| match field {
        Field::Text(text) => serde_json::Value::from(text),
        Field::Number(number) => number.into(),
        Field::Flag(flag) => flag.into(),
        Field::Nothing => serde_json::Value::Null,
    };
    receipt.fields(grounds).into_iter().map(|(name, field)| (name, json(field))).collect()
}

fn show_read(key: &KeyArgs, reply: &ReadReply, json: bool) -> Result<Exit, Failed> {
    if json {
        output::product(read_json(reply).to_string())?;
        return Ok(if reply.siblings.is_empty() { Exit::Failed } else { Exit::Done });
    }
    match &reply.siblings[..] {
        [] => return Err(Failed::new(Exit::Failed, format!("{}: no such key", named(key)))),
        [only] => output::value(&only.value)?,
        several if output::is_terminal() => output::product(siblings_text(reply, several))?,
        several => {
            output::note(siblings_text(reply, several));
            let (named, count) = (named(key), several.len());
            let why = format!("{named} has {count} values, and not one: `-o json` gives them all");
            return Err(Failed::new(Exit::Failed, why));
        }
    }
    Ok(Exit::Done)
}

fn read_json(reply: &ReadReply) -> serde_json::Value {
    let siblings = reply.siblings.iter().map(|s| {
        serde_json::json!({
            "value": STANDARD.encode(&s.value), "dot": s.dot.to_string(), "time_ms": s.dot.hlc.millis(),
        })
    });
    serde_json::json!({
        "siblings": siblings.collect::<Vec<_>>(), "context": reply.context.as_ref().map(text),
    })
}

fn siblings_text(reply: &ReadReply, several: &[SiblingView]) -> String {
    let mut shown = format!("{} siblings, oldest first:", several.len());
    for s in several {
        shown += &format!("\n  {}  {}", s.dot, s.value.escape_ascii());
    }
    let context = reply.context.as_ref().map(text).unwrap_or_default();
    shown + &format!("\ncontext: {context}\nto resolve: starling put KEY VALUE --context TOKEN")
}

fn text(token: &bytes::Bytes) -> String {
    ContextToken::from_bytes(token.clone()).to_text()
}
