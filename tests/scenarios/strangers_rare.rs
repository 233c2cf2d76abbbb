//! Kinds of repositories that are rarer still: adopted, changed, signed, and accepted by stock clients that saw them before.

use crate::strangers_kinds::adopted_changed_and_accepted;

#[test]
fn keys_as_others_spell_them() {
    adopted_changed_and_accepted("rare-keys");
}

#[test]
fn delegations_in_other_shapes() {
    adopted_changed_and_accepted("rare-delegations");
}

#[test]
fn bins_of_other_numbers() {
    adopted_changed_and_accepted("rare-bins");
}

#[test]
fn files_as_other_tools_leave_them() {
    adopted_changed_and_accepted("rare-files");
}
