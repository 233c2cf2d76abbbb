//! `tufctl share verify`: one custodian, one share, no agent.

use custody::{Share, SignedManifest};
use serde_json::json;

use crate::args::{Fingerprint, ShareVerifyArgs};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{Report, Style, visible};
use crate::shares::{self, Openers, Wanted, type_share};

/// Runs `tufctl share verify`.
pub(super) fn run(args: &ShareVerifyArgs, context: &Context) -> Result<Report, Failure> {
    judge(args, context).map_err(|failure| match failure.reason() {
        // It says right or wrong; what could not be looked at is neither.
        reason::IO | reason::SECRET_FILE | reason::LIMIT => failure.into_usage(),
        _ => failure,
    })
}

fn judge(args: &ShareVerifyArgs, context: &Context) -> Result<Report, Failure> {
    let style = context.screen.out();
    if args.manifest.is_none() && args.fingerprint.is_none() {
        return Err(nothing_to_check_against());
    }
    let manifest = args.manifest.as_deref().map(shares::manifest).transpose()?;
    let openers = Openers::load(&args.openers)?;
    let share = match &args.file {
        Some(file) => openers.read(file, reason::VERIFICATION)?,
        None => {
            let wanted = manifest.as_ref().map_or(Wanted::Any, Wanted::Of);
            type_share("Type the share that is to be checked; it stays on this machine", wanted)?
        }
    };
    match (&manifest, &args.fingerprint) {
        (Some(manifest), _) => of_set(&share, manifest, style),
        (None, Some(fingerprint)) => of_sheet(&share, fingerprint, style),
        (None, None) => Err(nothing_to_check_against()),
    }
}

fn nothing_to_check_against() -> Failure {
    Failure::new(reason::USAGE, "there is nothing to check the share against").remedy(
        "name its set: --manifest set.json; or, with a sheet alone, the digits on it: --fingerprint HEX",
    )
}

fn of_set(share: &Share, manifest: &SignedManifest, style: Style) -> Result<Report, Failure> {
    let whose = manifest.who_has(share).map_err(|why| shares::refused(&why, reason::VERIFICATION))?;
    let (need, count, rule) = (manifest.need(), manifest.terms().count(), shares::rule(manifest.terms()));
    let text = format!(
        "{} the share of {whose} · {} · {rule} make the key\n",
        style.green("right:"),
        visible(manifest.key_name()),
    );
    let document = json!({
        "valid": true,
        "custodian": whose.name.as_str(),
        "key": manifest.key_name(),
        "keyid": manifest.keyid().to_string(),
        "set": manifest.set_id().to_string(),
        "set_sha256": manifest.digest().to_string(),
        "sequence": manifest.sequence(),
        "need": need,
        "count": count,
        "rule": rule,
        "fingerprint": fingerprint_of(share)?,
    });
    Ok(Report::new(document, text))
}

fn of_sheet(share: &Share, wanted: &Fingerprint, style: Style) -> Result<Report, Failure> {
    let found = fingerprint_of(share)?;
    if !found.starts_with(&wanted.0) {
        return Err(Failure::new(
            reason::VERIFICATION,
            format!("this is another share: its fingerprint is {found}, not {wanted}"),
        )
        .remedy("see whether it is the right share, and the fingerprint that of the same sheet or set")
        .detail("fingerprint", found));
    }
    let text = format!("{} these words have the fingerprint {found}\n", style.green("right:"));
    Ok(Report::new(json!({"valid": true, "fingerprint": found}), text))
}

fn fingerprint_of(share: &Share) -> Result<String, Failure> {
    let digest = share.fingerprint().map_err(|e| Failure::new(reason::INTERNAL, e.to_string()))?;
    Ok(digest.to_string())
}
