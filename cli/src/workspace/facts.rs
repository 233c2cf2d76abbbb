//! What the agent knows of a repository: how long its roles are valid, and what was signed already.

use std::collections::HashMap;
use std::path::Path;

use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};
use tuf::time::UtcTime;
use tufagent_proto::v1;

use super::Workspace;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{self, typed_path};

/// The agent's record of a repository, or the defaults where it has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// `None` when the agent does not know the repository.
    pub(crate) record: Option<v1::Repository>,
}

impl Facts {
    /// Asks the agent: by the published roots, else by the name in `staged/`.
    ///
    /// # Errors
    /// No agent; anything but its not knowing the repository.
    pub(crate) fn find(context: &Context, workspace: &Workspace) -> Result<Self, Failure> {
        let agent = context.agent()?;
        let roots = workspace.root_digests()?;
        let answer = match workspace.staged_name() {
            _ if !roots.is_empty() => agent.repository_of_roots(roots),
            Some(name) => agent.repository(name),
            None => return Ok(Self::default()),
        };
        match answer {
            Ok(record) => {
                workspace.heed(&record);
                Ok(Self { record: Some(record) })
            }
            Err(failure) if failure.reason() == reason::REPOSITORY_UNKNOWN => Ok(Self::default()),
            Err(failure) => Err(failure),
        }
    }

    /// The same for commands that read: without an agent nothing is known.
    ///
    /// # Errors
    /// Anything but no agent, or its not knowing the repository.
    pub(crate) fn find_if_reachable(context: &Context, workspace: &Workspace) -> Result<Self, Failure> {
        match Self::find(context, workspace) {
            Err(failure) if failure.reason() == reason::UNREACHABLE => Ok(Self::default()),
            found => found,
        }
    }

    /// The name by which the agent knows the repository.
    pub(crate) fn name(&self) -> Option<&str> {
        self.record.as_ref().map(|record| record.name.as_str())
    }

    /// For how many days a role's metadata is valid.
    pub(crate) fn days(&self, role: &RoleName) -> u32 {
        let recorded = self.record.as_ref().and_then(|record| record.expiry_days.get(role.as_str()));
        recorded.copied().filter(|days| *days > 0).unwrap_or_else(|| default_days(role.kind()))
    }

    /// Whether nothing of a role was ever signed or seen, nor a length recorded for it.
    pub(crate) fn is_new(&self, role: &RoleName) -> bool {
        let name = role.as_str();
        self.record.as_ref().is_none_or(|record| {
            !record.expiry_days.contains_key(name)
                && !record.verified.contains_key(name)
                && !record.signed.contains_key(name)
        })
    }

    /// When metadata of a role expires that is made now. Of a root that is made in the very second in which others are begun, by
    /// the second that the agent has given to its repository alone: that of another one may be the same otherwise.
    pub(crate) fn expires(&self, role: &RoleName) -> UtcTime {
        let created =
            self.record.as_ref().filter(|_| role.kind() == RoleKind::Root).map(|record| record.created);
        self.expires_after(role, UtcTime::from_unix(render::now().max(created.unwrap_or(0))))
    }

    /// The same for metadata that is made at `now`.
    pub(crate) fn expires_after(&self, role: &RoleName, now: UtcTime) -> UtcTime {
        now.plus_seconds(i64::from(self.days(role)).saturating_mul(SECONDS_A_DAY))
    }

    /// The root that the agent signed or verified and that is neither published nor staged here.
    pub(crate) fn lost_root(&self, workspace: &Workspace) -> Result<Option<LostRoot>, Failure> {
        let role = RoleKind::Root.role();
        let Some(record) = &self.record else { return Ok(None) };
        let newest = |of: &HashMap<String, u64>| of.get(role.as_str()).copied().unwrap_or(0);
        let (signed, verified) = (newest(&record.signed), newest(&record.verified));
        let version = signed.max(verified);
        let published = workspace.published(&role)?.map_or(0, |root| root.version().get());
        let is_next = version == published.saturating_add(1);
        if !is_next || workspace.staged(&role)?.is_some() {
            return Ok(None);
        }
        Ok(Some(LostRoot { version, complete: verified == version }))
    }

    /// Whether this very content is what the agent has signed last of a role, or was to sign.
    ///
    /// # Errors
    /// The agent's.
    pub(crate) fn was_signed(
        &self,
        context: &Context,
        role: &RoleName,
        content: &Metadata,
    ) -> Result<bool, Failure> {
        let version = content.version().get();
        let Some(record) = self.record.as_ref().filter(|_| self.signed(role) == Some(version)) else {
            return Ok(false);
        };
        let (role, sha256) = (role.to_string(), content.digest().to_string());
        let file = v1::FileDigest { role, version, sha256, file_sha256: String::new() };
        context.agent()?.was_signed(&record.name, file)
    }

    /// The newest version of a role that the agent has signed.
    pub(crate) fn signed(&self, role: &RoleName) -> Option<u64> {
        self.record.as_ref()?.signed.get(role.as_str()).copied()
    }
}

/// See [`Facts::lost_root`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostRoot {
    version: u64,
    /// It has met its thresholds in front of the agent.
    pub(crate) complete: bool,
}

impl LostRoot {
    /// What is lost, and how it comes back, for people.
    pub(crate) fn sentence(&self, dir: &Path) -> String {
        let how = if self.complete { "has all its signatures" } else { "was signed here, or was to be," };
        format!(
            "root v{} {how} and is neither published nor staged here; the agent has it still: tufctl root restage {}",
            self.version,
            typed_path(dir)
        )
    }

    /// The refusal of another root under its version (DESIGN section 4, rule 3).
    pub(crate) fn failure(&self) -> Failure {
        let Self { version, .. } = self;
        Failure::new(
            reason::WATERMARK,
            format!("root v{version} has all its signatures, and is neither published nor staged here"),
        )
        .remedy(
            "if it is out, take the newest published copy; otherwise bring it back and publish it: tufctl root restage DIR and tufctl sign DIR; then change the next one",
        )
        .detail("role", RoleKind::Root.name())
        .detail("version", *version)
    }
}

/// Whether the agent has this very file at hand, as it has verified it: then its content need not be hashed to ask.
pub(crate) fn is_kept(record: &v1::Repository, role: &RoleName, file: &Metadata) -> bool {
    let (role, version) = (role.as_str(), file.version().get());
    let mut kept = record.kept.iter().filter(|kept| kept.role == role && kept.version == version);
    kept.any(|kept| kept.file_sha256 == file.file_digest().to_string())
}

/// CONTRACT section 2.
pub(crate) fn default_days(kind: RoleKind) -> u32 {
    match kind {
        RoleKind::Root => 365,
        RoleKind::Targets => 90,
        RoleKind::Snapshot => 7,
        RoleKind::Timestamp => 1,
    }
}

const SECONDS_A_DAY: i64 = 86_400;
