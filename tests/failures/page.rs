//! docs/failures.md, and the table in it that is written from what the tests found.

use std::path::PathBuf;
use std::sync::Mutex;

/// Where the table stands in docs/failures.md.
const BEGIN: &str =
    "<!-- The table below is written by tests/failures: UPDATE_DOCS=1 cargo test --test failures -->\n";
const END: &str = "<!-- Up to here. -->\n";

/// Held while the page is written: several tests have a line of it.
static WRITING: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/failures.md")
}

/// The page has this line of the table, which begins with who it is about.
pub fn has(line: &str) {
    let _writing = WRITING.lock();
    let page = std::fs::read_to_string(path()).unwrap();
    let (head, rest) = page
        .split_once(BEGIN)
        .expect("the page says where the table begins");
    let (table, tail) = rest.split_once(END).expect("the page says where the table ends");
    let who = |line: &str| line.split('|').nth(1).map(str::to_owned);
    let found = table.lines().find(|old| who(old) == who(line));
    let found = found.unwrap_or_else(|| panic!("the table has no line for {:?}", who(line)));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let table = table.replace(found, line);
        std::fs::write(path(), format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
        return;
    }
    assert_eq!(
        found, line,
        "docs/failures.md is out of date: run again with UPDATE_DOCS=1"
    );
}
