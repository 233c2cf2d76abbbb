//! A token that is ready to be used, and how the agent's configuration names it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::server::Server;

/// A token that was made. What serves it ends with this value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ready {
    /// The PKCS#11 module, an absolute path.
    pub module: PathBuf,
    /// The environment for whoever loads the module.
    pub env: BTreeMap<String, String>,
    /// What C_Initialize gets as its reserved argument.
    pub reserved: Option<String>,
    /// What the module writes.
    pub paths: Vec<PathBuf>,
    /// The token's label.
    pub label: String,
    /// The user PIN.
    pub pin: String,
    servers: Vec<Server>,
}

impl Ready {
    pub(crate) fn new(module: PathBuf, env: BTreeMap<String, String>, label: &str, pin: &str) -> Self {
        let (label, pin) = (label.to_owned(), pin.to_owned());
        Self { module, env, reserved: None, paths: Vec::new(), label, pin, servers: Vec::new() }
    }

    /// A folder that the module writes.
    pub(crate) fn writing(mut self, folder: PathBuf) -> Self {
        self.paths.push(folder);
        self
    }

    /// What has to run for as long as the token is used; the last one given ends first.
    pub(crate) fn served_by(mut self, server: Server) -> Self {
        self.servers.insert(0, server);
        self
    }

    /// The `[[token]]` table that names the token by its label and asks for its PIN. Lines can be added.
    pub fn table(&self, name: &str) -> String {
        self.table_by(name, "label", &self.label)
    }

    /// The same, with the token named by `serial`, `uri` or `label`.
    pub fn table_by(&self, name: &str, attribute: &str, value: &str) -> String {
        let env: Vec<_> = self.env.iter().map(|(key, value)| format!("{key} = {}", quoted(value))).collect();
        let mut table = format!(
            "[[token]]\nname = {}\nkind = \"pkcs11\"\nmodule = {}\n{attribute} = {}\nenv = {{ {} }}\n",
            quoted(name),
            quoted(&self.module.to_string_lossy()),
            quoted(value),
            env.join(", ")
        );
        if let Some(reserved) = &self.reserved {
            table += &format!("reserved = {}\n", quoted(reserved));
        }
        let paths: Vec<_> = self.paths.iter().map(|path| quoted(&path.to_string_lossy())).collect();
        table + &format!("paths = [{}]\nnetwork = false\n", paths.join(", "))
    }
}

/// A basic string of TOML.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing to a string cannot fail.
            c if c.is_control() => drop(write!(out, "\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_all_that_the_module_needs() {
        let env = BTreeMap::from([("A".to_owned(), "one \"two\"".to_owned())]);
        let mut ready = Ready::new("/m.so".into(), env, "lab\n\\", "1234").writing("/x".into());
        ready.reserved = Some("configdir='sql:/x'".to_owned());
        assert_eq!(
            ready.table("hsm"),
            "[[token]]\nname = \"hsm\"\nkind = \"pkcs11\"\nmodule = \"/m.so\"\nlabel = \"lab\\u000A\\\\\"\n\
             env = { A = \"one \\\"two\\\"\" }\nreserved = \"configdir='sql:/x'\"\npaths = [\"/x\"]\nnetwork = false\n"
        );
        assert!(ready.table_by("hsm", "uri", "pkcs11:serial=1").contains("\nuri = \"pkcs11:serial=1\"\n"));
    }
}
