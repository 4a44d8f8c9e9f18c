//! How an input sounds: read and restored.

use std::ops::Neg;
use std::time::Duration;

use obws::common::MonitorType;
use obws::requests::inputs::Volume;

use super::Error;
use super::link::{Lane, Link, WRONG_STATE, denied_with};
use super::restore::Work;
use super::wire::{decimal, single};
use crate::domain::studio::{Audio, Monitor};

/// `None` for an input without sound: OBS says so by refusing.
pub(super) async fn read(link: &Link, input: &str) -> Result<Option<Audio>, Error> {
    let volume = link
        .call("GetInputVolume", |client| async move {
            client.inputs().volume(input.into()).await
        })
        .await;
    if denied_with(&volume, WRONG_STATE) {
        return Ok(None);
    }
    let volume_mul = decimal(volume?.mul);
    let (muted, balance, offset, monitor, tracks) = tokio::try_join!(
        link.call("GetInputMute", |client| async move {
            client.inputs().muted(input.into()).await
        }),
        link.call("GetInputAudioBalance", |client| async move {
            client.inputs().audio_balance(input.into()).await
        }),
        link.call("GetInputAudioSyncOffset", |client| async move {
            client.inputs().audio_sync_offset(input.into()).await
        }),
        link.call("GetInputAudioMonitorType", |client| async move {
            client.inputs().audio_monitor_type(input.into()).await
        }),
        link.call("GetInputAudioTracks", |client| async move {
            client.inputs().audio_tracks(input.into()).await
        }),
    )?;
    Ok(Some(Audio {
        volume_mul,
        muted,
        balance: decimal(balance),
        sync_offset_ms: i64::try_from(offset.whole_milliseconds()).unwrap_or_default(),
        monitor: monitor_of(monitor),
        tracks,
    }))
}

fn monitor_of(read: MonitorType) -> Monitor {
    match read {
        MonitorType::MonitorOnly => Monitor::Only,
        MonitorType::MonitorAndOutput => Monitor::AndOutput,
        // OBS has three; what obws may add would be unheard here too.
        _ => Monitor::Off,
    }
}

fn monitor_type(want: Monitor) -> MonitorType {
    match want {
        Monitor::Off => MonitorType::None,
        Monitor::Only => MonitorType::MonitorOnly,
        Monitor::AndOutput => MonitorType::MonitorAndOutput,
    }
}

/// Sets what differs of an input's sound. One that was just created has no `now`: it sounds as OBS makes inputs,
/// except that some kinds are monitored from the start.
pub(super) async fn change(
    work: &Work<'_>,
    input: &str,
    want: Option<Audio>,
    now: Option<Audio>,
) -> Result<(), Error> {
    let Some(want) = want else { return Ok(()) };
    let sound = Sound {
        work,
        input,
        want,
        now: now.unwrap_or_default(),
        is_new: now.is_none(),
    };
    sound.level().await?;
    sound.place().await?;
    sound.route().await
}

/// A duration as obws has it, which knows negative ones.
fn signed<T: TryFrom<Duration> + Neg<Output = T>>(milliseconds: i64) -> Option<T> {
    let size = T::try_from(Duration::from_millis(milliseconds.unsigned_abs())).ok()?;
    Some(if milliseconds < 0 { -size } else { size })
}

struct Sound<'a> {
    work: &'a Work<'a>,
    input: &'a str,
    want: Audio,
    now: Audio,
    is_new: bool,
}

impl Sound<'_> {
    fn name(&self, what: &str) -> String {
        format!("{what} of input {:?}", self.input)
    }

    async fn level(&self) -> Result<(), Error> {
        let (input, want) = (self.input, self.want);
        if single(self.now.volume_mul) != single(want.volume_mul) {
            let request = |client: Lane| async move {
                let volume = Volume::Mul(single(want.volume_mul));
                client.inputs().set_volume(input.into(), volume).await
            };
            self.work
                .change("SetInputVolume", || self.name("volume"), request)
                .await?;
        }
        if self.now.muted != want.muted {
            let request =
                |client: Lane| async move { client.inputs().set_muted(input.into(), want.muted).await };
            self.work
                .change("SetInputMute", || self.name("mute"), request)
                .await?;
        }
        Ok(())
    }

    async fn place(&self) -> Result<(), Error> {
        let (input, want) = (self.input, self.want);
        if single(self.now.balance) != single(want.balance) {
            let balance = single(want.balance);
            let request =
                |client: Lane| async move { client.inputs().set_audio_balance(input.into(), balance).await };
            self.work
                .change("SetInputAudioBalance", || self.name("balance"), request)
                .await?;
        }
        if self.now.sync_offset_ms != want.sync_offset_ms {
            let Some(offset) = signed(want.sync_offset_ms) else {
                return Ok(());
            };
            let request = |client: Lane| async move {
                let inputs = client.inputs();
                inputs.set_audio_sync_offset(input.into(), offset).await
            };
            self.work
                .change("SetInputAudioSyncOffset", || self.name("sync offset"), request)
                .await?;
        }
        Ok(())
    }

    async fn route(&self) -> Result<(), Error> {
        let (input, want) = (self.input, self.want);
        if self.is_new || self.now.monitor != want.monitor {
            let monitor = monitor_type(want.monitor);
            let request = |client: Lane| async move {
                let inputs = client.inputs();
                inputs.set_audio_monitor_type(input.into(), monitor).await
            };
            self.work
                .change("SetInputAudioMonitorType", || self.name("monitoring"), request)
                .await?;
        }
        if self.now.tracks != want.tracks {
            let tracks = want.tracks.map(Some);
            let request =
                |client: Lane| async move { client.inputs().set_audio_tracks(input.into(), tracks).await };
            self.work
                .change("SetInputAudioTracks", || self.name("tracks"), request)
                .await?;
        }
        Ok(())
    }
}
