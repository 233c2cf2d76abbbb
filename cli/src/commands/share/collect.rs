//! `tufctl share collect`: enough shares, from here and elsewhere, for one signature.

use custody::SignedManifest;
use tuf::key::KeyId;
use tuf::role::RoleName;

use super::sets::of_manifest;
use crate::args::{List, ShareCollectArgs, SignArgs};
use crate::commands::sign;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{Report, typed_path, visible};
use crate::shares::{self, Gathering};
use crate::workspace::Workspace;

/// Runs `tufctl share collect`.
pub(super) fn run(args: &ShareCollectArgs, context: &Context) -> Result<Report, Failure> {
    let manifest = shares::manifest(&args.collect.manifest)?;
    let Staged { about, signed } = staged(args, &manifest)?;
    let mut gathering = Gathering::read(&args.collect, &manifest)?;
    gathering.tell_invalid(context.screen);
    if signed {
        // Nobody is sent for: what else there is to do is done, as by sign.
        let key = visible(manifest.key_name());
        context.screen.note(format!("{key} has signed this already, and no share of it is needed: {about}"));
    } else if let Some(short) = gathering.short(&about)? {
        return Ok(short);
    }
    let set = of_manifest(&manifest, context)?;
    gathering.is_of(&set);
    let sign_args = SignArgs {
        dir: args.dir.clone(),
        roles: vec![List::of(args.role.clone())],
        keys: vec![set.key],
        no_publish: false,
        from: None,
        supersede: None,
        shared_key: args.shared_key,
        yes: args.yes,
    };
    let report = sign::run_with(&sign_args, Some(&mut gathering), context)?;
    Ok(report.with("invalid", gathering.invalid().into()).with("signed_before", signed.into()))
}

/// What would be signed.
struct Staged {
    /// `root v2 of app · sha256 …`.
    about: String,
    /// The key has signed it.
    signed: bool,
}

/// # Errors
/// `KEY_NOT_OF_ROLE`, before anybody is asked for a share that would be of no use.
fn staged(args: &ShareCollectArgs, manifest: &SignedManifest) -> Result<Staged, Failure> {
    let workspace = Workspace::open(&args.dir)?;
    let nothing = || {
        Failure::new(reason::ROLE_UNKNOWN, format!("nothing is staged for {}", args.role))
            .remedy("see what is staged: tufctl diff DIR")
            .detail("role", args.role.as_str())
    };
    let role = RoleName::parse(&args.role).map_err(|_| nothing())?;
    let staged = workspace.staged(&role)?.ok_or_else(nothing)?;
    let authorities = workspace.authorities(&role)?;
    if !sign::serves(&authorities, manifest.public_key()) {
        let (key, role) = (manifest.key_name(), args.role.as_str());
        return Err(Failure::new(
            reason::KEY_NOT_OF_ROLE,
            format!("{key}, whose set this manifest is of, is no key of {role}: its shares are not needed"),
        )
        .remedy(format!("tufctl repo show {} lists the keys of each role", typed_path(&args.dir)))
        .detail("key", key));
    }
    let of = workspace.staged_name().map(|name| format!(" of {}", visible(name))).unwrap_or_default();
    let about = format!("{} v{}{of} · sha256 {}", visible(&args.role), staged.version(), staged.digest());
    let signed_by = workspace.signatures(&role)?.signed_by;
    let is_its = |keyid: &KeyId| {
        let keys = authorities.iter().filter_map(|authority| authority.keys.get(keyid));
        keys.filter_map(|key| key.public_key().ok()).any(|public| public == manifest.public_key())
    };
    Ok(Staged { about, signed: signed_by.iter().any(is_its) })
}
