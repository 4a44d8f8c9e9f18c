//! A list by pages: `?limit=` so many, `?after=` the last one of the page before.
//!
//! Each page is read from one moment of the ledger; two pages may be from different ones. Going on after an id
//! instead of a number skips and repeats nothing while shows come and go.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ApiError;
use super::extract::show_id;
use super::gateway::Gateway;
use crate::domain::ids::ShowId;

/// As many as fit a screen that is scrolled.
const LIMIT_DEFAULT: u16 = 100;
/// Some tens of kilobytes.
const LIMIT_MAX: u16 = 500;

/// As it came.
#[derive(Debug, Default, Deserialize)]
struct PageQuery {
    limit: Option<String>,
    after: Option<String>,
}

/// Which part of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct ShowPage {
    pub limit: usize,
    /// Only those that come after this one, which need not exist (any more).
    pub after: Option<ShowId>,
}

/// Which part of the list, as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `ShowPage` reads")]
pub struct ShowPageParam {
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u16>,
    /// Only competitions that come after this one: `next` of the page before.
    #[param(
        max_length = 128,
        pattern = r"^(?!_)[^.#$\[\]/\u0000-\u001f\u007f-\u009f]+$",
        example = "finals"
    )]
    after: Option<String>,
}

impl FromRequestParts<Gateway> for ShowPage {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, ApiError> {
        let Query(query) = Query::<PageQuery>::from_request_parts(parts, gateway)
            .await
            .map_err(|_| ApiError::field("limit", "the query string cannot be read"))?;
        read(&query)
    }
}

fn read(query: &PageQuery) -> Result<ShowPage, ApiError> {
    let limit = query.limit.as_deref().map_or(Ok(LIMIT_DEFAULT), limit)?;
    let after = query.after.as_deref().map(|id| show_id(id, "after"));
    Ok(ShowPage {
        limit: usize::from(limit),
        after: after.transpose()?,
    })
}

fn limit(text: &str) -> Result<u16, ApiError> {
    match text.parse::<u16>() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Ok(_) | Err(_) => Err(ApiError::field(
            "limit",
            format!("limit must be a whole number from 1 to {LIMIT_MAX}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: Option<&str>, after: Option<&str>) -> Result<ShowPage, ApiError> {
        read(&PageQuery {
            limit: limit.map(str::to_owned),
            after: after.map(str::to_owned),
        })
    }

    #[test]
    fn a_page_is_bounded_whether_or_not_that_was_asked_for() {
        assert_eq!(page(None, None).unwrap().limit, 100);
        assert_eq!(page(Some("1"), None).unwrap().limit, 1);
        assert_eq!(page(Some("500"), None).unwrap().limit, 500);
        for bad in ["0", "501", "65536", "-1", "1.5", "", "all"] {
            assert_eq!(
                page(Some(bad), None).unwrap_err().body.fields["field"],
                "limit",
                "{bad}"
            );
        }
    }

    #[test]
    fn a_page_goes_on_after_what_can_be_an_id() {
        let after = page(None, Some("finals")).unwrap().after.unwrap();
        assert_eq!(after.as_str(), "finals");
        for bad in ["", "a/b", "_pool"] {
            assert_eq!(
                page(None, Some(bad)).unwrap_err().body.fields["field"],
                "after",
                "{bad}"
            );
        }
    }
}
