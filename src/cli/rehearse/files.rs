//! The files that a report is written to.
//!
//! That each has a place is known before anything is played. From the moment when something is, an older report is no longer
//! there: whoever finds one after a rehearsal that was interrupted must not take it for that one's verdict.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::args::RehearseArgs;
use super::{html, junit};
use crate::cli::failure::{Exit, Failure};
use crate::rehearsal::report::Report;
use crate::rehearsal::scenario;

/// The files that were asked for. What was made and not written is taken away again.
#[derive(Debug)]
pub struct Files {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    form: Form,
    /// It was not there before; `false` also once it is written.
    is_ours: bool,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    Junit,
    Html,
}

impl Files {
    /// Makes sure that each can be written; one that is there stays as it is.
    ///
    /// # Errors
    /// When one cannot, and [`Exit::Usage`] if it is another report's, or what is played is read from there.
    pub fn check(args: &RehearseArgs) -> anyhow::Result<Self> {
        let asked = [
            ("--report", &args.report, Form::Json),
            ("--junit", &args.junit, Form::Junit),
            ("--html", &args.html, Form::Html),
        ];
        let scenario = args.scenario.as_deref().and_then(scenario::file);
        let mut taken: Vec<(&str, Option<Identity>)> = vec![
            ("--scenario", scenario.and_then(identity)),
            ("--studio", args.live.studio.as_deref().and_then(identity)),
        ];
        let mut files = Self { places: Vec::new() };
        for (option, path, form) in asked {
            let Some(path) = path else { continue };
            let is_ours = writable(path)
                .with_context(|| format!("{option} cannot be written to {}", path.display()))?;
            let path = path.clone();
            let this = identity(&path);
            if let Some((other, _)) = taken.iter().find(|(_, other)| this.is_some() && *other == this) {
                let message = format!("{option} and {other} are the same file, {}", path.display());
                let refused = Failure::new(Exit::Usage, message).advice("give the report a file of its own");
                return Err(refused.into());
            }
            taken.push((option, this));
            files.places.push(Place { path, form, is_ours });
        }
        Ok(files)
    }

    /// The rehearsal begins: what an older one left there is emptied.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn begin(&self) -> anyhow::Result<()> {
        for Place { path, .. } in &self.places {
            emptied(path).with_context(|| format!("emptying the report {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes them all.
    ///
    /// # Errors
    /// When one cannot be written.
    pub async fn write(mut self, report: &Report) -> anyhow::Result<()> {
        for place in &mut self.places {
            let text = match place.form {
                Form::Json => serde_json::to_string_pretty(report)? + "\n",
                Form::Junit => junit::xml(report)?,
                Form::Html => html::page(report),
            };
            let path = &place.path;
            place.is_ours = false;
            tokio::fs::write(path, text)
                .await
                .with_context(|| format!("writing the report to {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for place in self.places.iter().filter(|place| place.is_ours) {
            // Whoever wrote something there meanwhile keeps it.
            if std::fs::metadata(&place.path).is_ok_and(|found| found.is_file() && found.len() == 0) {
                let _ = std::fs::remove_file(&place.path);
            }
        }
    }
}

/// Device and inode.
type Identity = (u64, u64);

/// Which file it is, however it is named. `None` of what is none, such as /dev/stdout.
fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((found.dev(), found.ino()))
}

/// Whether the file was not there.
fn writable(path: &Path) -> std::io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map(|_| false)
        }
        Err(error) => Err(error),
    }
}

/// What is no file, such as /dev/stdout, has nothing of an older one.
fn emptied(path: &Path) -> std::io::Result<()> {
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    if is_file {
        OpenOptions::new().write(true).truncate(true).open(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RehearseArgs,
    }

    fn files(old: &Path, new: &Path) -> Files {
        let words = [
            "rehearse",
            "--html",
            old.to_str().unwrap(),
            "--junit",
            new.to_str().unwrap(),
        ];
        Files::check(&Line::parse_from(words).args).unwrap()
    }

    #[test]
    fn what_was_there_stays_until_it_begins_and_what_was_not_is_gone_again() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old.html"), folder.path().join("new.xml"));
        std::fs::write(&old, "passed").unwrap();
        drop(files(&old, &new));
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "passed");
        assert!(!new.exists());
        let begun = files(&old, &new);
        begun.begin().unwrap();
        drop(begun);
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "");
        assert!(!new.exists());
    }

    #[test]
    fn a_place_that_is_none_takes_the_others_away_again() {
        let folder = tempfile::tempdir().unwrap();
        let (page, nowhere) = (folder.path().join("p.json"), folder.path().join("no/x.xml"));
        let words = [
            "rehearse",
            "--report",
            page.to_str().unwrap(),
            "--junit",
            nowhere.to_str().unwrap(),
        ];
        let refused = Files::check(&Line::parse_from(words).args).unwrap_err();
        assert!(refused.to_string().contains("no/x.xml"), "{refused:#}");
        assert!(!page.exists());
    }

    #[test]
    fn a_file_that_is_another_report_or_what_is_played_is_refused_and_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (scenario, studio, new) = (at("hall.toml"), at("studio.toml"), at("new"));
        std::fs::write(&scenario, "about").unwrap();
        std::fs::write(&studio, "template").unwrap();
        std::os::unix::fs::symlink(&scenario, at("link")).unwrap();
        let link = at("link");
        let live = ["--live", "--studio", &studio];
        for (options, told) in [
            (
                vec!["--html", &scenario],
                "--html and --scenario are the same file",
            ),
            (
                vec!["--report", &link],
                "--report and --scenario are the same file",
            ),
            (
                vec!["--report", &new, "--junit", &new],
                "--junit and --report are the same file",
            ),
            (
                [&live[..], &["--junit", &studio]].concat(),
                "--junit and --studio are the same file",
            ),
        ] {
            let words = [&["rehearse", "--scenario", &scenario][..], &options].concat();
            let refused = Files::check(&Line::parse_from(words).args).unwrap_err();
            assert!(refused.to_string().starts_with(told), "{refused:#}");
            assert_eq!(std::fs::read_to_string(&scenario).unwrap(), "about");
            assert_eq!(std::fs::read_to_string(&studio).unwrap(), "template");
            assert!(!Path::new(&new).exists());
        }
    }
}
