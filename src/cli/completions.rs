//! `understudy completions`: what a shell needs to complete these commands.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use super::Cli;
use super::failure::{Exit, Outcome};
use super::terminal::Terminal;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bash  understudy completions bash > /etc/bash_completion.d/understudy
  zsh   understudy completions zsh > \"${fpath[1]}/_understudy\"
  fish  understudy completions fish > ~/.config/fish/completions/understudy.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs, terminal: &Terminal) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "understudy", &mut script);
    let script = String::from_utf8_lossy(&script);
    if terminal.json {
        terminal.print_json(&json!({"shell": args.shell.to_string(), "script": script}))?;
    } else {
        terminal.print(&script)?;
    }
    Ok(Exit::Done)
}
