//! `tufctl share drill` and `share resplit`: collections that sign no metadata.

use custody::SignedManifest;
use serde_json::json;
use tuf::word;
use tufagent_proto::v1;

use super::sets::{ALIVE, PROVING, among, ended, forgets, handed_out, is_first, of_manifest};
use crate::args::{CollectArgs, Phase, ShareDrillArgs, ShareResplitArgs};
use crate::client::{ReplyKey, Round};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::confirm;
use crate::render::{Report, visible};
use crate::shares::{self, Gathering, HandOut, SplitPlan, show_terms};

/// Runs `tufctl share drill`.
pub(super) fn drill(args: &ShareDrillArgs, context: &Context) -> Result<Report, Failure> {
    let manifest = shares::manifest(&args.collect.manifest)?;
    let about = format!("a drill of {}", visible(manifest.key_name()));
    let mut gathering = Gathering::read(&args.collect, &manifest)?;
    gathering.gives_all();
    gathering.tell_invalid(context.screen);
    if let Some(short) = gathering.short(&about)? {
        return Ok(short);
    }
    confirm(
        &format!("Rehearse the recovery of {}? It signs no metadata", manifest.key_name()),
        args.yes.yes,
    )?;
    let agent = context.agent()?;
    let mut rounds = agent.drill(&manifest.digest().to_string(), gathering.at_hand())?;
    let report = match rounds.next()? {
        Round::Collecting(opened) => {
            show_terms(&opened, gathering.is_watched() || !args.yes.yes, context.screen, true)?;
            gathering.see_through(&opened, &mut rounds, agent, context.screen)?
        }
        Round::Done(report) => report,
    };
    let text = format!(
        "{} {} can be recovered by {} · {} · the key is gone again\n",
        context.screen.out().green("drilled:"),
        visible(&report.key),
        visible(&report.custodians.join(", ")),
        visible(&report.time),
    );
    let document = json!({
        "key": report.key,
        "custodians": report.custodians,
        "statement": report.statement,
        "sig": report.sig,
        "time": report.time,
        "invalid": gathering.invalid(),
    });
    Ok(Report::new(document, text))
}

/// Runs `tufctl share resplit`.
pub(super) fn resplit(args: &ShareResplitArgs, context: &Context) -> Result<Report, Failure> {
    let commit = match args.phase {
        Phase::Prove => return prove(args, context),
        Phase::Commit => true,
        Phase::Abort => false,
    };
    let agent = context.agent()?;
    let new = new_set(args, &agent.sets()?)?;
    if commit {
        context.screen.show_if(!args.yes.yes, format!("{REVOKES_NOTHING}."));
        confirm(&format!("Declare the new set of {} alive, and the old one dead?", new.key), args.yes.yes)?;
    } else {
        check_resplit(&new)?;
        confirm(&forgets(&new), args.yes.yes)?;
    }
    let reply = agent.end_resplit(&new.sha256, commit)?;
    let what = if commit { "the new set is alive" } else { "the new set is forgotten: destroy its shares" };
    Ok(ended(&reply, what, context))
}

/// The mirror of what `share split --abort` refuses: here the old set stays, and with a first one the key would go.
fn check_resplit(set: &v1::ShareSet) -> Result<(), Failure> {
    if !is_first(set) {
        return Ok(());
    }
    let key = visible(&set.key);
    let message = format!("the set of {key} that waits is its first one, and takes the place of no other");
    Err(Failure::new(reason::USAGE, message)
        .remedy(format!("to give it up: tufctl share split {}", word::before(&set.key, "--abort")))
        .detail("key", set.key.as_str()))
}

fn prove(args: &ShareResplitArgs, context: &Context) -> Result<Report, Failure> {
    let path = args.manifest.as_deref().ok_or_else(|| {
        Failure::new(reason::USAGE, "--manifest is missing: the set that is alive")
            .remedy("every custodian has it as set.json; tufctl share manifest KEY prints it")
    })?;
    let manifest = shares::manifest(path)?;
    let plan = SplitPlan::new(&args.terms, context.screen)?;
    let about = format!("another set of shares of {}", visible(manifest.key_name()));
    let collect = args.collect(path);
    let mut gathering = match gathered(&collect, &manifest, &about, context)? {
        Ok(gathering) => gathering,
        Err(short) => return Ok(short),
    };
    let hand_out = HandOut::prepare(&plan, args.terms.out.as_deref())?;
    context.screen.show_if(!args.yes.yes, format!("{REVOKES_NOTHING}."));
    confirm(&format!("Make another set of shares of {}?", manifest.key_name()), args.yes.yes)?;
    let agent = context.agent()?;
    let set = of_manifest(&manifest, context)?;
    check_named(args, Some(&set))?;
    let reply_key = ReplyKey::new();
    let terms = plan.request(agent, &set.key, reply_key.public())?;
    let mut rounds = agent.resplit(&set.sha256, terms)?;
    let made = match rounds.next()? {
        Round::Collecting(opened) => {
            // What is weak about them was said when they were read.
            show_terms(&opened, gathering.is_watched() || !args.yes.yes, context.screen, false)?;
            gathering.see_through(&opened, &mut rounds, agent, context.screen)?
        }
        Round::Done(made) => made,
    };
    let abort = format!("tufctl share resplit {}", word::before(&set.key, "--phase abort"));
    let report = handed_out(&made, &hand_out, &plan, &reply_key, &abort, context)?;
    Ok(report.with("invalid", gathering.invalid().into()).with("revokes", false.into()))
}

/// The shares at hand; or, where they are not enough and nobody can be asked, how it stands.
fn gathered(
    args: &CollectArgs,
    manifest: &SignedManifest,
    about: &str,
    context: &Context,
) -> Result<Result<Gathering, Report>, Failure> {
    let mut gathering = Gathering::read(args, manifest)?;
    gathering.tell_invalid(context.screen);
    Ok(match gathering.short(about)? {
        Some(short) => Err(short.hint(
            "where too many shares are lost no other set is made: give the roles another key (tufctl root replace-key)",
        )),
        None => Ok(gathering),
    })
}

/// The set that waits: of the key or the manifest that was named, be it the old set's or its own. One that this agent does
/// not know stands for no other; with neither it is the only one that is to take the place of another.
fn new_set(args: &ShareResplitArgs, sets: &[v1::ShareSet]) -> Result<v1::ShareSet, Failure> {
    let named = match args.manifest.as_deref() {
        Some(path) => Some(among(sets, &shares::manifest(path)?)?),
        None => None,
    };
    check_named(args, named)?;
    let key = args.key.as_ref().or(named.map(|set| &set.key));
    let is_resplit = |of: &str| sets.iter().any(|set| set.key == of && set.state == ALIVE);
    let is_it = |set: &&v1::ShareSet| match key {
        Some(key) => set.key == *key,
        None => is_resplit(&set.key),
    };
    let mut waiting = sets.iter().filter(|set| set.state == PROVING).filter(is_it);
    match (waiting.next(), waiting.next()) {
        (Some(set), None) => Ok(set.clone()),
        // Doing it twice is no fault.
        _ => match named.filter(|set| set.state == ALIVE && args.phase == Phase::Commit) {
            Some(set) => Ok(set.clone()),
            None => Err(none_waits(key)),
        },
    }
}

fn none_waits(key: Option<&String>) -> Failure {
    let see = "see them: tufctl share list";
    match key {
        Some(key) => Failure::new(reason::KEY_NOT_FOUND, format!("no new set of {} waits", visible(key)))
            .remedy(see)
            .detail("key", key.as_str()),
        None => Failure::new(reason::USAGE, "no new set waits, or more than one does")
            .remedy(format!("{see}; and name the key: tufctl share resplit KEY --phase …")),
    }
}

/// A key and a manifest that are both named belong together.
fn check_named(args: &ShareResplitArgs, of_manifest: Option<&v1::ShareSet>) -> Result<(), Failure> {
    match (&args.key, of_manifest) {
        (Some(key), Some(set)) if *key != set.key => {
            let message =
                format!("the manifest is of the key {}, not of {}", visible(&set.key), visible(key));
            Err(Failure::new(reason::USAGE, message)
                .remedy("name the key alone, or its own manifest")
                .detail("key", key.as_str()))
        }
        _ => Ok(()),
    }
}

/// Said wherever a new set is made.
const REVOKES_NOTHING: &str = "This revokes nothing: as many old shares as were needed still make the key, so they must be \
     destroyed; a custodian who is no longer trusted means another key (tufctl root replace-key)";
