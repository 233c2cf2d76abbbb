//! The contract between `tuf-agent` and its clients: generated code, the table of reasons, and what a share is bound to.
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

impl v1::Collection {
    /// All that whoever gives a share must know: what it is for, until when and to which key it is sealed; without what
    /// changes while the collection is open, and since when it is. A share is sealed for the digest of these bytes, and people
    /// compare its start.
    #[must_use]
    pub fn bound(&self) -> Vec<u8> {
        let mut fixed = Self { have: 0, opened: String::new(), ..self.clone() };
        fixed.given.clear();
        fixed.missing.clear();
        fixed.groups.clear();
        prost::Message::encode_to_vec(&fixed)
    }
}

/// The compiled descriptors, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The table of reasons: `REASON <tab> gRPC code <tab> exit code <tab> meaning`, one a line.
pub const REASONS: &str = include_str!("../reasons.tsv");
