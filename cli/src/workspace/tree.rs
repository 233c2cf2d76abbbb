//! The tree of targets roles, and which of them a target belongs to.

use std::collections::BTreeSet;
use std::rc::Rc;

use tuf::edit::PathScope;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::{Workspace, layout};
use crate::error::Failure;

/// A targets role in the tree; one with several parents stands below the first.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The role.
    pub(crate) role: RoleName,
    /// Who delegates to it; root for the top targets role.
    pub(crate) parent: RoleName,
    /// 0 for the top targets role.
    pub(crate) depth: usize,
    /// Whether it delegates itself.
    pub(crate) delegates: bool,
    /// Whether it is a hash bin, succinct or not.
    pub(super) bin: bool,
    /// A bin that was taken for a leaf, unread.
    unread: bool,
}

/// How a client's search for a target goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// The first role that lists it.
    pub(crate) found: Option<RoleName>,
    /// The last terminating delegation on the way: what comes after it is not searched.
    pub(crate) ended_by: Option<RoleName>,
}

impl Workspace {
    /// All targets roles that delegations of the staged and published metadata lead to and that have metadata, parents
    /// before children, in order of priority.
    pub(crate) fn tree(&self) -> Result<Rc<[Node]>, Failure> {
        if let Some(tree) = &*self.tree.borrow() {
            return Ok(Rc::clone(tree));
        }
        let tree: Rc<[Node]> = self.walk(&|role| self.current(role), &|_| false)?.into();
        *self.tree.borrow_mut() = Some(Rc::clone(&tree));
        Ok(tree)
    }

    /// The same tree without a look into published bins: they are taken for its leaves. Of 16,384 bins a command that
    /// changes one of them reads this one alone.
    pub(super) fn near(&self) -> Result<Rc<[Node]>, Failure> {
        let known = self.tree.borrow().clone().or_else(|| self.near.borrow().clone());
        if let Some(tree) = known {
            return Ok(tree);
        }
        let staged: BTreeSet<RoleName> = self.staged_files()?.into_iter().collect();
        let near: Rc<[Node]> = self.walk(&|role| self.current(role), &|bin| !staged.contains(bin))?.into();
        *self.near.borrow_mut() = Some(Rc::clone(&near));
        Ok(near)
    }

    /// Roles that delegate, as far as [`Self::near`] sees.
    pub(crate) fn near_delegating(&self) -> Result<Rc<[RoleName]>, Failure> {
        if let Some(known) = &*self.near_parents.borrow() {
            return Ok(Rc::clone(known));
        }
        let found = delegating(&self.near()?);
        *self.near_parents.borrow_mut() = Some(Rc::clone(&found));
        Ok(found)
    }

    /// The roles to which a target of this path can belong: all that are no bins, and the bins of its hash.
    pub(crate) fn roles_near(&self, path: &str) -> Result<Vec<RoleName>, Failure> {
        let near = self.near()?;
        let mut roles: Vec<RoleName> =
            near.iter().filter(|node| !node.bin).map(|node| node.role.clone()).collect();
        for parent in self.near_delegating()?.iter() {
            let metadata = self.current(parent)?;
            let targets = metadata.as_ref().and_then(Metadata::as_targets);
            if let Some(to) = targets.and_then(|t| t.delegations.as_ref()) {
                roles.extend(
                    to.roles_for(path).into_iter().map(|(role, _)| role).filter(|role| to.is_bin(role)),
                );
            }
        }
        Ok(roles)
    }

    /// Targets roles that are published, parents first.
    pub(super) fn published_targets_roles(&self) -> Result<Vec<RoleName>, Failure> {
        Ok(self.walk(&|role| self.published(role), &|_| false)?.into_iter().map(|node| node.role).collect())
    }

    /// Published targets roles that delegate; bins are only looked into where that is asked for.
    pub(super) fn published_delegating(&self, bins_too: bool) -> Result<Rc<[RoleName]>, Failure> {
        Ok(delegating(&self.walk(&|role| self.published(role), &|_| !bins_too)?))
    }

    /// Roles that `read` leads to. Of bins for which `is_leaf` holds, those that are published are taken along unread.
    fn walk(
        &self,
        read: &dyn Fn(&RoleName) -> Result<Option<Metadata>, Failure>,
        is_leaf: &dyn Fn(&RoleName) -> bool,
    ) -> Result<Vec<Node>, Failure> {
        let snapshot = self.published(&RoleKind::Snapshot.role())?;
        let listed = snapshot.as_ref().and_then(Metadata::as_snapshot);
        let node =
            |role, parent, depth| Node { role, parent, depth, delegates: false, bin: false, unread: false };
        let top = node(RoleKind::Targets.role(), RoleKind::Root.role(), 0);
        let (mut nodes, mut seen) = (Vec::new(), BTreeSet::new());
        let mut waiting = vec![top];
        while let Some(mut at) = waiting.pop() {
            if !seen.insert(at.role.clone()) {
                continue;
            }
            if at.unread {
                nodes.push(at);
                continue;
            }
            let Some(metadata) = read(&at.role)? else { continue };
            let delegations = metadata.as_targets().and_then(|t| t.delegations.as_ref());
            at.delegates = delegations.is_some();
            let depth = at.depth.saturating_add(1);
            for role in self.children(&metadata)?.into_iter().rev() {
                let mut child = node(role, at.role.clone(), depth);
                child.bin = delegations.is_some_and(|to| to.is_bin(&child.role));
                let is_published = || listed.is_some_and(|snapshot| snapshot.meta.contains_key(&child.role));
                child.unread = child.bin && is_leaf(&child.role) && is_published();
                waiting.push(child);
            }
            nodes.push(at);
        }
        Ok(nodes)
    }

    /// The roles that a targets role delegates to; of succinct bins those that have metadata.
    pub(crate) fn children(&self, metadata: &Metadata) -> Result<Vec<RoleName>, Failure> {
        let Some(delegations) = metadata.as_targets().and_then(|t| t.delegations.as_ref()) else {
            return Ok(Vec::new());
        };
        let Some(bins) = &delegations.succinct else {
            return Ok(delegations.roles.iter().map(|role| role.name.clone()).collect());
        };
        let snapshot = self.published(&RoleKind::Snapshot.role())?;
        let listed = snapshot.as_ref().and_then(Metadata::as_snapshot);
        let listed = listed.iter().flat_map(|s| s.meta.keys()).filter(|role| bins.contains(role)).cloned();
        let mut known: BTreeSet<RoleName> = listed.collect();
        if self.is_cut()? {
            known.extend(self.unlisted().into_keys().filter(|role| bins.contains(role)));
        }
        known.extend(self.staged_files()?.into_iter().filter(|role| bins.contains(role)));
        Ok(known.into_iter().collect())
    }

    /// Every targets role whose current metadata delegates to `role`. Published bins are only asked when no other role
    /// does: see [`Self::near`].
    pub(crate) fn parents(&self, role: &RoleName) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        if role.is_top_level() {
            return Ok(Vec::new());
        }
        let found = self.parents_among(&self.near_delegating()?, role)?;
        if found.is_empty() { self.parents_among(&delegating(&self.tree()?), role) } else { Ok(found) }
    }

    fn parents_among(
        &self,
        delegating: &[RoleName],
        role: &RoleName,
    ) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let mut parents = Vec::new();
        for name in delegating {
            let Some(metadata) = self.current(name)? else { continue };
            let delegations = metadata.as_targets().and_then(|t| t.delegations.as_ref());
            if delegations.is_some_and(|d| d.role_keys(role).is_some()) {
                parents.push((name.clone(), metadata));
            }
        }
        Ok(parents)
    }

    /// The role that a client would search first for a target, after the top one: the first delegation that allows it; and
    /// the others that do.
    pub(crate) fn role_for(&self, path: &str) -> Result<(RoleName, Vec<RoleName>), Failure> {
        let top = RoleKind::Targets.role();
        let metadata = self.current(&top)?;
        let delegations =
            metadata.as_ref().and_then(Metadata::as_targets).and_then(|t| t.delegations.as_ref());
        let mut allow =
            delegations.map(|d| d.roles_for(path)).unwrap_or_default().into_iter().map(|(role, _)| role);
        Ok((allow.next().unwrap_or(top), allow.collect()))
    }

    /// Where a client finds a target: the roles in the order of its search (5.6.7), until one lists it.
    pub(crate) fn search(&self, path: &str) -> Result<Search, Failure> {
        let mut search = Search::default();
        let mut waiting = vec![RoleKind::Targets.role()];
        let mut seen = BTreeSet::new();
        while let Some(role) = waiting.pop() {
            if seen.len() > MOST_SEARCHED || !seen.insert(role.clone()) {
                continue;
            }
            let current = self.current(&role)?;
            let Some(targets) = current.as_ref().and_then(Metadata::as_targets) else { continue };
            if targets.find(path).is_some() {
                search.found = Some(role);
                break;
            }
            let mut next = Vec::new();
            for (child, terminating) in targets.delegations.iter().flat_map(|d| d.roles_for(path)) {
                next.push(child.clone());
                if terminating {
                    // Nothing that was to be searched later is.
                    waiting.clear();
                    search.ended_by = Some(child);
                    break;
                }
            }
            waiting.extend(next.into_iter().rev());
        }
        Ok(search)
    }

    /// What the delegations on every way to `role` let through, one list for each way.
    pub(crate) fn scopes(&self, role: &RoleName) -> Result<Vec<Vec<PathScope>>, Failure> {
        let mut ways = Vec::new();
        let mut here = vec![(role.clone(), Vec::new())];
        let mut steps = 0_usize;
        while let Some((at, scopes)) = here.pop() {
            steps = steps.saturating_add(1);
            if at == RoleKind::Targets.role() {
                ways.push(scopes);
                continue;
            }
            // A circle of delegations ends here.
            if scopes.len() > MOST_DEEP || steps > MOST_STEPS {
                continue;
            }
            for (parent, metadata) in self.parents(&at)? {
                let mut longer: Vec<PathScope> = scopes.clone();
                longer.extend(scope(&metadata, &at));
                here.push((parent, longer));
            }
        }
        Ok(ways)
    }

    /// Names of the roles that have a file in `staged/`, whatever it holds.
    pub(super) fn staged_files(&self) -> Result<Vec<RoleName>, Failure> {
        let folder = self.staged_folder();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(self.held.get(&RoleKind::Root.role()).cloned().into_iter().collect());
            }
            Err(e) => return Err(Failure::io("read", &folder, &e)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let loose = self.loose_root.as_ref().and_then(|path| path.file_name()?.to_str());
        let role = |name: String| {
            if Some(name.as_str()) == loose {
                Some(RoleKind::Root.role())
            } else {
                layout::staged_role(&name)
            }
        };
        let mut roles: Vec<RoleName> = names.filter_map(role).collect();
        // What is held in memory alone: snapshot and timestamp come last anyway, and lead nowhere.
        roles.extend(self.held.get(&RoleKind::Root.role()).cloned());
        roles.sort_unstable();
        Ok(roles)
    }
}

/// Those of the nodes that delegate.
fn delegating(nodes: &[Node]) -> Rc<[RoleName]> {
    nodes.iter().filter(|node| node.delegates).map(|node| node.role.clone()).collect()
}

fn scope(parent: &Metadata, role: &RoleName) -> Option<PathScope> {
    let delegations = parent.as_targets()?.delegations.as_ref()?;
    if let Some(bins) = delegations.succinct.as_ref().filter(|bins| bins.contains(role)) {
        return Some(PathScope::of_bin(bins, role.clone()));
    }
    delegations.roles.iter().find(|r| r.name == *role).map(PathScope::of)
}

const MOST_DEEP: usize = 64;
const MOST_STEPS: usize = 4096;
/// Stock clients look into no more roles for one target.
const MOST_SEARCHED: usize = 32;
