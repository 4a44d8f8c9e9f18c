//! obs-websocket's request status codes, and the failures that carry them.

use crate::sim::model::studio::StudioError;

pub(super) const SUCCESS: u16 = 100;

/// `RequestStatus` of the protocol document, as far as this server uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Code {
    MissingRequestType = 203,
    UnknownRequestType = 204,
    UnsupportedBatchExecution = 206,
    NotReady = 207,
    MissingField = 300,
    MissingData = 301,
    InvalidField = 400,
    InvalidFieldType = 401,
    FieldOutOfRange = 402,
    FieldEmpty = 403,
    TooManyFields = 404,
    OutputRunning = 500,
    OutputNotRunning = 501,
    OutputNotPaused = 503,
    StudioModeNotActive = 506,
    NotFound = 600,
    AlreadyExists = 601,
    InvalidResourceType = 602,
    NotEnoughResources = 603,
    InvalidResourceState = 604,
    InvalidInputKind = 605,
    NotConfigurable = 606,
    InvalidFilterKind = 607,
    CreationFailed = 700,
    CannotAct = 703,
}

/// A request that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) comment: Option<String>,
}

impl Failure {
    pub(super) fn new(code: Code, comment: impl Into<String>) -> Self {
        Self {
            code: code as u16,
            comment: Some(comment.into()),
        }
    }

    pub(super) fn bare(code: Code) -> Self {
        Self {
            code: code as u16,
            comment: None,
        }
    }
}

impl From<StudioError> for Failure {
    fn from(error: StudioError) -> Self {
        let code = match &error {
            StudioError::NoSuchSource(_)
            | StudioError::SourceGone
            | StudioError::NoSuchItem { .. }
            | StudioError::NoSuchTransition(_)
            | StudioError::NoSuchFilter { .. }
            | StudioError::NoSuchCollection(_) => Code::NotFound,
            StudioError::NotAScene | StudioError::NotAGroup | StudioError::NotAnInput => {
                Code::InvalidResourceType
            }
            StudioError::NameTaken(_) | StudioError::FilterTaken(_) | StudioError::CollectionTaken(_) => {
                Code::AlreadyExists
            }
            StudioError::NoSuchKind(_) => Code::InvalidInputKind,
            StudioError::NoSuchFilterKind(_) => Code::InvalidFilterKind,
            StudioError::NoStudioMode => Code::StudioModeNotActive,
            StudioError::NoAudio => Code::InvalidResourceState,
            StudioError::LastScene => Code::NotEnoughResources,
            StudioError::Recursion => Code::CannotAct,
            StudioError::TransitionNotConfigurable => Code::NotConfigurable,
            StudioError::OutOfRange(_) => Code::FieldOutOfRange,
            StudioError::NoSuchService(_) => Code::CreationFailed,
            StudioError::StreamRunning | StudioError::Recording => Code::OutputRunning,
            StudioError::StreamNotRunning | StudioError::NotRecording => Code::OutputNotRunning,
            StudioError::RecordNotPaused => Code::OutputNotPaused,
        };
        Self::new(code, error.to_string())
    }
}
