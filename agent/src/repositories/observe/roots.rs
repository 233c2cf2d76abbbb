//! The chain of roots: forward from the trusted one, and back from the oldest that is known.

use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::metadata::Metadata;
use tuf::role::Version;

use super::{Look, View, check};
use crate::refusal::Refusal;

impl View<'_> {
    /// The next root by the trusted one and by itself (specification 5.3.4); version 1 of a new repository by itself.
    pub(super) async fn look_at_root(&mut self, file: &Metadata) -> Result<Look, Refusal> {
        let version = file.version();
        if self.chain.get(&version) == Some(&file.digest()) {
            // Known; its text may have been lost.
            if self.record.root.is_some_and(|(trusted, _)| trusted == version) {
                self.repositories.memory.keep_root(file).await?;
            }
            return Ok(Look::Skip);
        }
        let Some(trusted) = self.root.clone() else {
            if version != Version::FIRST {
                return Err(self.untrusted());
            }
            let look = check_root(file, file).await?;
            self.advance(&look, file);
            return Ok(look);
        };
        if version < trusted.version() {
            self.older.insert(version, file.clone());
            return Ok(Look::Skip);
        }
        if version > trusted.version() && trusted.version().next() != Some(version) {
            let message =
                format!("root version {version} came, but version {} is trusted", trusted.version());
            return Err(
                Refusal::new(Reason::VersionJump, message).remedy("show the agent every root in between")
            );
        }
        let look = check_root(&trusted, file).await?;
        let Look::Good(mut signers) = look else { return Ok(look) };
        let look = check_root(file, file).await?;
        self.advance(&look, file);
        let Look::Good(own) = look else { return Ok(look) };
        signers.extend(own);
        Ok(Look::Good(signers))
    }

    /// Roots from just below the oldest known one downwards: each has signed itself, and its keys have signed the next.
    pub(super) async fn ancestors(&self) -> Result<Vec<(Version, Sha256Digest)>, Refusal> {
        let mut found = Vec::new();
        let Some((mut at, digest)) = self.chain.first_key_value().map(|(at, digest)| (*at, *digest)) else {
            return Ok(found);
        };
        let Some(mut next) = self.repositories.memory.load(digest).await? else { return Ok(found) };
        for (version, file) in self.older.range(..at).rev() {
            let good = version.next() == Some(at)
                && matches!(check_root(file, file).await?, Look::Good(_))
                && matches!(check_root(file, &next).await?, Look::Good(_));
            if !good {
                break;
            }
            found.push((*version, file.digest()));
            (at, next) = (*version, file.clone());
        }
        Ok(found)
    }

    pub(super) fn advance(&mut self, look: &Look, file: &Metadata) {
        // Other content under the trusted version is for the ledger to judge, never to trust.
        let follows = self.root.as_ref().is_none_or(|trusted| trusted.version() < file.version());
        if matches!(look, Look::Good(_)) && follows {
            self.root = Some(file.clone());
        }
    }
}

async fn check_root(authority: &Metadata, file: &Metadata) -> Result<Look, Refusal> {
    let Some(root) = authority.as_root() else { return Err(Refusal::internal("a root is no root")) };
    check(file, &root.keys, &root.root, format!("root version {}", authority.version())).await
}
