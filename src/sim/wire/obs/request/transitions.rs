//! Scene transitions.

use serde_json::{Value, json};

use super::super::status::{Code, Failure};
use super::{Call, Reply, Table};
use crate::sim::model::studio::kinds::TRANSITION_KINDS;
use crate::sim::model::studio::source::Transition;

pub(super) const TABLE: Table = &[
    ("GetTransitionKindList", |_| {
        Ok(Some(json!({"transitionKinds": TRANSITION_KINDS})))
    }),
    ("GetSceneTransitionList", list),
    ("GetCurrentSceneTransition", current),
    ("SetCurrentSceneTransition", set_current),
    ("SetCurrentSceneTransitionDuration", set_duration),
    ("SetCurrentSceneTransitionSettings", set_settings),
    ("TriggerStudioModeTransition", |_| {
        Err(Failure::bare(Code::StudioModeNotActive))
    }),
];

fn described(transition: &Transition) -> Value {
    json!({
        "transitionName": transition.name,
        "transitionUuid": transition.uuid.to_string(),
        "transitionKind": transition.kind,
        "transitionFixed": transition.fixed,
        "transitionConfigurable": transition.configurable,
    })
}

fn list(call: &mut Call<'_>) -> Reply {
    let collection = call.studio.collection();
    let current = collection.current_transition();
    Ok(Some(json!({
        "currentSceneTransitionName": current.map(|t| t.name.as_str()),
        "currentSceneTransitionUuid": current.map(|t| t.uuid.to_string()),
        "currentSceneTransitionKind": current.map(|t| t.kind),
        "transitions": collection.transitions.iter().map(described).collect::<Vec<_>>(),
    })))
}

fn current(call: &mut Call<'_>) -> Reply {
    let collection = call.studio.collection();
    let none_set = || {
        let comment = "OBS does not currently have a scene transition set.";
        Failure::new(Code::InvalidResourceState, comment)
    };
    let transition = collection.current_transition().ok_or_else(none_set)?;
    let mut answer = described(transition);
    let duration_ms = (!transition.fixed).then_some(collection.transition_ms);
    answer["transitionDuration"] = duration_ms.into();
    answer["transitionSettings"] = if transition.configurable {
        transition.settings.clone().into()
    } else {
        Value::Null
    };
    Ok(Some(answer))
}

fn set_current(call: &mut Call<'_>) -> Reply {
    let name = call.fields.string("transitionName")?;
    call.studio.set_transition(name)?;
    Ok(None)
}

fn set_duration(call: &mut Call<'_>) -> Reply {
    call.fields.number("transitionDuration", 50.0, 20_000.0)?;
    let duration_ms = call.fields.natural("transitionDuration", 20_000)?;
    call.studio.set_transition_duration(duration_ms);
    Ok(None)
}

fn set_settings(call: &mut Call<'_>) -> Reply {
    let settings = call.fields.object("transitionSettings", true)?;
    let overlay = call.fields.boolean_opt("overlay")?.unwrap_or(true);
    call.studio.set_transition_settings(settings.clone(), overlay)?;
    Ok(None)
}
