//! From staged to published and on, with real keys and real files, judged by the client workflow.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use tuf::edit::{Editor, NewRole, NewRoles, new_root, new_targets};
use tuf::key::{Key, PublicKey};
use tuf::metadata::{Algorithms, Metadata, SignatureEntry};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::target::TargetPath;
use tuf::time::UtcTime;
use tuf::trust::{Options, TrustedSet};

use super::*;

struct Folder {
    temporary: tempfile::TempDir,
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn key(seed: u8) -> Key {
    PublicKey::from_ed25519(signer(seed).verifying_key().to_bytes()).unwrap().to_key()
}

fn later() -> UtcTime {
    UtcTime::from_unix(4_000_000_000)
}

fn entry(metadata: &Metadata, seed: u8) -> SignatureEntry {
    let signature = signer(seed).sign(&metadata.canonical_signed());
    SignatureEntry { keyid: key(seed).computed_keyid(), sig: hex::encode(signature.to_bytes()) }
}

fn role(kind: RoleKind) -> RoleName {
    kind.role()
}

const OPTIONS: PublishOptions = PublishOptions { tough_names: true };

impl Folder {
    /// A repository with root keys 1 and 2 (both needed) and key 3 for the rest, staged.
    fn staged() -> (Self, Workspace) {
        let folder = Self { temporary: tempfile::tempdir().unwrap() };
        let mut workspace = Workspace::create(&folder.dir()).unwrap();
        let online = || NewRole { keys: vec![key(3)], threshold: 1 };
        let roles = NewRoles {
            root: NewRole { keys: vec![key(1), key(2)], threshold: 2 },
            targets: online(),
            snapshot: online(),
            timestamp: online(),
        };
        let root = new_root(Version::FIRST, later(), true, &roles).unwrap();
        workspace.write_staged(&role(RoleKind::Root), root).unwrap();
        workspace.write_staged(&role(RoleKind::Targets), new_targets(Version::FIRST, later())).unwrap();
        workspace.set_name("app").unwrap();
        (folder, workspace)
    }

    fn dir(&self) -> PathBuf {
        self.temporary.path().join("repo")
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.temporary.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn exists(&self, path: &str) -> bool {
        self.dir().join(path).exists()
    }
}

fn sign(workspace: &mut Workspace, kind: RoleKind, seeds: &[u8]) {
    let metadata = workspace.staged(&role(kind)).unwrap().unwrap();
    let entries: Vec<SignatureEntry> = seeds.iter().map(|seed| entry(&metadata, *seed)).collect();
    workspace.add_signatures(&[(role(kind), entries)]).unwrap();
}

fn finish(workspace: &mut Workspace) -> Published {
    ready(workspace);
    workspace.publish(&OPTIONS, &mut |_, _| {}, &mut |_| {}).unwrap()
}

/// Signs what is left: everything is complete but unpublished.
fn ready(workspace: &mut Workspace) {
    if workspace.staged(&role(RoleKind::Targets)).unwrap().is_some() {
        sign(workspace, RoleKind::Targets, &[3]);
    }
    assert!(workspace.complete().unwrap());
    if workspace.make_snapshot(later(), None).unwrap().is_some() {
        sign(workspace, RoleKind::Snapshot, &[3]);
    }
    if workspace.make_timestamp(later(), None).unwrap().is_some() {
        sign(workspace, RoleKind::Timestamp, &[3]);
    }
}

fn add_target(workspace: &mut Workspace, path: &str, source: &Path) {
    let base = workspace.current(&role(RoleKind::Targets)).unwrap().unwrap();
    let found = hash_file(source, &Algorithms::SHA256, &mut |_| {}).unwrap();
    let mut edit = Editor::new(&base);
    edit.add_target(&TargetPath::new_for_writing(path).unwrap(), &found).unwrap();
    if workspace.published(&role(RoleKind::Targets)).unwrap().is_some() {
        edit.next_version().unwrap();
    }
    workspace.write_staged(&role(RoleKind::Targets), edit.finish().unwrap()).unwrap();
    workspace.set_sources([(path.to_owned(), source.to_owned())], &[]).unwrap();
}

/// What a client that trusts the first root sees.
fn client(dir: &Path) -> TrustedSet {
    let read = |name: String| std::fs::read(dir.join("metadata").join(name));
    let options = Options::new(Some(UtcTime::from_unix(1_900_000_000)));
    let mut set = TrustedSet::from_root(read("1.root.json".into()).unwrap(), &options).unwrap();
    while let Ok(bytes) = read(format!("{}.root.json", set.root().version().get() + 1)) {
        set.update_root(bytes).unwrap();
    }
    set.update_timestamp(read("timestamp.json".into()).unwrap()).unwrap();
    let version = set.timestamp().unwrap().as_timestamp().unwrap().snapshot.version;
    set.update_snapshot(read(format!("{version}.snapshot.json")).unwrap()).unwrap();
    let targets = role(RoleKind::Targets);
    let version = set.snapshot().unwrap().as_snapshot().unwrap().meta[&targets].version;
    set.update_targets(&targets, &role(RoleKind::Root), read(format!("{version}.targets.json")).unwrap())
        .unwrap();
    set
}

#[test]
fn a_first_publication_is_what_a_client_expects() {
    let (folder, mut workspace) = Folder::staged();
    let source = folder.file("x.bin", "hello");
    add_target(&mut workspace, "dir/x.bin", &source);
    sign(&mut workspace, RoleKind::Root, &[1]);
    assert!(!workspace.complete().unwrap());
    let state = workspace.signatures(&role(RoleKind::Root)).unwrap();
    assert_eq!((state.have, state.need, state.missing.len()), (1, 2, 1));
    sign(&mut workspace, RoleKind::Root, &[2]);
    let published = finish(&mut workspace);
    assert_eq!((published.roles.len(), published.target_files), (4, 1));
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert!(folder.exists(&format!("targets/dir/{digest}.x.bin")));
    assert!(folder.exists(&format!("targets/{digest}.dir/x.bin")));
    assert!(!folder.exists("staged"));
    assert_eq!(client(&folder.dir()).all_targets().count(), 1);
    assert!(workspace.make_snapshot(later(), None).unwrap().is_none(), "nothing is staged: none is needed");
}

#[test]
fn the_next_version_goes_on_from_the_published_one_and_the_watermark() {
    let (folder, mut workspace) = Folder::staged();
    sign(&mut workspace, RoleKind::Root, &[1, 2]);
    finish(&mut workspace);
    let source = folder.file("y.bin", "y");
    add_target(&mut workspace, "y.bin", &source);
    sign(&mut workspace, RoleKind::Targets, &[3]);
    let snapshot = workspace.make_snapshot(later(), Some(6)).unwrap().unwrap();
    assert_eq!(snapshot.version().get(), 7);
    sign(&mut workspace, RoleKind::Snapshot, &[3]);
    let again = workspace.make_snapshot(later(), Some(7)).unwrap().unwrap();
    assert_eq!(again.version().get(), 7, "what fits is kept");
    workspace.make_timestamp(later(), None).unwrap().unwrap();
    sign(&mut workspace, RoleKind::Timestamp, &[3]);
    workspace.publish(&OPTIONS, &mut |_, _| {}, &mut |_| {}).unwrap();
    let seen = client(&folder.dir());
    assert_eq!(seen.targets(&role(RoleKind::Targets)).unwrap().version().get(), 2);
    assert_eq!(seen.timestamp().unwrap().version().get(), 2);
}

#[test]
fn a_source_that_changed_stops_the_publication_before_it_begins() {
    let (folder, mut workspace) = Folder::staged();
    let source = folder.file("x.bin", "hello");
    add_target(&mut workspace, "x.bin", &source);
    sign(&mut workspace, RoleKind::Root, &[1, 2]);
    ready(&mut workspace);
    std::fs::write(&source, "jello").unwrap();
    assert_eq!(workspace.check_sources(&mut |_, _| {}).unwrap_err().reason(), "TARGET_CHANGED");
    let end = workspace.publish(&OPTIONS, &mut |_, _| {}, &mut |_| {});
    assert_eq!(end.unwrap_err().reason(), "TARGET_CHANGED");
    assert!(!folder.exists("metadata") && folder.exists("staged/root.json"));
    assert_eq!(std::fs::read_dir(folder.dir().join("targets")).unwrap().count(), 0, "nothing is left of it");
    assert!(Workspace::open(&folder.dir()).unwrap().interrupted().is_none());
    std::fs::remove_file(&source).unwrap();
    workspace.check_sources(&mut |_, _| {}).unwrap();
}

#[test]
fn a_publication_that_was_cut_off_is_finished_by_the_next_command() {
    let (folder, mut workspace) = Folder::staged();
    sign(&mut workspace, RoleKind::Root, &[1, 2]);
    ready(&mut workspace);
    // As after a crash between the root and everything else.
    write_file(&folder.dir().join("staged/.publishing"), br#"{"tough_names":true}"#).unwrap();
    make_folder(&folder.dir().join("metadata")).unwrap();
    let root = workspace.staged(&role(RoleKind::Root)).unwrap().unwrap();
    write_file(&folder.dir().join("metadata/1.root.json"), root.bytes()).unwrap();
    drop(workspace);
    assert!(Workspace::open(&folder.dir()).unwrap().interrupted().is_some());
    Workspace::open_for_writing(&folder.dir()).unwrap();
    assert!(!folder.exists("staged"));
    client(&folder.dir());
}

#[test]
fn a_root_that_changes_online_keys_swaps_the_folder_whole() {
    let (folder, mut workspace) = Folder::staged();
    sign(&mut workspace, RoleKind::Root, &[1, 2]);
    finish(&mut workspace);
    let root = workspace.published(&role(RoleKind::Root)).unwrap().unwrap();
    let mut edit = Editor::new(&root);
    edit.next_version().unwrap();
    for kind in [RoleKind::Snapshot, RoleKind::Timestamp] {
        edit.replace_key(kind, &key(3).computed_keyid(), &key(4)).unwrap();
    }
    workspace.write_staged(&role(RoleKind::Root), edit.finish().unwrap()).unwrap();
    sign(&mut workspace, RoleKind::Root, &[1, 2]);
    assert!(workspace.make_snapshot(later(), None).unwrap().is_some(), "its keys have changed");
    sign(&mut workspace, RoleKind::Snapshot, &[4]);
    workspace.make_timestamp(later(), None).unwrap().unwrap();
    let end = workspace.publish(&OPTIONS, &mut |_, _| {}, &mut |_| {});
    assert_eq!(end.unwrap_err().reason(), "THRESHOLD_MISSING");
    sign(&mut workspace, RoleKind::Timestamp, &[4]);
    workspace.publish(&OPTIONS, &mut |_, _| {}, &mut |_| {}).unwrap();
    assert_eq!(client(&folder.dir()).root().version().get(), 2);
    let mut left: Vec<_> = std::fs::read_dir(folder.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["metadata", "targets"]);
}

#[test]
fn a_colleagues_copy_brings_good_signatures_and_nothing_else() {
    let (folder, mut workspace) = Folder::staged();
    let copy = folder.temporary.path().join("copy");
    make_folder(&copy).unwrap();
    let root = workspace.staged(&role(RoleKind::Root)).unwrap().unwrap();
    let mut bad = entry(&root, 1);
    bad.sig = "00".repeat(64);
    let entries = [bad, entry(&root, 2), entry(&root, 9)];
    write_file(&copy.join("root.json"), &root.with_signatures(&entries)).unwrap();
    write_file(&copy.join("targets.json"), &new_targets(Version::FIRST, UtcTime::from_unix(0))).unwrap();
    let merged = workspace.merge_from(&copy).unwrap();
    assert_eq!(merged.signatures, [(role(RoleKind::Root), key(2).computed_keyid())]);
    assert_eq!(merged.invalid, [(role(RoleKind::Root), key(1).computed_keyid())]);
    assert_eq!(merged.other_content, [role(RoleKind::Targets)]);
    assert_eq!(workspace.signatures(&role(RoleKind::Root)).unwrap().have, 1);
}

#[test]
fn a_colleague_who_has_published_gives_the_same_signatures() {
    let (folder, mut workspace) = Folder::staged();
    let copy = folder.temporary.path().join("copy/metadata");
    make_folder(&copy).unwrap();
    let root = workspace.staged(&role(RoleKind::Root)).unwrap().unwrap();
    write_file(&copy.join("1.root.json"), &root.with_signatures(&[entry(&root, 2)])).unwrap();
    let merged = workspace.merge_from(copy.parent().unwrap()).unwrap();
    assert_eq!(merged.signatures.len(), 1);
    assert!(workspace.merge_from(folder.temporary.path()).is_err());
}

#[test]
fn without_consistent_snapshots_files_have_plain_names_and_the_folder_is_swapped() {
    let (folder, mut workspace) = Folder::staged();
    let root = workspace.staged(&role(RoleKind::Root)).unwrap().unwrap();
    let text = String::from_utf8(root.bytes().to_vec()).unwrap();
    let text = text.replace("\"consistent_snapshot\": true", "\"consistent_snapshot\": false");
    workspace.write_staged(&role(RoleKind::Root), text.into_bytes()).unwrap();
    for content in ["one", "two"] {
        let source = folder.file("x.bin", content);
        add_target(&mut workspace, "d/x.bin", &source);
        if workspace.staged(&role(RoleKind::Root)).unwrap().is_some() {
            sign(&mut workspace, RoleKind::Root, &[1, 2]);
        }
        finish(&mut workspace);
        for name in ["1.root.json", "root.json", "targets.json", "snapshot.json", "timestamp.json"] {
            assert!(folder.exists(&format!("metadata/{name}")), "{name}");
        }
        assert_eq!(std::fs::read_to_string(folder.dir().join("targets/d/x.bin")).unwrap(), content);
    }
    assert_eq!(workspace.published(&role(RoleKind::Targets)).unwrap().unwrap().version().get(), 2);
}

#[test]
fn one_writing_command_works_in_a_folder_at_a_time() {
    let (folder, workspace) = Folder::staged();
    assert!(Workspace::open_for_writing(&folder.dir()).is_err());
    assert!(Workspace::open(&folder.dir()).is_ok());
    assert_eq!(Workspace::create(&folder.dir()).err().unwrap().reason(), "REPOSITORY_INVALID");
    drop(workspace);
    assert!(Workspace::open_for_writing(&folder.dir()).is_ok());
    assert_eq!(Workspace::open(folder.temporary.path()).err().unwrap().reason(), "REPOSITORY_INVALID");
}

#[test]
fn nothing_is_published_through_a_link() {
    let outside = tempfile::tempdir().unwrap();
    for link in ["targets/dir", "targets", "metadata"] {
        let (folder, mut workspace) = Folder::staged();
        let source = folder.file("x.bin", "hello");
        add_target(&mut workspace, "dir/x.bin", &source);
        sign(&mut workspace, RoleKind::Root, &[1, 2]);
        ready(&mut workspace);
        let place = folder.dir().join(link);
        make_folder(place.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(outside.path(), &place).unwrap();
        assert_eq!(workspace.check_presence().unwrap_err().reason(), "REPOSITORY_INVALID", "{link}");
        let end = workspace.publish(&OPTIONS, &mut |_, _| {}, &mut |_| {});
        assert_eq!(end.unwrap_err().reason(), "REPOSITORY_INVALID", "{link}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "{link}");
        std::fs::remove_file(place).unwrap();
        workspace.publish(&OPTIONS, &mut |_, _| {}, &mut |_| {}).unwrap();
        client(&folder.dir());
    }
}

#[test]
fn a_target_whose_file_is_nowhere_is_found_before_signing() {
    let (folder, mut workspace) = Folder::staged();
    let source = folder.file("x.bin", "hello");
    add_target(&mut workspace, "dir/x.bin", &source);
    workspace.check_presence().unwrap();
    workspace.set_sources([], &["dir/x.bin".to_owned()]).unwrap();
    let failure = workspace.check_presence().unwrap_err();
    assert_eq!((failure.reason(), failure.exit_code()), ("TARGET_CHANGED", 3));
    // A file in targets/ will do, but only the right one.
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let place = folder.dir().join(format!("targets/dir/{digest}.x.bin"));
    make_folder(place.parent().unwrap()).unwrap();
    std::fs::write(&place, "jello").unwrap();
    assert_eq!(workspace.check_presence().unwrap_err().reason(), "TARGET_CHANGED");
    std::fs::write(&place, "hello").unwrap();
    workspace.check_presence().unwrap();
    sign(&mut workspace, RoleKind::Root, &[1, 2]);
    finish(&mut workspace);
}

#[test]
fn a_name_that_would_be_a_file_and_a_folder_is_refused_with_both_targets() {
    let (folder, mut workspace) = Folder::staged();
    let source = folder.file("x.bin", "hello");
    add_target(&mut workspace, "p/q", &source);
    let same = hash_file(&source, &Algorithms::SHA256, &mut |_| {}).unwrap();
    let other = hash_file(&folder.file("y.bin", "other"), &Algorithms::SHA256, &mut |_| {}).unwrap();
    let role = &RoleKind::Targets.role();
    let judge = |path: &str, file, tough| {
        workspace.check_places([super::Listed { role, path, file }].into_iter(), tough)
    };
    for path in ["p/q/r", "p/q/r/s", "p"] {
        let failure = judge(path, &same, true).unwrap_err();
        assert_eq!((failure.reason(), failure.exit_code()), ("TARGET_NAME", 3), "{path}");
        assert!(failure.message().contains(path) && failure.message().contains("p/q"), "{failure}");
        judge(path, &same, false).unwrap();
        judge(path, &other, true).unwrap();
    }
    for path in ["p/q", "p/r", "q"] {
        judge(path, &same, true).unwrap();
    }
    let both = ["a/b", "a/b/c"].into_iter().map(|path| super::Listed { role, path, file: &other });
    assert!(workspace.check_places(both, true).is_err(), "new ones collide with each other");
    add_target(&mut workspace, "p/q/r", &source);
    assert_eq!(workspace.check_staged_places(true).unwrap_err().reason(), "TARGET_NAME");
    workspace.check_staged_places(false).unwrap();
}
