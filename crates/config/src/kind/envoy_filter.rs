//! `EnvoyFilter`: patches to what istiod would generate, within the subset that weir has.

pub mod fault;
pub mod limit;
pub mod message;
