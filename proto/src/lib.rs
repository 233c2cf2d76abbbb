//! The contract between `tuf-agent` and its clients: generated code and the table of reasons, nothing else.
#![forbid(unsafe_code)]

/// Messages and services of `tufagent/v1/agent.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::as_conversions,
    clippy::use_self,
    clippy::indexing_slicing,
    clippy::large_enum_variant
)]
pub mod v1 {
    tonic::include_proto!("tufagent.v1");
}

/// The compiled descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The table of reasons: `REASON <tab> gRPC code <tab> exit code <tab> meaning`, one a line.
pub const REASONS: &str = include_str!("../reasons.tsv");
