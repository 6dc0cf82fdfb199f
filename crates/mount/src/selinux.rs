//! The SELinux context of a filesystem's files, as mount(8) has it (`context=`): one for all of them, instead of the
//! labels that they have.

use std::fmt;
use std::str::FromStr;

/// A context: user, role, type and level.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SelinuxContext(String);

/// The text is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no SELinux context, which is user:role:type:level")]
pub struct InvalidContext;

/// The option's name.
const OPTION: &str = "context=";

/// Longest context in bytes that is taken: the kernel takes a page.
const MAX_LEN: usize = 1024;

impl SelinuxContext {
    /// The context that a mount option says, if it is this option: `context="…"`, with or without the quotes.
    ///
    /// # Errors
    /// When it is this option, and what it says is no context.
    pub fn of_option(option: &str) -> Option<Result<Self, InvalidContext>> {
        let said = option.strip_prefix(OPTION)?;
        let quoted = said.strip_prefix('"').and_then(|said| said.strip_suffix('"'));
        Some(quoted.unwrap_or(said).parse())
    }

    /// That of the filesystem of these options, as the mount table shows them.
    #[must_use]
    pub fn of_superblock(options: &str) -> Option<Self> {
        let mut at = 0;
        loop {
            let found = at + options.get(at..)?.find(OPTION)?;
            at = found + OPTION.len();
            // There are fscontext, defcontext and rootcontext as well.
            if found > 0 && !options[..found].ends_with(',') {
                continue;
            }
            let said = &options[at..];
            let said = match said.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next(),
                None => said.split(',').next(),
            };
            return said?.parse().ok();
        }
    }

    /// The option for mount(2).
    pub(crate) fn option(&self) -> String {
        format!("{OPTION}\"{}\"", self.0)
    }
}

impl FromStr for SelinuxContext {
    type Err = InvalidContext;

    fn from_str(text: &str) -> Result<Self, InvalidContext> {
        let is_word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        };
        let is_level = |level: &str| level.split([':', ',']).all(is_word);
        let mut parts = text.splitn(4, ':');
        let named = parts.by_ref().take(3).filter(|word| is_word(word)).count() == 3;
        let level = parts.next().is_none_or(is_level);
        match named && level && text.len() <= MAX_LEN {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidContext),
        }
    }
}

impl fmt::Display for SelinuxContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "system_u:object_r:container_file_t:s0:c10,c20";

    #[test]
    fn a_context_is_what_the_kubelet_says() {
        for option in [format!("context=\"{POD}\""), format!("context={POD}")] {
            assert_eq!(SelinuxContext::of_option(&option).unwrap().unwrap().to_string(), POD);
        }
        assert_eq!(SelinuxContext::of_option("nosuid"), None);
        for wrong in [
            "",
            "a:b",
            "a:b:c:",
            "a:b:c:s0,",
            "a b:c:d",
            "a:b:c\",ro",
            "a:b:c:s0\" ",
            "a:b:c\0",
        ] {
            assert_eq!(wrong.parse::<SelinuxContext>(), Err(InvalidContext), "{wrong:?}");
        }
        for good in ["u:r:t", "u:r:t:s0", "u:r:t:s0-s0:c0.c1023"] {
            good.parse::<SelinuxContext>().unwrap();
        }
    }

    #[test]
    fn it_is_found_among_the_options_of_a_filesystem() {
        let of = |options: &str| SelinuxContext::of_superblock(options).map(|context| context.to_string());
        assert_eq!(of(&format!("rw,context=\"{POD}\",xattr,noacl")).as_deref(), Some(POD));
        assert_eq!(of("rw,context=u:r:t:s0,xattr").as_deref(), Some("u:r:t:s0"));
        assert_eq!(of("rw,seclabel,xattr,noacl"), None);
        assert_eq!(of("rw,rootcontext=u:r:t:s0"), None);
        assert_eq!(
            of("rw,fscontext=u:r:t:s0,context=a:b:c:s0").as_deref(),
            Some("a:b:c:s0")
        );
        assert_eq!(of(""), None);
    }
}
