//! Edits of a root that was signed already: it keeps its version, since roots follow one another without a gap. Where it was
//! lost before it was published, the agent has it still.

use tuf::metadata::{Limits, Metadata};
use tuf::role::{RoleKind, RoleName};
use tuf::verify::check_signatures;

use super::staging::{Staging, is_signed};
use crate::error::{Failure, reason};
use crate::prompt::confirm;

impl Staging<'_> {
    /// A root that has its threshold could be published by whoever has a copy: another one under its version would split
    /// the clients, and no agent that knows it signs one.
    pub(super) fn refuse_complete_root(&self, role: &RoleName) -> Result<(), Failure> {
        if role.kind() != RoleKind::Root {
            return Ok(());
        }
        match self.facts.lost_root(&self.workspace)? {
            Some(lost) if lost.complete => return Err(lost.failure()),
            Some(lost) => self.context.screen.warn(lost.sentence(self.workspace.dir())),
            None => {}
        }
        let Some(root) = self.workspace.staged(role)?.filter(is_signed) else { return Ok(()) };
        if !self.workspace.signatures(role)?.met {
            return Ok(());
        }
        Err(Failure::new(
            reason::WATERMARK,
            format!("root v{} has all its signatures and only waits to be published", root.version()),
        )
        .remedy(
            "publish it: tufctl sign DIR (with --shared-key, where it says that a key serves another repository); \
             then change the next one",
        )
        .detail("role", role.as_str())
        .detail("version", root.version().get())
        .detail("signed_sha256", root.digest().to_string()))
    }

    /// Prepares the published targets anew where the root that is prepared takes their keys away. Both are written together,
    /// the root last: cut off in between, the command can be given again.
    pub(super) fn renew_under_next_root(&mut self) -> Result<(), Failure> {
        let role = RoleKind::Targets.role();
        let Some(next) = self.prepared_root()? else { return Ok(()) };
        let unstaged = self.workspace.staged(&role)?.is_none();
        let published = self.workspace.published(&role)?.filter(|_| unstaged);
        let (Some(root), Some(published)) = (next.as_root(), published) else { return Ok(()) };
        if check_signatures(&published, &root.keys, &root.targets).met() {
            return Ok(());
        }
        self.renew(&role)
    }

    /// Stages the newest root that the agent signed or verified, if it was never published: `root restage`.
    pub(super) fn bring_back_root(&mut self) -> Result<(), Failure> {
        let role = RoleKind::Root.role();
        let Some(name) = self.facts.name().map(ToOwned::to_owned) else {
            return Err(Failure::new(
                reason::REPOSITORY_UNKNOWN,
                "nothing here says which repository this is",
            )
            .remedy("begin it again under its name (tufctl repo init), then run this again"));
        };
        let found = self.context.agent()?.newest_root(&name)?;
        let published = self.workspace.published(&role)?.map_or(0, |root| root.version().get());
        if found.version != published.saturating_add(1) {
            return Err(not_next(found.version, published));
        }
        let root = Metadata::parse(found.file, &Limits::agent()).ok();
        let root = root.filter(|root| root.as_root().is_some() && root.digest().to_string() == found.sha256);
        let root = root.ok_or_else(|| Failure::new(reason::INTERNAL, "the agent's root cannot be read"))?;
        match self.workspace.staged(&role)? {
            Some(staged) if staged.digest() == root.digest() => {
                let has = |keyid| staged.signatures().iter().any(|e| e.keyid == keyid && !e.sig.is_empty());
                let new: Vec<_> =
                    root.signatures().iter().filter(|entry| !has(entry.keyid.clone())).cloned().collect();
                self.workspace.add_signatures(&[(role, new)])?;
                self.workspace.settle_staged()
            }
            staged => {
                if let Some(other) = staged {
                    confirm(&in_place_of(&name, &other, &root), self.yes)?;
                }
                self.prepare(role, root.bytes().to_vec());
                self.commit()
            }
        }
    }

    /// The root in whose place another one of its version can only be signed: the staged one, where it carries signatures, or
    /// that of which the agent has noted that it was to be signed, though the signature was never made.
    pub(super) fn signed_root(&self, role: &RoleName) -> Result<Option<SignedRoot>, Failure> {
        if role.kind() != RoleKind::Root {
            return Ok(None);
        }
        if let Some(root) = self.workspace.staged(role)?.filter(is_signed) {
            return Ok(Some(SignedRoot { sha256: root.digest().to_string(), surely: true }));
        }
        let next = self.next_version(role)?.get();
        let Some(name) = self.facts.name().filter(|_| self.facts.signed(role) == Some(next)) else {
            return Ok(None);
        };
        // Where the agent does not have it, `sign` says what is to be said.
        let noted = self.context.agent()?.newest_root(name).ok().filter(|noted| noted.version == next);
        Ok(noted.map(|noted| SignedRoot { sha256: noted.sha256, surely: false }))
    }
}

/// A root that was signed, or was to be.
pub(super) struct SignedRoot {
    pub(super) sha256: String,
    /// There are signatures of it.
    pub(super) surely: bool,
}

fn not_next(found: u64, published: u64) -> Failure {
    let (what, remedy) = if found <= published {
        let what = format!("root v{published} is published, and the agent has signed none after it");
        (what, "nothing was lost: tufctl repo show DIR")
    } else {
        let what = format!(
            "the agent has root v{found}, and this folder has v{published} as its newest published one"
        );
        (what, "take the newest published copy of the repository first")
    };
    Failure::new(reason::REPOSITORY_INVALID, what).remedy(remedy).detail("role", RoleKind::Root.name())
}

/// The root that is staged may be meant: of a folder that was begun under a name which another one has.
fn in_place_of(name: &str, staged: &Metadata, signed: &Metadata) -> String {
    format!(
        "The root v{} that is staged here (sha256 {}) is another one than that which was signed for {name} (sha256 {}), and goes for good \
         (a new repository that is meant to be another one than {name} is begun under a name of its own instead: tufctl repo init). Put the \
         signed one in its place?",
        staged.version(),
        staged.digest(),
        signed.digest()
    )
}
