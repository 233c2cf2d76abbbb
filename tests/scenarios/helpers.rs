//! What a helper and its module do to the agent, seen from outside: PINs for each signature, tracers, lost answers.

use std::time::{Duration, Instant};

use lying_pkcs11::Desk;
use serde_json::Value;
use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, PIN, need};

use crate::file_store::own;
use crate::strace::Strace;

/// An agent with a lying token `hsm`, unlocked by a PIN file, whose key signs all roles but the root.
fn published() -> Option<(Home, Agent, Desk)> {
    published_with("")
}

/// The same, with `more` in the token's table.
fn published_with(more: &str) -> Option<(Home, Agent, Desk)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let pin = home.secret("hsm-pin", PIN).display().to_string();
    let table = home.lying_table("hsm", "build", &folder);
    home.config(&format!("{table}pin = {{ file = {pin:?} }}\n{more}"));
    let agent = home.start();
    home.unlock_file_store();
    home.run("key generate root --token file --type ed25519").done();
    home.run("key generate online --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    let desk = home.lying_desk("hsm");
    desk.forget();
    Some((home, agent, desk))
}

#[test]
fn a_token_that_may_sign_several_at_once_is_asked_for_so_many_and_others_for_one() {
    for sessions in [1, 4] {
        let Some((home, agent, desk)) = published_with(&format!("sessions = {sessions}\n")) else { return };
        home.run("delegation add repo bin --succinct-bins 64 --key online --threshold 1 --yes").done();
        desk.say("C_Sign * sleep 50");
        desk.forget();
        assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
        home.run("verify repo --root repo/metadata/1.root.json").done();
        let trace = desk.trace();
        let most = trace.most_at_once("C_Sign");
        assert!(if sessions == 1 { most == 1 } else { (2..=sessions).contains(&most) }, "{sessions}: {most}");
        assert_eq!((trace.logins(), trace.signatures()), (0, 67), "{sessions}");
        let intents = home.journalled("sign.intent").len();
        agent.wait_until(|| home.journalled("sign.outcome").len() == intents);
    }
}

#[test]
fn what_hangs_or_dies_beside_other_signatures_is_told_recorded_and_made_again_by_nobody_but_a_person() {
    for lie in ["hang", "after abort"] {
        let Some((home, agent, desk)) = published_with("sessions = 4\n") else { return };
        home.run("delegation add repo bin --succinct-bins 64 --key online --threshold 1 --yes").done();
        let (intents, outcomes) =
            (home.journalled("sign.intent").len(), home.journalled("sign.outcome").len());
        desk.say(&format!("C_Sign 20 once {lie}\nC_Sign * sleep 20"));
        desk.forget();
        let failed = home.refused("sign repo --yes", 5, "TOKEN_FAILED");
        assert!(failed["message"].as_str().unwrap().contains("hsm"), "{failed}");
        // Nobody asked the token more often than the record says.
        let begun = home.journalled("sign.intent").len() - intents;
        assert!((20..=begun).contains(&desk.trace().calls("C_Sign")), "{lie}: {begun}");
        agent.wait_until(|| home.journalled("sign.outcome").len() == outcomes + begun);
        agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
        assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
        home.run("verify repo --root repo/metadata/1.root.json").done();
        let all = home.journalled("sign.intent").len() - intents;
        assert!(desk.trace().calls("C_Sign") <= all, "{lie}: {all}");
        home.run("audit verify").done();
    }
}

#[test]
fn a_key_that_takes_the_pin_each_time_signs_with_one_for_each_signature() {
    let Some((home, _agent, desk)) = published() else { return };
    desk.say("always-authenticate context");
    // What was found before has not yet said so; a new login looks again.
    home.run("token lock hsm").done();
    home.run("token unlock hsm").done();
    desk.forget();
    home.run("bump repo timestamp").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    home.run("bump repo snapshot").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    let trace = desk.trace();
    assert_eq!((trace.context_logins(), trace.signatures(), trace.logins()), (3, 3, 0));
    // A wrong PIN in the file is presented once.
    home.secret("hsm-pin", "wrong-pin-4f2a");
    home.run("bump repo timestamp").done();
    home.refused("sign repo --yes", 5, "PIN_INCORRECT");
    home.refused("sign repo --yes", 5, "TOKEN_LOCKED");
    let trace = desk.trace();
    assert_eq!((trace.context_logins(), trace.signatures(), trace.logins()), (4, 3, 0));
    home.secret("hsm-pin", PIN);
    home.run("token unlock hsm").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_helper_that_is_traced_gets_no_pin() {
    let Some((home, agent, desk)) = published() else { return };
    let Some(strace) = need(Strace::find()) else { return };
    home.run("token lock hsm").done();
    let helper = u32::try_from(home.token("hsm")["helper_pid"].as_u64().unwrap()).unwrap();
    let attached = strace.attach(&home, helper, &["-e", "trace=none"]);
    desk.forget();
    let refused = home.refused("token unlock hsm", 5, "TOKEN_FAILED");
    assert!(refused["message"].as_str().unwrap().contains("traces"), "{refused}");
    assert_eq!(desk.trace().logins(), 0);
    drop(attached);
    agent.wait_until(|| home.run("token unlock hsm").code == 0);
    home.run("bump repo timestamp").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    // What holds no secret it is asked all the same.
    let attached = strace.attach(&home, helper, &["-e", "trace=none"]);
    home.run("key generate beside --token hsm --type ecdsa-p256").done();
    drop(attached);
}

#[test]
fn signatures_whose_answers_are_lost_stand_in_the_record_and_are_not_made_twice() {
    let Some((home, agent, desk)) = published() else { return };
    let (intents, outcomes) = (home.journalled("sign.intent").len(), home.journalled("sign.outcome").len());
    for (n, lie) in ["CKR_DEVICE_REMOVED", "abort", "CKR_GENERAL_ERROR"].into_iter().enumerate() {
        home.run("bump repo timestamp").done();
        desk.say(&format!("C_Sign 1 after {lie}"));
        let failed = home.refused("sign repo --yes", 5, "TOKEN_FAILED");
        assert!(failed["message"].as_str().unwrap().contains("hsm"), "{failed}");
        desk.say("pass");
        let made = desk.trace().signatures();
        assert_eq!(made, n + 1, "{lie}: the token has signed, once");
        assert_eq!(home.journalled("sign.intent").len(), intents + made, "{lie}");
        agent.wait_until(|| home.journalled("sign.outcome").len() == outcomes + made);
        agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    }
    // By a person's command it is signed then, and that is one more in the record.
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    assert_eq!(desk.trace().signatures(), home.journalled("sign.intent").len() - intents);
    home.run("audit verify").done();
}

#[test]
fn a_helper_that_dies_again_and_again_is_told_by_the_tokens_name_and_comes_back() {
    let Some((home, agent, desk)) = published() else { return };
    desk.say("C_Sign * abort");
    let mut told = String::new();
    // The first death costs nothing: the token may be back before anybody looks.
    for _ in 0..6 {
        home.run("bump repo timestamp").done();
        told = home.run("sign repo --yes --json").stdout;
        if told.contains("again in") {
            break;
        }
        agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    }
    assert!(told.contains("token hsm") && told.contains("again in"), "{told}");
    desk.say("pass");
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn what_is_told_of_a_helpers_death_and_of_the_way_on_is_true() {
    let Some((home, agent, desk)) = published() else { return };
    let died = |lie: &str| {
        agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
        home.run("bump repo timestamp").done();
        desk.say(lie);
        let told = home.refused("sign repo --yes", 5, "TOKEN_FAILED");
        desk.say("pass");
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        assert!(text("message").contains("while it was signing"), "{told}");
        assert!(text("remedy").contains("by itself") && !text("remedy").contains("token unlock"), "{told}");
        (text("message"), text("remedy"))
    };
    // Whoever sees first that the helper does not answer looks for the token, and not for the signature.
    let (message, remedy) = died("C_Sign once hang");
    assert!(message.contains("it was started again"), "{message}");
    assert!(remedy.starts_with("repeat"), "{remedy}");
    assert_eq!(agent.log().matches("WARN the helper of token hsm").count(), 1, "{}", agent.log());
    // The next within a minute waits, longer each time, and says so.
    died("C_Sign * abort");
    died("C_Sign * abort");
    let (message, remedy) = died("C_Sign * abort");
    assert!(message.contains("it is started again in") && !message.contains("was started"), "{message}");
    assert!(remedy.starts_with("wait"), "{remedy}");
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn where_a_person_gives_the_pin_a_helpers_death_leads_to_the_unlock() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.config(&home.lying_table("hsm", "build", &folder));
    let _agent = home.start();
    home.secret("pin", PIN);
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate online --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root online --targets online --snapshot online --timestamp online")
        .done();
    home.lying_desk("hsm").say("C_Sign once abort");
    let told = home.refused("sign repo --yes", 5, "TOKEN_FAILED");
    assert!(told["remedy"].as_str().unwrap().contains("token unlock hsm"), "{told}");
}

#[test]
fn a_token_that_hangs_keeps_who_uses_others_waiting_once_and_not_again() {
    let Some((home, agent, desk)) = published() else { return };
    home.unlock_file_store();
    home.key("own", "ed25519");
    let helper = u32::try_from(home.token("hsm")["helper_pid"].as_u64().unwrap()).unwrap();
    // Whatever helper comes after the one that stands still hangs too.
    desk.say("C_GetSlotList hang");
    tufagent_tests::signal(helper, "STOP");
    let listed = || home.run("key list --json").done().json();
    let available = |list: &Value, name: &str| {
        list["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap()["available"].clone()
    };
    agent.wait_until(|| available(&listed(), "online") == false);
    assert_eq!(available(&listed(), "own"), true);
    let begun = Instant::now();
    for n in 0..20 {
        home.key(&format!("more-{n}"), "ed25519");
    }
    // Each would have waited for five seconds.
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    desk.say("pass");
    tufagent_tests::signal(helper, "CONT");
    agent.wait_until(|| available(&listed(), "online") == true);
    home.run("bump repo timestamp").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
}

#[test]
fn a_key_of_another_token_never_waits_for_one_that_has_just_begun_to_hang() {
    let Some((home, agent, desk)) = published() else { return };
    let key = |list: &Value, name: &str| {
        list["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap().clone()
    };
    let listed = || home.run("key list --json").done().json();
    for command in ["key list", "repo show repo", "bump repo root", "sign repo --role root --key root --yes"]
    {
        // A busy machine may be slow once; the token would keep each of them waiting for five seconds.
        let waited = (0..3).map(|_| {
            agent.wait_until(|| key(&listed(), "online")["available"] == true);
            let helper = u32::try_from(home.token("hsm")["helper_pid"].as_u64().unwrap()).unwrap();
            desk.say("C_GetSlotList hang");
            tufagent_tests::signal(helper, "STOP");
            let begun = Instant::now();
            let told = home.run(command);
            let waited = begun.elapsed();
            assert!([0, 4].contains(&told.code), "{command}: {told}");
            if command == "key list" {
                assert!(told.text().contains("does not answer"), "{told}");
            }
            desk.say("pass");
            tufagent_tests::signal(helper, "CONT");
            waited
        });
        let shortest = waited.min().unwrap();
        assert!(shortest < Duration::from_secs(4), "{command}: {shortest:?}");
    }
    // It is named as what it is.
    let helper = u32::try_from(home.token("hsm")["helper_pid"].as_u64().unwrap()).unwrap();
    tufagent_tests::signal(helper, "STOP");
    agent.wait_until(|| key(&listed(), "online")["unanswered"] == true);
    tufagent_tests::signal(helper, "CONT");
}

#[test]
fn a_helper_of_which_one_thread_is_traced_gets_no_pin_of_a_signature_no_key_and_none_to_measure() {
    let Some((home, agent, desk)) = published() else { return };
    let Some(strace) = need(Strace::find()) else { return };
    desk.say("always-authenticate context");
    // What was found before has not yet said so; a new login looks again.
    home.run("token lock hsm").done();
    home.run("token unlock hsm").done();
    home.run("bump repo timestamp").done();
    let traced = |command: &str| {
        let refused = home.refused(command, 5, "TOKEN_FAILED");
        assert!(refused["message"].as_str().unwrap().contains("traces"), "{command}: {refused}");
    };
    let helper = u32::try_from(home.token("hsm")["helper_pid"].as_u64().unwrap()).unwrap();
    let attached = strace.attach_to_one(&home, last_thread(helper), &["-e", "trace=none"]);
    desk.forget();
    traced("token unlock hsm");
    traced("sign repo --yes");
    own(&home, "ecdsa-p256.pem");
    traced("key import imported ecdsa-p256.pem --token hsm");
    assert_eq!(
        (desk.trace().logins(), desk.trace().context_logins(), desk.trace().calls("C_CreateObject")),
        (0, 0, 0)
    );
    drop(attached);
    // Doctor has a helper of its own, which is caught while it looks around.
    desk.say("C_GetMechanismList 1 once sleep 4000");
    let before = children(agent.pid());
    let doctor = std::thread::spawn({
        let home = home.clone();
        move || home.refused("token doctor hsm", 5, "TOKEN_FAILED")
    });
    let end = Instant::now() + Duration::from_secs(30);
    while desk.trace().calls("C_GetMechanismList") == 0 {
        assert!(Instant::now() < end, "doctor does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    let new = children(agent.pid()).into_iter().find(|pid| !before.contains(pid)).expect("doctor's helper");
    let attached = strace.attach_to_one(&home, last_thread(new), &["-e", "trace=none"]);
    let refused = doctor.join().unwrap();
    assert!(refused["message"].as_str().unwrap().contains("traces"), "{refused}");
    assert_eq!(desk.trace().logins(), 0);
    drop(attached);
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let texts = tasks.map(|it| std::fs::read_to_string(it.path().join("children")).unwrap_or_default());
    texts
        .flat_map(|text| text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// The thread of a process that was started last; not its first.
fn last_thread(pid: u32) -> u32 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let last = threads.map(|it| it.unwrap().file_name().into_string().unwrap().parse().unwrap()).max();
    last.filter(|last| *last != pid).expect("a helper has a second thread")
}
