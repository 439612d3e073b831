//! `weir health`: how a gRPC server says that it is (`grpc.health.v1`); for people and for the checks of containers.
//!
//! Does not: ask a weir; `/ready` of its admin address is for that.

use crate::args::Health;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use weir_proxy::ask_health;
use weir_wire::grpc_health::Serving;

pub(crate) fn health(args: &Health) -> anyhow::Result<ExitCode> {
    let resolved = args.server.to_socket_addrs().map_err(|why| anyhow::anyhow!("{}: {why}", args.server))?;
    let address = resolved.into_iter().next().ok_or_else(|| anyhow::anyhow!("{}: no address", args.server))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(ask_health(address, &args.server, &args.service, args.timeout));
    let (words, code) = match asked {
        Ok(Serving::Serving) => ("SERVING", 0),
        Ok(Serving::NotServing) => ("NOT_SERVING", 1),
        Ok(Serving::ServiceUnknown) => ("SERVICE_UNKNOWN", 1),
        Ok(Serving::Unknown) => ("UNKNOWN", 1),
        Err(why) => anyhow::bail!("{}: {why}", args.server),
    };
    super::out(&format!("{words}\n"));
    Ok(ExitCode::from(code))
}
