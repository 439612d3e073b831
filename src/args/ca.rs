//! The flags of `weir ca`.

use clap::Subcommand;
use std::path::PathBuf;
use std::time::Duration;

#[derive(clap::Args, Debug)]
pub(crate) struct Ca {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Subcommand, Debug)]
pub(crate) enum What {
    /// Make an authority: DIR/ca.crt to give away, DIR/ca.key to keep
    Init(Init),
    /// Give a workload its certificate: DIR/tls.crt, DIR/tls.key and DIR/ca.crt, as a secret of `weir run --secrets`
    Issue(Issue),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Init {
    /// Where the authority is kept
    #[arg(value_name = "DIR", default_value = "ca")]
    pub(crate) folder: PathBuf,
    /// Whose names it gives out: spiffe://DOMAIN/…
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN", value_parser = domain)]
    pub(crate) trust_domain: String,
    /// How long it is good for
    #[arg(long, default_value = "87600h", value_name = "LENGTH", value_parser = super::duration)]
    pub(crate) ttl: Duration,
    /// Replace what is there: certificates of the old authority are not trusted any more
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Issue {
    /// The folder of `weir ca init`
    #[arg(long, default_value = "ca", value_name = "DIR")]
    pub(crate) ca: PathBuf,
    /// The namespace in its name
    #[arg(long, default_value = "default", value_parser = label)]
    pub(crate) namespace: String,
    /// The service account in its name: spiffe://DOMAIN/ns/NAMESPACE/sa/NAME
    #[arg(long, value_name = "NAME", value_parser = label)]
    pub(crate) service_account: String,
    /// Host names that it is for too, repeatable or separated by commas
    #[arg(long, value_delimiter = ',', value_name = "HOST")]
    pub(crate) dns: Vec<String>,
    /// How long it is good for: issue the next one in time, weir takes it without a restart
    #[arg(long, default_value = "24h", value_name = "LENGTH", value_parser = super::duration)]
    pub(crate) ttl: Duration,
    /// Where the files go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
}

fn is_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain)
}

fn domain(text: &str) -> Result<String, String> {
    if is_part(text) { Ok(text.to_owned()) } else { Err("a name like `cluster.local`, in lower case".to_owned()) }
}

fn label(text: &str) -> Result<String, String> {
    if is_part(text) { Ok(text.to_owned()) } else { Err("lower-case letters, digits, `-`, `.` and `_`".to_owned()) }
}
