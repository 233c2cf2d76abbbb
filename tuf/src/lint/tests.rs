use super::*;
use crate::key::PublicKey;
use serde_json::{Value as Json, json};

fn key(number: u8) -> Json {
    let seed = ed25519_dalek::SigningKey::from_bytes(&[number; 32]);
    let public = PublicKey::from_ed25519(seed.verifying_key().to_bytes()).unwrap();
    serde_json::from_str(public.to_key().json()).unwrap()
}

fn file(role: &str, mut signed: Json) -> File {
    let kind = signed["_type"].as_str().unwrap().to_owned();
    for (name, value) in
        [("version", json!(1)), ("spec_version", json!("1.0.34")), ("expires", json!("2040-01-01T00:00:00Z"))]
    {
        signed.as_object_mut().unwrap().entry(name).or_insert(value);
    }
    let text = json!({"signatures": [], "signed": signed}).to_string();
    let content = Metadata::parse(text.into_bytes(), &crate::metadata::Limits::agent()).unwrap();
    assert_eq!(content.kind().name(), kind);
    File { role: RoleName::parse(role).unwrap(), name: format!("1.{role}.json"), content }
}

fn targets(role: &str, names: &[&str], delegations: Json) -> File {
    let entry = json!({"length": 0, "hashes": {"sha256": "0".repeat(64)}});
    let listed: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), entry.clone())).collect();
    let mut signed = json!({"_type": "targets", "targets": listed});
    if !delegations.is_null() {
        signed["delegations"] = delegations;
    }
    file(role, signed)
}

fn repository(files: Vec<File>) -> Repository {
    Repository {
        targets: files.into_iter().map(|file| (file.role.clone(), file)).collect(),
        ..Default::default()
    }
}

fn rules(repository: &Repository) -> Vec<(&'static str, Severity)> {
    let now = "2030-01-01T00:00:00Z".parse().unwrap();
    lint(repository, now).into_iter().map(|finding| (finding.rule, finding.severity)).collect()
}

fn delegation(role: &str, paths: &[&str]) -> Json {
    let key = key(2);
    let id = crate::key::Key::from_json(key.to_string().as_bytes()).unwrap().computed_keyid().to_string();
    json!({"keys": {&id: key}, "roles": [{"name": role, "keyids": [id], "threshold": 1, "terminating": false, "paths": paths}]})
}

#[test]
fn nothing_is_found_in_nothing() {
    assert_eq!(rules(&Repository::default()), []);
    assert_eq!(rules(&repository(vec![targets("targets", &["a", "b/c.tar.gz"], Json::Null)])), []);
}

#[test]
fn a_chain_that_does_not_match_all_the_way_leads_nowhere() {
    let parent = targets("targets", &[], delegation("a", &["x/*"]));
    let middle = targets("a", &[], delegation("b", &["*/*"]));
    let inner = |name: &str| targets("b", &[name], Json::Null);
    let all = |name: &str| rules(&repository(vec![parent.clone(), middle.clone(), inner(name)]));
    let unreachable = ("unreachable", Severity::Error);
    assert!(!all("x/1").contains(&unreachable));
    // The last delegation allows it, the first does not (4.5).
    assert!(all("y/1").contains(&unreachable));
    assert!(!all("y/1").contains(&("outside-paths", Severity::Error)));
    assert!(all("y").contains(&("outside-paths", Severity::Error)));
}

#[test]
fn a_terminating_role_hides_those_after_it() {
    let mut delegations = delegation("first", &["*"]);
    let mut second = delegations["roles"][0].clone();
    second["name"] = json!("second");
    delegations["roles"].as_array_mut().unwrap().push(second);
    let files = |delegations: &Json| {
        vec![
            targets("targets", &[], delegations.clone()),
            targets("first", &[], Json::Null),
            targets("second", &["a"], Json::Null),
        ]
    };
    let unreachable = ("unreachable", Severity::Error);
    assert!(!rules(&repository(files(&delegations))).contains(&unreachable));
    delegations["roles"][0]["terminating"] = json!(true);
    assert!(rules(&repository(files(&delegations))).contains(&unreachable));
}

#[test]
fn a_listed_length_takes_the_place_of_the_limit_in_python_and_js_alone() {
    let long = file(
        "timestamp",
        json!({"_type": "timestamp", "meta": {"snapshot.json": {"version": 1}}, "x": "x".repeat(20_000)}),
    );
    let by_timestamp = Repository { timestamp: Some(long), ..Default::default() };
    assert!(rules(&by_timestamp).contains(&("size", Severity::Error)));
    let snapshot = |long: usize| {
        file(
            "snapshot",
            json!({"_type": "snapshot", "meta": {"targets.json": {"version": 1}}, "x": "x".repeat(long)}),
        )
    };
    let timestamp =
        |entry: Json| file("timestamp", json!({"_type": "timestamp", "meta": {"snapshot.json": entry}}));
    let of = |entry: Json| {
        let repository = Repository {
            timestamp: Some(timestamp(entry)),
            snapshot: Some(snapshot(2_000_000)),
            ..Default::default()
        };
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        lint(&repository, now)
            .into_iter()
            .filter(|f| f.rule == "size")
            .map(|f| (f.severity, f.clients))
            .collect::<Vec<_>>()
    };
    let both = vec![Client::PythonTuf, Client::TufJs];
    let tough = (Severity::Error, vec![Client::Tough]);
    assert_eq!(of(json!({"version": 1})), [(Severity::Error, both.clone()), tough.clone()]);
    assert_eq!(of(json!({"version": 1, "length": 2_000_100})), [tough, (Severity::Warning, both)]);
}

#[test]
fn many_targets_with_one_fault_are_one_finding() {
    let names: Vec<String> = (0..100).map(|number| format!("a b {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = rules(&repository(vec![targets("targets", &names, Json::Null)]));
    assert_eq!(found, [("target-name", Severity::Note)]);
}
