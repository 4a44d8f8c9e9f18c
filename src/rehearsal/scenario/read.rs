//! From a TOML file to a scenario: strict, and with every mistake at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::built_in;
use super::error::{Mistake, ScenarioError};
use super::form::{Form, Given, Source};
use super::target::Known;
use super::words::{COMMANDS, ENDS};
use super::{
    Act, Ends, Expected, Number, Objective, Part, Pool, SHOWS_MAX, Scenario, Shows, Step, VMS_MAX, When,
};
use crate::domain::ids::ShowId;
use crate::domain::show::RECORDS_MAX;

/// Largest scenario file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 256 << 10;
/// Longest time of anything in a scenario.
pub(super) const SPAN_MAX: Duration = Duration::from_secs(60 * 60);
const STEPS_MAX: usize = 200;
const REPEAT_MAX: u32 = 1_000;
const ABOUT_CHARS_MAX: usize = 200;
/// The simulated world's own.
const ZONES: [&str; 3] = ["sim-1a", "sim-1b", "sim-1c"];
/// What a scenario gives its shows, and its shows the rest.
const WITHIN: Duration = Duration::from_secs(30);
/// By then a show whose machine is silent has been moved: the limits of the failover and what a move takes, and as much again.
const WATCH: Duration = Duration::from_secs(6);

/// The scenario of this name, or in this file: a file has a `/` in it or ends in `.toml`. Reads that file.
///
/// # Errors
/// [`ScenarioError`].
pub fn load(name: &str) -> Result<Scenario, ScenarioError> {
    let Some(path) = file(name) else {
        return built_in(name);
    };
    let text = text_of(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    parse(path, &stem, &text)
}

/// The file, if this names one.
#[must_use]
pub fn file(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    let is_file = name.contains('/') || path.extension().is_some_and(|extension| extension == "toml");
    is_file.then_some(path)
}

fn text_of(path: &Path) -> Result<String, ScenarioError> {
    use std::io::Read as _;
    let failed = |source| ScenarioError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(failed)? as u64 > FILE_BYTES_MAX {
        return Err(ScenarioError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// Reads a scenario. `path` is only named in errors.
///
/// # Errors
/// [`ScenarioError::Syntax`]; [`ScenarioError::Invalid`] with every mistake.
pub fn parse(path: &Path, name: &str, text: &str) -> Result<Scenario, ScenarioError> {
    let mut source = Source::new(text);
    let table = DeTable::parse(text).map_err(|error| ScenarioError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| source.line_of(span.start)),
        message: error.message().replace('\n', " "),
    })?;
    let form = Form::new("", 1, table.get_ref(), &source);
    let scenario = scenario(name, form, &mut source);
    let problems = source.finish();
    if problems.is_empty() {
        Ok(scenario)
    } else {
        Err(ScenarioError::Invalid {
            path: path.to_owned(),
            problems,
        })
    }
}

fn scenario(name: &str, mut form: Form<'_>, source: &mut Source) -> Scenario {
    let allowed = "one line of 1 to 200 characters";
    let about = form.need(source, "about", allowed, |given| {
        let text = given.text()?;
        let fits = (1..=ABOUT_CHARS_MAX).contains(&text.chars().count());
        (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
    });
    let count = form.whole(source, "shows", 1..=SHOWS_MAX);
    let mut pool_form = form.table(source, "pool");
    let mut objective_form = form.table(source, "objective");
    let pool = pool(&mut pool_form, source);
    let (mut objective, watch) = objective(&mut objective_form, source);
    let parts = form.tables(source, "show");
    if let (Some(_), Some(first)) = (count, parts.first()) {
        let message = "either shows or [[show]], not both".to_owned();
        source.wrong(first.line, Mistake::Conflict(message));
    }
    let shows = match parts.is_empty() {
        true => Shows::Count(count.unwrap_or(2)),
        false => Shows::Named(named(parts, &objective, source)),
    };
    let mut steps = form.tables(source, "step");
    if steps.len() > STEPS_MAX {
        let message = format!("at most {STEPS_MAX} steps");
        source.wrong(steps[STEPS_MAX].line, Mistake::Conflict(message));
        steps.truncate(STEPS_MAX);
    }
    objective.watch = watch.unwrap_or_else(|| watched(&shows, objective.part.moves));
    let known = Known::new(&pool.zones, &shows);
    let steps: Vec<Step> = steps
        .into_iter()
        .filter_map(|step| known.step(step, source))
        .collect();
    one_house(&steps, source);
    for form in [pool_form, objective_form, form] {
        form.finish(source);
    }
    Scenario {
        name: name.to_owned(),
        about: about.unwrap_or_default(),
        pool,
        shows,
        steps,
        objective,
    }
}

/// A coordinator in a process of its own has no actors that anybody outside could kill.
fn one_house(steps: &[Step], source: &mut Source) {
    let any = |is_it: fn(&Act) -> bool| steps.iter().any(|step| is_it(&step.act));
    let actors = any(|act| matches!(act, Act::VmActor(_) | Act::ShowActor(_)));
    if actors && any(|act| matches!(act, Act::Coordinator { .. })) {
        let message = "a scenario kills either actors or the coordinator: one in a process of its own cannot be reached into";
        source.wrong(1, Mistake::Conflict(message.to_owned()));
    }
}

fn number(given: &Given<'_>, most: u32) -> Option<Number> {
    let number = match given.text() {
        Some(text) => Number::PerShow(text.strip_suffix(" per show")?.trim().parse().ok()?),
        None => Number::Fixed(given.show().parse().ok()?),
    };
    (number.of(1) <= most).then_some(number)
}

fn pool(form: &mut Form<'_>, source: &mut Source) -> Pool {
    let allowed = format!("a whole number from 0 to {VMS_MAX}, or such as \"1 per show\"");
    let spares = form.read(source, "spares", &allowed, |given| number(given, VMS_MAX));
    let cold = form.read(source, "cold", &allowed, |given| number(given, VMS_MAX));
    let warm_target = form.whole(source, "warm_target", 0..=VMS_MAX);
    let zones = form.texts(source, "zones");
    if zones.as_ref().is_some_and(Vec::is_empty) {
        source.wrong(
            form.line,
            Mistake::Conflict("pool.zones names no zone".to_owned()),
        );
    }
    let zones = zones.filter(|zones| !zones.is_empty());
    Pool {
        spares: spares.unwrap_or(Number::PerShow(1)),
        cold: cold.unwrap_or(Number::Fixed(1)),
        warm_target: warm_target.unwrap_or(1),
        zones: zones.unwrap_or_else(|| ZONES.map(str::to_owned).to_vec()),
    }
}

/// A number of moves, or that it does not matter.
fn moves(form: &mut Form<'_>, source: &mut Source) -> Option<Option<u32>> {
    let allowed = "a whole number from 0 to 49, or \"any\"";
    form.read(source, "moves", allowed, |given| match given.text() {
        Some("any") => Some(None),
        Some(_) => None,
        None => given
            .show()
            .parse()
            .ok()
            // So that one more is remembered, too.
            .filter(|number| (*number as usize) < RECORDS_MAX)
            .map(Some),
    })
}

/// That a show was moved is waited for; that it was not is seen only once it could have been.
fn watched(shows: &Shows, moves: Option<u32>) -> Duration {
    let may_stay = |moves: &Option<u32>| moves.is_none_or(|moves| moves == 0);
    let any_may_stay = match shows {
        Shows::Count(_) => may_stay(&moves),
        Shows::Named(parts) => parts.iter().any(|part| may_stay(&part.moves)),
    };
    if any_may_stay { WATCH } else { Duration::ZERO }
}

/// With how long is to be watched, if the file says so.
fn objective(form: &mut Form<'_>, source: &mut Source) -> (Objective, Option<Duration>) {
    let ms = Duration::from_millis;
    let watch = form.span(source, "watch", Duration::ZERO..=SPAN_MAX);
    let objective = Objective {
        max_off_air: form.span(source, "max_off_air", Duration::ZERO..=SPAN_MAX),
        within: form.span(source, "within", ms(100)..=SPAN_MAX).unwrap_or(WITHIN),
        watch: Duration::ZERO,
        must_ring: form.texts(source, "must_ring").unwrap_or_default(),
        must_not_ring: form.texts(source, "must_not_ring").unwrap_or_default(),
        part: Expected {
            moves: moves(form, source).unwrap_or(Some(0)),
            ends: form.word(source, "ends", &ENDS).unwrap_or(Ends::OnAir),
        },
    };
    (objective, watch)
}

fn named(parts: Vec<Form<'_>>, objective: &Objective, source: &mut Source) -> Vec<Part> {
    let mut seen = BTreeSet::new();
    let mut named = Vec::with_capacity(parts.len());
    for mut form in parts {
        let line = form.line;
        let show = form.need(
            source,
            "name",
            "a competition's id, such as \"finals\"",
            |given| ShowId::new(given.text()?).ok().filter(|id| id.as_str() != "*"),
        );
        let moves = moves(&mut form, source).unwrap_or(objective.part.moves);
        let ends = form.word(source, "ends", &ENDS).unwrap_or(objective.part.ends);
        let max_off_air = form.span(source, "max_off_air", Duration::ZERO..=SPAN_MAX);
        form.finish(source);
        let Some(show) = show else { continue };
        if !seen.insert(show.clone()) {
            source.wrong(line, Mistake::Conflict(format!("show {show} is there twice")));
        }
        named.push(Part {
            show,
            moves,
            ends,
            max_off_air: max_off_air.or(objective.max_off_air),
        });
    }
    named
}

impl Known<'_> {
    fn step(&self, mut form: Form<'_>, source: &mut Source) -> Option<Step> {
        let line = form.line;
        let at = form.span(source, "at", Duration::ZERO..=SPAN_MAX);
        let spread = form.span(source, "spread", Duration::ZERO..=SPAN_MAX);
        let when = form.word(source, "when", &[("failing-over", When::FailingOver)]);
        let repeat = form.whole(source, "repeat", 1..=REPEAT_MAX).unwrap_or(1);
        let every = form.span(source, "every", Duration::from_millis(1)..=SPAN_MAX);
        if repeat > 1 && every.is_none() {
            let message = "repeat needs every: how much later each is".to_owned();
            source.wrong(line, Mistake::Conflict(message));
        }
        let target = self.target(&mut form, source);
        let command = form.word(source, "command", &COMMANDS);
        let act = super::act::read(&mut form, target, command, source);
        form.finish(source);
        let act = act?;
        if when.is_some() && act.which().is_none() {
            let message = "when needs a target that is a show or an actor".to_owned();
            source.wrong(line, Mistake::Conflict(message));
        }
        Some(Step {
            at: at.unwrap_or_default(),
            spread: spread.unwrap_or_default(),
            when,
            repeat,
            every: every.unwrap_or_default(),
            act,
        })
    }
}
