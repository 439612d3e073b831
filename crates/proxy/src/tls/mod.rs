//! TLS: keys from files, sessions over sockets.
//!
//! ```text
//!   plan's names ─► keyring ─► slot { rules, what was built of its files } ── renewed when the files change
//!                                │                   └─ broken: the last good stays; without one, closed
//!   accepted socket ─► greet ────┤ by the name of the handshake
//!   dialled socket ──► reach ────┘
//!          └─► session: plaintext in and out, as a socket
//! ```
//! A server or a destination whose keys are not good is never spoken to in the clear instead.

mod authorities;
mod client;
pub(crate) mod greet;
pub(crate) mod keyring;
mod keys;
pub(crate) mod reach;
mod server;
pub(crate) mod session;
mod slot;
mod trouble;
mod verify;

pub use trouble::Trouble;

use rustls::crypto::CryptoProvider;
use std::sync::{Arc, LazyLock};

/// Of this process: its algorithms, all of them.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
