//! The store as its users meet it: through the trait, and through its files.

use std::fs;
use std::path::PathBuf;

use tuf::preimage::{Statement, StatementKind};

use super::*;
use crate::conformance::{Subject, new_key};

#[test]
fn the_file_store_keeps_what_every_backend_keeps() {
    let all = [
        KeyType::Ed25519,
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::Rsa2048,
        KeyType::Rsa3072,
        KeyType::Rsa4096,
    ];
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    Subject {
        backend: &store,
        secret: secret("right"),
        wrong_secret: secret("wrong"),
        generates: &all,
        imports: &all,
        // A file can be copied, and says nothing of that.
        proves_origin: false,
        cannot: &[],
        wrong_secrets: usize::MAX,
        signatures: 200,
    }
    .run();
    // Another agent finds the same keys.
    let again = open(temp.path());
    assert_eq!(again.keys().unwrap().len(), store.keys().unwrap().len());
    again.unlock(&secret("right")).unwrap();
    sign(&again, &again.keys().unwrap()[0].public).unwrap();
}

#[test]
fn the_first_unlock_sets_the_passphrase_and_an_empty_one_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    assert!(store.info().fresh && store.keys().unwrap().is_empty());
    assert!(!temp.path().join("keys").exists(), "looking writes nothing");
    let empty = store.unlock(&secret(""));
    assert!(matches!(empty, Err(BackendError::SecretRefused { .. })), "{empty:?}");
    assert!(store.info().fresh);
    let change = store.change_secret(&secret("a"), &secret("b"));
    assert!(matches!(change, Err(BackendError::SecretRefused { .. })), "{change:?}");
    store.unlock(&secret("first")).unwrap();
    assert!(!store.info().fresh);
    assert!(matches!(open(temp.path()).unlock(&secret("other")), Err(BackendError::SecretIncorrect { .. })));
    let change = store.change_secret(&secret("first"), &secret(""));
    assert!(matches!(change, Err(BackendError::SecretRefused { .. })), "{change:?}");
    open(temp.path()).unlock(&secret("first")).unwrap();
}

#[test]
fn a_new_passphrase_leaves_the_key_files_alone() {
    let kept = kept();
    let before = fs::read(kept.file("a.key")).unwrap();
    let store = open(kept.temp.path());
    store.change_secret(&secret("right"), &secret("new")).unwrap();
    assert_eq!(store.info().state, TokenState::Locked, "changing is not unlocking");
    assert_eq!(fs::read(kept.file("a.key")).unwrap(), before);
    let again = open(kept.temp.path());
    assert!(matches!(again.unlock(&secret("right")), Err(BackendError::SecretIncorrect { .. })));
    again.unlock(&secret("new")).unwrap();
    sign(&again, &kept.keys[0]).unwrap();
}

#[test]
fn files_of_two_keys_that_were_exchanged_are_refused() {
    let kept = kept();
    fs::rename(kept.file("a.key"), kept.file("x")).unwrap();
    fs::rename(kept.file("b.key"), kept.file("a.key")).unwrap();
    fs::rename(kept.file("x"), kept.file("b.key")).unwrap();
    kept.is_refused("exchanged");
}

#[test]
fn sealed_parts_that_were_exchanged_are_refused_even_with_right_checksums() {
    let kept = kept();
    let lines = |name: &str| -> Vec<String> {
        fs::read_to_string(kept.file(name)).unwrap().lines().map(str::to_owned).collect()
    };
    let (a, b) = (lines("a.key"), lines("b.key"));
    write_lines(&kept.file("a.key"), &a[0], &b[1]);
    write_lines(&kept.file("b.key"), &b[0], &a[1]);
    // Listing believes the clear header; nothing is done with it before the seal was checked.
    let store = open(kept.temp.path());
    assert_eq!(store.keys().unwrap().len(), 2);
    let error = store.unlock(&secret("right")).unwrap_err();
    assert!(matches!(error, BackendError::Corrupt { .. }), "{error}");
    assert!(sign(&store, &kept.keys[0]).is_err());
    kept.is_unchanged_by(&store);
}

#[test]
fn a_public_key_that_was_exchanged_in_the_header_is_refused() {
    let kept = kept();
    let text = fs::read_to_string(kept.file("a.key")).unwrap();
    let (header, rest) = text.split_once('\n').unwrap();
    let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
    header["public"] = new_key(KeyType::Ed25519).public().spki_pem().into();
    write_lines(&kept.file("a.key"), &header.to_string(), rest.lines().next().unwrap());
    let store = open(kept.temp.path());
    let error = store.unlock(&secret("right")).unwrap_err();
    assert!(matches!(&error, BackendError::Corrupt { path, .. } if path.ends_with("a.key")), "{error}");
}

#[test]
fn a_hostile_cost_is_refused_at_once() {
    for (field, value) in
        [("memory_kib", u64::from(u32::MAX)), ("memory_kib", 1 << 21), ("passes", 17), ("lanes", 17)]
    {
        let kept = kept();
        kept.edit_header("store", |header| header["cost"][field] = value.into());
        let error = kept.is_refused("to unlock it");
        assert!(matches!(error, BackendError::Corrupt { .. }), "{error}");
    }
    let kept = kept();
    kept.edit_header("store", |header| header["cost"]["memory_kib"] = (1_u64 << 40).into());
    kept.is_refused("header");
}

#[test]
fn a_cheaper_cost_written_into_the_file_does_not_open_it() {
    let kept = kept();
    kept.edit_header("store", |header| header["cost"]["memory_kib"] = 64.into());
    let store = open(kept.temp.path());
    assert!(matches!(store.unlock(&secret("right")), Err(BackendError::SecretIncorrect { .. })));
}

#[test]
fn a_store_that_somebody_made_with_a_cheap_cost_is_sealed_anew_when_it_is_unlocked() {
    let kept = kept();
    let store = open(kept.temp.path());
    let files = store.look().unwrap();
    let key = store.check(files.store.as_ref().unwrap(), &secret("right")).unwrap();
    let cost = kdf::Cost { memory_kib: 64, passes: 1, lanes: 1 };
    let cheap = StoreFile::wrap(&kept.file("store"), &key, &secret("right"), cost).unwrap();
    fs::write(kept.file("store"), cheap.to_bytes()).unwrap();
    let before = kept.contents();
    let wrong = open(kept.temp.path()).unlock(&secret("wrong"));
    assert!(matches!(wrong, Err(BackendError::SecretIncorrect { .. })), "{wrong:?}");
    assert_eq!(kept.contents(), before);
    open(kept.temp.path()).unlock(&secret("right")).unwrap();
    let text = fs::read_to_string(kept.file("store")).unwrap();
    let header: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&header["cost"]["memory_kib"], &header["cost"]["passes"]), (&65536.into(), &3.into()));
    let again = open(kept.temp.path());
    again.unlock(&secret("right")).unwrap();
    sign(&again, &kept.keys[0]).unwrap();
}

#[test]
fn files_of_a_newer_version_are_refused_with_the_version() {
    for name in ["store", "a.key"] {
        let kept = kept();
        kept.edit_header(name, |header| header["version"] = 2.into());
        let error = kept.is_refused("format version 2");
        assert!(matches!(error, BackendError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
        assert!(error.remedy().contains("newer"));
    }
}

#[test]
fn truncated_empty_and_zeroed_files_are_refused_and_left_alone() {
    for name in ["store", "a.key"] {
        for make in
            [|b: &[u8]| Vec::from(&b[..b.len() / 2]), |_: &[u8]| Vec::new(), |b: &[u8]| vec![0; b.len()]]
        {
            let kept = kept();
            let bytes = make(&fs::read(kept.file(name)).unwrap());
            fs::write(kept.file(name), bytes).unwrap();
            let error = kept.is_refused(name);
            assert!(matches!(error, BackendError::Corrupt { .. }), "{error}");
            assert!(error.remedy().contains("backup"), "{}", error.remedy());
        }
    }
}

#[test]
fn keys_without_their_store_file_are_never_taken_for_a_fresh_store() {
    let kept = kept();
    fs::remove_file(kept.file("store")).unwrap();
    assert!(!open(kept.temp.path()).info().fresh);
    kept.is_refused("missing");
}

#[test]
fn a_key_file_of_another_store_is_refused() {
    let (kept, other) = (kept(), kept());
    fs::copy(other.file("b.key"), kept.file("b.key")).unwrap();
    kept.is_refused("another store");
}

#[test]
fn the_same_key_in_two_files_is_refused() {
    let kept = kept();
    fs::copy(kept.file("a.key"), kept.file("c.key")).unwrap();
    kept.is_refused("c.key");
}

#[test]
fn a_repaired_store_works_without_a_restart() {
    let kept = kept();
    let good = fs::read(kept.file("a.key")).unwrap();
    fs::write(kept.file("a.key"), b"damaged").unwrap();
    let store = open(kept.temp.path());
    assert_eq!(store.info().state, TokenState::Failed);
    assert!(store.info().problem.unwrap().contains("a.key"));
    fs::write(kept.file("a.key"), good).unwrap();
    assert_eq!(store.keys().unwrap().len(), 2);
    store.unlock(&secret("right")).unwrap();
    sign(&store, &kept.keys[0]).unwrap();
}

#[test]
fn other_files_in_the_folder_are_left_alone() {
    let kept = kept();
    fs::write(kept.file("notes.txt"), b"mine").unwrap();
    let store = open(kept.temp.path());
    store.unlock(&secret("right")).unwrap();
    assert_eq!(store.keys().unwrap().len(), 2);
    assert_eq!(fs::read(kept.file("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_lock_during_an_unlock_wins() {
    let kept = kept();
    let store = open(kept.temp.path());
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let unlock = scope.spawn(|| store.unlock(&secret("right")));
            while !unlock.is_finished() {
                store.lock();
                store.info();
            }
            match unlock.join().unwrap() {
                Err(BackendError::Locked) => assert_eq!(store.info().state, TokenState::Locked),
                other => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn no_error_and_no_debug_text_holds_the_passphrase() {
    let kept = kept();
    let store = open(kept.temp.path());
    let error = store.unlock(&secret("canary-7261")).unwrap_err();
    assert!(!format!("{error} {error:?} {}", error.remedy()).contains("canary"));
    assert!(!format!("{:?}", secret("canary-7261")).contains("canary"));
    assert!(!format!("{:?}", new_key(KeyType::Ed25519)).contains("secret"));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, ..Default::default() })]

    #[test]
    fn mutated_files_never_panic_and_never_open_as_something_else(
        name in proptest::sample::select(vec!["store", "a.key", "b.key"]),
        at in proptest::prelude::any::<proptest::sample::Index>(),
        change in proptest::prelude::any::<(u8, u8)>(),
    ) {
        let kept = Kept::shared();
        let mut bytes = fs::read(kept.file(name)).unwrap();
        let original = bytes.clone();
        let place = at.index(bytes.len());
        match change.0 % 4 {
            0 => bytes[place] = change.1,
            1 => bytes.insert(place, change.1),
            2 => drop(bytes.remove(place)),
            _ => bytes.truncate(place),
        }
        let damaged = bytes != original;
        let copy = kept.copy_with(name, &bytes);
        let store = open(copy.path());
        proptest::prop_assert_eq!(store.info().state == TokenState::Failed, damaged);
        proptest::prop_assert_eq!(store.keys().is_err(), damaged);
        proptest::prop_assert_eq!(fs::read(copy.path().join("keys").join(name)).unwrap(), bytes);
    }
}

#[test]
fn a_restore_takes_nothing_along_that_one_before_has_left_behind() {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let (from, to) = (kept(), tempfile::tempdir().unwrap());
    let given = open(from.temp.path()).export_files().unwrap();
    let beside = to.path().join("keys.restored");
    fs::DirBuilder::new().mode(0o700).create(&beside).unwrap();
    for name in [".hid.key", ".tmp-1", "left.key"] {
        fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(beside.join(name)).unwrap();
    }
    open(to.path()).import_files(&given).unwrap();
    let there = fs::read_dir(to.path().join("keys")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut there: Vec<_> = there.map(|name| name.into_string().unwrap()).collect();
    there.sort();
    let mut names: Vec<_> = given.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    assert_eq!(there, names);
    // Nothing of a file that stands in it twice is passed over.
    let other = tempfile::tempdir().unwrap();
    let twice: Vec<_> = given.iter().chain(given.last()).cloned().collect();
    assert!(matches!(open(other.path()).import_files(&twice), Err(BackendError::Corrupt { .. })));
    assert!(!other.path().join("keys").exists());
}

/// A store with two keys, closed again.
struct Kept {
    temp: tempfile::TempDir,
    keys: Vec<PublicKey>,
}

fn kept() -> Kept {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path());
    store.unlock(&secret("right")).unwrap();
    let make = |name: &str, kind| store.generate(&name.parse().unwrap(), kind).unwrap().public;
    let keys = vec![make("a", KeyType::Ed25519), make("b", KeyType::EcdsaP256)];
    Kept { temp, keys }
}

impl Kept {
    /// One for all who only read it.
    fn shared() -> &'static Self {
        static SHARED: std::sync::OnceLock<Kept> = std::sync::OnceLock::new();
        SHARED.get_or_init(kept)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.temp.path().join("keys").join(name)
    }

    /// Changes the header of a file, with a right checksum.
    fn edit_header(&self, name: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let text = fs::read_to_string(self.file(name)).unwrap();
        let (header, rest) = text.split_once('\n').unwrap();
        let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
        edit(&mut header);
        write_lines(&self.file(name), &header.to_string(), rest.lines().next().unwrap());
    }

    /// Opening fails, every call says so with `word` in the sentence, and no file changes.
    fn is_refused(&self, word: &str) -> BackendError {
        let store = open(self.temp.path());
        assert_eq!(store.info().state, TokenState::Failed);
        assert!(store.keys().is_err());
        assert!(sign(&store, &self.keys[0]).is_err());
        assert!(store.generate(&"new".parse().unwrap(), KeyType::Ed25519).is_err());
        assert!(store.change_secret(&secret("right"), &secret("new")).is_err());
        let error = store.unlock(&secret("right")).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.remedy().is_empty());
        self.is_unchanged_by(&store);
        error
    }

    fn is_unchanged_by(&self, store: &FileStore) {
        let before = self.contents();
        let _ = store.unlock(&secret("right"));
        store.lock();
        assert_eq!(self.contents(), before);
    }

    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all: Vec<_> = fs::read_dir(self.temp.path().join("keys"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        all.sort();
        all
    }

    fn copy_with(&self, name: &str, bytes: &[u8]) -> tempfile::TempDir {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::new(temp.path().join("keys"));
        let open = folder.create().unwrap();
        for (path, content) in self.contents() {
            let file = path.file_name().unwrap().to_str().unwrap();
            open.write(file, if file == name { bytes } else { &content }, false).unwrap();
        }
        temp
    }
}

fn write_lines(path: &Path, header: &str, sealed: &str) {
    use sha2::Digest as _;
    let body = format!("{header}\n{sealed}\n");
    let sum = hex::encode(sha2::Sha256::digest(&body));
    fs::write(path, format!("{body}{sum}\n")).unwrap();
}

fn open(state: &Path) -> FileStore {
    FileStore::open(state, "file".parse().unwrap())
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

fn sign(store: &FileStore, key: &PublicKey) -> Result<tuf::key::SignatureBytes, BackendError> {
    store.sign(
        key,
        key.key_type().default_scheme(),
        Signable::Statement(&Statement::new(StatementKind::Possession, "x")),
    )
}
