//! What to do about an answer that is not a success: the one place that turns refusals into advice.
//!
//! The server's own sentence is always told as it is. Advice is added where the command line knows more than
//! the server: its own options and commands, and what is nearly named like what was asked for.

use std::fmt::Write as _;

use super::answers::Pool;
use super::client::{Call, CallError, Client, Refusal};
use super::failure::{Exit, Failure, REQUEST_ID};

/// Explains an error to people. Looks at the pool for names if something is not known.
pub(super) async fn explain(client: &Client, error: CallError, call: &Call<'_>) -> Failure {
    let key = call.idempotency_key();
    let message = error.to_string();
    let unreachable = |advice: String| Failure::new(Exit::Unreachable, message.clone()).advice(advice);
    match error {
        CallError::Refused(refusal) => refused(client, refusal, key).await,
        CallError::Unreachable { .. } if client.is_local() => unreachable(
            "start one with `understudy serve` (or see one with `understudy demo`), or say where it is with \
             --server or UNDERSTUDY_URL"
                .to_owned(),
        ),
        CallError::Unreachable { .. } => unreachable(
            "see whether it runs, listens on that address (server.listen), and may be reached from here; \
             --server or UNDERSTUDY_URL names another"
                .to_owned(),
        ),
        CallError::Lost { .. } => unreachable(fate(key)).detail(REQUEST_ID, call.id()),
        CallError::TimedOut { .. } => {
            unreachable(format!("{}; --timeout waits longer", fate(key))).detail(REQUEST_ID, call.id())
        }
        CallError::Foreign { status, .. } if (502..=504).contains(&status) => {
            let mut failure = Failure::new(Exit::Unavailable, message).advice(
                "something in front of the server answers for it: see whether the server itself runs",
            );
            failure.http_status = Some(status);
            failure
        }
        CallError::Foreign { status, .. } => {
            let mut failure = foreign(message);
            failure.http_status = Some(status);
            failure
        }
        CallError::Redirected { to } => unreachable(format!(
            "if that is the server, use its beginning: --server {}",
            origin(&to)
        )),
    }
}

/// Something else answers there.
pub(super) fn foreign(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Unreachable, message)
        .advice("see whether --server or UNDERSTUDY_URL names the right port, and a server of this version")
}

/// What is known of a command whose answer did not come.
fn fate(key: Option<&str>) -> String {
    match key {
        Some(key) => format!(
            "it may or may not have been carried out; repeating it with --idempotency-key {key} is safe"
        ),
        None => {
            "if it was a command, it may have been carried out: look with `understudy status` before you \
                 repeat it"
                .to_owned()
        }
    }
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> String {
    reqwest::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

async fn refused(client: &Client, refusal: Refusal, key: Option<&str>) -> Failure {
    let exit = exit(&refusal);
    let mut message = refusal.error.clone();
    if exit == Exit::Unknown
        && let Some(name) = refusal.text("vmId").or_else(|| refusal.text("competitionId"))
        && !message.contains(name)
    {
        let _ = write!(message, ": {name}");
    }
    // Some answers have the cause in a second field.
    if let Some(cause) = refusal.text("message").filter(|cause| *cause != message) {
        let _ = write!(message, ": {cause}");
    }
    let mut failure = Failure::new(exit, message);
    failure.advice = match exit {
        Exit::Denied => Some(denied(client, &refusal)),
        Exit::Unknown => unknown(client, &refusal).await,
        Exit::Unavailable => Some(unavailable(&refusal, key)),
        Exit::Done | Exit::Failed | Exit::Usage | Exit::Unreachable | Exit::Conflict | Exit::Remote(_) => {
            way_out(&refusal)
        }
    };
    failure.code = refusal.code;
    failure.http_status = Some(refusal.status);
    failure.details = refusal.fields;
    failure
}

fn exit(refusal: &Refusal) -> Exit {
    match (refusal.status, refusal.code.as_deref()) {
        (400, Some("ALREADY_ASSIGNED" | "OCCUPIED")) => Exit::Conflict,
        (409, Some("STOPPING")) => Exit::Unavailable,
        (403, Some("FREE_COMMANDS_FORBIDDEN" | "FILE_FORBIDDEN")) => Exit::Usage,
        // No VM is unknown.
        (404, Some("FILE_NOT_FOUND")) => Exit::Failed,
        (401 | 403, _) => Exit::Denied,
        (404, _) => Exit::Unknown,
        (409, _) => Exit::Conflict,
        (429 | 502 | 503 | 504, _) => Exit::Unavailable,
        (400..=499, _) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn denied(client: &Client, refusal: &Refusal) -> String {
    let role = refusal.text("requiredRole");
    match (client.has_token(), role) {
        (false, _) => {
            "set UNDERSTUDY_TOKEN to the server's admin token (its COORDINATOR_ADMIN_TOKEN, or the file \
                       named by server.admin_token_file)"
                .to_owned()
        }
        (true, Some(role)) if refusal.status == 403 => {
            format!("the token is good, but not for this: it takes the role {role}")
        }
        (true, _) => "the token in UNDERSTUDY_TOKEN or --token is not this server's: see its \
                      COORDINATOR_ADMIN_TOKEN, or the file named by server.admin_token_file"
            .to_owned(),
    }
}

fn unavailable(refusal: &Refusal, key: Option<&str>) -> String {
    let code = refusal.code.as_deref();
    let wait = refusal
        .retry_after_s
        .map(|seconds| format!("try again in {seconds} s"));
    match (code, refusal.status) {
        (Some("NOT_INITIALIZED"), _) => {
            "the pool is there once the cloud has been seen: `understudy status` shows \
                                         how it stands, the server's log why"
                .to_owned()
        }
        (Some("STOPPING"), _) => "try again when it runs again".to_owned(),
        (Some("LEDGER"), _) => "see the server's log and its disk".to_owned(),
        (Some("TIMED_OUT"), _) => fate(key),
        (Some("CLOUD_FAILED"), _) => match refusal.text("awsCode") {
            Some(code) => {
                format!("the cloud's own code is {code}; `understudy status` shows how the cloud stands")
            }
            None => "`understudy status` shows how the cloud stands".to_owned(),
        },
        (Some("STUDIO_FAILED"), _) => match refusal.text("vmId") {
            Some(vm) => format!("look at it with `understudy vm check {vm}`"),
            None => "look at it with `understudy vm check`".to_owned(),
        },
        (_, 429 | 503) => wait.unwrap_or_else(|| "try again in a moment".to_owned()),
        _ => wait.unwrap_or_else(|| "try again later; the server's log says more".to_owned()),
    }
}

/// What the command line offers where something is in the way. `None` where the server said it all.
fn way_out(refusal: &Refusal) -> Option<String> {
    let show = refusal
        .text("competitionId")
        .or_else(|| refusal.text("assignedTo"));
    Some(match refusal.code.as_deref()? {
        "ALREADY_ASSIGNED" => {
            let show = show?;
            format!(
                "move it with `understudy failover {show} --to VM`, or give its VM back first with `understudy \
                 release {show}`"
            )
        }
        "OCCUPIED" => format!("give it back with `understudy release {}`", show?),
        "PREFERRED_BUSY" => {
            "`understudy vm list --status available` shows which are free; `assign` with --fallback takes another"
                .to_owned()
        }
        "POOL_EXHAUSTED" => {
            "give one back with `understudy release SHOW`, or allow more with `understudy config set \
                             maxInstances=N`"
                .to_owned()
        }
        "MAX_CONCURRENT" => {
            "give one back with `understudy release SHOW`, or allow more with `understudy config set \
                             maxConcurrent=N`"
                .to_owned()
        }
        "POOL_FULL" => {
            "terminate one with `understudy vm terminate VM`, or allow more with `understudy config set \
                        maxInstances=N`"
                .to_owned()
        }
        "FILE_NOT_FOUND" => "`understudy vm files VM FOLDER` lists what is there".to_owned(),
        "IDEMPOTENCY_KEY_REUSED" => "leave --idempotency-key out, and a new one is made".to_owned(),
        "INTERNAL" => "the server's log says more".to_owned(),
        _ => return None,
    })
}

async fn unknown(client: &Client, refusal: &Refusal) -> Option<String> {
    let vm = refusal.text("vmId");
    let show = refusal.text("competitionId");
    if vm.is_none() && show.is_none() {
        return Some(
            "this server does not know the request: see whether it is an understudy of this version"
                .to_owned(),
        );
    }
    let pool = client.send(&Call::get(&["api", "admin", "vm-pool"])).await.ok();
    let pool: Option<Pool> = pool.and_then(|answer| answer.read().ok());
    match (vm, show) {
        (Some(vm), _) => Some(unknown_vm(vm, pool.as_ref())),
        (None, Some(show)) => Some(unassigned(show, pool.as_ref())),
        (None, None) => None,
    }
}

/// What to say to somebody who named a VM that is not there.
pub(super) fn unknown_vm(vm: &str, pool: Option<&Pool>) -> String {
    let list = "`understudy vm list` lists them";
    let Some(pool) = pool else { return list.to_owned() };
    if pool.vms.is_empty() {
        return "there is no VM in the pool".to_owned();
    }
    // Somebody may have copied the instance's id or its name.
    let by_other_name = pool
        .vms
        .iter()
        .find(|other| other.instance_id == vm || other.name.as_deref() == Some(vm));
    let near = || nearest(vm, pool.vms.iter().map(|vm| vm.vm_id.as_str()));
    match by_other_name.map(|other| other.vm_id.as_str()).or_else(near) {
        Some(near) => format!("did you mean {near}? {list}"),
        None => list.to_owned(),
    }
}

/// What to say to somebody who named a show that has no VM.
pub(super) fn unassigned(show: &str, pool: Option<&Pool>) -> String {
    let assign = format!("give it one with `understudy assign {show}`");
    let near = pool.and_then(|pool| {
        let shows = pool.vms.iter().filter_map(|vm| vm.assigned_to.as_deref());
        nearest(show, shows.filter(|other| *other != show))
    });
    match near {
        Some(near) => format!("did you mean {near}? Or {assign}"),
        None => assign,
    }
}

/// The candidate most like `text`, if any is like it at all.
pub(super) fn nearest<'c>(text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    /// Below this a suggestion is noise: every second letter is different.
    const LIKENESS_MIN: f64 = 0.5;
    let text = text.to_lowercase();
    candidates
        .map(|candidate| {
            let likeness = strsim::normalized_damerau_levenshtein(&text, &candidate.to_lowercase());
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: Option<&str>) -> Refusal {
        Refusal {
            status,
            error: "no".to_owned(),
            code: code.map(str::to_owned),
            fields: serde_json::Map::new(),
            retry_after_s: None,
        }
    }

    #[test]
    fn scripts_can_tell_refusals_apart() {
        for (status, code, expected) in [
            (400, None, Exit::Usage),
            (400, Some("ALREADY_ASSIGNED"), Exit::Conflict),
            (401, Some("UNAUTHORIZED"), Exit::Denied),
            (403, None, Exit::Denied),
            (404, Some("VM_NOT_FOUND"), Exit::Unknown),
            (409, Some("POOL_EXHAUSTED"), Exit::Conflict),
            (409, Some("STOPPING"), Exit::Unavailable),
            (413, None, Exit::Usage),
            (422, Some("IDEMPOTENCY_KEY_REUSED"), Exit::Usage),
            (429, Some("RATE_LIMITED"), Exit::Unavailable),
            (500, Some("INTERNAL"), Exit::Failed),
            (502, Some("CLOUD_FAILED"), Exit::Unavailable),
            (503, Some("BUSY"), Exit::Unavailable),
            (504, Some("TIMED_OUT"), Exit::Unavailable),
        ] {
            assert_eq!(exit(&refusal(status, code)), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let ids = ["vm-e5f60718", "vm-0a1b2c3d", "vm-99999999"];
        assert_eq!(nearest("vm-0a1b2c3", ids.into_iter()), Some("vm-0a1b2c3d"));
        assert_eq!(nearest("VM-E5F60781", ids.into_iter()), Some("vm-e5f60718"));
        assert_eq!(nearest("finals", ids.into_iter()), None);
    }

    #[test]
    fn a_redirection_is_shortened_to_what_can_be_a_server() {
        assert_eq!(
            origin("https://shows.example.org/api/x?y"),
            "https://shows.example.org"
        );
        assert_eq!(origin("/login"), "/login");
    }
}
