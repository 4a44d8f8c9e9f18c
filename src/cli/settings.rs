//! `understudy config`: the pool's settings on a running server. What a server is started with is another
//! matter: see `check-config`.

use serde_json::{Map, Value};

use super::advice;
use super::client::{Call, Client};
use super::connection::Connection;
use super::failure::{Exit, Failure, Outcome};
use super::table::{Cell, Column, Table};
use super::terminal::Terminal;

const PATH: [&str; 4] = ["api", "admin", "vm-pool", "config"];

#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// The settings in force, or one of them
    Get(GetArgs),
    /// Change settings while it runs
    Set(SetArgs),
}

#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// Only this one, such as warmCount
    pub key: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct SetArgs {
    /// What is to be in force, such as warmCount=3
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub settings: Vec<(String, Value)>,
    #[command(flatten)]
    pub connection: Connection,
}

/// Numbers and flags are what they look like; everything else is text.
fn pair(text: &str) -> Result<(String, Value), String> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err("a setting is KEY=VALUE".to_owned());
    };
    let plain = serde_json::from_str(value)
        .ok()
        .filter(|value: &Value| value.is_number() || value.is_boolean());
    Ok((key.to_owned(), plain.unwrap_or_else(|| Value::from(value))))
}

/// # Errors
/// What the client says, and a key that is not there.
pub async fn run(command: ConfigCommand, terminal: &Terminal) -> Outcome {
    match command {
        ConfigCommand::Get(args) => get(args, terminal).await,
        ConfigCommand::Set(args) => set(args, terminal).await,
    }
}

async fn get(args: GetArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let settings: Map<String, Value> = client.ask(Call::get(&PATH)).await?.read()?;
    let Some(key) = args.key else {
        return print(&settings, terminal);
    };
    let Some(value) = settings.get(&key) else {
        return Err(no_such_key(&key, &settings).into());
    };
    if terminal.json {
        terminal.print_json(value)?;
    } else {
        terminal.print(&(plain(value) + "\n"))?;
    }
    Ok(Exit::Done)
}

async fn set(args: SetArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let mut body = Map::new();
    for (key, value) in args.settings {
        if body.insert(key.clone(), value).is_some() {
            return Err(Failure::new(Exit::Usage, format!("{key} is given twice")).into());
        }
    }
    let keys: Vec<String> = body.keys().cloned().collect();
    let answer = match client.ask(Call::put(&PATH, Value::Object(body))).await {
        Ok(answer) => answer,
        Err(failure) => return Err(with_nearest_key(&client, failure, &keys).await.into()),
    };
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(Exit::Done);
    }
    let settings: Map<String, Value> = answer
        .body
        .get("config")
        .and_then(Value::as_object)
        .map(|config| {
            config
                .iter()
                .filter(|(key, _)| keys.contains(key))
                .map(owned)
                .collect()
        })
        .unwrap_or_default();
    print(&settings, terminal)
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// A refusal because of a key that the server does not have, with the one that may be meant.
async fn with_nearest_key(client: &Client, failure: Failure, keys: &[String]) -> Failure {
    if failure.exit != Exit::Usage {
        return failure;
    }
    let Ok(answer) = client.send(&Call::get(&PATH)).await else {
        return failure;
    };
    let Ok(settings) = answer.read::<Map<String, Value>>() else {
        return failure;
    };
    match keys.iter().find(|key| !settings.contains_key(*key)) {
        Some(key) => match no_such_key(key, &settings).advice {
            Some(advice) => failure.advice(advice),
            None => failure,
        },
        None => failure,
    }
}

fn no_such_key(key: &str, settings: &Map<String, Value>) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("there is no setting {key}"));
    match advice::nearest(key, settings.keys().map(String::as_str)) {
        Some(near) => failure.advice(format!("did you mean {near}? `understudy config get` lists them")),
        None => failure.advice("`understudy config get` lists them"),
    }
}

fn print(settings: &Map<String, Value>, terminal: &Terminal) -> Outcome {
    if terminal.json {
        terminal.print_json(settings)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([Column::new("SETTING"), Column::new("VALUE").flexible()]).wrapping();
    for (key, value) in settings {
        table.row([Cell::new(key), Cell::new(plain(value))]);
    }
    terminal.print(&table.render(terminal))?;
    Ok(Exit::Done)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_flags_are_what_they_look_like() {
        for (text, value) in [
            ("warmCount=3", Value::from(3)),
            ("idleTimeoutMinutes=1.5", Value::from(1.5)),
            ("x=true", Value::from(true)),
            ("amiId=ami-0a1b", Value::from("ami-0a1b")),
            ("amiId=", Value::from("")),
            ("x=null", Value::from("null")),
            ("x=a=b", Value::from("a=b")),
        ] {
            assert_eq!(pair(text).unwrap().1, value, "{text}");
        }
        assert!(pair("warmCount").is_err());
        assert!(pair("=3").is_err());
    }
}
