//! Every flag once: help, man page and completions fall out of it.

pub(crate) mod ca;
mod inspect;

use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use weir_policy::plan::{AccessLog, Compatibility};

pub(crate) use inspect::{Explain, Health, ProxyConfig, Shown, Tap, What};

/// A service mesh's reliability in one binary: Istio's resources in, reliable traffic out.
#[derive(Parser, Debug)]
#[command(name = "weir", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve traffic by the documents in files and folders, and follow their changes
    Run(Run),
    /// Have a running weir hand over to the program that is on disk now; no connection is refused
    Upgrade(Upgrade),
    /// Validate documents; exit 0 without errors, 1 with errors, 2 if it could not run
    Check(Check),
    /// JSON Schemas of all kinds, for editors
    Schema(Schema),
    /// What a request would meet: rule, every policy value and the line it comes from; or what a real one met
    Explain(Explain),
    /// Watch the requests of a running weir as they end
    Tap(Tap),
    /// What a running weir believes: listeners, routes, clusters, endpoints
    ProxyConfig(ProxyConfig),
    /// Ask a gRPC server for its health (grpc.health.v1); exit 0 when it serves, 1 when it does not, 2 if it did not say
    Health(Health),
    /// Workload certificates: make an authority, issue what it signs
    Ca(ca::Ca),
    /// See what timeouts, retries, ejection and limits do: sample services, a mesh in front, injected failures; needs no files
    Demo(Demo),
}

#[derive(clap::Args, Debug)]
pub(crate) struct Documents {
    /// Istio's defaults wherever weir's differ
    #[arg(long, value_enum, value_name = "WHOSE")]
    pub(crate) compatibility: Option<Whose>,
    /// The namespace of this workload
    #[arg(long, default_value = "default")]
    pub(crate) namespace: String,
    /// The labels of this workload: key=value, repeatable or separated by commas
    #[arg(long, value_delimiter = ',', value_parser = label, value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<(String, String)>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Run {
    /// Files and folders with documents; `-` is stdin
    #[arg(short = 'f', long = "file", required = true, value_name = "PATH", num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Where services send their outgoing requests; `off` for none
    #[arg(long, default_value = "127.0.0.1:15001", value_name = "ADDR|off")]
    pub(crate) outbound: Address,
    /// Readiness, metrics, versions; loopback only; `off` for none
    #[arg(long, default_value = "127.0.0.1:15000", value_name = "ADDR|off")]
    pub(crate) admin: Address,
    /// Ask this name server instead of those of /etc/resolv.conf (may be given several times)
    #[arg(long = "name-server", value_name = "ADDR")]
    pub(crate) name_servers: Vec<SocketAddr>,
    /// A folder with a folder for each secret, as Kubernetes mounts them: NAME/tls.crt, NAME/tls.key, NAME/ca.crt
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets: Option<PathBuf>,
    /// Event loops [default: the cores of this process, by its cgroup too]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Memory beyond which work is refused, in bytes or like 128Mi [default: the limit of the cgroup]
    #[arg(long, value_parser = size, value_name = "SIZE")]
    pub(crate) memory_limit: Option<u64>,
    /// The name of this workload, in metrics
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// After SIGTERM, not ready but still accepting for so long: load balancers look elsewhere meanwhile
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) drain_delay: Duration,
    /// How long requests under way may take to end after that
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,
    /// A folder for the last good documents: a restart serves them when the given ones cannot be served
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// The access log on stdout [default: the Mesh's, else json]
    #[arg(long, value_enum)]
    pub(crate) access_log: Option<LogFormat>,
    /// Of how many requests that nothing happened to a record is kept for `weir explain --request`
    #[arg(long, default_value = "1%", value_name = "PERCENT")]
    pub(crate) record_sample: inspect::Percent,
    #[command(flatten)]
    pub(crate) documents: Documents,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Upgrade {
    /// The admin address of the running weir
    #[arg(long, default_value = "127.0.0.1:15000", value_name = "ADDR")]
    pub(crate) admin: SocketAddr,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Check {
    /// Files and folders with documents; `-` is stdin
    #[arg(required_unless_present_any = ["explain", "coverage"], value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[arg(long, value_enum, default_value = "human")]
    pub(crate) format: Format,
    /// List every field of every kind, and whether it is enforced
    #[arg(long, conflicts_with_all = ["paths", "fix", "explain"])]
    pub(crate) coverage: bool,
    /// Mend what is mechanical: shows the diff, writes the files, keeps comments and formatting
    #[arg(long)]
    pub(crate) fix: bool,
    /// Exit with 1 for these too: `warnings`, or a code such as WEIR0301; repeatable
    #[arg(long, value_delimiter = ',', value_parser = deny, value_name = "warnings|CODE")]
    pub(crate) deny: Vec<Deny>,
    /// What a code means and what to do about it
    #[arg(long, value_parser = code, value_name = "CODE", exclusive = true)]
    pub(crate) explain: Option<weir_config::Code>,
    #[command(flatten)]
    pub(crate) documents: Documents,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Schema {
    /// Of this kind only
    #[arg(value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Write one file a kind, and all.json for every kind, into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "kind")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct Demo {
    /// Which demonstration
    #[arg(value_enum, default_value = "quickstart")]
    pub(crate) name: DemoName,
    /// End after one account instead of going on until Ctrl-C
    #[arg(long)]
    pub(crate) once: bool,
    /// Of the injected failures: the same seed, the same ones
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DemoName {
    Quickstart,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    Weir,
    Istio,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// As a compiler shows them, on stderr
    Human,
    Json,
    /// Annotations of a GitHub workflow
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// What fails a check beside errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deny {
    Warnings,
    Code(weir_config::Code),
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    Off,
    Json,
    Text,
}

/// An address, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address(pub(crate) Option<SocketAddr>);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| "write it as IP:PORT, or `off`".to_owned())
    }
}

impl Documents {
    /// As the compiler wants it.
    pub(crate) fn options(&self) -> weir_config::Options {
        weir_config::Options {
            compatibility: self.compatibility.map(|whose| match whose {
                Whose::Weir => Compatibility::Weir,
                Whose::Istio => Compatibility::Istio,
            }),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
        }
    }
}

impl From<LogFormat> for AccessLog {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Off => Self::Off,
            LogFormat::Json => Self::Json,
            LogFormat::Text => Self::Text,
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn deny(text: &str) -> Result<Deny, String> {
    if text == "warnings" { Ok(Deny::Warnings) } else { code(text).map(Deny::Code) }
}

fn code(text: &str) -> Result<weir_config::Code, String> {
    let known = weir_config::Code::ALL.iter().find(|code| code.text().eq_ignore_ascii_case(text));
    known.copied().ok_or_else(|| "there is no such code; they look like WEIR0301".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    weir_config::duration::parse(text).ok_or_else(|| "write it like 500ms, 30s or 2m".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("", 0)];
    let (digits, shift) =
        units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift))).unwrap_or((text, &0));
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "write it like 134217728, 64Mi or 1Gi".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
