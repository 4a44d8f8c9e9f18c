//! Commands that look at and change the machine's files: `find`, `cp`, `mv`, `rm`, `mkdir`, `rmdir`, `touch`, `ls`,
//! `cat`, `test`, `stat`, `sha256sum`. Options beside those that are used here are refused, as a misspelt one would be.

use super::sum::Sum;
use super::{Host, Output, Run, figures};
use crate::domain::time::Timestamp;
use crate::sim::model::machine::disk::{Disk, DiskError, Node, Pattern, Who, absolute, name};

/// Most of a file that is printed.
const PRINTED_BYTES_MAX: u64 = 1024 * 1024;

/// What one command has said so far. It goes on after a failure, as such commands do, and fails in the end.
#[derive(Debug)]
pub(super) struct Report {
    name: &'static str,
    pub(super) output: Output,
}

impl Report {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            output: Output::default(),
        }
    }

    fn complain(&mut self, what: &str, why: impl std::fmt::Display) {
        let name = self.name;
        self.output
            .stderr
            .extend_from_slice(format!("{name}: {what}: {why}\n").as_bytes());
        self.output.status = 1;
    }

    pub(super) fn note<T>(&mut self, what: &str, done: Result<T, DiskError>) -> Option<T> {
        done.inspect_err(|error| self.complain(what, error)).ok()
    }
}

fn usage(name: &str, option: &str) -> Output {
    Output::failed(format!("{name}: unrecognized option '{option}'\n"), 1)
}

/// Options and operands. After `--` everything is an operand.
fn sorted<'a>(words: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut parts = words.splitn(2, |word| *word == "--");
    let (before, after) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (options, operands): (Vec<&str>, Vec<&str>) = before
        .iter()
        .partition(|word| word.len() > 1 && word.starts_with('-'));
    (options, [operands, after.to_vec()].concat())
}

/// The command that these words are, if it is one about files.
pub(super) fn run(host: &mut Host<'_>, who: Who, words: &[&str]) -> Option<Run> {
    let (command, words) = words.split_first()?;
    let (options, operands) = sorted(words);
    let is_of_kernel = |path: &&str| path.starts_with("/proc/");
    if *command == "cat" && !operands.is_empty() && operands.iter().all(is_of_kernel) {
        return Some(figures::files(host, &operands).into());
    }
    if *command == "sha256sum" {
        return Some(Run::Sum(Sum::of(&operands)));
    }
    let now = host.now;
    let disk = host.model.disk(now);
    let output = match *command {
        "find" => find(disk, who, words),
        "cp" => cp(disk, who, &options, &operands, now),
        "mv" => mv(disk, who, &options, &operands),
        "rm" => rm(disk, who, &options, &operands),
        "rmdir" => rmdir(disk, who, &operands),
        "mkdir" => mkdir(disk, who, &options, &operands, now),
        "touch" => touch(disk, who, &operands, now),
        "ls" => ls(disk, &options, &operands),
        "cat" => cat(disk, &operands),
        "test" | "[" => test(disk, words),
        "stat" => stat(disk, words),
        _ => return None,
    };
    Some(output.into())
}

fn find(disk: &mut Disk, who: Who, words: &[&str]) -> Output {
    let starts = words.iter().take_while(|word| !word.starts_with('-')).count();
    let (starts, mut rest) = (&words[..starts], words[starts..].iter());
    let mut pattern = Pattern::default();
    let (mut prints, mut deletes, mut removes) = (false, false, false);
    while let Some(word) = rest.next() {
        let mut number = || rest.next().and_then(|number| number.parse().ok());
        match *word {
            "-print" => prints = true,
            "-delete" => deletes = true,
            "-maxdepth" => pattern.depth_max = number(),
            "-mindepth" => pattern.depth_min = number().unwrap_or_default(),
            "-name" => pattern.name = rest.next().map(|name| (*name).to_owned()),
            "-type" => pattern.folders = rest.next().map(|kind| *kind == "d"),
            "-exec" if rest.as_slice().starts_with(&["rm", "-rf", "--", "{}", "+"]) => {
                removes = true;
                rest = rest.as_slice()[5..].iter();
            }
            other => return Output::failed(format!("find: unknown predicate `{other}'\n"), 1),
        }
    }
    let mut report = Report::new("find");
    for start in starts {
        let found: Result<Vec<String>, DiskError> = disk.find(start, &pattern).map(|found| {
            let paths = found.into_iter().map(|(path, _)| path.to_owned());
            paths.collect()
        });
        let Some(mut found) = report.note(start, found) else {
            continue;
        };
        if deletes {
            // What is in a folder before the folder: -delete implies -depth.
            found.reverse();
        }
        for path in found {
            if prints || !(deletes || removes) {
                report
                    .output
                    .stdout
                    .extend_from_slice(format!("{path}\n").as_bytes());
            }
            if removes && disk.stat(&path).is_ok() {
                report.note(&path, disk.remove_all(who, &path));
            }
            if deletes {
                let removed = match disk.stat(&path).map(Node::is_folder) {
                    Ok(true) => disk.remove_folder(who, &path),
                    Ok(false) | Err(_) => disk.remove(who, &path),
                };
                report.note(&path, removed);
            }
        }
    }
    report.output
}

fn cp(disk: &mut Disk, who: Who, options: &[&str], operands: &[&str], now: Timestamp) -> Output {
    let recursive = match options {
        [] | ["-f"] => false,
        ["-R" | "-r" | "-a" | "-Rf" | "-rf" | "-RT" | "-rT" | "-aT"] => true,
        other => return usage("cp", other[0]),
    };
    let into_itself = options.iter().any(|option| option.ends_with('T'));
    let Some((to, from)) = operands.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Output::failed("cp: missing file operand\n", 1);
    };
    let mut report = Report::new("cp");
    for from in from {
        let into = disk.stat(to).is_ok_and(Node::is_folder) && !into_itself;
        // The last word of `a/.` is `.`: its content goes into the folder itself.
        let target = match name(from) {
            "." | ".." => (*to).to_owned(),
            name if into => format!("{to}/{name}"),
            _ => (*to).to_owned(),
        };
        let copied = copy(disk, who, from, &target, recursive, now);
        report.note(from, copied);
    }
    report.output
}

fn copy(
    disk: &mut Disk,
    who: Who,
    from: &str,
    to: &str,
    recursive: bool,
    now: Timestamp,
) -> Result<(), DiskError> {
    if !disk.stat(from)?.is_folder() {
        return disk.copy(who, from, to, now);
    }
    let (from, to) = (absolute(from)?, absolute(to)?);
    if !recursive || format!("{to}/").starts_with(&format!("{from}/")) {
        return Err(DiskError::Invalid);
    }
    let found = disk.find(&from, &Pattern::default())?;
    let found: Vec<(String, bool)> = found
        .into_iter()
        .map(|(path, node)| (path[from.len()..].to_owned(), node.is_folder()))
        .collect();
    for (path, is_folder) in found {
        let target = format!("{to}{path}");
        if !is_folder {
            disk.copy(who, &format!("{from}{path}"), &target, now)?;
        } else if !disk.stat(&target).is_ok_and(Node::is_folder) {
            disk.make_folder(who, &target, 0o755, now)?;
        }
    }
    Ok(())
}

fn mv(disk: &mut Disk, who: Who, options: &[&str], operands: &[&str]) -> Output {
    let ([] | ["-f" | "-T" | "-fT"], [from, to]) = (options, operands) else {
        return Output::failed("mv: it takes one file and where to\n", 1);
    };
    let into = options.is_empty() && disk.stat(to).is_ok_and(Node::is_folder);
    let target = if into {
        format!("{to}/{}", name(from))
    } else {
        (*to).to_owned()
    };
    let mut report = Report::new("mv");
    let moved = disk.rename(who, from, &target, true);
    report.note(from, moved);
    report.output
}

fn rm(disk: &mut Disk, who: Who, options: &[&str], operands: &[&str]) -> Output {
    let letters: String = options.iter().map(|option| &option[1..]).collect();
    if let Some(unknown) = letters.chars().find(|letter| !"rRf".contains(*letter)) {
        return usage("rm", &format!("-{unknown}"));
    }
    let (recursive, force) = (letters.contains(['r', 'R']), letters.contains('f'));
    let mut report = Report::new("rm");
    for path in operands {
        let removed = match recursive {
            true => disk.remove_all(who, path),
            false => disk.remove(who, path),
        };
        match removed {
            Err(DiskError::NotFound) if force => {}
            other => drop(report.note(&format!("cannot remove '{path}'"), other)),
        }
    }
    report.output
}

fn rmdir(disk: &mut Disk, who: Who, operands: &[&str]) -> Output {
    let mut report = Report::new("rmdir");
    for path in operands {
        let removed = disk.remove_folder(who, path);
        report.note(&format!("failed to remove '{path}'"), removed);
    }
    report.output
}

fn mkdir(disk: &mut Disk, who: Who, options: &[&str], operands: &[&str], now: Timestamp) -> Output {
    let mut report = Report::new("mkdir");
    for path in operands {
        let made = match options {
            [] => disk.make_folder(who, path, 0o755, now),
            ["-p"] => disk.make_folders(who, path, now),
            other => return usage("mkdir", other[0]),
        };
        report.note(&format!("cannot create directory '{path}'"), made);
    }
    report.output
}

fn touch(disk: &mut Disk, who: Who, operands: &[&str], now: Timestamp) -> Output {
    let mut report = Report::new("touch");
    for path in operands {
        if disk.stat(path).is_err() {
            let made = disk.create(who, path, 0o644, true, now);
            report.note(&format!("cannot touch '{path}'"), made);
        }
    }
    report.output
}

fn ls(disk: &Disk, options: &[&str], operands: &[&str]) -> Output {
    if let Some(unknown) = options.iter().find(|option| !matches!(**option, "-1" | "-A")) {
        return usage("ls", unknown);
    }
    let hidden = options.contains(&"-A");
    let mut report = Report::new("ls");
    let operands = if operands.is_empty() { &["."] } else { operands };
    for path in operands {
        let names = match disk.list(path) {
            Ok(names) => names.iter().map(|(name, _)| (*name).to_owned()).collect(),
            Err(DiskError::NotAFolder) => vec![(*path).to_owned()],
            Err(error) => {
                report.complain(&format!("cannot access '{path}'"), error);
                continue;
            }
        };
        for name in names.iter().filter(|name| hidden || !name.starts_with('.')) {
            report
                .output
                .stdout
                .extend_from_slice(format!("{name}\n").as_bytes());
        }
    }
    report.output
}

fn cat(disk: &Disk, operands: &[&str]) -> Output {
    let mut report = Report::new("cat");
    for path in operands {
        let most = usize::try_from(PRINTED_BYTES_MAX).unwrap_or(usize::MAX);
        match disk.stat(path).map(Node::bytes) {
            Ok(bytes) if bytes > PRINTED_BYTES_MAX => {
                report.complain(path, "it is larger than this machine prints");
            }
            Ok(_) | Err(_) => {
                if let Some(bytes) = report.note(path, disk.read(path, 0, most)) {
                    report.output.stdout.extend_from_slice(&bytes);
                }
            }
        }
    }
    report.output
}

fn test(disk: &Disk, words: &[&str]) -> Output {
    let words = words.strip_suffix(&["]"]).unwrap_or(words);
    let (wanted, words) = match words {
        ["!", rest @ ..] => (false, rest),
        rest => (true, rest),
    };
    let holds = match words {
        ["-e", path] => disk.stat(path).is_ok(),
        ["-d", path] => disk.stat(path).is_ok_and(Node::is_folder),
        ["-f", path] => disk.stat(path).is_ok_and(|node| !node.is_folder()),
        ["-s", path] => disk.stat(path).is_ok_and(|node| node.bytes() > 0),
        other => return Output::failed(format!("test: {}: syntax error\n", other.join(" ")), 2),
    };
    Output::printed("", u32::from(holds != wanted))
}

/// `stat -c FORMAT PATH…` with `%n`, `%s`, `%Y` and `%F`.
fn stat(disk: &Disk, words: &[&str]) -> Output {
    let (format, paths) = match words {
        ["-c", format, "--", paths @ ..] | ["-c", format, paths @ ..] => (*format, paths),
        _ => return Output::failed("stat: this machine knows no more than -c FORMAT\n", 1),
    };
    let mut report = Report::new("stat");
    for path in paths {
        if let Some(node) = report.note(&format!("cannot statx '{path}'"), disk.stat(path)) {
            let kind = if node.is_folder() {
                "directory"
            } else {
                "regular file"
            };
            let line = format
                .replace("%s", &node.bytes().to_string())
                .replace("%Y", &(node.modified.0 / 1_000).to_string())
                .replace("%F", kind)
                .replace("%n", path);
            report
                .output
                .stdout
                .extend_from_slice(format!("{line}\n").as_bytes());
        }
    }
    report.output
}
