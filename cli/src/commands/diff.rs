//! `tufctl diff`: what would be signed, against what is published.

use std::path::Path;

use serde_json::json;
use tuf::diff::difference;

use super::names::key_names;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{self, Report};
use crate::workspace::Workspace;

/// Runs `tufctl diff`.
pub(crate) fn run(dir: &Path, context: &Context) -> Result<Report, Failure> {
    let workspace = Workspace::open(dir)?;
    if let Some(note) = workspace.interrupted() {
        context.screen.warn(note);
    }
    let names = key_names(&workspace, context)?;
    let (mut all, mut text) = (Vec::new(), String::new());
    for role in workspace.staged_roles()? {
        let Some(staged) = workspace.staged(&role)? else { continue };
        let said = difference(&role, workspace.published(&role)?.as_ref(), &staged);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&render::difference(&said, &names, context.screen.out(), render::now()));
        let value = serde_json::to_value(&said);
        all.push(
            value.map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write the difference: {e}")))?,
        );
    }
    if all.is_empty() {
        text.push_str("nothing is staged\n");
    }
    Ok(Report::new(json!({"roles": all}), text))
}
