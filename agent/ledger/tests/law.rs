//! The watermark law under random sequences of signing, publishing, adopting and restarting.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use support::{intent, role};
use tempfile::tempdir;
use tufagent_ledger::{Ledger, LedgerError, Noted, Outcome};

#[derive(Debug, Clone)]
enum Step {
    Sign {
        role: &'static str,
        version: u64,
        content: &'static str,
        outcome: bool,
    },
    Publish {
        role: &'static str,
        version: u64,
        content: &'static str,
    },
    Adopt,
    Acknowledge {
        role: &'static str,
    },
    Restart,
    /// As a kill leaves it: nothing that may follow a commit was done.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let role = || prop::sample::select(vec!["targets", "timestamp"]);
    let content = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        6 => (role(), 1_u64..7, content(), any::<bool>())
            .prop_map(|(role, version, content, outcome)| Step::Sign { role, version, content, outcome }),
        3 => (role(), 1_u64..7, content())
            .prop_map(|(role, version, content)| Step::Publish { role, version, content }),
        1 => Just(Step::Adopt),
        1 => role().prop_map(|role| Step::Acknowledge { role }),
        1 => Just(Step::Restart),
        2 => Just(Step::Crash),
    ]
}

/// What was ever signed, and the newest that was verified as published.
#[derive(Default)]
struct Model {
    signed: BTreeMap<&'static str, Vec<(u64, &'static str)>>,
    verified: BTreeMap<&'static str, (u64, &'static str)>,
}

impl Model {
    fn allows(&self, role: &str, version: u64, content: &str) -> bool {
        let signed = self.signed.get(role).map_or(&[][..], Vec::as_slice);
        let marks = signed.iter().chain(self.verified.get(role));
        marks.into_iter().all(|(mark, known)| *mark < version || (*mark == version && *known == content))
    }

    /// A person has looked at other content that is published.
    fn accept(&mut self, role: &'static str, version: u64, content: &'static str) {
        if self.verified.get(role).is_none_or(|(mark, _)| *mark <= version) {
            self.verified.insert(role, (version, content));
        }
    }
}

async fn obey(steps: Vec<Step>) {
    let mut folder = tempdir().unwrap();
    let mut open = BTreeSet::new();
    let mut ledger = Ledger::open(folder.path()).unwrap();
    let adopt = || support::adopted("app", 1, "root", "key");
    let app = ledger.register_repository(adopt()).await.unwrap().id;
    let (mut model, mut alarms) = (Model::default(), BTreeMap::<&str, (u64, &'static str)>::new());
    for step in steps {
        match step {
            Step::Sign { role: name, version: number, content, outcome } => {
                let result = ledger.record_intent(intent(app, name, number, content)).await;
                let expected = model.allows(name, number, content) && !alarms.contains_key(name);
                assert_eq!(result.is_ok(), expected, "{name} {number} {content}: {result:?}");
                match result {
                    Ok(id) => {
                        model.signed.entry(name).or_default().push((number, content));
                        open.insert(id);
                        if outcome {
                            ledger.record_outcome(
                                id,
                                Outcome::Signed { keyids: vec!["00".into()], keys: Vec::new() },
                            );
                            open.remove(&id);
                        }
                    }
                    Err(LedgerError::Alarm { .. }) => assert!(alarms.contains_key(name)),
                    Err(LedgerError::Watermark { marked_version, .. }) => {
                        assert!(marked_version.get() >= number)
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            Step::Publish { role: name, version: number, content } => {
                let before = ledger.watermark(app, role(name)).await.unwrap();
                let noted = support::publish(&ledger, app, name, number, content).await.unwrap();
                let after = ledger.watermark(app, role(name)).await.unwrap();
                match noted {
                    Noted::Raised => {
                        model.verified.insert(name, (number, content));
                    }
                    Noted::Conflict { .. } => {
                        alarms.entry(name).or_insert((number, content));
                    }
                    Noted::Known | Noted::Older => {}
                }
                assert_eq!(after.signed, before.signed);
                let versions = [after, before].map(|mark| mark.verified.map(|mark| mark.version));
                assert!(versions[0] >= versions[1], "a mark went down");
            }
            Step::Adopt => assert_eq!(ledger.register_repository(adopt()).await.unwrap().id, app),
            Step::Acknowledge { role: name } => {
                let found = alarms
                    .get(name)
                    .map(|(number, content)| (support::version(*number), support::digest(content)));
                let was =
                    ledger.acknowledge_alarm(app, role(name), found, serde_json::Value::Null).await.unwrap();
                assert_eq!(was, alarms.contains_key(name));
                if let Some((number, content)) = alarms.remove(name) {
                    model.accept(name, number, content);
                }
            }
            Step::Restart => {
                drop(ledger);
                ledger = Ledger::open(folder.path()).unwrap();
            }
            Step::Crash => {
                // What nobody waited for may be lost; this asks for the commit that it joins.
                ledger.entries(0, 1).await.unwrap();
                let left = tempdir().unwrap();
                for name in ["ledger.db", "ledger.db-wal", "journal.head"] {
                    let from = folder.path().join(name);
                    assert!(from.exists() || name == "ledger.db-wal", "{name}");
                    let _ = std::fs::copy(from, left.path().join(name));
                }
                ledger = Ledger::open(left.path()).unwrap();
                folder = left;
            }
        }
        let known: BTreeSet<_> =
            ledger.open_intents().await.unwrap().into_iter().map(|open| open.id).collect();
        assert_eq!(known, open);
    }
    assert_eq!(ledger.verify_chain().await.unwrap().problem, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_signs_a_lower_version_or_two_contents_under_one(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(obey(steps));
    }
}
