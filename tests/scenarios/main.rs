//! Scenarios: stories told with the real binaries, judged by stock clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "tests"
)]

mod attach;
mod attestation;
mod backups;
mod bad_requests;
mod bad_state;
mod build_machine;
mod canonical;
mod card_setup;
mod cards;
mod ceremony;
mod colleagues;
mod collection_ways;
mod collections;
mod confinement;
mod conformance;
mod contract;
mod copies;
mod crash;
mod crash_steps;
mod custodians;
mod custody;
mod damaged;
mod delegations;
mod door;
mod durability;
mod each_signature;
mod editing;
mod end_to_end;
mod file_store;
mod forge;
mod forged;
mod half_signed;
mod handed_in;
mod health;
mod helpers;
mod hostile;
mod hostile_text;
mod in_place;
mod judges;
mod key_types;
mod large;
mod liars;
mod lint;
mod lost_state;
mod memory;
mod modules;
mod mutations;
mod names;
mod neighbours;
mod no_pcsc;
mod odd_files;
mod origin;
mod pin_files;
mod pin_sources;
mod pinentry;
mod pins;
mod publishing;
mod recovered;
mod recovery;
mod rotation;
mod schemes;
mod screen;
mod secrets;
mod share_files;
mod share_remedies;
mod share_verify;
mod sheets;
mod small_disk;
mod split_root;
mod split_sets;
mod split_signing;
mod strace;
mod strangers;
mod strangers_kinds;
mod strangers_oddities;
mod strangers_parents;
mod strangers_roots;
mod strangers_short;
mod supersede;
mod terminal;
mod token_doctor;
mod tokens;
mod two_users;
mod untouched;
mod verify;
mod watermarks;
mod weak_sets;
mod whole_copies;
mod wire;
mod words;
mod yubikey_away;
mod yubikey_backup;
mod yubikey_confined;
mod yubikey_faults;
mod yubikey_management;
mod yubikey_matrix;
mod yubikey_pins;
mod yubikey_prompts;
mod yubikey_remedies;
mod yubikey_secrets;
mod yubikey_several;
mod yubikey_shared;
mod yubikey_steps;
mod yubikey_touch;
mod yubikey_typing;
mod yubikeys;
