//! `starling cert`: the cluster's certificate authority.

use starling_transport::Authority;

use crate::args::{CertArgs, CertCommand};
use crate::exit::{Exit, Failed};
use crate::output;

/// Makes what is not there yet.
pub fn run(command: &CertArgs, json: bool) -> Result<Exit, Failed> {
    let CertCommand::Init { dir } = &command.command;
    Authority::open_or_create(dir).map_err(|e| Failed::new(Exit::Failed, e.to_string()))?;
    if json {
        output::done(json, serde_json::json!({ "dir": dir }).to_string())?;
    } else {
        output::remark(format!(
            "{0} holds the cluster's authority and a client certificate.\n\
             Copy it to every host (tls.dir in the configuration) before the first start of its node;\n\
             ca-key.pem signs new nodes: keep it safe, and remove it where no new node will start.",
            dir.display()
        ));
    }
    Ok(Exit::Done)
}
