//! A session of a client: a command, a login shell, or SFTP, on a terminal if it asks for one (RFC 4254, section 6).
//!
//! ```text
//! opened ──exec──────► the command, until it ends, is signalled, or the client closes
//!        ──shell────► the login shell, until `exit` or the client closes
//!        ──subsystem─► SFTP, until the client closes
//! ```

use std::sync::Arc;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, Sig};
use tokio::sync::OwnedSemaphorePermit;

use super::super::machine::Shared;
use super::shell::{Gone, Shell, Size, crlf};
use super::{command, sftp};
use crate::sim::model::shell::{Output, words};

/// Longest command line taken.
const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Extended data of this type is standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// A session channel that was opened, and its place among those of the connection.
pub(super) struct Session {
    pub(super) machine: Arc<Shared>,
    pub(super) channel: Channel<Msg>,
    pub(super) client: Handle,
    pub(super) place: OwnedSemaphorePermit,
}

impl Session {
    /// Does what the client asks for, to its end.
    pub(super) async fn run(mut self) {
        let id = self.channel.id();
        let mut terminal = None;
        while let Some(message) = self.channel.wait().await {
            let answered = match message {
                ChannelMsg::Exec { command, .. } if command.len() <= COMMAND_BYTES_MAX => {
                    let line = String::from_utf8_lossy(&command).into_owned();
                    // When it fails the client is gone, and then nobody waits for it.
                    let _ = self.exec(&line, terminal.is_some()).await;
                    return;
                }
                ChannelMsg::RequestShell { .. } => {
                    if self.client.channel_success(id).await.is_ok() {
                        let _ = Shell::new(self.machine, self.channel, terminal).run().await;
                    }
                    return;
                }
                ChannelMsg::RequestPty {
                    col_width: columns,
                    row_height: rows,
                    ..
                }
                | ChannelMsg::WindowChange {
                    col_width: columns,
                    row_height: rows,
                    ..
                } => {
                    terminal = Some(Size { columns, rows });
                    self.client.channel_success(id).await
                }
                ChannelMsg::RequestSubsystem { name, .. } if name == "sftp" => {
                    if self.client.channel_success(id).await.is_ok() {
                        sftp::serve(self.machine, self.channel.into_stream(), self.place).await;
                    }
                    return;
                }
                ChannelMsg::Exec { .. }
                | ChannelMsg::RequestSubsystem { .. }
                | ChannelMsg::RequestX11 { .. }
                | ChannelMsg::SetEnv { .. } => self.client.channel_failure(id).await,
                ChannelMsg::Close => return,
                // Nothing runs that any of it could be for.
                _ => Ok(()),
            };
            if answered.is_err() {
                return;
            }
        }
    }

    async fn exec(&mut self, line: &str, on_terminal: bool) -> Result<(), Gone> {
        let id = self.channel.id();
        self.client.channel_success(id).await?;
        let machine = Arc::clone(&self.machine);
        let words = words::split(line).unwrap_or_default();
        if !machine.change(|model, now| model.command_arrived(&words, now)) {
            return Err(Gone);
        }
        let output = tokio::select! {
            output = command::run(&machine, line) => output,
            signal = ending(&mut self.channel) => {
                let signal = signal.ok_or(Gone)?;
                // What ends by a signal says so instead of a status (RFC 4254, section 6.10).
                let told = self.client.exit_signal_request(id, signal, false, String::new(), String::new());
                told.await?;
                return self.close().await;
            }
        };
        let Output {
            stdout,
            stderr,
            status,
        } = output;
        if on_terminal {
            self.channel.data_bytes(crlf(&[stdout, stderr].concat())).await?;
        } else {
            self.channel.data_bytes(stdout).await?;
            self.channel.extended_data_bytes(STDERR, stderr).await?;
        }
        self.channel.exit_status(status).await?;
        self.close().await
    }

    async fn close(&self) -> Result<(), Gone> {
        self.channel.eof().await?;
        Ok(self.channel.close().await?)
    }
}

/// The signal that ends the command; `None` if the client is gone. Input is for nobody.
async fn ending(channel: &mut Channel<Msg>) -> Option<Sig> {
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Signal {
                signal: signal @ (Sig::TERM | Sig::KILL | Sig::HUP | Sig::INT),
            } => return Some(signal),
            ChannelMsg::Close => return None,
            _ => {}
        }
    }
    None
}
