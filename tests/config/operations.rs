//! The catalogue of operations: what comes with the program, and an operator's file over it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use understudy::config::{Config, OperationsError, operations};
use understudy::domain::operation::{Catalogue, PlannedStep, Refused};

use super::loaded;

fn load(file: &str, config: &str) -> Result<Catalogue, OperationsError> {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(file.as_bytes()).unwrap();
    let mut config = loaded(config, &[]).config;
    config.ssh.operations_path = Some(written.path().to_owned());
    operations::load(&config)
}

fn complaint(file: &str) -> String {
    let text = load(file, "").unwrap_err().to_string();
    // The file's own name is made up anew every time.
    text.split_once(": ")
        .map(|(place, rest)| format!("{}: {rest}", place.rsplit(':').next().unwrap()))
        .unwrap()
}

fn argvs(catalogue: &Catalogue, id: &str, given: &[(&str, &str)]) -> Vec<String> {
    let given: BTreeMap<String, String> = given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let (_, plan) = catalogue.plan(id, &given).unwrap();
    plan.steps
        .iter()
        .map(|step| match step {
            PlannedStep::Run { argv, .. } => argv.join(" "),
            PlannedStep::Pause(span) => format!("pause {span:?}"),
        })
        .collect()
}

#[test]
fn the_built_in_operations_have_the_names_limits_and_rights_that_clients_expect() {
    let catalogue = operations::load(&Config::default()).unwrap();
    let expected = [
        ("START_OBS", true, 30),
        ("STOP_OBS", true, 10),
        ("RESTART_OBS", true, 30),
        ("RESTART_SHOW_SERVER", true, 15),
        ("RESTART_NIMBLE", true, 15),
        ("UPDATE_CODE", false, 120),
        ("CHECK_SERVICES", true, 10),
        ("VIEW_LOGS", true, 10),
        ("SYSTEM_INFO", false, 10),
        ("CLEAR_RECORDINGS", false, 30),
        ("RESET_OBS_CONFIG", false, 30),
        ("CLEAR_TEMPORARY_FILES", true, 30),
    ];
    for (id, sudo, seconds) in expected {
        let operation = catalogue.get(id).unwrap_or_else(|| panic!("no {id}"));
        assert_eq!(operation.sudo, sudo, "{id}");
        assert_eq!(operation.timeout, Duration::from_secs(seconds), "{id}");
        // Each can be asked for without parameters.
        assert!(catalogue.plan(id, &BTreeMap::new()).is_ok(), "{id}");
    }
    let refused: Vec<&str> = catalogue
        .iter()
        .filter(|operation| operation.refused_on_air)
        .map(|operation| operation.id.as_str())
        .collect();
    assert_eq!(
        refused,
        [
            "CLEAR_RECORDINGS",
            "CLEAR_TEMPORARY_FILES",
            "RESET_OBS_CONFIG",
            "RESTART_DISPLAY"
        ]
    );
}

#[test]
fn units_and_paths_come_from_the_configuration() {
    let config = "[vm]\nobs_unit = \"obs@main\"\ndisplay_unit = \"Xvfb\"\n[pool]\nproject = \"gala\"\n";
    let catalogue = operations::load(&loaded(config, &[]).config).unwrap();
    assert_eq!(
        argvs(&catalogue, "START_OBS", &[]),
        [
            "sudo -n -- systemctl restart Xvfb",
            "pause 2s",
            "sudo -n -- systemctl start obs@main"
        ]
    );
    assert_eq!(
        argvs(&catalogue, "UPDATE_CODE", &[])[0],
        "git -C /home/ubuntu/gala fetch origin"
    );
    assert_eq!(
        argvs(&catalogue, "VIEW_LOGS", &[("lines", "7")]),
        ["sudo -n -- journalctl -u show-server -n 7 --no-pager"]
    );
    assert_eq!(
        argvs(&catalogue, "CLEAR_RECORDINGS", &[]),
        ["find /home/ubuntu/recordings -maxdepth 1 -type f -name *.mp4 -print -delete"]
    );
    assert_eq!(
        argvs(&catalogue, "RESET_OBS_CONFIG", &[]),
        [
            "test -d /home/ubuntu/obs-config-template/basic",
            "sudo -n -- systemctl stop obs@main",
            "rm -rf -- /home/ubuntu/.config/obs-studio/basic",
            "cp -R /home/ubuntu/obs-config-template/. /home/ubuntu/.config/obs-studio/",
            "sudo -n -- systemctl start obs@main",
        ]
    );
    assert_eq!(
        argvs(&catalogue, "CLEAR_TEMPORARY_FILES", &[]),
        ["sudo -n -- find /tmp -maxdepth 1 -name competition-* -print -exec rm -rf -- {} +"]
    );
}

#[test]
fn a_checkout_that_the_projects_name_leads_elsewhere_is_refused() {
    let config = loaded("[pool]\nproject = \"../../etc\"\n", &[]).config;
    let error = operations::load(&config).unwrap_err();
    assert!(matches!(error, OperationsError::Checkout { .. }), "{error}");
}

#[test]
fn a_file_adds_replaces_and_removes_operations() {
    let catalogue = load(
        r#"
            remove = ["UPDATE_CODE"]
            [operation.RESTART_OBS]
            name = "Restart OBS softly"
            timeout = "1m"
            steps = [{ run = ["pkill", "-INT", "obs"] }]
            [operation.LIGHTS]
            name = "Lights"
            timeout = "5s"
            steps = [{ if = ["test", "-e", "/run/lights"], run = ["lights", "--level={level}", "{recordings_path}"] }]
            parameters.level = { description = "How bright", pattern = { choice = ["low", "high"] } }
        "#,
        "",
    )
    .unwrap();
    assert_eq!(argvs(&catalogue, "RESTART_OBS", &[]), ["pkill -INT obs"]);
    assert_eq!(
        argvs(&catalogue, "LIGHTS", &[("level", "low")]),
        ["lights --level=low /home/ubuntu/recordings"]
    );
    assert!(catalogue.get("STOP_OBS").is_some());
    let gone = catalogue.plan("UPDATE_CODE", &BTreeMap::new());
    assert_eq!(gone, Err(Refused::UnknownOperation("UPDATE_CODE".to_owned())));
}

#[test]
fn every_mistake_is_named_with_file_line_and_key() {
    let operation = |lines: &str| format!("[operation.X]\nname = \"X\"\ntimeout = \"5s\"\n{lines}");
    let steps = |steps: &str| operation(&format!("steps = [{steps}]"));
    for (file, expected) in [
        ("[operation.X\n".to_owned(), "1: "),
        (
            "[operation.restart]\nname = \"X\"\ntimeout = \"5s\"\nsteps = [{ pause = \"1s\" }]".to_owned(),
            "1: operation.restart: an operation's id is 1 to 64 of A-Z",
        ),
        (operation(""), "1: missing field `steps`"),
        (
            operation("steps = []"),
            "4: operation.X.steps: it must have 1 to 32 steps",
        ),
        (operation("shell = true\nsteps = []"), "4: unknown field `shell`"),
        (
            operation("steps = [{ pause = \"1s\" }]").replace("5s", "20m"),
            "3: operation.X.timeout: \"20m\" must be a duration of at most 600s",
        ),
        (steps("{ run = \"systemctl stop\" }"), "4: invalid type: string"),
        (
            steps("{ run = [] }"),
            "4: operation.X.steps: a command has 1 to 64 words",
        ),
        (
            steps("{ run = [\"-rf\"] }"),
            "4: operation.X.steps: a command has 1 to 64 words, and the first names a program",
        ),
        (
            steps("{ run = [\"ls\",\n \"{recordings}\"] }"),
            "5: operation.X.steps: {recordings} is neither a setting nor a parameter",
        ),
        (
            steps("{ }"),
            "4: operation.X.steps: a step has either `run` or `pause`",
        ),
        (
            steps("{ run = [\"ls\"], else = [\"id\"] }"),
            "4: operation.X.steps: `else` needs an `if`",
        ),
        (
            steps("{ run = [\"ls\"] }")
                + "\nparameters.n = { description = \"n\", pattern = { whole = [1, 9] } }",
            "1: operation.X.parameters.n: no step uses the parameter n",
        ),
        (
            steps("{ run = [\"ls\", \"{n}\"] }")
                + "\nparameters.n = { description = \"n\", pattern = { whole = [1, 9] }, default = \"10\" }",
            "5: operation.X.parameters.n.default: \"10\" must be a whole number from 1 to 9",
        ),
        (
            steps("{ run = [\"ls\", \"{n}\"] }")
                + "\nparameters.n = { description = \"n\", pattern = { whole = [9, 1] } }",
            "5: operation.X.parameters.n.pattern: it must be one of",
        ),
        (
            steps("{ run = [\"ls\", \"{user}\"] }")
                + "\nparameters.user = { description = \"n\", pattern = { unit = true } }",
            "5: operation.X.parameters.user: a setting has this name already",
        ),
        (
            "remove = [\"NOPE\"]".to_owned(),
            "1: remove: there is no operation \"NOPE\" to remove",
        ),
    ] {
        let said = complaint(&file);
        assert!(said.starts_with(expected), "{file}\nsaid {said}\nnot  {expected}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let mut config = Config::default();
    config.ssh.operations_path = Some("/nonexistent/operations.toml".into());
    let said = operations::load(&config).unwrap_err().to_string();
    assert!(said.contains("/nonexistent/operations.toml"), "{said}");
}

#[test]
fn names_that_could_be_options_or_leave_their_folder_are_refused_in_the_configuration() {
    for (line, why) in [
        ("obs_unit = \"--now\"", "must not start with '-'"),
        ("nimble_unit = \"a;b\"", "must not contain ';'"),
        ("recordings_path = \"recordings\"", "must be absolute"),
        ("obs_config_path = \"/home/../etc\"", "must not contain `..`"),
    ] {
        let said = super::complaint(&format!("[vm]\n{line}\n"), &[]);
        assert!(said.contains(why), "{said}");
    }
}
