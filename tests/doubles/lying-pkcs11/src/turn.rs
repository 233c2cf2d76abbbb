//! One call from its beginning to its end: traced, delayed, refused, passed on, bent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cryptoki_sys::*;

use crate::attempt::Attempt;
use crate::memory;
use crate::rule::{Bend, Lie, Rule, is_of_all};
use crate::script::Script;
use crate::trace;
use crate::world;

/// When the module is loaded: what is to be tried is tried.
pub(crate) extern "C" fn look_at_control() {
    READER.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().read();
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Module,
    Slot(CK_SLOT_ID),
    Session(CK_SESSION_HANDLE),
}

/// The lies of one call.
pub(crate) struct Turn {
    pub(crate) script: Arc<Script>,
    rules: Vec<Rule>,
}

/// Leads a call to `body`, which asks the real module; `None`: it cannot be asked.
pub(crate) fn through(
    call: &str,
    target: Target,
    more: &str,
    body: impl FnOnce(&Turn) -> Option<CK_RV>,
) -> CK_RV {
    let turn = Turn::take(call);
    let about = match target {
        Target::Module => String::new(),
        Target::Slot(slot) => format!("slot={slot} "),
        Target::Session(session) => format!("session={session} "),
    };
    trace::note('>', call, &format!("{about}{more}"));
    let refused = turn.tell(false, target).or_else(|| world::refuses(&turn.script, call, target));
    let told = refused.unwrap_or_else(|| {
        let real = body(&turn).unwrap_or(CKR_FUNCTION_NOT_SUPPORTED);
        trace::note_code('=', call, real);
        turn.tell(true, target).unwrap_or(real)
    });
    trace::note_code('<', call, told);
    told
}

impl Turn {
    /// Reads the control file and counts the call.
    fn take(call: &str) -> Self {
        let mut reader = READER.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = reader.get_or_insert_default();
        reader.read();
        if call == "C_Initialize" {
            reader.initialised_under = Some(reader.text.clone());
        }
        let counts = if is_of_all(call) { &[call, "*"][..] } else { &[call] };
        for name in counts {
            *reader.counts.entry((*name).to_owned()).or_default() += 1;
        }
        let mut rules = reader.rules_at(call, 0);
        rules.retain(|rule| !rule.until_restart || reader.initialised_under.as_ref() != Some(&reader.text));
        rules.retain(|rule| rule.once.as_deref().is_none_or(memory::first));
        Self { script: Arc::clone(&reader.script), rules }
    }

    /// What is done before (or after) the real module was asked: an answer in place of its own.
    fn tell(&self, after: bool, target: Target) -> Option<CK_RV> {
        for rule in self.rules.iter().filter(|rule| rule.after == after) {
            match rule.lie {
                Lie::Code(code) => return Some(code),
                Lie::Stuck(code) => {
                    if let Target::Session(session) = target {
                        world::stick(session);
                    }
                    return Some(code);
                }
                lie => act(lie),
            }
        }
        None
    }

    /// What is to become of the answer.
    pub(crate) fn bend(&self) -> Option<Bend> {
        bend_of(&self.rules)
    }

    /// What is to become of the answer to the next such call.
    pub(crate) fn next_bend(call: &str) -> Option<Bend> {
        let reader = READER.lock().unwrap_or_else(PoisonError::into_inner);
        bend_of(&reader.as_ref()?.rules_at(call, 1))
    }
}

fn bend_of(rules: &[Rule]) -> Option<Bend> {
    rules.iter().find_map(|rule| if let Lie::Bend(bend) = rule.lie { Some(bend) } else { None })
}

fn act(lie: Lie) {
    match lie {
        Lie::Sleep(time) => std::thread::sleep(time),
        Lie::Hang => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        Lie::Spin => loop {
            std::hint::spin_loop();
        },
        Lie::Segv => crash(),
        Lie::Abort => std::process::abort(),
        Lie::Exit(status) => std::process::exit(status),
        Lie::Code(_) | Lie::Stuck(_) | Lie::Bend(_) => {}
    }
}

fn crash() {
    let nowhere = std::hint::black_box(8_usize);
    // SAFETY: none; nothing is mapped there, and that is what it is for.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(nowhere).write_volatile(1) }
}

/// The control file as it was last read, and the calls since then.
#[derive(Default)]
struct Reader {
    text: String,
    script: Arc<Script>,
    counts: HashMap<String, u64>,
    /// The text at the last C_Initialize.
    initialised_under: Option<String>,
}

impl Reader {
    fn read(&mut self) {
        let Some(path) = std::env::var_os("LYING_CONTROL") else { return };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text == self.text {
            return;
        }
        match Script::parse(&text) {
            Ok(script) => {
                script.attempts.iter().for_each(Attempt::make);
                let initialised_under = self.initialised_under.take();
                *self = Self { text, script: Arc::new(script), counts: HashMap::new(), initialised_under };
            }
            Err(error) => {
                trace::note('!', "control", &error);
                std::process::exit(99);
            }
        }
    }

    /// The rules for the call as it was counted, or so many later.
    fn rules_at(&self, call: &str, later: u64) -> Vec<Rule> {
        let count = |name: &str| self.counts.get(name).copied().unwrap_or(0) + later;
        let holds = |rule: &&Rule| rule.is_of(call) && rule.holds_at(count(rule.call()));
        self.script.rules.iter().filter(holds).cloned().collect()
    }
}

static READER: Mutex<Option<Reader>> = Mutex::new(None);
