//! The command line.

use std::path::PathBuf;

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(super) dir: PathBuf,
    pub(super) label: String,
    pub(super) pin_file: PathBuf,
    pub(super) so_pin_file: Option<PathBuf>,
    pub(super) name: String,
    pin: PinSource,
    unlock_for: Option<String>,
    pub(super) config: Option<PathBuf>,
    pub(super) agent: Option<PathBuf>,
    pub(super) third_party: Option<PathBuf>,
}

/// Where the agent will take the PIN from.
#[derive(Debug, PartialEq, Eq)]
enum PinSource {
    Prompt,
    Fd(u32),
    Credential(String),
    File(String),
}

impl Options {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let (mut dir, mut label, mut pin_file, mut so_pin_file, mut name) = (None, None, None, None, None);
        let (mut pin, mut unlock_for, mut config, mut agent, mut third_party) =
            (None, None, None, None, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let place = match word.as_str() {
                "--label" => &mut label,
                "--pin-file" => &mut pin_file,
                "--so-pin-file" => &mut so_pin_file,
                "--name" => &mut name,
                "--pin" => &mut pin,
                "--unlock-for" => &mut unlock_for,
                "--config" => &mut config,
                "--agent" => &mut agent,
                "--third-party" => &mut third_party,
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
                folder => {
                    if dir.replace(PathBuf::from(folder)).is_some() {
                        return Err(format!("one DIR, and no second one: {folder}"));
                    }
                    continue;
                }
            };
            let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
            if place.replace(value.clone()).is_some() {
                return Err(format!("{word} is there twice"));
            }
        }
        let label = label.ok_or("--label is missing")?;
        Ok(Self {
            dir: folder(dir.ok_or("DIR is missing: the folder for the token")?)?,
            pin_file: pin_file.ok_or("--pin-file is missing")?.into(),
            so_pin_file: so_pin_file.map(PathBuf::from),
            name: name.unwrap_or_else(|| label.clone()),
            pin: pin.as_deref().map_or(Ok(PinSource::Prompt), PinSource::parse)?,
            label,
            unlock_for,
            config: config.map(PathBuf::from),
            agent: agent.map(PathBuf::from),
            third_party: third_party.map(PathBuf::from),
        })
    }

    /// The lines that a `[[token]]` table ends with.
    pub(super) fn pin_lines(&self) -> String {
        let unlock_for = match (&self.unlock_for, &self.pin) {
            (Some(time), _) => format!("unlock_for = {}\n", softhsm::quoted(time)),
            (None, PinSource::Prompt) => String::new(),
            (None, _) => "unlock_for = \"forever\"\n".to_owned(),
        };
        let pin = match &self.pin {
            PinSource::Prompt => return unlock_for,
            PinSource::Fd(number) => format!("fd = {number}"),
            PinSource::Credential(name) => format!("credential = {}", softhsm::quoted(name)),
            PinSource::File(path) => format!("file = {}", softhsm::quoted(path)),
        };
        format!("pin = {{ {pin} }}\n{unlock_for}")
    }
}

impl PinSource {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "prompt" => Ok(Self::Prompt),
            Some(("fd", number)) => {
                let number = number.parse().ok().filter(|number| (3..65_536).contains(number));
                number.map(Self::Fd).ok_or_else(|| "--pin fd:N: N is a descriptor from 3 up".to_owned())
            }
            Some(("credential", name)) if !name.is_empty() && !name.contains('/') => {
                Ok(Self::Credential(name.to_owned()))
            }
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.to_owned())),
            // The value is not repeated: somebody may have given the PIN itself.
            _ => {
                Err("--pin is one of prompt, fd:N, credential:NAME and file:/PATH; never the PIN".to_owned())
            }
        }
    }
}

/// SoftHSM's configuration names it, in which these characters end a path.
fn folder(path: PathBuf) -> Result<PathBuf, String> {
    let path = std::path::absolute(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let takes = |text: &str| !text.contains(['#', '=']) && !text.contains(char::is_control);
    match path.to_str() {
        Some(text) if takes(text) && text.trim() == text => Ok(path),
        _ => Err(format!(
            "DIR is {path:?}: SoftHSM takes no folder with # or =, with control characters, or that is not UTF-8"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_sources_of_a_pin_become_lines_of_the_table() {
        let lines = |more: &str| parsed(&format!("/d --label l --pin-file p{more}")).map(|it| it.pin_lines());
        assert_eq!(lines("").unwrap(), "");
        assert_eq!(lines(" --pin fd:3").unwrap(), "pin = { fd = 3 }\nunlock_for = \"forever\"\n");
        assert_eq!(
            lines(" --pin credential:hsm --unlock-for 8h").unwrap(),
            "pin = { credential = \"hsm\" }\nunlock_for = \"8h\"\n"
        );
        assert!(lines(" --pin file:/x").unwrap().starts_with("pin = { file = \"/x\" }\n"));
        for wrong in ["fd:2", "fd:x", "file:x", "credential:a/b", "123456"] {
            let why = lines(&format!(" --pin {wrong}")).unwrap_err();
            assert!(why.contains("--pin") && !why.contains("123456"), "{why}");
        }
    }

    #[test]
    fn what_is_missing_twice_or_unknown_is_refused() {
        for line in
            ["--label l --pin-file p", "/d --pin-file p", "/d --label l", "/d /e --label l --pin-file p"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert!(parsed("/d --label l --label m --pin-file p").unwrap_err().contains("twice"));
        assert!(parsed("/d --label l --pin-file p --pni x").unwrap_err().contains("--pni"));
        assert!(parsed("/d --label l --pin-file").unwrap_err().contains("wants a value"));
        assert!(parsed("/d#1 --label l --pin-file p").unwrap_err().contains("/d#1"));
    }
}
