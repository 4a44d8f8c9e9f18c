//! Splitting a command line into words as a POSIX shell does, without being a shell.
//!
//! Quotes and backslashes work. Anything that would make a shell do more than run one command (pipes, lists,
//! redirections, expansions, globs) is refused rather than guessed at.

/// Why a line is not one plain command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPlain {
    #[error("Syntax error: Unterminated quoted string")]
    Unterminated,
    #[error("Syntax error: {0:?} is not supported by this machine's shell")]
    Unsupported(char),
}

/// The words of `line`.
///
/// # Errors
/// [`NotPlain`].
pub fn split(line: &str) -> Result<Vec<String>, NotPlain> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => word.get_or_insert_default().push('\\'),
            },
            '#' if word.is_none() => break,
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' => {
                return Err(NotPlain::Unsupported(c));
            }
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), NotPlain> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(NotPlain::Unterminated)
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), NotPlain> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '$' | '`' => return Err(NotPlain::Unsupported(c)),
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => return Err(NotPlain::Unterminated),
            },
            plain => word.push(plain),
        }
    }
    Err(NotPlain::Unterminated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap()
    }

    #[test]
    fn quotes_and_backslashes_make_words_as_in_a_shell() {
        assert_eq!(
            words("systemctl  is-active\tobs"),
            ["systemctl", "is-active", "obs"]
        );
        assert_eq!(words(r#"echo 'a b' "c d" e\ f"#), ["echo", "a b", "c d", "e f"]);
        assert_eq!(words(r#"a'b'"c"d"#), ["abcd"]);
        assert_eq!(words(r"'it'\''s'"), ["it's"]);
        assert_eq!(words("echo '' x"), ["echo", "", "x"]);
        assert_eq!(words(r#""a\"b\c""#), [r#"a"b\c"#]);
        assert_eq!(words("true # comment"), ["true"]);
        assert_eq!(words("   "), Vec::<String>::new());
    }

    #[test]
    fn what_would_need_a_shell_is_refused() {
        assert_eq!(split("a; b"), Err(NotPlain::Unsupported(';')));
        assert_eq!(split("echo \"$HOME\""), Err(NotPlain::Unsupported('$')));
        assert_eq!(split("echo 'a"), Err(NotPlain::Unterminated));
        assert_eq!(words("echo '$HOME; x'"), ["echo", "$HOME; x"]);
    }
}
