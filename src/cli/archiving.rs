//! A release that archives recordings, as it is followed in the terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::answers::{self, Archived, Archiving, Releasing, Unarchived};
use super::client::{Answer, Call, Client};
use super::failure::Failure;
use super::span;
use super::style;

/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Shows how far the archive is until the release is answered.
///
/// # Errors
/// What is said of the release. How far it is may be unknown meanwhile.
pub async fn follow(
    client: &Client,
    show: &str,
    released: impl Future<Output = Result<Answer, Failure>>,
    bar: &ProgressBar,
) -> Result<Answer, Failure> {
    tokio::pin!(released);
    if bar.is_hidden() {
        return released.await;
    }
    let path = ["api", "competitions", show, "vm"];
    let looks = async {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let looked = client.ask(Call::get(&path)).await;
            if let Some(progress) = looked
                .ok()
                .and_then(|answer| answer.read::<Releasing>().ok())
                .and_then(|releasing| releasing.archiving)
            {
                draw(bar, &progress);
            }
        }
    };
    tokio::select! {
        answer = &mut released => answer,
        // It has no end of its own.
        never = looks => never,
    }
}

fn draw(bar: &ProgressBar, progress: &Archiving) {
    let template = "{bar:30} {bytes} of {total_bytes}, {binary_bytes_per_sec}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_length(progress.total_bytes);
    bar.set_position(progress.bytes);
    let file = progress.file.as_deref().map(style::tame).unwrap_or_default();
    let number = (progress.files + 1).min(progress.total_files);
    bar.set_message(format!("{number}/{} {file}", progress.total_files));
}

/// What is still on a VM, and what is being done about it.
#[must_use]
pub fn left_in_words(left: &Unarchived) -> String {
    let Archived { bucket, folder, .. } = &left.archive;
    let mut text = format!("recordings of {}, for {bucket}/{folder}", left.competition_id);
    if left.under_way {
        text.push_str(": being archived");
        if let Some(progress) = &left.archiving {
            text.push_str(&format!(", {} of {} bytes", progress.bytes, progress.total_bytes));
        }
        return text;
    }
    if let Some(error) = &left.archive.error {
        text.push_str(&format!(": {error}"));
    }
    match left.next_try_at.and_then(answers::instant) {
        Some(at) => text.push_str(&format!("; tried again at about {}", span::clock(at))),
        None => text.push_str("; not tried again by itself"),
    }
    text
}

/// What became of the recordings.
#[must_use]
pub fn sentence(archive: &Archived) -> String {
    let Archived {
        bucket,
        folder,
        files,
        bytes,
        ..
    } = archive;
    let mut text = match files {
        0 => "no recording was archived".to_owned(),
        1 => format!("1 recording ({bytes} bytes) is in {bucket}/{folder}, verified"),
        files => format!("{files} recordings ({bytes} bytes) are in {bucket}/{folder}, verified"),
    };
    match archive.older {
        None | Some(0) => {}
        Some(1) => text.push_str("; an older one stays on the VM"),
        Some(older) => text.push_str(&format!("; {older} older ones stay on the VM")),
    }
    if let Some(error) = &archive.error {
        text.push_str(&format!("; what is missing there is still on the VM: {error}"));
    }
    text
}
