//! The card as vpcd meets it, without pcscd. (With pcscd, ykman and OpenSC it meets the scenarios.)

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::{Card, Fault, Root, State};

/// vpcd, in a few lines.
struct Vpcd(TcpStream, TcpListener);

impl Vpcd {
    fn at(card: &Card) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        card.plug_into(listener.local_addr().unwrap().port());
        Self::accept(listener)
    }

    fn accept(listener: TcpListener) -> Self {
        let mut vpcd = Self(listener.accept().unwrap().0, listener);
        vpcd.send(&[1]);
        vpcd.send(&[4]);
        assert_eq!(hex::encode(vpcd.receive().unwrap()), "3bfd1300008131fe158073c021c057597562694b657940");
        assert_eq!(vpcd.ask("00a4040005a000000308"), "61114f0600001000010079074f05a0000003089000");
        vpcd
    }

    fn send(&mut self, message: &[u8]) {
        let len = u16::try_from(message.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&len, message].concat()).unwrap();
    }

    /// `None` when the card is gone.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut len = [0; 2];
        self.0.read_exact(&mut len).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
        self.0.read_exact(&mut message).ok().map(|()| message)
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(&hex::decode(command).unwrap());
        self.receive().map_or_else(|| "gone".to_owned(), hex::encode)
    }

    /// By the factory's key.
    fn authenticate(&mut self, card: &Card) {
        let key = card.state().management;
        let algorithm = key.algorithm;
        let told = self.ask(&format!("0087{algorithm:02x}9b047c02800000"));
        let block = key.block_len();
        let witness = key.decrypt(&hex::decode(&told[8..8 + 2 * block]).unwrap()).unwrap();
        let len = block * 2 + 4;
        let (witness, challenge) = (hex::encode(witness), "00".repeat(block));
        let proof = format!("7c{len:02x}80{block:02x}{witness}81{block:02x}{challenge}");
        let told = self.ask(&format!("0087{algorithm:02x}9b{:02x}{proof}", len + 2));
        let expected = hex::encode(key.encrypt(&vec![0; block]).unwrap());
        assert_eq!(told, format!("7c{:02x}82{block:02x}{expected}9000", block + 2));
    }
}

const PIN: &str = "0020008008313233343536ffff";
const WRONG: &str = "0020008008363534333231ffff";
const SIGN: &str = "0087119c267c24820081200101010101010101010101010101010101010101010101010101010101010101";

fn generate(touch: u8) -> String {
    format!("0047009c0bac09800111aa0102ab01{touch:02x}")
}

#[test]
fn both_firmwares_are_asked_proved_to_and_sign() {
    for (serial, firmware, version) in [(1, [5, 4, 3], "050403"), (2, [5, 7, 1], "050701")] {
        let card = Card::new(serial, firmware);
        let mut vpcd = Vpcd::at(&card);
        assert_eq!(vpcd.ask("00fd0000"), format!("{version}9000"));
        assert_eq!(vpcd.ask("00f80000"), format!("{serial:08x}9000"));
        assert_eq!(vpcd.ask(&generate(1)), "6982");
        vpcd.authenticate(&card);
        assert!(vpcd.ask(&generate(1)).starts_with("7f4943864104"));
        assert_eq!(vpcd.ask(SIGN), "6982");
        assert_eq!(vpcd.ask(PIN), "9000");
        assert!(vpcd.ask(SIGN).starts_with("7c"));
        // Another applet, and back: proved no more.
        assert!(vpcd.ask("00a4040008a000000527471117").ends_with("9000"));
        assert!(vpcd.ask("00a4040005a000000308").ends_with("9000"));
        assert_eq!((vpcd.ask(SIGN), vpcd.ask("00200080")), ("6982".into(), "63c3".into()));
        let counters = card.counters();
        assert_eq!((counters.verifies, counters.signatures, counters.authentications), (1, 1, 1));
    }
}

#[test]
fn a_wrong_pin_costs_a_try_and_the_puk_brings_them_back() {
    let card = Card::new(3, [5, 7, 1]);
    let mut vpcd = Vpcd::at(&card);
    assert_eq!([WRONG, WRONG, PIN, WRONG].map(|it| vpcd.ask(it)), ["63c2", "63c1", "9000", "63c2"]);
    assert_eq!([WRONG, WRONG, PIN, WRONG].map(|it| vpcd.ask(it)), ["63c1", "6983", "6983", "6983"]);
    assert_eq!(card.counters().verifies, 8);
    let unblock = |puk: &str, pin: &str| format!("002c008010{}{}", hex::encode(puk), hex::encode(pin));
    assert_eq!(vpcd.ask(&unblock("00000000", "abcdefgh")), "63c2");
    assert_eq!(vpcd.ask(&unblock("12345678", "abcdefgh")), "9000");
    assert_eq!(vpcd.ask(&format!("0020008008{}", hex::encode("abcdefgh"))), "9000");
    assert_eq!(card.tries_left(), (3, 3));
    assert_eq!(vpcd.ask("00fb0000"), "6985");
}

#[test]
fn a_touch_is_waited_for_and_one_that_does_not_come_reads_like_a_missing_pin() {
    let card = Card::new(4, [5, 4, 3]);
    let mut vpcd = Vpcd::at(&card);
    vpcd.authenticate(&card);
    assert!(vpcd.ask(&generate(2)).starts_with("7f49"));
    vpcd.ask(PIN);
    card.touch_within(Duration::from_millis(50));
    assert_eq!(vpcd.ask(SIGN), "6982");
    card.touch_within(Duration::from_secs(120));
    vpcd.send(&hex::decode(SIGN).unwrap());
    card.until_it_waits_for_a_touch();
    card.touch();
    assert_eq!(vpcd.receive().unwrap()[0], 0x7c);
    // Each signature wants its own.
    vpcd.send(&hex::decode(SIGN).unwrap());
    card.until_it_waits_for_a_touch();
    card.remove();
    assert_eq!(vpcd.receive(), None);
    assert_eq!((card.touches_asked(), card.counters().signatures), (3, 1));
}

#[test]
fn what_is_to_go_wrong_goes_wrong_and_a_kept_card_comes_back() {
    let card = Card::new(5, [5, 7, 1]);
    let mut vpcd = Vpcd::at(&card);
    card.fail(2, Fault::Sw(0x6f00));
    assert_eq!([PIN, PIN, PIN].map(|it| vpcd.ask(it)), ["9000", "6f00", "9000"]);
    card.fail_at(0x20, 1, Fault::RemoveAfter);
    assert_eq!(vpcd.ask("00fd0000"), "0507019000");
    assert_eq!(vpcd.ask(WRONG), "gone");
    assert_eq!((card.tries_left(), card.counters().verifies), ((2, 3), 3));
    let dir = std::env::temp_dir().join(format!("virtual-yubikey-{}.json", std::process::id()));
    card.state().write(&dir).unwrap();
    let again = State::read(&dir).unwrap();
    std::fs::remove_file(dir).unwrap();
    assert_eq!((again.serial(), again.counters()), (5, card.counters()));
    drop(vpcd.0);
    let old = card.swap(State::new(6, [5, 4, 3], Root::shared()));
    assert_eq!(old.serial(), 5);
    assert_eq!(Vpcd::accept(vpcd.1).ask("00f80000"), "000000069000");
}
