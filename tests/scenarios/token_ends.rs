//! The end of the agent as its modules see it: each is told (C_Finalize), and none holds it up; nor a start or a reload.

use std::time::{Duration, Instant};

use lying_pkcs11::Desk;
use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, PIN, need};

/// An agent with lying tokens of these names, all unlocked.
fn with_tokens(names: &[&str]) -> Option<(Home, Agent, Vec<Desk>)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let pin = home.secret("hsm-pin", PIN).display().to_string();
    let mut config = String::new();
    for name in names {
        let folder = softhsm.folder(&home.dir().join(format!("softhsm-{name}"))).unwrap();
        folder.init_token(name, "so-pin-4711", PIN).unwrap();
        config += &format!("{}pin = {{ file = {pin:?} }}\n", home.lying_table(name, name, &folder));
    }
    home.config(&config);
    let agent = home.start();
    agent.wait_until(|| names.iter().all(|name| home.token(name)["state"] == "unlocked"));
    let desks = names.iter().map(|name| home.lying_desk(name)).collect();
    Some((home, agent, desks))
}

#[test]
fn a_module_is_ended_with_its_agent_also_with_one_that_was_killed() {
    for kill in [false, true] {
        let Some((_home, agent, desks)) = with_tokens(&["one"]) else { return };
        desks[0].forget();
        match kill {
            true => agent.kill(),
            false => assert!(agent.stop().success()),
        }
        let end = Instant::now() + Duration::from_secs(10);
        while desks[0].trace().calls("C_Finalize") == 0 {
            assert!(
                Instant::now() < end,
                "killed: {kill}; {:?}",
                desks[0].trace().sequence().collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        // Once by the agent's lock, where that comes through in time, and once by the helper's end.
        let trace = desks[0].trace();
        let calls: Vec<_> = trace.sequence().collect();
        let of = |name: &str| calls.iter().position(|call| *call == name);
        assert!(of("C_Logout").is_some_and(|at| Some(at) < of("C_Finalize")), "{calls:?}");
    }
}

#[test]
fn modules_that_do_not_end_hold_up_the_agent_once_and_not_one_after_the_other() {
    let names = ["one", "two", "three", "four", "five", "six"];
    let Some((_home, agent, desks)) = with_tokens(&names) else { return };
    desks.iter().for_each(|desk| desk.say("C_Finalize hang"));
    let before = Instant::now();
    assert!(agent.stop().success());
    let took = before.elapsed();
    assert!(desks.iter().all(|desk| desk.trace().calls("C_Finalize") == 1));
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// The least of three, as a busy machine may be slow once.
fn least(mut take: impl FnMut() -> Option<Duration>) -> Option<Duration> {
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(take()?);
    }
    all.into_iter().min()
}

#[test]
fn a_module_that_hangs_keeps_nobody_waiting_for_long_after_a_start() {
    let Some((home, agent, desks)) = with_tokens(&["one", "two"]) else { return };
    agent.stop();
    desks[0].say("C_Initialize hang");
    let took = least(|| {
        let begun = Instant::now();
        let agent = home.start();
        let slow = home.token("one");
        let took = begun.elapsed();
        let problem = slow["problem"].as_str().unwrap_or_default();
        assert!(slow["state"] == "absent" && problem.contains("nothing was heard of it"), "{slow}");
        agent.wait_until(|| home.token("two")["state"] == "unlocked");
        agent.kill();
        Some(took)
    });
    assert!(took.unwrap() < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_reload_that_adds_a_token_whose_module_hangs_changes_the_others_soon() {
    let Some((home, agent, desks)) = with_tokens(&["one", "two"]) else { return };
    agent.stop();
    let file = home.dir().join("config/tuf-agent/config.toml");
    let both = std::fs::read_to_string(&file).unwrap();
    let second = both.rfind("[[token]]").unwrap();
    desks[0].say("C_Initialize hang");
    let mut number = 0;
    let took = least(|| {
        home.config(&both[second..]);
        let agent = home.start();
        number += 1;
        let name = format!("two-{number}");
        home.config(&both.replace("name = \"two\"", &format!("name = \"{name}\"")));
        let begun = Instant::now();
        agent.signal("HUP");
        let list = || home.run("token list --json").done().text();
        agent.wait_until(|| list().contains(&name));
        let took = begun.elapsed();
        agent.kill();
        Some(took)
    });
    assert!(took.unwrap() < Duration::from_secs(4), "{took:?}");
}
