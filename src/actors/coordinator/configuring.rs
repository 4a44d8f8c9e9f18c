//! Configuring a show: what is asked is checked against the template here, so that a mistake is told to whoever made it.

use super::{Configure, Coordinator, QUICK};
use crate::actors::coordinator::CommandError;
use crate::actors::show::{self, SetUp};
use crate::domain::configuration::Configuration;
use crate::domain::ids::ShowId;
use crate::domain::studio::{HIDDEN, Json, Secret, is_redacted};
use crate::infra::template::{RenderError, Stream, Template};

/// Longest server address and stream key, in characters.
const STREAM_CHARS_MAX: usize = 500;
/// To whoever sends back what was told.
const NOT_THE_SECRET: &str = "(secret) stands for a secret that is not told: give the secret itself";
/// How a server's address may begin.
const SCHEMES: [&str; 3] = ["rtmp://", "rtmps://", "srt://"];

impl Coordinator {
    /// Takes down what a show's studio is to be made from, and has it made: at once on the VM that it has, else on the
    /// next. Safe to repeat: what is as it is to be is left alone.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] names what does not fit; [`CommandError::WrongPhase`] if the show is on air and not to
    /// be changed there, or is being moved or released.
    pub async fn set_up_show(&self, show: ShowId, ask: Configure) -> Result<(), CommandError> {
        if self.ctx.is_stopping() {
            return Err(CommandError::Stopping);
        }
        let keep_key = ask.stream_key.is_none();
        let apply = ask.apply;
        let ask = SetUp {
            configuration: self.checked(&show, ask)?,
            keep_key,
            apply,
        };
        let message = |reply| show::Message::SetUp {
            ask: Box::new(ask.clone()),
            reply,
        };
        self.ctx
            .shows
            .command(&self.ctx, &show, "configuring the show", QUICK, message)
            .await
    }

    fn checked(&self, show: &ShowId, ask: Configure) -> Result<Configuration, CommandError> {
        let known = self.ctx.world.templates.get(&ask.template);
        let template = known.ok_or_else(|| {
            let names: Vec<&str> = self.templates().iter().map(Template::name).collect();
            invalid(
                "template",
                format!(
                    "there is no template {:?}; there are {}",
                    ask.template,
                    names.join(", ")
                ),
            )
        })?;
        if let Some(server) = &ask.stream_server {
            check_server(server)?;
        }
        for (name, value) in &ask.variables {
            if is_redacted(value) {
                return Err(invalid(&format!("variables.{name}"), NOT_THE_SECRET.to_owned()));
            }
        }
        let stream_key = match &ask.stream_key {
            Some(key) => self.sealed(key)?,
            None => None,
        };
        template
            .render(show.as_str(), &ask.variables, Stream::default())
            .map_err(|error| match &error {
                RenderError::Variable { variable, .. } => invalid(variable, error.to_string()),
                RenderError::Template { .. } => invalid("variables", error.to_string()),
            })?;
        Ok(Configuration {
            template: ask.template,
            variables: Json(serde_json::Value::Object(ask.variables).to_string()),
            stream_server: ask.stream_server,
            stream_key,
        })
    }

    fn sealed(&self, key: &Secret) -> Result<Option<crate::domain::sealed::Sealed>, CommandError> {
        let text = key.expose();
        if text.chars().count() > STREAM_CHARS_MAX || text.chars().any(char::is_control) {
            let message = format!("a stream key is one line of at most {STREAM_CHARS_MAX} characters");
            return Err(invalid("stream.key", message));
        }
        let sealed = self.ctx.world.vault.seal(key);
        sealed.map_err(|error| invalid("stream.key", error.to_string()))
    }
}

fn check_server(server: &str) -> Result<(), CommandError> {
    if server.contains(HIDDEN) {
        return Err(invalid("stream.server", NOT_THE_SECRET.to_owned()));
    }
    let known = SCHEMES.iter().find_map(|scheme| server.strip_prefix(scheme));
    let plain = !server.chars().any(|c| c.is_control() || c.is_whitespace());
    if plain && server.chars().count() <= STREAM_CHARS_MAX && known.is_some_and(|host| !host.is_empty()) {
        return Ok(());
    }
    let message = format!(
        "an address of at most {STREAM_CHARS_MAX} characters without blanks that begins with {}",
        SCHEMES.join(", ")
    );
    Err(invalid("stream.server", message))
}

fn invalid(field: &str, message: String) -> CommandError {
    CommandError::Invalid {
        field: field.to_owned(),
        message,
    }
}
