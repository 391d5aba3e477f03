//! The harness of the tests: real PostgreSQL, real Kubernetes, the real binary.

use std::path::{Path, PathBuf};

pub mod browser;
pub mod claps;
pub mod cluster;
pub mod collector;
mod command;
pub mod dispatcher;
pub mod http;
pub mod kafka;
pub mod network;
pub mod postgres;
pub mod spring;
pub mod wait;
pub mod world;

/// The root of the checkout.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}
