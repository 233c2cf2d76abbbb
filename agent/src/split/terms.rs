//! What a caller wants of a new set: who gets a share, how many are enough, and how each share is handed out.

use std::collections::BTreeSet;

use custody::{AgreedTerms, CustodianName, CustodianRef, GroupTerms, Terms, Weak, WeakTerms, Weakness};
use policy::Reason;
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tufagent_proto::v1::custodian::How;
use tufagent_proto::v1::{Custodian, SplitTerms};

use super::age::Recipient;
use crate::door::Connection;
use crate::limits;
use crate::refusal::Refusal;

/// Terms that were read and found good.
pub(super) struct Wanted {
    pub(super) agreed: AgreedTerms,
    /// By group and member.
    ways: Vec<Vec<Way>>,
    /// The caller's key of this call.
    pub(super) reply_key: Vec<u8>,
    /// What is unwise about them, and was asked for all the same.
    weaknesses: Vec<Weakness>,
}

/// How one share is handed out.
pub(super) enum Way {
    /// As an age file.
    Age(Recipient),
    /// As words, to the caller's own key: for a terminal or a sheet.
    Words,
}

impl Way {
    /// As it stands in the terms: a recipient, or what else.
    fn word(&self) -> &str {
        match self {
            Self::Age(recipient) => recipient.text().unwrap_or("passphrase"),
            Self::Words => "words",
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Age(Recipient::X25519(_, text)) => format!("to {text}"),
            Self::Age(Recipient::Passphrase(_)) => "by a passphrase that the caller gave".to_owned(),
            Self::Words => "in words, to the caller".to_owned(),
        }
    }
}

impl Wanted {
    /// Reads the terms for a set of this key; passphrases are opened.
    ///
    /// # Errors
    /// `USAGE` for terms that make no sense, `WEAK_SET` for a set that is refused unless it is asked for.
    pub(super) fn read(
        connection: &Connection,
        key: &str,
        terms: Option<SplitTerms>,
    ) -> Result<Self, Refusal> {
        let terms = terms.ok_or_else(|| usage("nobody was named who holds a share"))?;
        let named: usize = terms.groups.iter().map(|group| group.custodians.len()).sum();
        if named > limits::CUSTODIANS || terms.groups.len() > limits::CUSTODIANS {
            return Err(Refusal::new(Reason::Limit, format!("{named} custodians were named for one key"))
                .remedy(format!("name at most {}", limits::CUSTODIANS))
                .detail("limit", limits::CUSTODIANS));
        }
        let SplitTerms { groups, group_threshold, allow_weak, reply_key } = terms;
        let (mut read, mut ways, mut words) = (Vec::new(), Vec::new(), false);
        for group in groups {
            let (mut names, mut of_group) = (Vec::new(), Vec::new());
            for custodian in group.custodians {
                let (name, way) = one(connection, key, custodian)?;
                words |= matches!(way, Way::Words);
                names.push(name);
                of_group.push(way);
            }
            read.push((group.name, group.threshold, names));
            ways.push(of_group);
        }
        if words && reply_key.len() != KEY {
            return Err(usage("words go to a key of the caller (32 bytes), which was not given"));
        }
        let (terms, ways) = of_groups(read, group_threshold, ways)?;
        let mut weaknesses = terms.weaknesses();
        weaknesses.extend(opened_alike(&terms, &ways));
        if !(weaknesses.is_empty() || allow_weak) {
            return Err(refused(&WeakTerms { weaknesses }));
        }
        let agreed = terms.agreed(Weak::Allowed).map_err(|weak| refused(&weak))?;
        Ok(Self { agreed, ways, reply_key, weaknesses })
    }

    /// What people should know of them.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<_> = self.weaknesses.iter().map(ToString::to_string).collect();
        let short = in_order(self.terms(), &self.ways).into_iter().filter(|(_, way)| match way {
            Way::Age(recipient) => recipient.is_short(),
            Way::Words => false,
        });
        warnings.extend(short.map(|(name, _)| {
            format!("the passphrase of {name} is short: whoever gets the file may find it by trying all; take a longer one, of several words")
        }));
        // It was tried when the agent began.
        if secmem::unlocked_secrets() > 0 {
            warnings.push(UNLOCKED.to_owned());
        }
        warnings
    }

    pub(super) fn terms(&self) -> &Terms {
        self.agreed.terms()
    }

    /// How the share of this custodian is handed out.
    pub(super) fn way(&self, custodian: &CustodianRef) -> Option<&Way> {
        self.ways.get(usize::from(custodian.group))?.get(usize::from(custodian.member))
    }

    /// What of them people are shown and the journal keeps: to which recipient each share goes, too.
    pub(super) fn json(&self) -> Value {
        let terms = self.terms();
        let of_group = |(group, ways): (&GroupTerms, &Vec<Way>)| {
            let names: Vec<_> = group.custodians.iter().map(CustodianName::as_str).collect();
            let how: Vec<_> = ways.iter().map(Way::word).collect();
            json!({"name": group.name.as_str(), "threshold": group.threshold, "custodians": names, "how": how})
        };
        let groups: Vec<_> = terms.group_terms().iter().zip(&self.ways).map(of_group).collect();
        let weaknesses: Vec<_> = self.weaknesses.iter().map(|weakness| weakness.name()).collect();
        json!({
            "group_threshold": terms.group_threshold(),
            "groups": groups,
            "need": terms.need(),
            "count": terms.count(),
            "weaknesses": weaknesses,
        })
    }

    /// The same for a person who is asked, a line for each custodian.
    pub(super) fn lines(&self) -> Vec<String> {
        let terms = self.terms();
        let mut lines = vec![format!("{} of {} shares make the key", terms.need(), terms.count())];
        let grouped = terms.group_terms().len() > 1;
        if grouped {
            lines.push(format!("{} of {} groups", terms.group_threshold(), terms.group_terms().len()));
        }
        lines.extend(self.weaknesses.iter().map(ToString::to_string));
        for (group, ways) in terms.group_terms().iter().zip(&self.ways) {
            if grouped {
                lines.push(format!("{}: {} of {}", group.name, group.threshold, group.custodians.len()));
            }
            let each = group.custodians.iter().zip(ways);
            lines.extend(each.map(|(name, way)| format!("{name}: {}", way.in_words())));
        }
        lines
    }

    /// What shares are given for when these terms take the place of a set's.
    pub(super) fn digest_after(&self, set: &Sha256Digest) -> (String, Sha256Digest) {
        let text = json!({"replaces": set.to_string(), "terms": self.json()}).to_string();
        let digest = Sha256Digest::of(text.as_bytes());
        (text, digest)
    }
}

type Group = (String, u32, Vec<CustodianName>);

/// One group is a plain set, which may become several groups of one (one share of many is enough). Its ways then follow.
fn of_groups(
    mut groups: Vec<Group>,
    threshold: u32,
    ways: Vec<Vec<Way>>,
) -> Result<(Terms, Vec<Vec<Way>>), Refusal> {
    let wrong = |error: custody::TermsError| usage(&error.to_string());
    if groups.len() == 1
        && threshold <= 1
        && let Some((_, members, names)) = groups.pop()
    {
        let members = usize::try_from(members).map_err(Refusal::internal)?;
        let terms = Terms::simple(members, names).map_err(wrong)?;
        let mut flat = ways.into_iter().flatten();
        let ways = terms
            .group_terms()
            .iter()
            .map(|group| flat.by_ref().take(group.custodians.len()).collect())
            .collect();
        return Ok((terms, ways));
    }
    let one = |(name, threshold, custodians): Group| {
        let threshold = u8::try_from(threshold).map_err(|_| usage("a threshold goes from 1 to 16"))?;
        let name =
            name.parse().map_err(|error| usage(&format!("{name:?} cannot be a group's name: {error}")))?;
        Ok(GroupTerms { name, threshold, custodians })
    };
    let groups = groups.into_iter().map(one).collect::<Result<_, Refusal>>()?;
    let threshold = usize::try_from(threshold).map_err(Refusal::internal)?;
    Ok((Terms::groups(threshold, groups).map_err(wrong)?, ways))
}

/// All custodians, and how each gets their share.
fn in_order<'a>(terms: &'a Terms, ways: &'a [Vec<Way>]) -> Vec<(&'a CustodianName, &'a Way)> {
    let names = terms.group_terms().iter().flat_map(|group| &group.custodians);
    names.zip(ways.iter().flatten()).collect()
}

/// Custodians whose shares one secret opens: of one who has two shares by name that is told already.
fn opened_alike(terms: &Terms, ways: &[Vec<Way>]) -> Vec<Weakness> {
    let all = in_order(terms, ways);
    let alike = |(at, (one, way)): (usize, &(&CustodianName, &Way))| {
        let Way::Age(recipient) = way else { return None };
        let mut before = all.iter().take(at);
        let same = |(other, way): &&(&CustodianName, &Way)| match way {
            Way::Age(theirs) => {
                recipient.is_opened_as(theirs) && !other.as_str().eq_ignore_ascii_case(one.as_str())
            }
            Way::Words => false,
        };
        let (other, _) = before.find(same)?;
        Some(Weakness::OpenedAlike { one: (*other).clone(), other: (*one).clone() })
    };
    all.iter().enumerate().filter_map(alike).collect()
}

fn one(connection: &Connection, key: &str, custodian: Custodian) -> Result<(CustodianName, Way), Refusal> {
    let name: CustodianName = custodian.name.parse().map_err(|error| {
        Refusal::new(
            Reason::NameInvalid,
            format!("{:?} cannot be a custodian's name: {error}", custodian.name),
        )
        .remedy("use letters, digits, '.', '_' and '-', at most 64")
    })?;
    let of = |why: String| usage(&format!("the custodian {name}: {why}")).detail("custodian", name.as_str());
    let way = match custodian.how {
        Some(How::AgeRecipient(text)) => Way::Age(Recipient::parse(&text).map_err(of)?),
        Some(How::AgePassphrase(sealed)) => {
            let opened = connection.seal().open(&sealed, &format!("split-passphrase:{key}:{name}"))?;
            if opened.is_empty() {
                return Err(of("the passphrase is empty".to_owned()));
            }
            Way::Age(Recipient::Passphrase(opened))
        }
        Some(How::Words(true)) => Way::Words,
        Some(How::Words(false)) | None => {
            return Err(of("it was not said how the share is handed out".to_owned()));
        }
    };
    Ok((name, way))
}

fn usage(why: &str) -> Refusal {
    Refusal::new(Reason::Usage, why).remedy("see tufctl key generate --help and tufctl share split --help")
}

fn refused(weak: &WeakTerms) -> Refusal {
    let names: BTreeSet<_> = weak.weaknesses.iter().map(|weakness| weakness.name()).collect();
    Refusal::new(Reason::WeakSet, weak.to_string())
        .remedy("take other numbers or people; if it shall be so all the same, say --allow-weak-set")
        .detail("weaknesses", names.into_iter().collect::<Vec<_>>())
}

/// Bytes of an X25519 key.
const KEY: usize = 32;
/// A ceremony is where it matters, and the last place where it can still be mended.
const UNLOCKED: &str = "secrets are not locked in memory here, so the key and its shares may reach swap: raise the agent's limit (ulimit -l, LimitMEMLOCK=), and split the key anew";
