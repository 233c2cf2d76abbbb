//! While people walk to a terminal with their shares others may work in the folder: it is let go, taken again before a
//! signature is written, and looked at for what has changed meanwhile.

use std::collections::BTreeMap;

use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName};
use tufagent_proto::v1;

use super::{Session, record};
use crate::client::{SignCall, SignStep};
use crate::error::{Failure, reason};
use crate::render::typed_path;
use crate::shares::Gathering;
use crate::workspace::{Facts, Workspace};

/// What lay in the folder when it was let go.
struct Left {
    /// What is signed of each staged role.
    staged: BTreeMap<RoleName, Sha256Digest>,
    /// The files, signatures too, and those that are published and lead to all others.
    files: Vec<Sha256Digest>,
}

impl Left {
    fn of(workspace: &Workspace) -> Result<Self, Failure> {
        let (mut staged, mut files) = (BTreeMap::new(), Vec::new());
        for role in workspace.staged_roles()? {
            if let Some(metadata) = workspace.staged(&role)? {
                files.push(Sha256Digest::of(metadata.bytes()));
                staged.insert(role, metadata.digest());
            }
        }
        for kind in [RoleKind::Root, RoleKind::Timestamp] {
            let published = workspace.published(&kind.role())?;
            files.extend(published.map(|metadata| Sha256Digest::of(metadata.bytes())));
        }
        Ok(Self { staged, files })
    }
}

impl Session<'_> {
    /// Sees a collection through that the agent has opened for a role; meanwhile the folder is others' to work in.
    ///
    /// # Errors
    /// Why it has ended; `REPOSITORY_INVALID` where what was signed is not what is staged any more.
    pub(super) fn see_through(
        &mut self,
        role: &RoleName,
        collection: &v1::Collection,
        people: &mut Gathering,
        call: &mut SignCall<'_>,
    ) -> Result<Option<SignStep>, Failure> {
        let left = Left::of(&self.workspace)?;
        let is_let_go = self.workspace.let_go();
        let (agent, screen) = (self.agent, self.context.screen);
        let gathering = self.gathering.as_deref_mut().unwrap_or(people);
        let came = gathering.see_through(collection, call, agent, screen);
        // Whoever leaves the command writes nothing any more.
        let leaves = matches!(&came, Err(failure) if failure.reason() == reason::CANCELLED);
        if is_let_go && !leaves {
            self.come_back(&left)?;
        }
        let staged = self.workspace.staged(role)?.map(|metadata| metadata.digest());
        if matches!(came, Ok(Some(SignStep::Signature(_)))) && staged != left.staged.get(role).copied() {
            return Err(Failure::new(
                reason::REPOSITORY_INVALID,
                format!("{role} was changed in staged/ or published while its shares were collected: what was signed is not there any more"),
            )
            .remedy("see what is staged now: tufctl diff DIR; put the other back and collect for it again, or sign this one")
            .detail("role", role.as_str())
            .detail("signed_sha256", collection.sha256.as_str()));
        }
        came
    }

    /// Takes the folder again. What others have done in it meanwhile is read anew; was more than signatures changed, nothing
    /// is published that nobody was shown.
    fn come_back(&mut self, left: &Left) -> Result<(), Failure> {
        let workspace = Workspace::open_again(&self.args.dir)?;
        let now = Left::of(&workspace)?;
        if now.files == left.files {
            self.workspace.take_over(workspace);
            return Ok(());
        }
        let recalled = workspace.recall(&|request| self.agent.recall(request));
        workspace.read_large()?;
        workspace.check_names()?;
        self.record = match recalled {
            Some(record) => record,
            None => self.agent.repository(&self.record.name)?,
        };
        workspace.heed(&self.record);
        workspace.check_staged_places(self.record.tough_names)?;
        record::show_published(self.agent, &workspace, &self.record, self.context)?;
        self.facts = Facts { record: Some(self.record.clone()) };
        self.workspace = workspace;
        if now.staged != left.staged {
            let dir = typed_path(&self.args.dir);
            self.blocked = Some(
                Failure::new(
                    reason::REPOSITORY_INVALID,
                    "what is staged was changed by another tufctl while shares were collected",
                )
                .remedy(format!("look at it with tufctl diff {dir}, and publish it with: tufctl sign {dir}")),
            );
        }
        Ok(())
    }
}
