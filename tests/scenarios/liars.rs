//! A module that lies, before the real agent: what a signature that went wrong leaves in repository and journal, and
//! who else notices (FAULTS B6, D2, D3, D7). Every code at every call: the backend's own matrix.

use serde_json::json;
use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, PIN, need};

/// A published repository whose online key is on `hsm`, a token behind the lying module, and whose root is on the honest
/// `other` of the same module. Both are unlocked.
fn published() -> Option<(Home, Agent)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    for label in ["build", "other"] {
        folder.init_token(label, "so-pin-4711", PIN).unwrap();
    }
    home.config(
        &(home.lying_table("hsm", "build", &folder) + &Home::softhsm_table("other", "other", &folder)),
    );
    let agent = home.start();
    home.secret("pin", PIN);
    for (token, key) in [("hsm", "online"), ("hsm", "second"), ("other", "root")] {
        home.run(&format!("token unlock {token} --pin-file pin")).done();
        home.run(&format!("key generate {key} --token {token} --type ecdsa-p256")).done();
    }
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").done();
    Some((home, agent))
}

/// Makes a key on the other token, and takes it away again.
fn other_token_serves(home: &Home) {
    home.run("key generate spare --token other --type ecdsa-p256").done();
    home.run("key remove spare --yes").done();
}

#[test]
fn a_signature_that_is_no_good_is_journalled_as_failed_and_changes_nothing() {
    let Some((home, _agent)) = published() else { return };
    let desk = home.lying_desk("hsm");
    home.run("bump repo timestamp").done();
    let timestamp = || std::fs::read(home.path("repo/metadata/timestamp.json")).unwrap();
    let before = timestamp();
    for lie in ["wrong", "short", "long", "huge", "zero", "empty", "other-key"] {
        desk.say(&format!("C_Sign {lie}"));
        home.refused("sign repo --yes", 5, "BAD_SIGNATURE");
        assert_eq!(timestamp(), before, "{lie}");
        let outcomes = home.journalled("sign.outcome");
        let last = outcomes.last().unwrap()["body"].to_string();
        assert!(last.contains("BAD_SIGNATURE"), "{lie}: {last}");
    }
    desk.say("");
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    assert_ne!(timestamp(), before);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run("audit verify").done();
}

#[test]
fn what_was_signed_before_a_signature_that_is_no_good_is_told_and_kept() {
    let Some((home, _agent)) = published() else { return };
    let desk = home.lying_desk("hsm");
    home.run("bump repo targets").done();
    // Targets first, then the snapshot that is made of them.
    desk.say("C_Sign 2 wrong");
    desk.forget();
    let failed = home.run("sign repo --yes --json").exits(5);
    let error = failed.json()["error"].clone();
    assert_eq!(error["reason"], "BAD_SIGNATURE", "{error}");
    let signed = error["details"]["signed"].as_array().unwrap();
    assert_eq!(signed.len(), 1, "{error}");
    let told = ["role", "version", "key", "token"].map(|member| signed[0][member].clone());
    assert_eq!(json!(told), json!(["targets", 2, "online", "hsm"]), "{error}");
    assert!(signed[0]["keyid"].is_string(), "{error}");
    // The screen says so, too; nothing is signed twice.
    assert!(failed.text().contains("signed before that: targets v2 by online (hsm)"), "{failed}");
    desk.say("");
    let signed = home.run("sign repo --yes --json").done().json();
    let roles: Vec<_> = signed["signed"].as_array().unwrap().iter().map(|it| it["role"].clone()).collect();
    assert_eq!(json!([signed["published"], roles]), json!([true, ["snapshot", "timestamp"]]));
}

#[test]
fn no_signature_of_the_token_is_without_an_intent_and_none_is_made_twice_for_one() {
    let Some((home, _agent)) = published() else { return };
    let desk = home.lying_desk("hsm");
    for (lie, reason) in [
        ("C_Sign once after abort", "TOKEN_FAILED"),
        ("C_Sign once after CKR_DEVICE_ERROR", "TOKEN_FAILED"),
        ("C_Sign once after CKR_DEVICE_REMOVED", "TOKEN_FAILED"),
    ] {
        home.run("bump repo timestamp").done();
        let intents = home.journalled("sign.intent").len();
        desk.forget();
        desk.say(lie);
        home.refused("sign repo --yes", 5, reason);
        assert_eq!(desk.trace().signatures(), 1, "{lie}: the token has signed once");
        assert_eq!(desk.trace().logins(), 0, "{lie}: nobody entered a PIN");
        assert_eq!(home.journalled("sign.intent").len(), intents + 1, "{lie}");
        let outcomes = home.journalled("sign.outcome");
        assert!(outcomes.last().unwrap()["body"].to_string().contains(reason), "{lie}: {outcomes:?}");
        other_token_serves(&home);
        desk.say("");
        home.run("token unlock hsm --pin-file pin").done();
        assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true, "{lie}");
        assert!(desk.trace().signatures() <= home.journalled("sign.intent").len(), "{lie}");
    }
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn codes_of_a_module_are_met_by_the_agent_as_the_table_says() {
    let Some((home, _agent)) = published() else { return };
    let desk = home.lying_desk("hsm");
    for (lie, reason) in [
        ("C_SignInit once CKR_KEY_HANDLE_INVALID", None),
        ("C_SignInit once CKR_DEVICE_REMOVED", None),
        ("C_Sign once stuck CKR_OPERATION_ACTIVE", None),
        ("C_SignInit once CKR_USER_NOT_LOGGED_IN", Some("TOKEN_LOCKED")),
        ("C_SignInit CKR_MECHANISM_INVALID", Some("UNSUPPORTED")),
        ("C_SignInit CKR_HOST_MEMORY", Some("TOKEN_FAILED")),
        ("C_SignInit once CKR_CRYPTOKI_NOT_INITIALIZED", Some("TOKEN_LOCKED")),
        ("C_Sign once segv", Some("TOKEN_FAILED")),
    ] {
        home.run("bump repo timestamp").done();
        desk.forget();
        desk.say(lie);
        match reason {
            None => _ = home.run("sign repo --yes").done(),
            Some(reason) => _ = home.refused("sign repo --yes", 5, reason),
        }
        assert_eq!(desk.trace().logins(), 0, "{lie}: nobody entered a PIN");
        other_token_serves(&home);
        desk.say("");
        if reason.is_some() {
            home.run("token unlock hsm --pin-file pin").done();
            home.run("sign repo --yes").done();
        }
    }
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_login_that_is_lost_is_made_again_by_a_pin_that_needs_no_person_and_the_same_request_signs() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.secret("pin", PIN);
    let pin = home.path("pin").display().to_string();
    home.config(&format!("{}pin = {{ file = {pin:?} }}\n", home.lying_table("hsm", "build", &folder)));
    let agent = home.start();
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("key generate online --token hsm --type ecdsa-p256").done();
    home.run("repo init repo --name app --root online --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").done();
    let desk = home.lying_desk("hsm");
    for lie in [
        "C_SignInit once CKR_USER_NOT_LOGGED_IN",
        "C_Sign once CKR_USER_NOT_LOGGED_IN",
        "C_SignInit once CKR_CRYPTOKI_NOT_INITIALIZED",
    ] {
        home.run("bump repo timestamp").done();
        let intents = home.journalled("sign.intent").len();
        desk.forget();
        desk.say(lie);
        let signed = home.run("sign repo --yes --json").done().json();
        assert_eq!(signed["published"], true, "{lie}: {signed}");
        assert_eq!(desk.trace().signatures(), 1, "{lie}");
        assert_eq!(desk.trace().logins(), 1, "{lie}: once for each loss");
        assert_eq!(home.journalled("sign.intent").len(), intents + 1, "{lie}");
        desk.say("");
    }
    // Where it is lost each time it is tried once more, and then told.
    home.run("bump repo timestamp").done();
    desk.forget();
    desk.say("C_SignInit CKR_USER_NOT_LOGGED_IN");
    let refused = home.refused("sign repo --yes", 5, "TOKEN_LOCKED").to_string();
    assert!(refused.contains("by itself") && !refused.contains("token unlock"), "{refused}");
    assert_eq!(desk.trace().calls("C_SignInit"), 2, "tried once more");
    desk.say("");
    // A signature of which nobody knows whether it was made is not asked for again.
    for lie in ["C_Sign once after CKR_DEVICE_ERROR", "C_Sign once after CKR_DEVICE_REMOVED"] {
        agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
        desk.forget();
        desk.say(lie);
        home.refused("sign repo --yes", 5, "TOKEN_FAILED");
        assert_eq!(desk.trace().signatures(), 1, "{lie}");
        desk.say("");
    }
    agent.wait_until(|| home.token("hsm")["state"] == "unlocked");
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn lengths_and_counts_that_cannot_be_or_that_grow_between_two_questions_cost_their_token_alone() {
    let Some((home, agent)) = published() else { return };
    let desk = home.lying_desk("hsm");
    for lie in [
        "C_GetSlotList huge",
        "C_GetSlotList %2 huge",
        "C_GetMechanismList huge",
        "C_GetAttributeValue %2 huge",
        "C_GetAttributeValue 3- huge",
        "attribute CKA_LABEL grows",
        "attribute CKA_ID grows",
        "attribute CKA_EC_POINT grows private",
        "C_FindObjects huge",
    ] {
        desk.say(lie);
        home.run("bump repo timestamp").done();
        // Whatever is told: the agent serves, and so does the other token.
        home.run("token unlock hsm --pin-file pin");
        home.run("sign repo --yes --json");
        home.run("token doctor hsm --json");
        other_token_serves(&home);
        desk.say("");
        agent.wait_until(|| home.run("token unlock hsm --pin-file pin").code == 0);
        home.run("bump repo timestamp").done();
        assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true, "{lie}");
    }
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run("audit verify").done();
}
