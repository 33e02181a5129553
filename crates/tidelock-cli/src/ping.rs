//! `tidelock ping`.

use serde_json::json;

use crate::exit::Exit;
use crate::output;
use crate::server::Server;

const AFTER_HELP: &str = "\
Connecting checks the server's version, the user's rights and the format of the stored data; then one round trip is
measured.

Examples:
  tidelock ping --redis redis://127.0.0.1
  tidelock ping --json                     {\"ping_ms\":0.21}";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    server: Server,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Exit> {
    let tide = args.server.open().await?;
    let millis = tide.ping().await?.as_secs_f64() * 1_000.0;
    output::answer(args.server.json(), &json!({ "ping_ms": millis }), &format!("answered in {millis:.2} ms\n"))?;
    Ok(Exit::Yes)
}
