//! The compiled mesh: listeners, routes, clusters. Immutable; replaced as a whole, so that a request sees one version.
//!
//! ```text
//!   Plan ─┬─ settings                       mesh-wide
//!         ├─ outbound: Table ──► Route ──► Destination ──► ClusterIndex ─┐
//!         ├─ gateways: [Gateway{port, Table, tcp}]                       │
//!         ├─ services: [Listener{bind, port, tcp}]                       │
//!         └─ clusters: [Arc<Upstream>]  ◄────────────────────────────────┘
//! ```
//! Does not: hold living state ([`crate::cluster::Cluster`] does).

use crate::discovery::Discovery;
use crate::origin::Origins;
use crate::place::Place;
use crate::route::Table;
use crate::trust::Trust;
use crate::{balance, budget, connection, inflight, limit, outlier, rate, tcp, tls};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Everything the data path knows of the configuration.
#[derive(Default, Debug)]
pub struct Plan {
    /// `NUMBER-HASH8` of the documents it was compiled from; empty until it has one.
    pub version: Arc<str>,
    pub settings: Settings,
    /// Routes of the outbound listener: by host.
    pub outbound: Table,
    /// One per port that a Gateway server names (several Gateways on one port are merged).
    pub gateways: Vec<Gateway>,
    /// Where services that are not HTTP are reached, by address and port.
    pub services: Vec<Listener>,
    /// Indexed by [`ClusterIndex`].
    pub clusters: Vec<Arc<Upstream>>,
    /// Indexed by [`limit::LimitIndex`].
    pub limits: Vec<Arc<limit::Rules>>,
    /// Indexed by [`rate::RateIndex`].
    pub rates: Vec<Arc<rate::Rules>>,
}

/// A place in [`Plan::clusters`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClusterIndex(pub u32);

/// A port that weir listens on because Gateway servers name it.
#[derive(Debug)]
pub struct Gateway {
    /// `namespace/name` of the first Gateway of the port.
    pub name: Arc<str>,
    pub bind: IpAddr,
    pub port: u16,
    pub table: Table,
    /// What is terminated here, by the name of the handshake; empty = in the clear.
    pub tls: Vec<tls::Entry>,
    /// What a connection in the clear carries.
    pub carries: tls::Carries,
    /// Where connections go that carry no requests.
    pub tcp: tcp::Rules,
    pub place: Place,
}

/// An address of this machine that stands for services of a port that is not HTTP.
#[derive(Debug)]
pub struct Listener {
    /// The host of its first service.
    pub name: Arc<str>,
    pub bind: IpAddr,
    pub port: u16,
    pub tcp: tcp::Rules,
    pub place: Place,
}

/// One upstream: a service, port and subset with its endpoints and rules.
#[derive(Clone, PartialEq, Debug)]
pub struct Upstream {
    /// `namespace/host|port|subset`: same id, same living state.
    pub id: Arc<str>,
    /// Istio's name, `outbound|PORT|SUBSET|HOST`.
    pub name: Arc<str>,
    pub service: Service,
    /// At most `u32::MAX`; in the order of the documents. Those of names are added where the names are known.
    pub endpoints: Vec<Endpoint>,
    /// Endpoints that are given by name.
    pub discovery: Discovery,
    pub balance: balance::Rules,
    pub inflight: inflight::Rules,
    pub budget: budget::Rules,
    pub connection: connection::Rules,
    /// `None`: no endpoint is ever ejected.
    pub outlier: Option<outlier::Rules>,
    /// Where the values of its rules come from.
    pub origins: Origins,
    pub place: Place,
}

/// Whose metrics a cluster's requests count for (Istio's `destination_*` labels).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// `destination_service`: the full host.
    pub host: Arc<str>,
    /// `destination_service_name`: first label of the host for mesh services, else the host.
    pub name: Arc<str>,
    /// `destination_service_namespace`.
    pub namespace: Arc<str>,
    pub port: u16,
    pub subset: Arc<str>,
}

/// One address that serves a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// Relative share, ≥ 1.
    pub weight: u32,
    /// `destination_workload`-like labels of metrics; empty when unknown.
    pub workload: Arc<str>,
    pub place: Place,
}

/// Mesh-wide settings (kind `Mesh`, and the command line).
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub compatibility: Compatibility,
    pub unknown_hosts: UnknownHosts,
    pub limits: Limits,
    pub access_log: AccessLog,
    /// Whose `x-envoy-*` request headers are obeyed.
    pub trust: Trust,
    pub fronted: Fronted,
    pub origins: Origins,
}

/// `Mesh.spec.gatewayTopology`: what stands in front of Gateways.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Fronted {
    #[default]
    Directly,
    /// `proxyProtocol`: every connection begins with a header of the PROXY protocol; without, it is ended.
    ByProxyProtocol,
}

/// Whose defaults hold where weir improves on Istio's. `docs/compatibility.md` has the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compatibility {
    Weir,
    Istio,
}

/// `outboundTrafficPolicy.mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownHosts {
    /// `REGISTRY_ONLY`: 502.
    Refuse,
    /// `ALLOW_ANY`: to the address that the host names.
    Pass,
}

/// `Mesh.spec.limits` and `requestBufferLimit`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Client connections of the process.
    pub connections: u32,
    /// Bytes of a request head.
    pub request_head: u32,
    /// Bytes of a response head.
    pub response_head: u32,
    /// Header fields of a message.
    pub headers: u32,
    /// To receive a request head on a Gateway listener.
    pub head_timeout: Duration,
    /// How long a client on a Gateway listener may neither send its body nor read its answer; [`Limits::body_rate`]
    /// bytes per second earn it back. Default 60 s.
    pub body_timeout: Duration,
    /// Bytes per second that a client on a Gateway listener must send or read in the end; 0 = any. Default 240.
    pub body_rate: u32,
    /// No byte in either direction of a request (Gateway listeners).
    pub stream_idle: Duration,
    /// A client connection without a request.
    pub connection_idle: Duration,
    /// `h2.maxConcurrentStreams`: of one client connection on a Gateway listener. Default 100.
    pub streams: u32,
    /// Bytes of one request's body that are kept for a retry.
    pub replay_request: u64,
    /// Bytes kept for retries by the whole process.
    pub replay_memory: u64,
}

/// `Mesh.spec.accessLog`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLog {
    Off,
    Json,
    Text,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            compatibility: Compatibility::Weir,
            unknown_hosts: UnknownHosts::Refuse,
            limits: Limits::default(),
            access_log: AccessLog::Json,
            trust: Trust::default(),
            fronted: Fronted::default(),
            origins: Origins::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            request_head: 60 * 1024,
            response_head: 80 * 1024,
            headers: 100,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            body_rate: 240,
            stream_idle: Duration::from_secs(300),
            connection_idle: Duration::from_secs(3600),
            streams: 100,
            replay_request: 1 << 20,
            replay_memory: 64 << 20,
        }
    }
}

impl Plan {
    /// The rules of a cluster. Indexes come from the same plan, so there always is one.
    pub fn upstream(&self, index: ClusterIndex) -> &Arc<Upstream> {
        &self.clusters[index.0 as usize]
    }
}
