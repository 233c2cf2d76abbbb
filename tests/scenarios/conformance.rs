//! `tuf-conformance-client` against repositories signed by hand, served over HTTP.

mod basics;
mod delegations;
mod downloads;
mod freshness;
mod limits;
mod names;
mod rollback;
mod roots;
mod world;
