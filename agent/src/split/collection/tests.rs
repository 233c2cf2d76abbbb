//! Who sees a collection, how many there are, and what is left of one.

use custody::{Context, CustodianName, IterationExponent, NewSet, SplitKind, Terms, Weak};

use super::*;

fn peer(uid: u32) -> Peer {
    Peer { uid, gid: uid, pid: None, exe: None }
}

fn set() -> NewSet {
    let names = ["ann", "ben", "cy"].map(|name| name.parse::<CustodianName>().unwrap());
    let terms = Terms::simple(2, names.to_vec()).unwrap().agreed(Weak::Refused).unwrap();
    let passphrase = SecretBytes::with_len(0, |_| {});
    let context = Context {
        key_name: "root-s",
        made_at: UtcTime::from_unix(0),
        exponent: IterationExponent::default(),
        passphrase: &passphrase,
        used: &[],
    };
    NewSet::generate(SplitKind::Ed25519, &terms, &context).unwrap()
}

#[test]
fn another_user_sees_no_collection_and_one_user_opens_no_more_than_their_part() {
    let folder = tempfile::tempdir().unwrap();
    let store = SplitStore::open(folder.path(), "people".parse().unwrap());
    let set = set();
    let which = Which {
        key: "root-s",
        token: "people",
        manifest: set.manifest(),
        store: &store,
        patience: limits::COLLECT,
        at_least: 0,
    };
    let drill = || Subject::of(Purpose::Drill, Sha256Digest::of(b"x"), String::new());
    let subject = || Subject::of(Purpose::Sign, Sha256Digest::of(b"x"), String::new());
    let all = Collections::default();
    let first = all.open(&which, subject(), &peer(1000)).unwrap();
    let id = first.collection.id.clone();
    assert!(all.find(&id, &peer(1000)).is_ok());
    assert_eq!(all.find(&id, &peer(1001)).unwrap_err().reason, Reason::SharesMissing);
    assert!(all.of(&peer(0)).is_empty() && all.find("", &peer(1000)).is_err());
    let mut open: Vec<_> =
        (1..limits::COLLECTIONS_OF_USER).map(|_| all.open(&which, subject(), &peer(1000)).unwrap()).collect();
    assert_eq!(all.open(&which, subject(), &peer(1000)).unwrap_err().reason, Reason::Limit);
    let others = limits::COLLECTIONS - limits::COLLECTIONS_OF_USER;
    open.extend((0..others).map(|_| all.open(&which, subject(), &peer(1001)).unwrap()));
    assert_eq!(all.open(&which, subject(), &peer(1002)).unwrap_err().reason, Reason::Limit);
    drop(open);
    assert_eq!(all.of(&peer(1000)).len(), 1);
    // Those that sign nothing leave room for those that do.
    let drills: Vec<_> =
        (0..limits::REHEARSALS_OF_USER).map(|_| all.open(&which, drill(), &peer(1000)).unwrap()).collect();
    assert_eq!(all.open(&which, drill(), &peer(1000)).unwrap_err().reason, Reason::Limit);
    assert!(
        all.open(&which, subject(), &peer(1000)).is_ok() && all.open(&which, drill(), &peer(1001)).is_ok()
    );
    drop(drills);
}

#[test]
fn what_was_given_ends_with_its_collection_whoever_still_holds_that() {
    let folder = tempfile::tempdir().unwrap();
    let store = SplitStore::open(folder.path(), "people".parse().unwrap());
    let set = set();
    let which = Which {
        key: "root-s",
        token: "people",
        manifest: set.manifest(),
        store: &store,
        patience: limits::COLLECT,
        at_least: 0,
    };
    let all = Collections::default();
    let subject = Subject::of(Purpose::Drill, Sha256Digest::of(b"x"), String::new());
    let open = all.open(&which, subject, &peer(1000)).unwrap();
    let held = Arc::clone(&open.collection);
    let words = set.shares()[0].share.words().unwrap();
    assert_eq!(held.give(&words).unwrap().custodian.name.as_str(), "ann");
    assert_eq!(held.give(&words).unwrap_err().reason, Reason::ShareInvalid);
    assert_eq!(held.describe().have, 1);
    drop(open);
    assert!(matches!(&*lock(&held.shares), Shares::Ended(_)));
    assert_eq!(held.give(&words).unwrap_err().reason, Reason::SharesMissing);
    assert!(!format!("{held:?}").contains("academic"));
}

#[tokio::test]
async fn whoever_ends_a_collection_wipes_it_unless_it_has_enough_which_is_used_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = SplitStore::open(folder.path(), "people".parse().unwrap());
    let set = set();
    let (manifest, patience) = (set.manifest(), limits::COLLECT);
    let which = Which { key: "root-s", token: "people", manifest, store: &store, patience, at_least: 0 };
    let all = Collections::default();
    let subject = || Subject::of(Purpose::Drill, Sha256Digest::of(b"x"), String::new());
    let words = |at: usize| set.shares()[at].share.words().unwrap();
    let (tell, gone) = (|_| async { Ok(()) }, std::future::pending::<Refusal>);

    let open = all.open(&which, subject(), &peer(1000)).unwrap();
    let held = Arc::clone(&open.collection);
    held.give(&words(0)).unwrap();
    assert_eq!(held.end().unwrap().given, ["ann"]);
    assert_eq!(held.give(&words(1)).unwrap_err().reason, Reason::SharesMissing);
    let ended = open.gather(tell, gone, || Ok(())).await.unwrap_err();
    assert!(ended.reason == Reason::SharesMissing && ended.message.contains("what was given is wiped"));

    let open = all.open(&which, subject(), &peer(1000)).unwrap();
    let held = Arc::clone(&open.collection);
    assert!(!held.give(&words(0)).unwrap().complete);
    assert!(held.give(&words(2)).unwrap().complete);
    // Enough before it is ended is enough, also before anybody has taken it.
    assert_eq!(held.end().unwrap_err().reason, Reason::SharesMissing);
    let gathered = open.gather(tell, gone, || Ok(())).await.unwrap();
    assert_eq!(gathered.custodians, ["ann", "cy"]);
    let told = held.describe();
    assert_eq!((told.have, told.need, told.given.len(), told.missing.len()), (2, 2, 2, 0));
    assert_eq!(held.outcome(Duration::ZERO).await, Outcome::Open);
    gathered.using.done();
    assert_eq!(held.outcome(Duration::from_secs(60)).await, Outcome::Done);

    let open = all.open(&which, subject(), &peer(1000)).unwrap();
    let held = Arc::clone(&open.collection);
    held.give(&words(0)).unwrap();
    held.give(&words(1)).unwrap();
    drop(open.gather(tell, gone, || Ok(())).await.unwrap());
    assert_eq!(held.outcome(Duration::from_secs(60)).await, Outcome::Failed);
}

#[tokio::test]
async fn a_token_that_leaves_the_configuration_ends_its_collections_though_their_opener_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let store = SplitStore::open(folder.path(), "people".parse().unwrap());
    let set = set();
    let (manifest, patience) = (set.manifest(), limits::COLLECT);
    let which = Which { key: "root-s", token: "people", manifest, store: &store, patience, at_least: 0 };
    let all = Collections::default();
    let subject = Subject::of(Purpose::Drill, Sha256Digest::of(b"x"), String::new());
    let open = all.open(&which, subject, &peer(1000)).unwrap();
    let deaf = |_| std::future::pending::<Result<(), Refusal>>();
    let leaves = async {
        tokio::task::yield_now().await;
        store.leave();
    };
    let (ended, ()) = tokio::join!(open.gather(deaf, std::future::pending::<Refusal>, || Ok(())), leaves);
    assert_eq!(ended.unwrap_err().reason, Reason::TokenAbsent);
}

#[test]
fn a_suspension_ends_a_collection_and_a_clock_that_is_read_late_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = SplitStore::open(folder.path(), "people".parse().unwrap());
    let (set, patience) = (set(), limits::COLLECT);
    let which = Which {
        key: "root-s",
        token: "people",
        manifest: set.manifest(),
        store: &store,
        patience,
        at_least: 0,
    };
    let all = Collections::default();
    let subject = Subject::of(Purpose::Drill, Sha256Digest::of(b"x"), String::new());
    let open = all.open(&which, subject, &peer(1000)).unwrap();
    let one = &open.collection;
    assert_eq!(one.over_by(one.until - patience, one.slept + Duration::from_millis(200)), None);
    let suspended = one.over_by(one.until - patience, one.slept + Duration::from_secs(60)).unwrap();
    let refused = refusals::over(&one.describe(), suspended);
    assert_eq!(refused.reason, Reason::SharesMissing);
    assert!(refused.message.contains("suspended"), "{}", refused.message);
    assert!(one.over_by(one.until, one.slept).is_some_and(|why| why.contains("long enough")));
}
