//! The flags of the commands that look at a plan or at requests: explain, tap, proxy-config.

use super::Documents;
use clap::ValueEnum;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
#[command(after_help = "Without -f the running weir of --admin is asked.

Examples:
  weir explain http://users.default.svc/v1/users -f mesh/
  weir explain http://shop.test/cart --method POST --header 'x-canary: true' -f mesh/
  weir explain --request 6f3c2a51-…          # the x-request-id of a request that failed")]
pub(crate) struct Explain {
    /// The request's URL, such as `http://users.test/v1`
    #[arg(required_unless_present = "request", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The recorded life of the real request with this x-request-id
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "files", "method", "header", "gateway", "from"])]
    pub(crate) request: Option<String>,
    /// The request's method
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// A header of the request; repeatable
    #[arg(long, value_name = "NAME:VALUE")]
    pub(crate) header: Vec<String>,
    /// Through the Gateway's listener on this port [default: the listener that knows the host]
    #[arg(long, value_name = "PORT")]
    pub(crate) gateway: Option<u16>,
    /// The client's address: some are trusted to override retries and timeouts
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDR")]
    pub(crate) from: IpAddr,
    /// Files and folders with documents, in place of a running weir; `-` is stdin
    #[arg(short = 'f', long = "file", value_name = "PATH", num_args = 1.., conflicts_with = "admin")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) at: At,
    #[command(flatten)]
    pub(crate) documents: Documents,
}

/// A running weir, and how its answer is shown.
#[derive(clap::Args, Debug)]
pub(crate) struct At {
    /// The admin address of the running weir
    #[arg(long, default_value = "127.0.0.1:15000", value_name = "ADDR")]
    pub(crate) admin: SocketAddr,
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Shown,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    /// A table
    Human,
    Json,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "A filter is any of host=NAME route=NAME method=NAME status=503|5xx flag=UO; all must hold.

Examples:
  weir tap status=5xx
  weir tap host=users.test flag=URX --max 10 --format json")]
pub(crate) struct Tap {
    /// Which requests: host=, route=, method=, status=503 or 5xx, flag=UO; all must hold
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// End after so many
    #[arg(long, value_name = "N")]
    pub(crate) max: Option<u64>,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Health {
    /// HOST:PORT of the server
    #[arg(value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// A service of it; without, the server as a whole
    #[arg(long, default_value = "", value_name = "NAME", hide_default_value = true)]
    pub(crate) service: String,
    /// How long it may take
    #[arg(long, default_value = "1s", value_parser = super::duration, value_name = "DURATION")]
    pub(crate) timeout: std::time::Duration,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ProxyConfig {
    #[arg(value_enum)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// The listeners that are open
    Listeners,
    /// Every rule, in the order of asking
    Routes,
    /// Every cluster, with its effective values and where they come from (all of them with --format json)
    Clusters,
    /// Every endpoint with its health
    Endpoints,
}

/// A share of requests, in parts per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Percent(u32);

impl Percent {
    pub(crate) const fn parts(self) -> u32 {
        self.0
    }
}

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
        let percent = number.filter(|percent| (0.0..=100.0).contains(percent));
        percent.map(|percent| Self((percent * 10_000.0) as u32)).ok_or_else(|| "write it like 1% or 0.1%".to_owned())
    }
}
