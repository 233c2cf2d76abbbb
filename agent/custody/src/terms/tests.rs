use super::*;

fn names(count: usize) -> Vec<CustodianName> {
    (0..count).map(|at| format!("c{at}").parse().unwrap()).collect()
}

fn weak(threshold: usize, count: usize) -> Vec<&'static str> {
    let terms = Terms::simple(threshold, names(count)).unwrap();
    terms.weaknesses().iter().map(Weakness::name).collect()
}

fn groups(group_threshold: usize, shapes: &[(u8, usize)]) -> Terms {
    let mut all = names(256).into_iter();
    let group = |(at, (threshold, count)): (usize, &(u8, usize))| GroupTerms {
        name: format!("g{at}").parse().unwrap(),
        threshold: *threshold,
        custodians: all.by_ref().take(*count).collect(),
    };
    Terms::groups(group_threshold, shapes.iter().enumerate().map(group).collect()).unwrap()
}

#[test]
fn each_weakness_is_named_and_sound_terms_have_none() {
    for (threshold, count) in [(2, 3), (3, 5), (3, 4), (9, 16)] {
        assert!(weak(threshold, count).is_empty(), "{threshold} of {count}");
    }
    assert_eq!(weak(1, 1), ["one-is-enough", "none-may-be-lost"]);
    assert_eq!(weak(1, 3), ["one-is-enough", "disjoint-quorums"]);
    assert_eq!(weak(3, 3), ["none-may-be-lost"]);
    assert_eq!(weak(2, 4), ["disjoint-quorums"]);
    assert_eq!(weak(2, 5), ["disjoint-quorums"]);
    let twice = Terms::simple(2, ["ann", "ben", "Ann"].map(|name| name.parse().unwrap()).into()).unwrap();
    assert_eq!(twice.weaknesses(), [Weakness::CustodianTwice { name: "ann".parse().unwrap() }]);
    assert!(twice.clone().agreed(Weak::Refused).unwrap_err().to_string().starts_with("ann has more"));
    assert_eq!(twice.clone().agreed(Weak::Allowed).unwrap().terms(), &twice);
}

#[test]
fn two_groups_of_one_name_are_refused() {
    let group = |name: &str| GroupTerms { name: name.parse().unwrap(), threshold: 2, custodians: names(3) };
    let twice = Terms::groups(2, vec![group("board"), group("ops"), group("Board")]);
    assert_eq!(twice, Err(TermsError::GroupTwice { group: "board".to_owned() }));
}

/// All sets of shares, as sets of numbers, that make the key.
fn quorums(terms: &Terms) -> Vec<u32> {
    let mut start = 0;
    let masks: Vec<(u32, u32)> = terms
        .group_terms()
        .iter()
        .map(|group| {
            let mask = ((1 << group.custodians.len()) - 1) << start;
            start += group.custodians.len();
            (mask, u32::from(group.threshold))
        })
        .collect();
    let enough = |set: &u32| {
        let complete = masks.iter().filter(|(mask, threshold)| (set & mask).count_ones() >= *threshold);
        complete.count() >= terms.group_threshold()
    };
    (0..1 << start).filter(enough).collect()
}

#[test]
fn groups_are_weak_exactly_where_counting_all_quorums_says_so() {
    let shapes = [(1, 1), (2, 2), (2, 3), (2, 4), (3, 3)];
    for one in shapes {
        for two in shapes {
            for three in shapes {
                for threshold in 1..=3 {
                    let terms = groups(threshold, &[one, two, three]);
                    let quorums = quorums(&terms);
                    let all = (1 << terms.count()) - 1;
                    let has = |weakness| terms.weaknesses().contains(&weakness);
                    let disjoint = quorums.iter().any(|set| quorums.contains(&(all & !set)));
                    assert_eq!(has(Weakness::DisjointQuorums), disjoint, "{terms:?}");
                    let vital = (0..terms.count()).any(|share| !quorums.contains(&(all & !(1 << share))));
                    assert_eq!(has(Weakness::NoneMayBeLost), vital, "{terms:?}");
                    let least = quorums.iter().map(|set| set.count_ones()).min();
                    assert_eq!(least.map(|least| usize::try_from(least).unwrap()), Some(terms.need()));
                    assert_eq!(has(Weakness::OneIsEnough), least == Some(1), "{terms:?}");
                }
            }
        }
    }
}

#[test]
fn terms_that_cannot_be_met_are_refused() {
    assert!(matches!(Terms::simple(0, names(3)), Err(TermsError::Threshold { .. })));
    assert!(matches!(Terms::simple(4, names(3)), Err(TermsError::Threshold { .. })));
    assert!(matches!(Terms::simple(1, names(0)), Err(TermsError::Counts { .. })));
    assert!(matches!(Terms::simple(2, names(17)), Err(TermsError::Counts { .. })));
    assert!(matches!(Terms::simple(1000, names(3)), Err(TermsError::Counts { .. })));
    assert!(matches!(Terms::groups(1, Vec::new()), Err(TermsError::Counts { .. })));
    let group = GroupTerms { name: "g".parse().unwrap(), threshold: 1, custodians: names(2) };
    assert!(matches!(Terms::groups(1, vec![group]), Err(TermsError::OneOfMany { .. })));
    for bad in ["", ".", "-a", "a b", "../x", "é", "a=b", &"x".repeat(65)] {
        assert!(bad.parse::<CustodianName>().is_err(), "{bad}");
    }
}
