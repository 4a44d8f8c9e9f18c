//! Words to one line for a POSIX shell.
//!
//! SSH has no list of arguments: a command is one string that the user's login shell reads. Every word is put
//! in single quotes, in which a POSIX shell changes nothing; quoting all of them also keeps a first word such
//! as `if` or `A=b` a plain command name.

use super::Error;

/// The line that makes a POSIX shell run `argv`, word for word.
///
/// # Errors
/// [`Error::BadCommand`] for no words at all, and for a NUL, which no Unix command line can hold.
pub(crate) fn command_line(argv: &[String]) -> Result<String, Error> {
    if argv.is_empty() {
        return Err(Error::BadCommand("it has no words"));
    }
    let mut line = String::with_capacity(argv.iter().map(|word| word.len() + 3).sum());
    for (index, word) in argv.iter().enumerate() {
        if word.contains('\0') {
            return Err(Error::BadCommand("a word contains a NUL"));
        }
        if index > 0 {
            line.push(' ');
        }
        line.push('\'');
        // A single quote cannot stand inside single quotes: end them, add an escaped one, begin again.
        line.push_str(&word.replace('\'', r"'\''"));
        line.push('\'');
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What `/bin/sh` makes of a command line: it prints each of its words and a NUL.
    fn read_by_sh(words: &[String]) -> Vec<String> {
        let mut argv = vec!["printf".to_owned(), "%s\\0".to_owned()];
        argv.extend_from_slice(words);
        let line = command_line(&argv).unwrap();
        let output = Command::new("/bin/sh").arg("-c").arg(&line).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words: Vec<String> = text.split('\0').map(str::to_owned).collect();
        assert_eq!(words.pop().as_deref(), Some(""));
        words
    }

    #[test]
    fn awkward_words_reach_the_command_unchanged() {
        let words: Vec<String> = [
            "",
            " ",
            "'",
            "''",
            "a'b",
            "\"",
            "$HOME",
            "`id`",
            "$(id)",
            "\\",
            "\n",
            "*",
            "~",
            "-n",
            ";",
            "&&",
            "|",
            "!!",
            "#",
            "{a,b}",
            "é✂",
            "\t",
            "\r",
            "\u{1b}[0m",
        ]
        .into_iter()
        .map(str::to_owned)
        .collect();
        assert_eq!(read_by_sh(&words), words);
    }

    #[test]
    fn what_no_command_line_can_hold_is_refused() {
        assert_eq!(command_line(&[]), Err(Error::BadCommand("it has no words")));
        assert_eq!(
            command_line(&["a\0b".to_owned()]),
            Err(Error::BadCommand("a word contains a NUL"))
        );
    }

    #[test]
    fn a_reserved_word_is_a_command_name() {
        assert_eq!(
            command_line(&["if".to_owned(), "A=b".to_owned()]).unwrap(),
            "'if' 'A=b'"
        );
    }

    proptest! {
        #[test]
        fn any_words_round_trip_through_sh(words in prop::collection::vec("[^\0]{0,24}", 1..6)) {
            prop_assert_eq!(read_by_sh(&words), words);
        }
    }
}
