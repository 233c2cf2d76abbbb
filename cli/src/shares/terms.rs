//! Who gets the shares, and how: from the command line to what the agent is asked.

use std::collections::{BTreeMap, VecDeque};

use custody::{AgreedTerms, CustodianName, GroupTerms, Terms, Weak};
use tufagent_proto::v1;

use crate::args::{CustodianArg, How, TermsArgs};
use crate::client::Agent;
use crate::error::{Failure, reason};
use crate::render::Screen;
use crate::secret::Secret;

/// Terms that were agreed to, and how each custodian gets their share, in the order of the terms.
pub(crate) struct SplitPlan {
    terms: AgreedTerms,
    pub(crate) custodians: Vec<CustodianArg>,
    allow_weak: bool,
    /// What was said of them.
    warned: Vec<String>,
}

impl SplitPlan {
    /// Reads the flags.
    ///
    /// # Errors
    /// `USAGE` for terms that make no sense, `WEAK_SET` (exit 3) for a set that is weak unless that was asked for.
    pub(crate) fn new(args: &TermsArgs, screen: Screen) -> Result<Self, Failure> {
        let terms = terms(args)?;
        let weaknesses = terms.weaknesses();
        let weak = if args.allow_weak_set { Weak::Allowed } else { Weak::Refused };
        let terms = terms.agreed(weak).map_err(|weak| {
            let names: Vec<String> = weak.weaknesses.iter().map(|one| one.name().to_string()).collect();
            Failure::new(reason::WEAK_SET, weak.to_string())
                .remedy("choose other terms, such as 2 of 3 or 3 of 5; or say --allow-weak-set")
                .detail("weaknesses", names)
        })?;
        let warned: Vec<String> = weaknesses.iter().map(ToString::to_string).collect();
        for warning in &warned {
            screen.warn(warning);
        }
        let custodians = in_order(&terms, &args.custodians);
        Ok(Self { terms, custodians, allow_weak: args.allow_weak_set, warned })
    }

    /// Whether this was said already, before the agent was asked.
    pub(crate) fn has_warned_of(&self, warning: &str) -> bool {
        self.warned.iter().any(|said| said == warning)
    }

    /// The terms.
    pub(crate) fn terms(&self) -> &Terms {
        self.terms.terms()
    }

    /// What the agent is asked; `key` is the name that the key has or gets.
    pub(crate) fn request(
        &self,
        agent: &Agent,
        key: &str,
        reply_key: Vec<u8>,
    ) -> Result<v1::SplitTerms, Failure> {
        let mut custodians = self.custodians.iter();
        let mut groups = Vec::new();
        for group in self.terms().group_terms() {
            let members = custodians.by_ref().take(group.custodians.len());
            groups.push(v1::ShareGroup {
                name: group.name.to_string(),
                threshold: group.threshold.into(),
                custodians: members.map(|one| custodian(agent, key, one)).collect::<Result<_, _>>()?,
            });
        }
        let group_threshold = u32::try_from(self.terms().group_threshold()).unwrap_or(u32::MAX);
        Ok(v1::SplitTerms { groups, group_threshold, allow_weak: self.allow_weak, reply_key })
    }
}

fn custodian(agent: &Agent, key: &str, one: &CustodianArg) -> Result<v1::Custodian, Failure> {
    use v1::custodian::How as Wire;
    let name = one.name.to_string();
    let how = match &one.how {
        How::Words => Wire::Words(true),
        How::Age(recipient) => Wire::AgeRecipient(recipient.clone()),
        How::Passphrase(file) => {
            let passphrase = Secret::from_pin_file(file)?;
            Wire::AgePassphrase(agent.seal_split_passphrase(key, &name, &passphrase)?)
        }
    };
    Ok(v1::Custodian { name, how: Some(how) })
}

fn terms(args: &TermsArgs) -> Result<Terms, Failure> {
    let wrong = |why: String| {
        Failure::new(reason::USAGE, why).remedy(match args.groups.is_empty() {
            true => "such as: --threshold 2 --custodian ann --custodian ben --custodian cy",
            false => "such as: --group board=2:ann,ben,cy --group tech=2:dan,eve,fay --group-threshold 2",
        })
    };
    if args.groups.is_empty() {
        let names: Vec<CustodianName> = args.custodians.iter().map(|one| one.name.clone()).collect();
        let threshold = args
            .threshold
            .ok_or_else(|| wrong("--threshold is missing: how many shares make the key".into()))?;
        return Terms::simple(usize::from(threshold), names).map_err(|e| wrong(e.to_string()));
    }
    let threshold = args
        .group_threshold
        .ok_or_else(|| wrong("--group-threshold is missing: how many groups make the key".into()))?;
    let groups = args.groups.iter().map(|group| GroupTerms {
        name: group.name.clone(),
        threshold: group.threshold,
        custodians: group.custodians.clone(),
    });
    let stranger = args
        .custodians
        .iter()
        .find(|one| !args.groups.iter().any(|group| group.custodians.contains(&one.name)));
    if let Some(stranger) = stranger {
        return Err(wrong(format!("{} is in no --group", stranger.name)));
    }
    Terms::groups(usize::from(threshold), groups.collect()).map_err(|e| wrong(e.to_string()))
}

/// The custodians as the terms have them; whom no `--custodian` speaks of gets words.
fn in_order(terms: &AgreedTerms, named: &[CustodianArg]) -> Vec<CustodianArg> {
    let mut by_name: BTreeMap<&str, VecDeque<&CustodianArg>> = BTreeMap::new();
    for one in named {
        by_name.entry(one.name.as_str()).or_default().push_back(one);
    }
    let groups = terms.terms().group_terms().iter();
    let names = groups.flat_map(|group| &group.custodians);
    let found = names.map(|name| match by_name.get_mut(name.as_str()).and_then(VecDeque::pop_front) {
        Some(one) => one.clone(),
        None => CustodianArg { name: name.clone(), how: How::Words },
    });
    found.collect()
}
