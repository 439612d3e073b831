//! Istio's words, exactly as written: one file per kind, no meaning yet.
//!
//! What the schema can say stands there (`schema`); these files have the rules over several fields, and read what the
//! plan is made of.

pub mod authorization_policy;
pub mod client_tls;
pub mod cors;
pub mod destination_rule;
pub mod envoy_filter;
pub mod export;
pub mod fault;
pub mod gateway;
pub mod headers;
pub mod http_match;
pub mod l4;
pub mod load_balancer;
pub mod locality;
pub mod mesh;
pub mod mirror;
pub mod network_chaos;
pub mod outbound;
pub mod outlier_detection;
pub mod peer_authentication;
pub mod policy;
pub mod quota;
pub mod rate_limit_policy;
pub mod reliability_policy;
pub mod request_authentication;
pub mod retries;
pub mod server_tls;
pub mod service;
pub mod service_entry;
pub mod sidecar;
pub mod target;
pub mod telemetry;
pub mod virtual_service;
pub mod wasm_plugin;
pub mod workload_group;
