//! `understudy vm files`, `upload` and `download`: a VM's files, through the server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::answers::Folder;
use super::client::{Call, Client};
use super::connection::Connection;
use super::failure::{Exit, Failure, Outcome};
use super::show::tell;
use super::table::{Cell, Column, Table};
use super::terminal::Terminal;
use crate::domain::ids::VmId;

/// Longest time that a file may take; the server gives up sooner on one that does not move.
const LIMIT: Duration = Duration::from_secs(6 * 60 * 60);
/// Bytes read from the disk at a time.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
pub struct FilesArgs {
    /// The VM
    pub vm: VmId,
    /// A folder on it, such as /home/ubuntu/recordings
    pub path: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct UploadArgs {
    /// The VM
    pub vm: VmId,
    /// The file here
    pub file: PathBuf,
    /// Where it goes on the VM, with its name
    pub path: String,
    /// Its permission bits there
    #[arg(long, value_name = "OCTAL", default_value = "644")]
    pub mode: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct DownloadArgs {
    /// The VM
    pub vm: VmId,
    /// The file on it
    pub path: String,
    /// Where it goes here; its own name in this folder unless given
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub connection: Connection,
}

/// # Errors
/// What the client says.
pub async fn list(args: FilesArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = [
        "api",
        "admin",
        "vm-pool",
        args.vm.as_str(),
        "ssh",
        "files",
        "list",
    ];
    let answer = client
        .ask(Call::get(&path).with("path", args.path).slow())
        .await?;
    let folder: Folder = answer.read()?;
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        Column::new("NAME").flexible(),
        Column::new("KIND"),
        Column::new("BYTES").right(),
        Column::new("MODIFIED"),
    ]);
    for entry in folder.entries {
        table.row([
            Cell::new(entry.name),
            Cell::new(entry.kind),
            Cell::maybe(entry.bytes.map(|bytes| bytes.to_string())),
            Cell::maybe(entry.modified.map(|at| at.to_string())),
        ]);
    }
    if table.is_empty() {
        terminal.note("nothing is in there");
        return Ok(Exit::Done);
    }
    terminal.print(&table.render(terminal))?;
    Ok(Exit::Done)
}

/// # Errors
/// What the client says; a file that cannot be read.
pub async fn upload(args: UploadArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let unreadable = |error: std::io::Error| {
        let message = format!("{} cannot be read: {error}", args.file.display());
        Failure::new(Exit::Failed, message)
    };
    let file = tokio::fs::File::open(&args.file).await.map_err(unreadable)?;
    let about = file.metadata().await.map_err(unreadable)?;
    if !about.is_file() {
        let message = format!("{} is not a file", args.file.display());
        return Err(Failure::new(Exit::Usage, message).into());
    }
    let bytes = about.len();
    let bar = bar(terminal, bytes, &args.path);
    let pieces = stream::try_unfold((file, bar.clone()), async |(mut file, bar)| {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await?;
        piece.truncate(read);
        bar.inc(read as u64);
        let next = (read > 0).then(|| (Frame::data(Bytes::from(piece)), (file, bar)));
        Ok::<_, std::io::Error>(next)
    });
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "ssh", "files"];
    let call = Call::new(Method::PUT, &path)
        .with("path", args.path.clone())
        .with("mode", args.mode);
    let body = reqwest::Body::wrap(StreamBody::new(Box::pin(pieces)));
    let answer = client.send_file(call, body, bytes, LIMIT).await;
    bar.finish_and_clear();
    let answer = answer?;
    tell(
        terminal,
        &answer,
        &format!(
            "{} is at {} on {} ({bytes} bytes)",
            args.file.display(),
            args.path,
            args.vm
        ),
    )
}

/// # Errors
/// What the client says; a file that cannot be written, or that broke off.
pub async fn download(args: DownloadArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let target = target(&args)?;
    let unwritable = |error: std::io::Error| {
        let message = format!("{} cannot be written: {error}", target.display());
        Failure::new(Exit::Failed, message)
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Under its name only once it is whole, and then with the permissions of any new file: 666 without the umask.
    let part = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        // The error itself names the temporary file.
        .map_err(|error| unwritable(error.kind().into()))?;
    let mut writing = tokio::fs::File::from_std(part.reopen().map_err(unwritable)?);
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "ssh", "files"];
    let call = Call::get(&path).with("path", args.path.clone());
    let mut response = client.file(call, LIMIT).await?;
    let bytes_total = response.content_length();
    let bar = bar(terminal, bytes_total.unwrap_or(0), &args.path);
    let mut bytes = 0_u64;
    loop {
        let piece = response.chunk().await.map_err(|error| {
            let message = format!("{} broke off after {bytes} bytes: {error}", args.path);
            Failure::new(Exit::Unreachable, message).advice("see `understudy vm executions` for why")
        })?;
        let Some(piece) = piece else { break };
        writing.write_all(&piece).await.map_err(unwritable)?;
        bytes += piece.len() as u64;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    writing.flush().await.map_err(unwritable)?;
    part.persist(&target).map_err(|error| unwritable(error.error))?;
    if terminal.json {
        let told = serde_json::json!({
            "vmId": args.vm.as_str(), "path": args.path, "file": target.display().to_string(), "bytes": bytes,
        });
        terminal.print_json(&told)?;
    } else {
        terminal.print(&format!("{} ({bytes} bytes)\n", target.display()))?;
    }
    Ok(Exit::Done)
}

fn target(args: &DownloadArgs) -> Result<PathBuf, Failure> {
    let name = Path::new(&args.path).file_name();
    match (&args.file, name) {
        (Some(file), Some(name)) if file.is_dir() => Ok(file.join(name)),
        (Some(file), _) => Ok(file.clone()),
        (None, Some(name)) => Ok(PathBuf::from(name)),
        (None, None) => Err(Failure::new(Exit::Usage, format!("{} is not a file", args.path))),
    }
}

/// How far it is; only where somebody looks on.
fn bar(terminal: &Terminal, bytes: u64, what: &str) -> ProgressBar {
    if terminal.json {
        return ProgressBar::hidden();
    }
    // It draws on standard error, and only if that is a terminal.
    let bar = ProgressBar::new(bytes);
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(super::style::tame(what));
    bar
}
