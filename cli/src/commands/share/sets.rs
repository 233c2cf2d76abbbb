//! Sets of shares: made, proven, listed.

use custody::SignedManifest;
use serde_json::{Map, Value, json};
use tuf::word;
use tufagent_proto::v1;

use crate::args::{GenerateArgs, ShareConfirmArgs, ShareSplitArgs};
use crate::client::ReplyKey;
use crate::commands::key;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::interrupt::Parting;
use crate::prompt::{Terminal, confirm as ask};
use crate::render::{Report, Style, Table, count, visible};
use crate::shares::{self, HandOut, Openers, SplitPlan, Wanted, type_share};

/// `tufctl key generate` on a token of kind shares.
pub(crate) fn generate(args: &GenerateArgs, context: &Context) -> Result<Report, Failure> {
    shares::harden();
    let new = v1::NewSplitKey { name: args.name.clone(), r#type: args.key_type.clone() };
    let request = v1::SplitRequest {
        of: Some(v1::split_request::Of::NewKey(new)),
        token: args.token.clone().unwrap_or_default(),
        ..v1::SplitRequest::default()
    };
    let abort = format!("tufctl share split {}", word::before(&args.name, "--abort"));
    make(request, &args.name, &args.terms, &abort, context)
}

/// `tufctl share split`
pub(super) fn split(args: &ShareSplitArgs, context: &Context) -> Result<Report, Failure> {
    if args.abort {
        return abort(&args.key, args.yes.yes, context);
    }
    let request = v1::SplitRequest {
        of: Some(v1::split_request::Of::Key(args.key.clone())),
        token: args.token.clone().unwrap_or_default(),
        keep: args.keep,
        ..v1::SplitRequest::default()
    };
    let abort = format!("tufctl share split {}", word::before(&args.key, "--abort"));
    make(request, &args.key, &args.terms, &abort, context)
}

/// Makes the set, and hands it out.
fn make(
    mut request: v1::SplitRequest,
    key: &str,
    terms: &crate::args::TermsArgs,
    abort: &str,
    context: &Context,
) -> Result<Report, Failure> {
    let plan = SplitPlan::new(terms, context.screen)?;
    let agent = context.agent()?;
    shares::check_token(&request.token, agent)?;
    let hand_out = HandOut::prepare(&plan, terms.out.as_deref())?;
    let reply_key = ReplyKey::new();
    request.terms = Some(plan.request(agent, key, reply_key.public())?);
    let made = agent.split(request)?;
    handed_out(&made, &hand_out, &plan, &reply_key, abort, context)
}

/// Hands a set out that the agent has made, and says what is next.
pub(super) fn handed_out(
    made: &v1::SplitReply,
    hand_out: &HandOut,
    plan: &SplitPlan,
    reply_key: &ReplyKey,
    abort: &str,
    context: &Context,
) -> Result<Report, Failure> {
    // Before the shares: whoever reads them may turn back.
    for warning in made.warnings.iter().filter(|warning| !plan.has_warned_of(warning)) {
        context.screen.warn(warning);
    }
    let agent = context.agent()?;
    let forget = format!("forget this set, then make another: {abort}");
    let what = "the set was made, and its shares were not all handed out";
    let parting = Parting::begin(context.screen, format!("{what}; {forget}"));
    let given = hand_out.give(made, plan, reply_key, (agent, context.screen));
    drop(parting);
    // Whatever is missing, no custodian has proven all: the set serves nothing yet.
    let (manifest, files) = given.map_err(|failure| failure.context(what).remedy(forget))?;
    // As it stands now: at a terminal they have proven their shares already.
    let digest = manifest.digest().to_string();
    let set = agent.sets()?.into_iter().find(|set| set.sha256 == digest);
    let set = set.or_else(|| made.set.clone()).unwrap_or_default();
    let style = context.screen.out();
    let mut document = match &made.key {
        Some(key) => key::json(key)?,
        None => Value::Object(Map::new()),
    };
    if let Some(members) = document.as_object_mut() {
        members.insert("set".into(), set_json(&set));
        members.insert("files".into(), files.clone().into());
        members.insert("warnings".into(), made.warnings.clone().into());
    }
    let mut text = set_text(&set, style);
    for file in &files {
        text.push_str(&format!("  + {}\n", visible(file)));
    }
    let hints = [what_is_next(&set, &manifest, &files), where_the_manifest_is(&set, &files)];
    let hints = hints.into_iter().flatten().collect::<Vec<_>>();
    let report = Report::new(document, text);
    Ok(if hints.is_empty() { report } else { report.hint(hints.join("; ")) })
}

/// Who gets a file reads it; the words of a sheet are typed.
fn what_is_next(set: &v1::ShareSet, manifest: &SignedManifest, files: &[String]) -> Option<String> {
    if set.unconfirmed.is_empty() {
        return None;
    }
    let left = count(u64::try_from(set.unconfirmed.len()).unwrap_or(u64::MAX), "share");
    let then = match manifest.previous() {
        Some(_) => {
            format!(
                "the new set takes over by tufctl share resplit {}",
                word::before(&set.key, "--phase commit")
            )
        }
        None => "the key may serve".to_owned(),
    };
    let is = |ending| files.iter().any(|file| file.ends_with(ending));
    let how = match (is(".share"), is(".html")) {
        (true, true) => "FILE --manifest set.json, without FILE for a sheet, whose words are typed",
        (false, true) => "--manifest set.json, where the words of the sheet are typed",
        _ => "FILE --manifest set.json",
    };
    Some(format!("each custodian proves their share, then {then} ({left} left): tufctl share confirm {how}"))
}

/// Shares without it are worth less.
fn where_the_manifest_is(set: &v1::ShareSet, files: &[String]) -> Option<String> {
    let key = word::last(&set.key);
    files.is_empty().then(|| {
        format!("keep its manifest too, by which shares are checked and brought together: tufctl share manifest {key} > set.json")
    })
}

/// The first set of a key is given up; what waits to take the place of another is not this command's.
fn abort(key: &str, yes: bool, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    let sets = agent.sets()?;
    if sets.iter().any(|set| set.key == key && set.state == ALIVE) {
        let (key, abort) = (visible(key), word::before(key, "--phase abort"));
        return Err(Failure::new(
            reason::USAGE,
            format!("the split of {key} is done: a set of its shares is alive, and stays so"),
        )
        .remedy(format!("to give up a new set of it that waits: tufctl share resplit {abort}"))
        .detail("key", key.into_owned()));
    }
    let proving = sets.iter().find(|set| set.key == key && set.state == PROVING).ok_or_else(|| {
        Failure::new(reason::KEY_NOT_FOUND, format!("no set of {key} waits for proof"))
            .remedy("see which sets there are: tufctl share list")
            .detail("key", key)
    })?;
    // With its whole copy nothing is lost that a person should be asked about; without one the key goes.
    if !proving.whole || Terminal::open().is_some() {
        ask(&forgets(proving), yes)?;
    }
    let reply = agent.end_resplit(&proving.sha256, false)?;
    Ok(ended(&reply, "the new set is forgotten: destroy its shares", context))
}

/// What is asked before a set is given up that waits for proofs.
pub(super) fn forgets(set: &v1::ShareSet) -> String {
    let (proven, all) = (set.confirmed.len(), set.confirmed.len().saturating_add(set.unconfirmed.len()));
    let waits = format!("Give up the set of {} that waits ({proven} of {all} shares proven)", set.key);
    if is_first(set) && !set.whole {
        format!("{waits}? The key is whole nowhere, and goes with it")
    } else {
        waits + "?"
    }
}

/// Whether it takes the place of none: with it goes what it is a set of.
pub(super) fn is_first(set: &v1::ShareSet) -> bool {
    SignedManifest::parse(&set.manifest).is_ok_and(|it| it.previous().is_none())
}

/// A set was declared alive, or forgotten.
pub(super) fn ended(reply: &v1::EndResplitReply, what: &str, context: &Context) -> Report {
    let set = reply.set.as_ref();
    let mut text = format!("{what}\n");
    for note in &reply.notes {
        text.push_str(&format!("{}\n", visible(note)));
    }
    if let Some(set) = set {
        text.push_str(&set_text(set, context.screen.out()));
    }
    Report::new(json!({"set": set.map(set_json), "notes": reply.notes}), text)
}

/// `tufctl share confirm`
pub(super) fn confirm(args: &ShareConfirmArgs, context: &Context) -> Result<Report, Failure> {
    let manifest = shares::manifest(&args.manifest)?;
    let openers = Openers::load(&args.openers)?;
    let agent = context.agent()?;
    let share = match &args.file {
        Some(file) => openers.read(file, reason::SHARE_INVALID)?,
        None => type_share(
            &format!("Type a share of {}, to prove that it was handed out", manifest.key_name()),
            Wanted::Of(&manifest),
        )?,
    };
    manifest.who_has(&share).map_err(|why| shares::refused(&why, reason::SHARE_INVALID))?;
    let words = shares::words_of(&share)?;
    let reply = agent.confirm_share(&manifest.digest().to_string(), words.reveal_secret_bytes())?;
    let set = reply.set.unwrap_or_default();
    let style = context.screen.out();
    let mut text = format!("{} {} has their share\n", style.green("proven:"), visible(&reply.custodian));
    for note in &reply.notes {
        text.push_str(&format!("{}\n", visible(note)));
    }
    text.push_str(&set_text(&set, style));
    let document = json!({
        "custodian": reply.custodian,
        "key": set.key,
        "state": set.state,
        "confirmed": set.confirmed,
        "unconfirmed": set.unconfirmed,
        "set": set_json(&set),
        "notes": reply.notes,
    });
    Ok(Report::new(document, text))
}

/// `tufctl share list`
pub(super) fn list(context: &Context) -> Result<Report, Failure> {
    let sets = context.agent()?.sets()?;
    let mut table = Table::new(&["KEY", "TOKEN", "SET", "STATE", "SHARES", "NOT PROVEN", "DRILLED"]);
    for set in &sets {
        let json = set_json(set);
        let member = |name: &str| json.get(name).map(ToString::to_string).unwrap_or_default();
        let mut state = set.state.clone();
        state.push_str(if waits_for_commit(set) { ", all proven: commit lacks" } else { "" });
        state.push_str(if set.state == ALIVE && !set.seen { ", shares not seen" } else { "" });
        state.push_str(if set.whole { ", whole copy" } else { "" });
        table.row([
            visible(&set.key).into_owned(),
            visible(&set.token).into_owned(),
            member("sequence"),
            state,
            member("rule").trim_matches('"').trim_end_matches(" shares").to_owned(),
            visible(&set.unconfirmed.join(", ")).into_owned(),
            if set.drilled.is_empty() { "never".into() } else { visible(&set.drilled).into_owned() },
        ]);
        table.paint(0, |style, text| style.bold(text));
    }
    let text = if sets.is_empty() { "no split keys\n".into() } else { table.render(context.screen.out()) };
    let report = Report::new(json!({"sets": sets.iter().map(set_json).collect::<Vec<_>>()}), text);
    Ok(match sets.iter().find(|set| waits_for_commit(set)) {
        Some(set) => report.hint(format!(
            "it takes over by: tufctl share resplit {}",
            word::before(&set.key, "--phase commit")
        )),
        None => report,
    })
}

/// `tufctl share manifest`
pub(super) fn manifest(key: &str, context: &Context) -> Result<Report, Failure> {
    let sets = context.agent()?.sets()?;
    let of_key = |state: &str| sets.iter().find(|set| set.key == key && set.state == state);
    let set = of_key(ALIVE).or_else(|| of_key(PROVING)).ok_or_else(|| {
        Failure::new(reason::KEY_NOT_FOUND, format!("{key} is no split key"))
            .remedy("see which there are: tufctl share list")
            .detail("key", key)
    })?;
    let text = String::from_utf8_lossy(&set.manifest).into_owned();
    Ok(Report::new(serde_json::from_str(&text).unwrap_or_default(), text))
}

/// The agent's set that a manifest is of.
pub(super) fn of_manifest(manifest: &SignedManifest, context: &Context) -> Result<v1::ShareSet, Failure> {
    among(&context.agent()?.sets()?, manifest).cloned()
}

/// The one of them that this manifest describes.
pub(super) fn among<'s>(
    sets: &'s [v1::ShareSet],
    manifest: &SignedManifest,
) -> Result<&'s v1::ShareSet, Failure> {
    let digest = manifest.digest().to_string();
    sets.iter().find(|set| set.sha256 == digest).ok_or_else(|| {
        Failure::new(reason::SHARE_INVALID, "this agent has no set with this manifest")
            .remedy(format!("see the sets that it has: tufctl share list; {}", taken_in(sets, manifest)))
            .detail("set", digest)
    })
}

/// How a set that the agent has not is taken in, if it is.
fn taken_in(sets: &[v1::ShareSet], manifest: &SignedManifest) -> String {
    let read = |set: &v1::ShareSet| SignedManifest::parse(&set.manifest).ok();
    let same = |known: &SignedManifest| known.public_key() == manifest.public_key();
    let known = sets.iter().filter_map(|set| Some((set, read(set).filter(same)?.sequence())));
    match known.max_by_key(|(_, sequence)| *sequence) {
        Some((set, sequence)) if sequence < manifest.sequence() => format!(
            "this one is newer than those that it has of {}, and is taken in by tufctl key import {}",
            visible(&set.key),
            word::both_before(&set.key, "set.json", &word::option("--token", &set.token))
        ),
        Some((set, _)) => format!(
            "this one is not newer than those that it has of {}, whose living one is printed by tufctl share manifest {}",
            visible(&set.key),
            word::last(&set.key)
        ),
        None => {
            "one of another agent is taken in by tufctl key import NAME set.json --token TOKEN".to_owned()
        }
    }
}

/// A set as every command tells of it.
pub(super) fn set_json(set: &v1::ShareSet) -> Value {
    let mut document = json!({
        "key": set.key,
        "token": set.token,
        "state": set.state,
        "sha256": set.sha256,
        "confirmed": set.confirmed,
        "unconfirmed": set.unconfirmed,
        "drilled": Some(&set.drilled).filter(|drilled| !drilled.is_empty()),
        "whole": set.whole,
        "kept": set.kept,
        "seen": set.seen,
        "waits_for": match set.state.as_str() {
            PROVING if set.unconfirmed.is_empty() => Some("commit"),
            PROVING => Some("proof"),
            _ => None,
        },
    });
    if let (Some(members), Ok(manifest)) = (document.as_object_mut(), SignedManifest::parse(&set.manifest)) {
        let custodians: Vec<_> =
            manifest.members().iter().map(|member| member.custodian.name.to_string()).collect();
        members.insert("id".into(), manifest.set_id().to_string().into());
        members.insert("keyid".into(), manifest.keyid().to_string().into());
        members.insert("sequence".into(), manifest.sequence().into());
        members.insert("need".into(), manifest.need().into());
        members.insert("count".into(), manifest.terms().count().into());
        members.insert("rule".into(), shares::rule(manifest.terms()).into());
        members.insert("custodians".into(), custodians.into());
    }
    document
}

fn set_text(set: &v1::ShareSet, style: Style) -> String {
    let json = set_json(set);
    let member = |name: &str| json.get(name).map(ToString::to_string).unwrap_or_default();
    let key = style.bold(visible(&set.key));
    let rule = member("rule");
    let rule = rule.trim_matches('"');
    let state = match set.state.as_str() {
        ALIVE if set.seen => style.green("alive"),
        ALIVE => style.yellow("alive, its shares not seen by this agent"),
        PROVING if set.unconfirmed.is_empty() => style.yellow("proven by all, and not alive yet"),
        PROVING => style.yellow("waits for proof"),
        other => style.dim(visible(other)),
    };
    let mut text = format!("{key} · set {} · {rule} make the key · {state}\n", member("sequence"));
    for name in &set.confirmed {
        text.push_str(&format!("  {} {}\n", style.green("+"), visible(name)));
    }
    for name in &set.unconfirmed {
        text.push_str(&format!("  {} {:<16} not proven\n", style.yellow("·"), visible(name)));
    }
    if waits_for_commit(set) {
        let commit = word::before(&set.key, "--phase commit");
        text.push_str(&format!("it takes over by: tufctl share resplit {commit}\n"));
    }
    text
}

/// A new set that everybody has proven: nothing but the word that it takes over lacks.
fn waits_for_commit(set: &v1::ShareSet) -> bool {
    set.state == PROVING && set.unconfirmed.is_empty()
}

/// The words for a set's state on the wire.
pub(super) const PROVING: &str = "proving";
pub(super) const ALIVE: &str = "alive";
