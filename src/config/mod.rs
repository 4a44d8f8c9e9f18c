//! Configuration, read once at start into validated types.
//!
//! ```text
//! default  <-  file (TOML)  <-  older variables (AWS_REGION, PORT, ...)  <-  UNDERSTUDY__SECTION__KEY
//! ```
//!
//! The right-most that says something wins, and every value remembers who said it ([`Setting::source`]).
//! One pass finds every mistake: an unknown key, a wrong type, a value out of range or two values that
//! contradict each other is an error that names where it stands and what is allowed. Nothing is guessed and
//! nothing is ignored.
//!
//! Secrets come from the environment or from files of their own, never from the configuration file, and are
//! printed nowhere.
//!
//! What this does not do: it opens nothing the values point at (except files that hold a secret), it does not
//! read the process's environment by itself (see [`environment`]), and it never reads anything again.
//!
//! `config/understudy.toml` documents every key with its default, unit and reason.

mod checks;
mod error;
mod file;
mod given;
mod machines;
pub mod operations;
mod reader;
mod server;
mod source;
pub(crate) mod span;
mod variables;

use std::path::Path;

pub(crate) use error::nearest;
pub use error::{Error, Problem};
pub use machines::{Address, Cloud, Failover, HostKeys, Obs, ObsRestore, ObsVia, Probe, Provider, Ssh, Vm};
pub use operations::OperationsError;
pub use server::{
    Archive, Auth, Cleanup, Ledger, Log, LogFormat, Metrics, Otlp, Pool, Server, Shows, Supervision,
};
pub use source::{Setting, Source, Warning};
pub use variables::{aliases, environment};

use crate::domain::unix::AbsolutePath;
use reader::Reader;

/// The reference: every key with its default, unit and reason.
pub const REFERENCE: &str = include_str!("../../config/understudy.toml");

/// What `understudy demo` runs with.
pub const DEMO: &str = include_str!("../../config/demo.toml");

/// Everything that can be configured. [`Config::default`] is valid and listens on loopback only.
///
/// To build one in code, change the default: `Config { pool: Pool { warm_count: 3, ..Pool::default() },
/// ..Config::default() }`, and ask [`Config::validate`] if in doubt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub server: Server,
    pub ledger: Ledger,
    pub shows: Shows,
    pub archive: Archive,
    pub pool: Pool,
    pub cloud: Cloud,
    pub vm: Vm,
    pub probe: Probe,
    pub obs: Obs,
    pub ssh: Ssh,
    pub failover: Failover,
    pub supervision: Supervision,
    pub metrics: Metrics,
    pub log: Log,
    pub otlp: Otlp,
}

/// A configuration and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Every key, in the order of the reference, with its value (secrets redacted) and source.
    pub settings: Vec<Setting>,
    /// What is legal but probably not meant.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads the file, if one is given, and `environment` (name and value; see [`environment`]) over the
    /// defaults.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Syntax`] for the file as a whole; [`Error::Invalid`] with every mistake
    /// found in file and environment.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Error> {
        match path {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
                    path: path.to_owned(),
                    source,
                })?;
                Self::parse(path, &text, environment)
            }
            None => Self::parse(Path::new("(no file)"), "", environment),
        }
    }

    /// The same for a file whose text is at hand, such as [`DEMO`]. `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Config::load`], without [`Error::Read`].
    pub fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Loaded, Error> {
        let mut reader = Reader::default();
        let mut entries = file::parse(path, text)?;
        let unused = variables::overlay(&mut entries, environment);
        reader.entries = entries;

        let config = Self::read(&mut reader);
        let (settings, mut problems) = reader.finish();
        // Values that could not be read stand at their default here: comparing them would only mislead.
        if problems.is_empty() {
            problems = checks::conflicts(&config)
                .into_iter()
                .map(|conflict| conflict.located(&settings))
                .collect();
        }
        if !problems.is_empty() {
            return Err(Error::Invalid { problems });
        }
        let mut warnings = checks::warnings(&config);
        warnings.extend(unused.into_iter().map(|variable| Warning::Unused { variable }));
        Ok(Loaded {
            config,
            settings,
            warnings,
        })
    }

    /// Whether the values agree with each other: for a configuration built in code. Single values are not
    /// held to the ranges of the file, so that a rehearsal can run faster than an operator should.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every contradiction.
    pub fn validate(&self) -> Result<(), Error> {
        let problems: Vec<Problem> = checks::conflicts(self)
            .into_iter()
            .map(|conflict| conflict.located(&[]))
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid { problems })
        }
    }

    /// Name of the key pair of launched instances: the configured one, else `{project}-key-pair`.
    #[must_use]
    pub fn key_pair_name(&self) -> String {
        self.cloud
            .key_pair_name
            .clone()
            .unwrap_or_else(|| format!("{}-key-pair", self.pool.project))
    }

    /// The folders of [`Ssh::file_roots`] on a VM; a key of [`Vm`] in braces at its beginning stands for
    /// its value.
    #[must_use]
    pub fn file_roots(&self) -> Vec<AbsolutePath> {
        let vm = Vm {
            checkout_path: self.vm.checkout_path.replace("{project}", &self.pool.project),
            ..self.vm.clone()
        };
        // Each was checked when it was read, the checkout with the operations.
        let path = |root: &String| AbsolutePath::new(&vm.filled_in(root)).ok();
        self.ssh.file_roots.iter().filter_map(path).collect()
    }

    fn read(reader: &mut Reader) -> Self {
        Self {
            server: Server::read(&mut reader.section("server")),
            ledger: Ledger::read(&mut reader.section("ledger")),
            shows: Shows::read(&mut reader.section("shows")),
            archive: Archive::read(&mut reader.section("archive")),
            pool: Pool::read(&mut reader.section("pool")),
            cloud: Cloud::read(&mut reader.section("cloud")),
            vm: Vm::read(&mut reader.section("vm")),
            probe: Probe::read(&mut reader.section("probe")),
            obs: Obs::read(&mut reader.section("obs")),
            ssh: Ssh::read(&mut reader.section("ssh")),
            failover: Failover::read(&mut reader.section("failover")),
            supervision: Supervision::read(&mut reader.section("supervision")),
            metrics: Metrics::read(&mut reader.section("metrics")),
            log: Log::read(&mut reader.section("log")),
            otlp: Otlp::read(&mut reader.section("otlp")),
        }
    }
}
