//! A VM's files: `/api/admin/vm-pool/{vmId}/ssh/files`.
//!
//! Both directions are streamed: a body is not kept anywhere on its way. What is wrong before the first byte has a
//! status; a download that breaks off later ends short of its `Content-Length`.

use axum::body::Body as HttpBody;
use axum::extract::{Query, State};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::actors::executions::transfer::{Download, FileError, Upload};
use crate::api::auth::{Admin, Granted};
use crate::api::error::{ApiError, ErrorBody};
use crate::api::extract::VmPath;
use crate::api::gateway::Gateway;
use crate::api::openapi::{Refusals, VmIdParam};
use crate::api::reply::Reply;
use crate::api::types::files::{FileList, UploadReply};
use crate::domain::unix::AbsolutePath;

const MODE_DEFAULT: u32 = 0o644;
const MODE_MAX: u32 = 0o777;
const EXECUTION_ID: &str = "x-execution-id";

pub fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new()
        .routes(routes!(download, upload))
        .routes(routes!(list))
}

/// Which file or folder.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PathQuery {
    /// Absolute, below one of `ssh.file_roots`, without `..`.
    #[param(required = true, value_type = String, max_length = 4096, example = "/home/ubuntu/recordings")]
    path: Option<String>,
}

/// Which file, and how it is made.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UploadQuery {
    /// Absolute, below one of `ssh.file_roots`, without `..`. Its folder must be there.
    #[param(required = true, value_type = String, max_length = 4096, example = "/tmp/overlay.png")]
    path: Option<String>,
    /// Permission bits, octal; 644 if there are none.
    #[param(pattern = "^[0-7]{1,4}$", example = "644")]
    mode: Option<String>,
}

type Asked<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

fn path_of(path: Option<String>) -> Result<AbsolutePath, ApiError> {
    let path = path.ok_or_else(|| ApiError::field("path", "path is missing"))?;
    AbsolutePath::new(&path).map_err(|error| ApiError::field("path", error.to_string()))
}

fn unreadable(_: axum::extract::rejection::QueryRejection) -> ApiError {
    ApiError::field("path", "the query string cannot be read")
}

/// What is in a folder of a VM.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/{vmId}/ssh/files/list", tag = "ssh",
    params(VmIdParam, PathQuery),
    responses(
        (status = 200, body = FileList),
        (status = 400, body = ErrorBody, description = "Not a legal id or path"),
        (status = 403, body = ErrorBody, description = "Not below a folder that files may be moved in"),
        (status = 404, body = ErrorBody, description = "No such VM or folder"),
        (status = 409, body = ErrorBody, description = "The VM does not run"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH, or refused"),
        Refusals
    )
)]
async fn list(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
    query: Asked<PathQuery>,
) -> Result<Reply<FileList>, ApiError> {
    let path = path_of(query.map_err(unreadable)?.0.path)?;
    gateway.require_initialized()?;
    let entries = gateway
        .coordinator()
        .list_files(vm.clone(), path.clone(), granted.caller.name().to_owned())
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(Reply(FileList::new(vm.to_string(), path.to_string(), entries)))
}

/// Reads a file of a VM.
///
/// `Range: bytes=N-` goes on with one that broke off; other ranges are answered with the whole file.
#[utoipa::path(
    get, path = "/api/admin/vm-pool/{vmId}/ssh/files", tag = "ssh",
    params(VmIdParam, PathQuery),
    responses(
        (status = 200, body = Vec<u8>, description = "The file", content_type = "application/octet-stream"),
        (status = 206, body = Vec<u8>, description = "The rest of it", content_type = "application/octet-stream"),
        (status = 400, body = ErrorBody, description = "Not a legal id or path"),
        (status = 403, body = ErrorBody, description = "Not below a folder that files may be moved in"),
        (status = 404, body = ErrorBody, description = "No such VM or file"),
        (status = 409, body = ErrorBody, description = "The VM does not run, or it is not a file"),
        (status = 416, body = ErrorBody, description = "The file ends before that; `Content-Range` says where"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH, or refused"),
        Refusals
    )
)]
async fn download(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
    query: Asked<PathQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = path_of(query.map_err(unreadable)?.0.path)?;
    let from = first_byte(&headers);
    gateway.require_initialized()?;
    let download = gateway
        .coordinator()
        .download(vm, path.clone(), from, granted.caller.name().to_owned())
        .await
        .map_err(|error| gateway.refuse(error))?;
    Ok(as_file(download, &path, from))
}

/// `bytes=N-` (RFC 9110, section 14.1.2). Any other range may be left out of account.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn as_file(download: Download, path: &AbsolutePath, from: Option<u64>) -> Response {
    let Download {
        id,
        bytes_total,
        pieces,
    } = download;
    let body = stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let mut response = Response::new(HttpBody::from_stream(body));
    let first = from.unwrap_or(0);
    let mut lines = vec![
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_LENGTH,
            bytes_total.saturating_sub(first).to_string(),
        ),
        (header::CONTENT_DISPOSITION, disposition(path)),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::HeaderName::from_static(EXECUTION_ID), id.to_string()),
    ];
    if let Some(first) = from {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = bytes_total.saturating_sub(1);
        let range = format!("bytes {first}-{last}/{bytes_total}");
        lines.push((header::CONTENT_RANGE, range));
    }
    for (name, value) in lines {
        // All of it is visible ASCII.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The file's own name, whatever is in it (RFC 6266, RFC 8187).
fn disposition(path: &AbsolutePath) -> String {
    let mut encoded = String::new();
    for byte in path.file_name().unwrap_or("file").bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename*=UTF-8''{encoded}")
}

/// Writes a file of a VM; it takes the place of one that is there when it is whole, at once.
#[utoipa::path(
    put, path = "/api/admin/vm-pool/{vmId}/ssh/files", tag = "ssh",
    params(VmIdParam, UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file"),
    responses(
        (status = 200, body = UploadReply),
        (status = 400, body = ErrorBody, description = "Not a legal id, path or mode, or the body broke off"),
        (status = 403, body = ErrorBody, description = "Not below a folder that files may be moved in"),
        (status = 404, body = ErrorBody, description = "No such VM or folder"),
        (status = 409, body = ErrorBody, description = "The VM does not run, or a folder has that name"),
        (status = 413, body = ErrorBody, description = "Larger than `ssh.upload_bytes_max`"),
        (status = 502, body = ErrorBody, description = "The VM could not be reached over SSH, or refused"),
        (status = 504, body = ErrorBody, description = "Nothing moved for `ssh.transfer_stall`"),
        Refusals
    )
)]
async fn upload(
    granted: Granted<Admin>,
    State(gateway): State<Gateway>,
    VmPath(vm): VmPath,
    query: Asked<UploadQuery>,
    body: HttpBody,
) -> Result<Reply<UploadReply>, ApiError> {
    let query = query.map_err(unreadable)?.0;
    let (path, mode) = (path_of(query.path)?, mode_of(query.mode.as_deref())?);
    let bytes_total = body.size_hint().exact();
    gateway.require_initialized()?;
    let by = granted.caller.name().to_owned();
    let upload = gateway
        .coordinator()
        .upload(vm.clone(), path.clone(), mode, bytes_total, by)
        .await
        .map_err(|error| gateway.refuse(error))?;
    let execution_id = upload.id.to_string();
    let bytes = send(body, upload)
        .await
        .map_err(|error| gateway.refuse(error.into()))?;
    Ok(Reply(UploadReply {
        success: true,
        vm_id: vm.to_string(),
        path: path.to_string(),
        bytes,
        execution_id,
    }))
}

fn mode_of(text: Option<&str>) -> Result<u32, ApiError> {
    let Some(text) = text else {
        return Ok(MODE_DEFAULT);
    };
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| is_octal && *mode <= MODE_MAX);
    mode.ok_or_else(|| ApiError::field("mode", "mode must be octal permission bits from 0 to 777"))
}

async fn send(mut body: HttpBody, upload: Upload) -> Result<u64, FileError> {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = upload.ended() => return upload.finish().await,
        };
        match frame {
            None => return upload.finish().await,
            Some(Err(_)) => return upload.break_off().await,
            Some(Ok(frame)) => {
                // Trailers are of no use here.
                let Ok(bytes) = frame.into_data() else { continue };
                if !bytes.is_empty() && !upload.send(bytes).await {
                    return upload.finish().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_whatever_is_in_it() {
        let name = |path: &str| disposition(&AbsolutePath::new(path).unwrap());
        assert_eq!(name("/tmp/a-b_c.mp4"), "attachment; filename*=UTF-8''a-b_c.mp4");
        assert_eq!(name("/tmp/ü \"x"), "attachment; filename*=UTF-8''%C3%BC%20%22x");
    }

    #[test]
    fn only_the_rest_of_a_file_is_a_range() {
        let of = |range: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(range));
            first_byte(&headers)
        };
        assert_eq!(of("bytes=17-"), Some(17));
        for other in [
            "bytes=-5",
            "bytes=1-2",
            "bytes=1-,3-",
            "lines=1-",
            "bytes=x-",
            "bytes=-",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn modes_are_octal_and_nothing_special() {
        assert_eq!(mode_of(None).unwrap(), 0o644);
        assert_eq!(mode_of(Some("0755")).unwrap(), 0o755);
        for bad in ["", "8", "4755", "00644", "+7", "rw"] {
            assert!(mode_of(Some(bad)).is_err(), "{bad}");
        }
    }
}
