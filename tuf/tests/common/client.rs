//! A little repository and a client in the middle of its workflow.

use super::{TestKey, file, root, snapshot, timestamp, tuf};
use serde_json::{Value as Json, json};
use tuf::{
    metadata::{Limits, Metadata},
    role::RoleName,
    trust::{Options, Previous, TrustError, TrustFault, TrustedSet},
};

/// Keys of a little repository: three of root, one each of timestamp, snapshot, targets, two strangers.
pub struct Keys {
    pub root: [TestKey; 3],
    pub timestamp: TestKey,
    pub snapshot: TestKey,
    pub targets: TestKey,
    pub other: [TestKey; 2],
}

pub fn keys() -> Keys {
    let key = TestKey::new;
    Keys {
        root: [key(1), key(2), key(3)],
        timestamp: key(4),
        snapshot: key(5),
        targets: key(6),
        other: [key(7), key(8)],
    }
}

impl Keys {
    pub fn root(&self, version: u64) -> Json {
        let [a, b, c] = &self.root;
        root(version, &[a, b, c], 2, &self.timestamp, &self.snapshot, &self.targets)
    }

    pub fn root_file(&self, version: u64) -> Vec<u8> {
        file(&self.root(version), &[&self.root[0], &self.root[1]])
    }

    pub fn timestamp(&self, version: u64, of: u64) -> Vec<u8> {
        file(&timestamp(version, json!({"version": of})), &[&self.timestamp])
    }

    pub fn snapshot(&self, version: u64, meta: Json) -> Vec<u8> {
        file(&snapshot(version, meta), &[&self.snapshot])
    }

    pub fn set(&self) -> TrustedSet {
        TrustedSet::from_root(self.root_file(1), &options()).unwrap()
    }

    pub fn previous(&self, timestamp: u64, listed: u64, meta: Json) -> Previous {
        let read = |bytes: Vec<u8>| Some(Metadata::parse(bytes, &Limits::agent()).unwrap());
        let snapshot = self.snapshot(listed, meta);
        Previous { timestamp: read(self.timestamp(timestamp, listed)), snapshot: read(snapshot) }
    }

    /// A set with a snapshot that lists `roles` in version 1.
    pub fn listed(&self, roles: &[&str]) -> TrustedSet {
        let mut set = self.set();
        let entry = |role: &&str| (format!("{role}.json"), json!({"version": 1}));
        let meta = roles.iter().map(entry).collect::<serde_json::Map<_, _>>();
        set.update_timestamp(self.timestamp(1, 1)).unwrap();
        set.update_snapshot(self.snapshot(1, meta.into())).unwrap();
        set
    }
}

pub fn options() -> Options {
    Options::new(Some("2029-01-01T00:00:00Z".parse().unwrap()))
}

pub fn name(text: &str) -> RoleName {
    text.parse().unwrap()
}

pub fn at<T: std::fmt::Debug>(result: Result<T, TrustError>, role: &str, spec: &str) -> TrustFault {
    let error = result.expect_err(spec);
    assert_eq!((error.role.as_str(), error.spec), (role, spec), "{error}");
    *error.kind
}
