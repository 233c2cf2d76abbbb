//! A repository in memory, its web server, and one client with its folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use ed25519_dalek::Signer;
use serde_json::{Value, json};
use tufagent_tests::clock::Shift;
use tufagent_tests::web::{Answer, WebServer};
use tufagent_tests::{Outcome, binary, run_to_end};

use crate::forge::{canonical, key, keyid, signing};

/// The `signed` parts, who signs them, and what was published of them. Keys are numbers; the top-level roles begin with
/// keys 1 (root), 2 (timestamp), 3 (snapshot) and 4 (targets).
pub(crate) struct World {
    pub(crate) server: WebServer,
    /// The parts by role; what is changed here is not published yet.
    pub(crate) signed: BTreeMap<String, Value>,
    /// Numbers of the keys that sign each role.
    pub(crate) signers: BTreeMap<String, Vec<u8>>,
    /// The bytes last published, by role.
    pub(crate) published: BTreeMap<String, Vec<u8>>,
    /// Whether snapshot and timestamp list length and digest.
    pub(crate) list_digests: bool,
    dir: tempfile::TempDir,
}

pub(crate) const TOP: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];
const FAR: &str = "2040-01-01T00:00:00Z";
pub(crate) const LONG_AGO: &str = "2020-01-01T00:00:00Z";

pub(crate) fn role_keys(numbers: &[u8], threshold: u32) -> Value {
    let keyids: Vec<_> = numbers.iter().map(|number| keyid(&key(*number))).collect();
    json!({"keyids": keyids, "threshold": threshold})
}

pub(crate) fn keys(numbers: &[u8]) -> Value {
    numbers
        .iter()
        .map(|number| (keyid(&key(*number)), key(*number)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn part(kind: &str, more: Value) -> Value {
    let mut part = json!({"_type": kind, "spec_version": "1.0.34", "version": 0, "expires": FAR});
    part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    part
}

impl World {
    /// Version 1 of all four roles is published, and the client trusts root 1.
    pub(crate) fn new() -> Self {
        let mut world = Self::unpublished();
        world.publish(&TOP);
        world.begin().done();
        world
    }

    /// The same before anything is published.
    pub(crate) fn unpublished() -> Self {
        let roles = json!({"root": role_keys(&[1], 1), "timestamp": role_keys(&[2], 1),
            "snapshot": role_keys(&[3], 1), "targets": role_keys(&[4], 1)});
        let root = json!({"consistent_snapshot": true, "keys": keys(&[1, 2, 3, 4]), "roles": roles});
        let signed = [
            ("root", part("root", root)),
            ("timestamp", part("timestamp", json!({"meta": {}}))),
            ("snapshot", part("snapshot", json!({"meta": {}}))),
            ("targets", part("targets", json!({"targets": {}}))),
        ];
        let signers = [("root", 1), ("timestamp", 2), ("snapshot", 3), ("targets", 4)];
        Self {
            server: WebServer::start(),
            signed: signed.map(|(role, part)| (role.to_owned(), part)).into(),
            signers: signers.map(|(role, number)| (role.to_owned(), vec![number])).into(),
            published: BTreeMap::new(),
            list_digests: false,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The part of a role.
    pub(crate) fn part(&mut self, role: &str) -> &mut Value {
        self.signed.get_mut(role).unwrap_or_else(|| panic!("no role {role}"))
    }

    /// Gives a top-level role keys and a threshold in root, and lets all of them sign.
    pub(crate) fn set_keys(&mut self, role: &str, numbers: &[u8], threshold: u32) {
        let root = self.part("root");
        root["keys"].as_object_mut().unwrap().extend(keys(numbers).as_object().unwrap().clone());
        root["roles"][role] = role_keys(numbers, threshold);
        self.signers.insert(role.to_owned(), numbers.to_vec());
    }

    /// Delegates to a role, made where it is not there yet; its key has the number given.
    pub(crate) fn delegate(&mut self, parent: &str, role: &str, number: u8, more: &Value) {
        let mut entry = json!({"name": role, "terminating": false, "paths": ["*"]});
        let members = entry.as_object_mut().unwrap();
        members.extend(role_keys(&[number], 1).as_object().unwrap().clone());
        members.extend(more.as_object().unwrap().clone());
        if entry.get("path_hash_prefixes").is_some() {
            entry.as_object_mut().unwrap().remove("paths");
        }
        let parent = self.part(parent);
        if parent.get("delegations").is_none() {
            parent["delegations"] = json!({"keys": {}, "roles": []});
        }
        let known = keys(&[number]);
        let delegations = &mut parent["delegations"];
        delegations["keys"].as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
        delegations["roles"].as_array_mut().unwrap().push(entry);
        self.signed.entry(role.to_owned()).or_insert_with(|| part("targets", json!({"targets": {}})));
        self.signers.entry(role.to_owned()).or_insert_with(|| vec![number]);
    }

    /// Lists a target in a role, and serves its file where clients look for it.
    pub(crate) fn target(&mut self, role: &str, path: &str, content: &str) {
        let digest = tuf::digest::Sha256Digest::of(content.as_bytes()).to_string();
        self.part(role)["targets"][path] = json!({"length": content.len(), "hashes": {"sha256": digest}});
        let (folder, name) =
            path.rsplit_once('/').map_or((String::new(), path), |(f, n)| (format!("{f}/"), n));
        let consistent = self.part("root")["consistent_snapshot"] == true;
        let digest = if consistent { format!("{digest}.") } else { String::new() };
        self.server.put(&format!("/targets/{folder}{digest}{name}"), Answer::File(content.into()));
    }

    /// Publishes the next version of these roles, in this order; snapshot and timestamp list what is published.
    pub(crate) fn publish(&mut self, roles: &[&str]) {
        for role in roles {
            let version = self.part(role)["version"].as_u64().unwrap() + 1;
            self.part(role)["version"] = version.into();
            if *role == "timestamp" {
                self.part(role)["meta"]["snapshot.json"] = self.entry("snapshot");
            }
            if *role == "snapshot" {
                let meta =
                    self.signed.keys().filter(|name| !matches!(&***name, "root" | "snapshot" | "timestamp"));
                let meta: serde_json::Map<_, _> =
                    meta.map(|name| (format!("{name}.json"), self.entry(name))).collect();
                self.part(role)["meta"] = meta.into();
            }
            self.serve(role);
        }
    }

    /// Publishes targets roles, then snapshot and timestamp.
    pub(crate) fn publish_with(&mut self, roles: &[&str]) {
        self.publish(&[roles, &["snapshot", "timestamp"]].concat());
    }

    /// What a list says of a role.
    fn entry(&self, role: &str) -> Value {
        let version = &self.signed[role]["version"];
        match self.published.get(role).filter(|_| self.list_digests) {
            Some(bytes) => {
                let digest = tuf::digest::Sha256Digest::of(bytes).to_string();
                json!({"version": version, "length": bytes.len(), "hashes": {"sha256": digest}})
            }
            None => json!({"version": version}),
        }
    }

    /// Signs a role as its part stands, and serves it.
    pub(crate) fn serve(&mut self, role: &str) {
        let signed = self.signed[role].clone();
        let text = canonical(&signed);
        let sign = |number: &u8| json!({"keyid": keyid(&key(*number)), "sig": hex::encode(signing(*number).sign(&text).to_bytes())});
        let signatures: Vec<_> = self.signers[role].iter().map(sign).collect();
        self.serve_bytes(role, json!({"signatures": signatures, "signed": signed}).to_string().into());
    }

    /// Serves these bytes as the role's file.
    pub(crate) fn serve_bytes(&mut self, role: &str, bytes: Vec<u8>) {
        self.server.put(&self.address_of(role), Answer::File(bytes.clone()));
        self.published.insert(role.to_owned(), bytes);
    }

    /// Changes the file that is served of a role.
    pub(crate) fn damage(&mut self, role: &str, change: impl FnOnce(&mut Value)) {
        let mut file: Value = serde_json::from_slice(&self.published[role]).unwrap();
        change(&mut file);
        self.serve_bytes(role, file.to_string().into());
    }

    /// The path that a role's version is served under.
    pub(crate) fn address_of(&self, role: &str) -> String {
        let stem = tuf::role::RoleName::parse(role).unwrap().file_stem();
        let numbered =
            role == "root" || role != "timestamp" && self.signed["root"]["consistent_snapshot"] == true;
        let version = if numbered { format!("{}.", self.signed[role]["version"]) } else { String::new() };
        format!("/metadata/{version}{stem}.json")
    }

    /// The folder of trusted metadata.
    pub(crate) fn metadata_dir(&self) -> PathBuf {
        self.dir.path().join("metadata")
    }

    /// `init` with the root that is published now.
    pub(crate) fn begin(&self) -> Outcome {
        let root = self.dir.path().join("first-root.json");
        fs::write(&root, &self.published["root"]).unwrap();
        self.client(&["init", root.to_str().unwrap()])
    }

    pub(crate) fn refresh(&self) -> Outcome {
        self.client(&["refresh"])
    }

    pub(crate) fn download(&self, targets: &[&str]) -> Outcome {
        let names = targets.iter().flat_map(|target| ["--target-name", target]);
        self.client(&names.chain(["download"]).collect::<Vec<_>>())
    }

    /// `refresh` in a process that lives at another time.
    pub(crate) fn refresh_at(&self, time: &Shift) -> Outcome {
        let mut command = self.command(&["refresh"]);
        time.apply(&mut command);
        run_to_end(&mut command)
    }

    fn client(&self, arguments: &[&str]) -> Outcome {
        let outcome = run_to_end(&mut self.command(arguments));
        assert!(matches!(outcome.code, 0 | 1), "{outcome}");
        outcome
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("tuf-conformance-client"));
        command.arg("--metadata-dir").arg(self.metadata_dir());
        command.arg("--metadata-url").arg(format!("{}/metadata/", self.server.address()));
        command.arg("--target-base-url").arg(format!("{}/targets/", self.server.address()));
        command.arg("--target-dir").arg(self.dir.path().join("downloads"));
        command.args(arguments);
        command
    }

    /// The version of a role that the client trusts.
    pub(crate) fn trusted(&self, role: &str) -> Option<u64> {
        let stem = tuf::role::RoleName::parse(role).unwrap().file_stem();
        let bytes = fs::read(self.metadata_dir().join(format!("{stem}.json"))).ok()?;
        serde_json::from_slice::<Value>(&bytes).unwrap()["signed"]["version"].as_u64()
    }

    /// The versions of root, timestamp, snapshot and targets that the client trusts; 0 for none.
    pub(crate) fn trusts(&self) -> [u64; 4] {
        ["root", "timestamp", "snapshot", "targets"].map(|role| self.trusted(role).unwrap_or(0))
    }

    /// What lies in the folder of downloads, sorted by name.
    pub(crate) fn downloads(&self) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(self.dir.path().join("downloads")) else { return Vec::new() };
        let read = |entry: fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
        };
        let mut files: Vec<_> = entries.map(|entry| read(entry.unwrap())).collect();
        files.sort();
        files
    }

    /// The roles whose metadata was asked for since the last call, without address and version.
    pub(crate) fn asked_roles(&self) -> Vec<String> {
        let name = |path: String| {
            let file = path.strip_prefix("/metadata/")?.strip_suffix(".json")?.to_owned();
            let (version, rest) = file.split_once('.').unwrap_or(("", &file));
            Some(if version.parse::<u64>().is_ok() { rest.to_owned() } else { file.clone() })
        };
        self.server.take_asked().into_iter().filter_map(name).collect()
    }
}
