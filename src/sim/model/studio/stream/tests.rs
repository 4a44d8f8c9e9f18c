use super::*;

const T0: Timestamp = Timestamp(1_000_000);

fn at(ms: u64) -> Timestamp {
    T0 + Duration::from_millis(ms)
}

fn streaming() -> (StreamOutput, Vec<StreamState>) {
    let mut output = StreamOutput::new(StudioTiming::default());
    let mut states = Vec::new();
    assert!(output.start(T0, &mut states));
    let attempt = output.publish().unwrap().attempt;
    output.accepted(attempt, at(1), &mut states);
    output.advance(at(250), &mut states);
    (output, states)
}

#[test]
fn bytes_rise_only_after_started() {
    let (output, states) = streaming();
    assert_eq!(states, [StreamState::Starting, StreamState::Started]);
    assert_eq!(output.bytes(at(349)), 0);
    assert!(output.bytes(at(350)) > 0);
    assert!(output.bytes(at(400)) > output.bytes(at(350)));
}

#[test]
fn a_new_stream_shows_the_bytes_of_the_previous_one_for_a_moment_only() {
    let (mut output, mut states) = streaming();
    assert!(output.stop(at(1_000), &mut states));
    output.advance(at(1_180), &mut states);
    let before = output.bytes(at(1_180));
    assert!(before > 0);
    assert!(output.start(at(2_000), &mut states));
    assert_eq!(output.bytes(at(2_019)), before);
    assert_eq!(output.bytes(at(2_020)), 0);
    output.accepted(output.publish().unwrap().attempt, at(2_100), &mut states);
    output.advance(at(2_250), &mut states);
    assert_eq!(output.bytes(at(2_260)), 0);
}

#[test]
fn a_refusing_ingest_ends_in_stopped() {
    let mut output = StreamOutput::new(StudioTiming::default());
    let mut states = Vec::new();
    assert!(output.start(T0, &mut states));
    output.lost(output.publish().unwrap().attempt, at(1), &mut states);
    output.advance(at(70), &mut states);
    assert_eq!(states, [StreamState::Starting, StreamState::Stopped]);
    assert_eq!(output.phase(), Phase::Inactive);
}

#[test]
fn the_output_is_made_by_the_first_start_and_gone_with_the_process() {
    let mut output = StreamOutput::new(StudioTiming::default());
    assert!(!output.is_made());
    assert!(output.start(T0, &mut Vec::new()));
    assert!(output.is_made());
    output.process_died();
    assert!(!output.is_made());
}

#[test]
fn a_stream_that_is_starting_cannot_be_stopped() {
    let mut output = StreamOutput::new(StudioTiming::default());
    let mut states = Vec::new();
    assert!(output.start(T0, &mut states));
    assert!(!output.stop(at(1), &mut states));
    assert!(output.publish().is_some());
}

#[test]
fn a_lost_publisher_comes_back_and_a_stale_answer_is_ignored() {
    let (mut output, mut states) = streaming();
    let stale = output.publish().unwrap().attempt;
    output.lost(stale, at(1_000), &mut states);
    assert!(output.is_active() && output.is_reconnecting() && output.publish().is_none());
    assert_eq!(output.next_deadline(), Some(at(3_300)));
    output.advance(at(3_300), &mut states);
    output.accepted(stale, at(3_301), &mut states);
    assert!(output.is_reconnecting());
    output.accepted(output.publish().unwrap().attempt, at(3_301), &mut states);
    assert_eq!(output.phase(), Phase::Active { since: at(250) });
    assert_eq!(states[2..], [StreamState::Reconnecting, StreamState::Reconnected]);
}

#[test]
fn a_silent_output_is_active_with_flat_bytes() {
    let (mut output, _) = streaming();
    output.set_silent(true, at(1_000));
    assert!(output.is_active());
    assert_eq!(output.bytes(at(1_000)), output.bytes(at(9_000)));
    output.set_silent(false, at(9_000));
    assert!(output.bytes(at(9_100)) > output.bytes(at(9_000)));
}
