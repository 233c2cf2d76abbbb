//! What a client that lies, or that has lost files, can make the agent believe.

use policy::Reason;
use tuf::metadata::Metadata;

use super::support::{
    House, delegating, described, pen, role, root, sign, snapshot, targets, timestamp, version,
};

/// A published repository: root, targets, rel, snapshot 6, timestamp 7.
struct Files {
    root: Metadata,
    targets: Metadata,
    rel: Metadata,
    snapshot: Metadata,
    timestamp: Metadata,
}

fn files() -> Files {
    let (root, targets) = (sign(&root(1, 2), &[&pen(1), &pen(2)]), sign(&delegating(6, 5), &[&pen(3)]));
    let rel = sign(&super::support::targets(3, 80), &[&pen(5)]);
    let entries = [("targets", described(&targets)), ("rel", described(&rel))];
    let snapshot = sign(&snapshot(6, &entries), &[&pen(4)]);
    let timestamp = sign(&timestamp(7, &described(&snapshot)), &[&pen(4)]);
    Files { root, targets, rel, snapshot, timestamp }
}

impl Files {
    fn without(&self, lost: &str) -> Vec<(&'static str, &Metadata)> {
        let all = [
            ("root", &self.root),
            ("targets", &self.targets),
            ("rel", &self.rel),
            ("snapshot", &self.snapshot),
            ("timestamp", &self.timestamp),
        ];
        all.into_iter().filter(|(name, _)| *name != lost).collect()
    }
}

#[tokio::test]
async fn a_copy_is_adopted_whole_or_not_at_all() {
    let files = files();
    for (lost, spec) in
        [("timestamp", "5.4.1"), ("snapshot", "5.5.1"), ("targets", "5.6.1"), ("rel", "5.6.1")]
    {
        let house = House::with_app().await;
        let refused = house.adopt(&files.without(lost)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Verification, "{lost}");
        assert_eq!((&refused.details["role"], &refused.details["spec"]), (&lost.into(), &spec.into()));
    }
    let house = House::with_app().await;
    assert_eq!(house.adopt(&files.without("")).await.unwrap().verified[&role("rel")], version(3));
    // A newer timestamp whose snapshot is not there, and one that is left out.
    let newer = sign(&timestamp(8, &described(&sign(&snapshot(7, &[]), &[&pen(4)]))), &[&pen(4)]);
    let mut all = files.without("timestamp");
    let refused = house.adopt(&all).await.unwrap_err();
    assert_eq!(refused.details["role"], "timestamp");
    all.push(("timestamp", &newer));
    assert_eq!(house.adopt(&all).await.unwrap_err().details["file"], "7.snapshot.json");
    let roots = [("root", &files.root)];
    assert_eq!(house.adopt(&roots).await.unwrap_err().details["role"], "timestamp", "it was on line before");
}

#[tokio::test]
async fn nothing_is_signed_on_a_snapshot_that_lists_what_was_never_seen() {
    let files = files();
    let house = House::with_app().await;
    // A liar shows what is published without the targets that the snapshot lists.
    house.observe(true, &[("root", &files.root), ("snapshot", &files.snapshot)]).await.unwrap();
    house.observe(true, &[("timestamp", &files.timestamp)]).await.unwrap();
    let same = files.snapshot.as_snapshot().unwrap().meta.clone();
    let entries: Vec<_> = same.iter().map(|(name, entry)| (name.as_str(), entry.clone())).collect();
    let refused = house.facts("snapshot", &snapshot(7, &entries), &pen(4), &[]).await.unwrap_err();
    assert_eq!(refused.reason, Reason::SnapshotInvalid);
    for number in [5, 6, 7] {
        let refused = house.facts("targets", &targets(number, 80), &pen(3), &[]).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Watermark, "targets {number}");
    }
    house.observe(true, &[("targets", &files.targets)]).await.unwrap();
    let refused = house.facts("snapshot", &snapshot(7, &entries), &pen(4), &[]).await.unwrap_err();
    assert_eq!(refused.details["entry"], "rel");
    // Garbage in the place of a role that was verified before makes it short, and not unseen; one that was seen is fine.
    house.observe(true, &[("rel", &files.rel)]).await.unwrap();
    house.facts("snapshot", &snapshot(7, &entries), &pen(4), &[]).await.unwrap();
    house.facts("targets", &delegating(7, 5), &pen(3), &[]).await.unwrap();
}

#[tokio::test]
async fn a_jump_is_counted_from_what_was_shown_as_published() {
    let house = House::published(&sign(&targets(1, 80), &[&pen(3)])).await;
    let staged = sign(&targets(17, 80), &[&pen(3)]);
    house.observe(false, &[("targets", &staged)]).await.unwrap();
    let next = async |number| house.facts("targets", &targets(number, 80), &pen(3), &[]).await.unwrap();
    assert_eq!(next(18).await.newest_published, Some(1));
    let described =
        super::Described { role: role("targets"), version: version(17), digest: staged.digest(), file: None };
    let app = house.app().await;
    house.repositories.note_published(&app, &[described]).await.unwrap();
    assert_eq!(next(18).await.newest_published, Some(17));
}
