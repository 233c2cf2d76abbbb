//! `tufctl repo init`: a new repository, staged.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_json::json;
use tuf::edit::{NewRole, NewRoles, new_root, new_targets};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;
use tufagent_proto::v1;

use super::super::staging::{Staging, edit_failure, role_name};
use crate::args::{InitArgs, RoleDays};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::Report;
use crate::workspace::{Facts, Workspace, default_days};

/// Runs `tufctl repo init`.
pub(crate) fn run(args: &InitArgs, context: &Context) -> Result<Report, Failure> {
    let days = days(&args.expires)?;
    let made = Made::of(&args.dir);
    let report = begin(args, days, context)?;
    made.stay();
    Ok(report)
}

/// The folders that are made for the repository: refused, it leaves none that is empty.
struct Made(Vec<PathBuf>);

impl Made {
    fn of(dir: &Path) -> Self {
        let all = dir.ancestors().filter(|path| !path.as_os_str().is_empty());
        Self(all.take_while(|path| path.symlink_metadata().is_err()).map(Path::to_owned).collect())
    }

    fn stay(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Only one that is empty goes.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn begin(args: &InitArgs, days: HashMap<String, u32>, context: &Context) -> Result<Report, Failure> {
    let workspace = Workspace::create(&args.dir)?;
    let mut staging = Staging::of(context, workspace, Facts::default(), args.yes.yes)?;
    let role = |kind: RoleKind, keys: &[String], threshold: u32| {
        let keys = staging.keys_for(&args.name, &kind.role(), keys)?;
        Ok::<_, Failure>(NewRole { keys, threshold })
    };
    let roles = NewRoles {
        root: role(RoleKind::Root, &args.root, args.root_threshold.get())?,
        targets: role(RoleKind::Targets, &args.targets, args.targets_threshold.get())?,
        snapshot: role(RoleKind::Snapshot, &args.snapshot, 1)?,
        timestamp: role(RoleKind::Timestamp, &args.timestamp, 1)?,
    };
    // Once without the record, so that nothing is registered when the keys do not make a root.
    new_root(Version::FIRST, staging.facts.expires(&RoleKind::Root.role()), true, &roles)
        .map_err(|e| edit_failure(&e))?;
    let reply = context.agent()?.register(v1::RegisterRepositoryRequest {
        name: args.name.clone(),
        expiry_days: days,
        root: Vec::new(),
        shared_key: args.shared_key,
        root_digests: Vec::new(),
    })?;
    for warning in &reply.warnings {
        context.screen.warn(warning);
    }
    staging.facts.record = reply.repository;
    let (root, targets) = (RoleKind::Root.role(), RoleKind::Targets.role());
    let text =
        new_root(Version::FIRST, first_expiry(&staging.facts), true, &roles).map_err(|e| edit_failure(&e))?;
    let first = new_targets(Version::FIRST, staging.facts.expires(&targets));
    staging.prepare(root, text);
    staging.prepare(targets, first);
    staging.workspace.begin()?;
    staging.commit()?;
    staging.workspace.set_name(&args.name)?;
    staging.workspace.begun()?;
    Ok(staging.report(json!({"name": args.name}), String::new()))
}

/// When the first root expires: by the second that the agent has given to this repository alone. Two with the same keys would
/// otherwise have one and the same root, and be one repository.
fn first_expiry(facts: &Facts) -> UtcTime {
    let root = RoleKind::Root.role();
    match facts.record.as_ref().map(|record| record.created).filter(|created| *created > 0) {
        Some(created) => facts.expires_after(&root, UtcTime::from_unix(created)),
        None => facts.expires(&root),
    }
}

/// For how many days each role is valid: the contract's, but for what was asked.
fn days(asked: &[RoleDays]) -> Result<HashMap<String, u32>, Failure> {
    let mut days: BTreeMap<RoleName, u32> =
        RoleKind::ALL.iter().map(|kind| (kind.role(), default_days(*kind))).collect();
    for one in asked {
        let role = role_name(&one.role)?;
        if !role.is_top_level() {
            return Err(Failure::new(
                reason::USAGE,
                format!("--expires: a new repository has no role {role}"),
            )
            .remedy("name root, targets, snapshot or timestamp; delegation add has an --expires of its own")
            .detail("role", role.as_str()));
        }
        days.insert(role, one.days.0);
    }
    Ok(days.into_iter().map(|(role, days)| (role.to_string(), days)).collect())
}
