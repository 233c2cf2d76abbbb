//! What library, slot and token say; how many sessions there can be. Nobody needs to be logged in for it.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Limit;
use cryptoki::types::Version;

use super::Stop;
use super::bench::Bench;
use crate::doctor::{Facts, Library, MechanismFacts, SessionFacts, TokenFacts, Told};
use crate::host::faults::told;

pub(super) fn about(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let info = bench.pkcs11.get_library_info()?;
    let library = Library {
        manufacturer: info.manufacturer_id().to_owned(),
        description: info.library_description().to_owned(),
        version: version(info.library_version()),
        cryptoki: version(info.cryptoki_version()),
    };
    let info = bench.pkcs11.get_token_info(bench.slot)?;
    let hardware = bench.pkcs11.get_slot_info(bench.slot).is_ok_and(|slot| slot.hardware_slot());
    let token = TokenFacts {
        label: info.label().to_owned(),
        serial: info.serial_number().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        firmware: version(info.firmware_version()),
        hardware,
        login_required: info.login_required(),
        pin_pad: info.protected_authentication_path(),
        write_protected: info.write_protected(),
        count_low: info.user_pin_count_low(),
        final_try: info.user_pin_final_try(),
        pin_locked: info.user_pin_locked(),
        pin_to_be_changed: info.user_pin_to_be_changed(),
        error_state: info.error_state(),
        sessions: limit(info.max_session_count()),
        rw_sessions: limit(info.max_rw_session_count()),
    };
    Ok(Facts { library: Some(library), token: Some(token), ..Facts::default() })
}

pub(super) fn mechanisms(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let listed = bench.pkcs11.get_mechanism_list(bench.slot)?;
    let mut mechanisms: Vec<_> = listed.into_iter().map(|mechanism| one(bench, mechanism)).collect();
    mechanisms.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Facts { mechanisms: Some(mechanisms), ..Facts::default() })
}

fn one(bench: &Bench<'_>, mechanism: MechanismType) -> MechanismFacts {
    let name = mechanism.to_string();
    let Ok(info) = bench.pkcs11.get_mechanism_info(bench.slot, mechanism) else {
        return MechanismFacts { name, ..MechanismFacts::default() };
    };
    let size = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
    MechanismFacts {
        name,
        sign: info.sign(),
        generate: info.generate_key_pair(),
        hardware: info.hardware(),
        smallest: size(info.min_key_size()),
        largest: size(info.max_key_size()),
    }
}

/// Opens sessions until the module has no more, or there are as many as nobody needs; all are closed at once.
pub(super) fn sessions(bench: &Bench<'_>) -> Result<Facts, Stop> {
    let mut open = vec![bench.open()?];
    let mut refused = None;
    while open.len() < MOST_SESSIONS && refused.is_none() {
        // An answer that says nothing of a limit is one where it comes again.
        let another = bench.open().or_else(|error| match error {
            Error::Pkcs11(RvError::SessionCount, _) => Err(error),
            _ => bench.open(),
        });
        match another {
            Ok(session) => open.push(session),
            Err(error) => refused = Some(told(&error)),
        }
    }
    let opened = u32::try_from(open.len()).unwrap_or(u32::MAX);
    Ok(Facts { sessions: Some(SessionFacts { opened, refused }), ..Facts::default() })
}

const fn limit(limit: Limit) -> Told {
    match limit {
        Limit::Max(most) => Told::Most(most),
        Limit::Infinite => Told::NoLimit,
        Limit::Unavailable => Told::Nothing,
    }
}

fn version(version: Version) -> String {
    format!("{}.{}", version.major(), version.minor())
}

/// More than any limit that was met (1,022 and below), and held for a moment alone.
const MOST_SESSIONS: usize = 1100;
