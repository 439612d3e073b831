//! Istio's words, exactly as written: one file per kind, no meaning yet.

pub mod destination_rule;
pub mod gateway;
pub mod load_balancer;
pub mod mesh;
pub mod outlier_detection;
pub mod retries;
pub mod service_entry;
pub mod virtual_service;
