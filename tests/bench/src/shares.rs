//! Splitting and collecting a key, beside the stretching that SLIP-0039 asks for.

use custody::{Collected, Context, IterationExponent, NewSet, Share, SplitKind, Terms, Weak};
use secmem::SecretBytes;
use serde_json::json;
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::bed::Bed;
use crate::report::Report;
use crate::samples::Samples;

/// The row of the set that takes longest: 8 of 16, of which there are 12,870 ways.
pub(crate) fn measure(_bed: &Bed, report: &mut Report) {
    let [(split, collect), (split_twice, collect_twice)] = [0, 1].map(times);
    // The second pair stretches twice as long, so the difference is what the first one stretched.
    let own = |once: f64, twice: f64| (2.0 * once - twice).max(0.0) / 1e3;
    let (split, collect) = (own(split, split_twice), own(collect, collect_twice));
    report.goal(
        "a key split into 16 shares, or 8 of 16 collected",
        "each <= 1 s beside stretching",
        format!("split {split:.0} ms, collect {collect:.0} ms"),
        split <= 1000.0 && collect <= 1000.0,
        json!({"split_ms": split, "collect_ms": collect}),
    );
}

/// Medians for a split and a collection.
fn times(exponent: u8) -> (f64, f64) {
    let names = (0..16).map(|at| format!("c{at}").parse().expect("a name")).collect();
    let terms = Terms::simple(8, names).expect("terms").agreed(Weak::Allowed).expect("allowed");
    let passphrase = SecretBytes::copy_from(b"");
    let context = Context {
        key_name: "root",
        made_at: tuf::time::UtcTime::from_unix(0),
        exponent: IterationExponent::try_from(exponent).expect("small"),
        passphrase: &passphrase,
        used: &[],
    };
    let statement = Statement::new(StatementKind::Drill, "x");
    let (mut splitting, mut collecting) = (Samples::default(), Samples::default());
    for _ in 0..5 {
        let set = splitting.time(|| NewSet::generate(SplitKind::Ed25519, &terms, &context)).expect("a set");
        let texts: Vec<_> = set.shares().iter().map(|new| new.share.words().expect("words")).collect();
        collecting.time(|| {
            let mut collected = Collected::new(set.manifest());
            for text in &texts[8..] {
                let share = Share::parse(text.reveal_secret_bytes()).expect("a share");
                collected.offer(share).expect("one of the set");
            }
            collected.sign(Signable::Statement(&statement), &passphrase).expect("a signature");
        });
    }
    (splitting.median(), collecting.median())
}
