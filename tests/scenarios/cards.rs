//! The virtual YubiKey itself, judged by those who made the real one and by others: `ykman` and OpenSC.

use tufagent_tests::cards::{Card, CardRoom, FIRMWARE_5_4, FIRMWARE_5_7};
use tufagent_tests::need;

#[test]
fn two_cards_are_seen_and_seen_again_by_another_pcscd() {
    let (one, two) = (Card::new(1, FIRMWARE_5_4), Card::new(2, FIRMWARE_5_7));
    let Some(mut room) = need(CardRoom::with(&[&one, &two])) else { return };
    room.restart(&[&one, &two]);
    two.remove();
    two.until_gone();
    two.insert();
    two.until_seen();
}
