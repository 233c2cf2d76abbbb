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
        let tree: Rc<[Node]> = self.walk(&|role| self.current(role))?.into();
        *self.tree.borrow_mut() = Some(Rc::clone(&tree));
        Ok(tree)
    }

    /// Targets roles that are published, parents first.
    pub(super) fn published_targets_roles(&self) -> Result<Vec<RoleName>, Failure> {
        Ok(self.walk(&|role| self.published(role))?.into_iter().map(|node| node.role).collect())
    }

    fn walk(
        &self,
        read: &dyn Fn(&RoleName) -> Result<Option<Metadata>, Failure>,
    ) -> Result<Vec<Node>, Failure> {
        let top = Node {
            role: RoleKind::Targets.role(),
            parent: RoleKind::Root.role(),
            depth: 0,
            delegates: false,
        };
        let (mut nodes, mut seen) = (Vec::new(), BTreeSet::new());
        let mut waiting = vec![top];
        while let Some(mut node) = waiting.pop() {
            if !seen.insert(node.role.clone()) {
                continue;
            }
            let Some(metadata) = read(&node.role)? else { continue };
            let children = self.children(&metadata)?;
            node.delegates = metadata.as_targets().is_some_and(|t| t.delegations.is_some());
            let depth = node.depth.saturating_add(1);
            waiting.extend(children.into_iter().rev().map(|role| Node {
                role,
                parent: node.role.clone(),
                depth,
                delegates: false,
            }));
            nodes.push(node);
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
        let mut known: BTreeSet<RoleName> = listed.iter().flat_map(|s| s.meta.keys().cloned()).collect();
        known.extend(self.staged_files()?);
        Ok(known.into_iter().filter(|role| bins.contains(role)).collect())
    }

    /// Every targets role whose current metadata delegates to `role`.
    pub(crate) fn parents(&self, role: &RoleName) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let mut parents = Vec::new();
        for node in self.tree()?.iter().filter(|node| node.delegates) {
            let Some(metadata) = self.current(&node.role)? else { continue };
            let delegations = metadata.as_targets().and_then(|t| t.delegations.as_ref());
            if delegations.is_some_and(|d| d.role_keys(role).is_some()) {
                parents.push((node.role.clone(), metadata));
            }
        }
        Ok(parents)
    }

    /// The role that a client would search first for a target, after the top one: the first delegation that allows it.
    pub(crate) fn role_for(&self, path: &str) -> Result<RoleName, Failure> {
        let top = RoleKind::Targets.role();
        let metadata = self.current(&top)?;
        let delegations =
            metadata.as_ref().and_then(Metadata::as_targets).and_then(|t| t.delegations.as_ref());
        let first = delegations.and_then(|d| d.roles_for(path).into_iter().next());
        Ok(first.map_or(top, |(role, _)| role))
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
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Failure::io("read", &folder, &e)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut roles: Vec<RoleName> = names.filter_map(|name| layout::staged_role(&name)).collect();
        roles.sort_unstable();
        Ok(roles)
    }
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
