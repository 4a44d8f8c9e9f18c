//! Who calls, and what they may do.
//!
//! | access | `open` | `compat` | `required` |
//! |---|---|---|---|
//! | [`Access::Pool`], [`Access::Show`]: what existing clients call | anybody | anybody | a token |
//! | [`Access::Operate`]: moving a show, starting and stopping its stream | anybody | a token | a token |
//! | [`Access::Admin`]: reboot, terminate, maintenance, SSH | anybody | a token | a token |
//!
//! Status routes ask nobody. A token that is sent and wrong is refused everywhere else, so that a client
//! learns of it. The only token so far is the static operations token, which may do everything; what tells
//! users from administrators goes into [`identify`] and [`authorize`], and nowhere else.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::gateway::Gateway;
use super::options::{AuthMode, Options};
use crate::domain::studio::Secret;

/// Who is calling, as far as they have proven it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Anonymous,
    /// Has the operations token.
    Operator,
}

impl Caller {
    /// What is kept as `assignedBy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "api",
            Self::Operator => "operator",
        }
    }
}

/// Kinds of things that can be done. See the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Pool,
    Show,
    Operate,
    Admin,
}

impl Access {
    fn role(self) -> &'static str {
        match self {
            Self::Pool | Self::Admin => "admin",
            Self::Show | Self::Operate => "user",
        }
    }
}

/// Finds out who sends this token.
///
/// # Errors
/// 401 if there is a token and it is not a good one.
pub fn identify(options: &Options, token: Option<&str>) -> Result<Caller, ApiError> {
    let Some(token) = token else {
        return Ok(Caller::Anonymous);
    };
    match &options.admin_token {
        Some(expected) if matches(expected, token) => Ok(Caller::Operator),
        Some(_) | None if options.auth == AuthMode::Open => Ok(Caller::Anonymous),
        Some(_) | None => Err(unauthorized("the token is not valid")),
    }
}

/// Whether this caller may do this.
///
/// # Errors
/// 401, with the role it takes.
pub fn authorize(options: &Options, caller: Caller, access: Access) -> Result<(), ApiError> {
    let anonymous_may = match (options.auth, access) {
        (AuthMode::Open, _) => true,
        (AuthMode::Compat, Access::Pool | Access::Show) => true,
        (AuthMode::Compat, Access::Operate | Access::Admin) => false,
        (AuthMode::Required, _) => false,
    };
    match caller {
        Caller::Operator => Ok(()),
        Caller::Anonymous if anonymous_may => Ok(()),
        Caller::Anonymous if options.admin_token.is_none() => Err(unauthorized(
            "this needs a token, and the coordinator has none configured",
        )
        .with("requiredRole", access.role())),
        Caller::Anonymous => {
            Err(unauthorized("this needs a token: Authorization: Bearer …")
                .with("requiredRole", access.role()))
        }
    }
}

fn unauthorized(error: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, error).code("UNAUTHORIZED")
}

/// Compares digests, so that the time it takes says nothing about the expected token.
fn matches(expected: &Secret, given: &str) -> bool {
    !expected.is_empty() && Sha256::digest(expected.expose()) == Sha256::digest(given)
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| Some(token.trim()))
        .ok_or_else(|| unauthorized("the Authorization header is not `Bearer <token>`"))
}

/// Says in a route's signature which access it takes.
pub trait Demand: Send + Sync + 'static {
    const ACCESS: Access;
}

macro_rules! demand {
    ($($name:ident),*) => {$(
        #[derive(Debug)]
        pub struct $name;
        impl Demand for $name {
            const ACCESS: Access = Access::$name;
        }
    )*};
}

demand!(Pool, Show, Operate, Admin);

/// An extractor that is only there if the caller may do what `D` demands.
pub struct Granted<D> {
    pub caller: Caller,
    demand: PhantomData<D>,
}

impl<D: Demand> FromRequestParts<Gateway> for Granted<D> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, ApiError> {
        let options = gateway.options();
        let token = match bearer(&parts.headers) {
            Err(_) if options.auth == AuthMode::Open => None,
            token => token?,
        };
        let caller = identify(options, token)?;
        authorize(options, caller, D::ACCESS)?;
        Ok(Self {
            caller,
            demand: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(auth: AuthMode, token: Option<&str>) -> Options {
        Options {
            auth,
            admin_token: token.map(Secret::new),
            ..Options::default()
        }
    }

    #[test]
    fn each_mode_asks_for_a_token_where_its_table_says() {
        use Access::{Admin, Operate, Pool, Show};
        let table = [
            (AuthMode::Open, [true, true, true, true]),
            (AuthMode::Compat, [true, true, false, false]),
            (AuthMode::Required, [false, false, false, false]),
        ];
        for (mode, allowed) in table {
            let options = options(mode, Some("hush"));
            for (access, allowed) in [Pool, Show, Operate, Admin].into_iter().zip(allowed) {
                let verdict = authorize(&options, Caller::Anonymous, access);
                assert_eq!(verdict.is_ok(), allowed, "{mode:?} {access:?}");
                assert!(authorize(&options, Caller::Operator, access).is_ok());
            }
        }
    }

    #[test]
    fn a_wrong_token_is_refused_and_a_right_one_is_known() {
        let options = options(AuthMode::Compat, Some("hush"));
        assert_eq!(identify(&options, None), Ok(Caller::Anonymous));
        assert_eq!(identify(&options, Some("hush")), Ok(Caller::Operator));
        for wrong in ["", "hus", "hush ", "Hush"] {
            assert_eq!(
                identify(&options, Some(wrong)).unwrap_err().status,
                StatusCode::UNAUTHORIZED
            );
        }
    }

    #[test]
    fn an_empty_configured_token_lets_nobody_in() {
        let options = options(AuthMode::Compat, Some(""));
        assert!(identify(&options, Some("")).is_err());
    }

    #[test]
    fn only_bearer_is_understood() {
        let parse = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(|token| token.map(str::to_owned))
        };
        assert_eq!(parse("Bearer abc"), Ok(Some("abc".into())));
        assert_eq!(parse("bearer abc"), Ok(Some("abc".into())));
        assert!(parse("Basic abc").is_err());
        assert!(parse("abc").is_err());
    }
}
