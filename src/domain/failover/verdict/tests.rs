use super::*;

const POLICY: Policy = Policy {
    silence_limit: Duration::from_secs(3),
    studio_grace: Duration::from_millis(200),
};
const NOW: Timestamp = Timestamp(1_000_000);

fn good() -> Sign {
    Sign::good(Timestamp(999_900))
}

fn bad(ago_ms: u64, how: Trouble) -> Sign {
    Sign::Bad {
        since: Timestamp(NOW.0 - ago_ms),
        how,
    }
}

fn on_air() -> Signals {
    Signals {
        probe: good(),
        obs: good(),
        output: OutputSign::Rising {
            at: Timestamp(999_900),
        },
        ssh: good(),
        cloud: CloudSign::Running,
        hearsay: good(),
        last_output_at: Some(Timestamp(999_900)),
    }
}

fn verdict(signals: Signals) -> Verdict {
    judge(&signals, IngestSign::Unknown, true, &POLICY, NOW)
}

fn lost(cause: Cause, ago_ms: u64) -> Verdict {
    Verdict::Lost {
        cause,
        since: Timestamp(NOW.0 - ago_ms),
    }
}

#[test]
fn a_machine_that_the_cloud_stops_is_lost_at_once() {
    for state in [
        InstanceState::Stopping,
        InstanceState::Stopped,
        InstanceState::ShuttingDown,
        InstanceState::Terminated,
    ] {
        let state = Some(state);
        let cloud = CloudSign::Down {
            since: Timestamp(NOW.0 - 1),
            state,
        };
        assert_eq!(
            verdict(Signals { cloud, ..on_air() }),
            lost(Cause::MachineLost, 1)
        );
    }
}

#[test]
fn a_machine_that_the_cloud_does_not_find_is_lost_unless_its_studio_has_answered_since() {
    let cloud = CloudSign::Down {
        since: Timestamp(NOW.0 - 200),
        state: None,
    };
    assert_eq!(verdict(Signals { cloud, ..on_air() }), Verdict::Fine);
    let (obs, last_output_at) = (Sign::good(Timestamp(NOW.0 - 200)), Some(Timestamp(NOW.0 - 300)));
    let quiet = Signals {
        cloud,
        obs,
        last_output_at,
        ..on_air()
    };
    assert_eq!(verdict(quiet), lost(Cause::MachineLost, 200));
}

#[test]
fn a_studio_that_refuses_is_lost_after_its_grace_and_one_that_hangs_after_the_silence_limit() {
    use Trouble::{Refused, Silent};
    let table = [
        (bad(199, Refused), None),
        (bad(200, Refused), Some(lost(Cause::StudioLost, 200))),
        (bad(2_999, Silent), None),
        (bad(3_000, Silent), Some(lost(Cause::StudioLost, 3_000))),
    ];
    for (obs, expected) in table {
        let actual = verdict(Signals { obs, ..on_air() });
        match expected {
            Some(expected) => assert_eq!(actual, expected, "{obs:?}"),
            None => assert!(matches!(actual, Verdict::Suspect { .. }), "{obs:?} {actual:?}"),
        }
    }
}

#[test]
fn silence_on_every_channel_is_a_lost_machine() {
    let silent = bad(3_000, Trouble::Silent);
    let signals = Signals {
        obs: silent,
        probe: silent,
        ssh: silent,
        ..on_air()
    };
    assert_eq!(verdict(signals), lost(Cause::MachineLost, 3_000));
    let unknown = Signals {
        obs: silent,
        probe: Sign::Unknown,
        ssh: Sign::Unknown,
        ..on_air()
    };
    assert_eq!(verdict(unknown), lost(Cause::MachineLost, 3_000));
}

#[test]
fn a_show_server_or_ssh_that_is_down_does_not_take_a_show_off_the_air() {
    for how in [Trouble::Refused, Trouble::Silent] {
        let down = bad(60_000, how);
        assert_eq!(
            verdict(Signals {
                probe: down,
                ..on_air()
            }),
            Verdict::Fine
        );
        assert_eq!(
            verdict(Signals {
                probe: down,
                ssh: down,
                ..on_air()
            }),
            Verdict::Fine
        );
    }
}

#[test]
fn a_silent_output_is_this_vms_fault_only_if_the_ingest_answers_elsewhere() {
    let signals = Signals {
        output: OutputSign::Flat {
            since: Timestamp(NOW.0 - 3_000),
        },
        ..on_air()
    };
    let judged = |ingest| judge(&signals, ingest, true, &POLICY, NOW);
    let since = Timestamp(NOW.0 - 3_000);
    assert_eq!(judged(IngestSign::Unknown), Verdict::AskIngest { since });
    assert_eq!(
        judged(IngestSign::Unreachable { at: NOW }),
        Verdict::NotThisVm { since }
    );
    assert_eq!(
        judged(IngestSign::Reachable { at: NOW }),
        lost(Cause::OutputSilent, 3_000)
    );
    let stale = IngestSign::Reachable {
        at: Timestamp(since.0 - 1),
    };
    assert_eq!(judged(stale), Verdict::AskIngest { since });
    assert_eq!(
        judge(&signals, IngestSign::Unknown, false, &POLICY, NOW),
        Verdict::Fine
    );
}

#[test]
fn the_ingest_is_asked_for_while_a_short_absence_of_it_can_still_be_seen() {
    let flat = |ago_ms| {
        let output = OutputSign::Flat {
            since: Timestamp(NOW.0 - ago_ms),
        };
        Signals { output, ..on_air() }
    };
    let judged = |ago_ms, ingest| judge(&flat(ago_ms), ingest, true, &POLICY, NOW);
    let suspect = |ago_ms, recheck_in_ms| Verdict::Suspect {
        since: Timestamp(NOW.0 - ago_ms),
        recheck_at: Timestamp(NOW.0 + recheck_in_ms),
    };
    assert_eq!(judged(1_499, IngestSign::Unknown), suspect(1_499, 1));
    let since = Timestamp(NOW.0 - 1_500);
    assert_eq!(judged(1_500, IngestSign::Unknown), Verdict::AskIngest { since });
    let reachable = IngestSign::Reachable { at: NOW };
    assert_eq!(judged(1_500, reachable), suspect(1_500, 1_500));
    let away = IngestSign::Unreachable { at: NOW };
    assert_eq!(judged(1_500, away), Verdict::NotThisVm { since });
}

/// Away for exactly the silence limit: it answers again at the very moment of the verdict.
#[test]
fn a_studio_is_given_time_to_connect_again_when_its_ingest_was_away() {
    let since = Timestamp(NOW.0 - 3_000);
    let output = OutputSign::Flat { since };
    let signals = Signals { output, ..on_air() };
    let away_at = Timestamp(NOW.0 - 500);
    let judged = |at| judge(&signals, IngestSign::Back { at, away_at }, true, &POLICY, at);
    let due = away_at + POLICY.silence_limit + away_at.since(since);
    let suspect = Verdict::Suspect {
        since: away_at,
        recheck_at: due,
    };
    assert_eq!(judged(NOW), suspect);
    let lost = Verdict::Lost {
        cause: Cause::OutputSilent,
        since: away_at,
    };
    assert_eq!(judged(due), lost);
}

#[test]
fn an_output_that_was_flat_before_the_show_went_on_air_is_not_held_against_it() {
    let flat = Signals {
        output: OutputSign::Flat { since: Timestamp(1) },
        ..on_air()
    };
    let fresh = flat.expecting_output_from(NOW);
    assert!(matches!(verdict(fresh), Verdict::Suspect { .. }));
    assert!(matches!(verdict(flat), Verdict::AskIngest { .. }));
}

#[test]
fn what_is_known_to_send_nothing_is_off_air_and_what_cannot_be_asked_is_not() {
    let flat = OutputSign::Flat { since: NOW };
    assert!(
        Signals {
            output: flat,
            ..on_air()
        }
        .is_off_air()
    );
    for (how, off_air) in [
        (Trouble::Refused, true),
        (Trouble::Silent, true),
        (Trouble::Cut, false),
    ] {
        let obs = bad(100, how);
        assert_eq!(Signals { obs, ..on_air() }.is_off_air(), off_air, "{how:?}");
    }
    assert!(!on_air().is_off_air());
    assert!(!Signals::default().is_off_air());
}

#[test]
fn nothing_known_is_nothing_lost() {
    assert_eq!(verdict(Signals::default()), Verdict::Fine);
}

#[test]
fn of_a_studio_that_cannot_be_asked_the_show_server_is_believed_after_the_silence_limit() {
    let cut = |hearsay| Signals {
        obs: bad(9_000, Trouble::Cut),
        ssh: bad(9_000, Trouble::Refused),
        hearsay,
        ..on_air()
    };
    assert_eq!(verdict(cut(good())), Verdict::Fine);
    assert_eq!(verdict(cut(Sign::Unknown)), Verdict::Fine);
    assert!(matches!(
        verdict(cut(bad(2_999, Trouble::Refused))),
        Verdict::Suspect { .. }
    ));
    assert_eq!(
        verdict(cut(bad(3_000, Trouble::Refused))),
        lost(Cause::StudioLost, 3_000)
    );
    let answers = Signals {
        hearsay: bad(9_000, Trouble::Refused),
        ..on_air()
    };
    assert_eq!(
        verdict(answers),
        Verdict::Fine,
        "the studio itself is believed before"
    );
}

#[test]
fn a_machine_that_cannot_be_asked_is_lost_once_the_last_of_its_channels_was_silent_for_the_limit() {
    let dark = |probe| Signals {
        obs: bad(9_000, Trouble::Cut),
        ssh: bad(8_000, Trouble::Silent),
        probe: bad(probe, Trouble::Silent),
        ..on_air()
    };
    assert_eq!(verdict(dark(3_000)), lost(Cause::MachineLost, 3_000));
    assert!(
        matches!(verdict(dark(2_999)), Verdict::Suspect { .. }),
        "its show server has answered meanwhile"
    );
}

#[test]
fn what_a_show_server_has_said_long_enough_stands_though_the_machine_falls_silent_then() {
    let silent = Signals {
        obs: bad(3_000, Trouble::Cut),
        ssh: bad(0, Trouble::Silent),
        probe: bad(0, Trouble::Silent),
        hearsay: bad(3_000, Trouble::Refused),
        ..on_air()
    };
    assert_eq!(verdict(silent), lost(Cause::StudioLost, 3_000));
    let known_less = Signals {
        probe: Sign::Unknown,
        ..silent
    };
    assert_eq!(verdict(known_less), verdict(silent));
}

#[test]
fn trouble_keeps_its_beginning_while_it_lasts() {
    let sign = Sign::good(Timestamp(5)).worsen(Timestamp(10), Trouble::Silent);
    assert_eq!(sign.worsen(Timestamp(20), Trouble::Silent), sign);
    assert_eq!(
        sign.worsen(Timestamp(30), Trouble::Refused),
        Sign::Bad {
            since: Timestamp(30),
            how: Trouble::Refused
        }
    );
}
