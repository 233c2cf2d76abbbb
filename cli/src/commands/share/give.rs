//! `tufctl share give` and `share seal`: a share for a collection that somebody else opened.

use serde_json::json;
use tuf::time::UtcTime;
use tufagent_proto::v1;

use crate::args::{OpenerArgs, ShareGiveArgs, ShareSealArgs};
use crate::client::seal_for;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::confirm;
use crate::render::{Report, now, typed_path, visible};
use crate::shares::{
    self, Openers, SealedShare, Ticket, Wanted, about, code, of_metadata, show, standing, type_share,
};

/// Runs `tufctl share give`.
pub(super) fn give(args: &ShareGiveArgs, context: &Context) -> Result<Report, Failure> {
    let sealed = args.file.as_deref().and_then(SealedShare::read);
    let agent = context.agent()?;
    let wanted = args.collection.as_deref().or(sealed.as_ref().map(|sealed| sealed.collection.as_str()));
    let collection = pick(agent.collections()?, wanted)?;
    // Who types a share is asked for it, also with --yes.
    show(&collection, !args.yes.yes || args.file.is_none(), context.screen)?;
    let reply = match sealed {
        Some(sealed) => {
            confirm("Give this sealed share to it?", args.yes.yes)?;
            agent.give_sealed(&collection.id, sealed.sealed()?)?
        }
        None => {
            confirm("Give your share for exactly this?", args.yes.yes)?;
            let share = read(args.file.as_deref(), &args.openers, &collection)?;
            let words = shares::words_of(&share)?;
            agent.give_sealed(&collection.id, seal_for(&collection, words.reveal_secret_bytes())?)?
        }
    };
    let now = reply.collection.unwrap_or(collection);
    let style = context.screen.out();
    let mut text =
        format!("{} the share of {}\n{}\n", style.green("given:"), visible(&reply.custodian), standing(&now));
    if reply.complete {
        text.push_str(&format!("{} {}\n", style.green("enough:"), came_of(&now, &reply.outcome)));
    }
    let mut document = json!({
        "custodian": reply.custodian,
        "collection": now.id,
        "purpose": now.purpose,
        "sha256": now.sha256,
        "have": now.have,
        "need": now.need,
        "given": now.given,
        "missing": now.missing,
        "complete": reply.complete,
        "outcome": Some(&reply.outcome).filter(|outcome| !outcome.is_empty()),
    });
    if let Some(members) = document.as_object_mut() {
        members.append(&mut of_metadata(&now));
    }
    let report = Report::new(document, text);
    // The share was taken; what it was given for is not there all the same.
    Ok(if reply.outcome == "failed" { report.exit(1) } else { report })
}

/// What came of the shares once they were enough.
fn came_of(collection: &v1::Collection, outcome: &str) -> String {
    let done = match collection.purpose.as_str() {
        "sign" => "is signed",
        "drill" => "has succeeded",
        _ => "is made; its custodians prove their shares now",
    };
    match outcome {
        "done" => format!("{} {done}", about(collection)),
        "failed" => format!(
            "{} came to nothing: whoever opened the collection is told why, or has gone",
            about(collection)
        ),
        _ => format!("{} is being done", about(collection)),
    }
}

/// Runs `tufctl share seal`.
pub(super) fn seal(args: &ShareSealArgs, context: &Context) -> Result<Report, Failure> {
    let ticket = Ticket::read(&args.ticket)?;
    let collection = ticket.collection()?;
    let ends: Option<UtcTime> = collection.deadline.parse().ok();
    if ends.is_none_or(|ends| ends.unix() <= now()) {
        return Err(Failure::new(reason::SHARES_MISSING, "the collection of this ticket has ended")
            .remedy("ask whoever opened it to open it again, and for its ticket"));
    }
    let asked = !args.yes.yes || args.file.is_none();
    show(&collection, asked, context.screen)?;
    // Whoever brought the ticket may have put a key of their own into it.
    let compare = format!(
        "compare the code with the one on the screen where the collection was opened: {}",
        code(&collection)
    );
    context.screen.show_if(asked, compare);
    confirm("Seal your share for exactly this?", args.yes.yes)?;
    let share = read(args.file.as_deref(), &args.openers, &collection)?;
    let words = shares::words_of(&share)?;
    let sealed = seal_for(&collection, words.reveal_secret_bytes()).map_err(|_| {
        Failure::new(reason::USAGE, "the ticket's key is no key of a collection").remedy(NO_TICKET)
    })?;
    SealedShare::new(&collection.id, &sealed).write(&args.out)?;
    let name = args.out.display().to_string();
    let text = format!("sealed into {}: only the agent of this collection can open it\n", visible(&name));
    let document = json!({
        "file": name,
        "collection": collection.id,
        "sha256": collection.sha256,
        "code": code(&collection),
    });
    Ok(Report::new(document, text).hint(format!("there: tufctl share give {}", typed_path(&args.out))))
}

/// What to do about a ticket that is none.
const NO_TICKET: &str = "name the file that tufctl share collect --ticket has written";

/// A share that belongs to the collection's set.
fn read(
    file: Option<&std::path::Path>,
    openers: &OpenerArgs,
    collection: &v1::Collection,
) -> Result<custody::Share, Failure> {
    let manifest = custody::SignedManifest::parse(&collection.manifest).map_err(|why| {
        Failure::new(reason::VERIFICATION, format!("the collection's manifest does not hold: {why}"))
    })?;
    let share = match file {
        Some(file) => Openers::load(openers)?.read(file, reason::SHARE_INVALID)?,
        None => {
            let title = format!("A share of {} · sha256 {}", manifest.key_name(), collection.sha256);
            type_share(&title, Wanted::Of(&manifest))?
        }
    };
    manifest.who_has(&share).map_err(|why| shares::refused(&why, reason::SHARE_INVALID))?;
    Ok(share)
}

fn pick(mut all: Vec<v1::Collection>, wanted: Option<&str>) -> Result<v1::Collection, Failure> {
    if let Some(id) = wanted {
        return all.into_iter().find(|one| one.id == id).ok_or_else(|| {
            Failure::new(reason::SHARES_MISSING, "this collection is not open, or has ended")
                .remedy("ask whoever opened it to open it again: tufctl share collect")
                .detail("collection", id)
        });
    }
    match (all.pop(), all.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Failure::new(reason::SHARES_MISSING, "no collection is open")
            .remedy("somebody opens it first: tufctl share collect DIR --role root --manifest set.json")),
        (Some(last), _) => {
            all.push(last);
            let ids: Vec<String> =
                all.iter().map(|one| format!("{} ({})", visible(&one.id), about(one))).collect();
            Err(Failure::new(reason::USAGE, "several collections are open")
                .remedy(format!("name one with --collection: {}", ids.join("; "))))
        }
    }
}
