//! Which events of a failing plan it takes to fail: delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", 2002), bounded by a number of runs.

use super::plan::Plan;

/// The smallest plan that was found to fail, in at most `runs_max` tries. `fails` is asked of parts of `plan`, which
/// itself is taken to fail.
pub fn shrink(plan: &Plan, runs_max: usize, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut kept = plan.numbers();
    let mut parts = 2;
    let mut runs = 0;
    while kept.len() > 1 && runs < runs_max {
        let size = kept.len().div_ceil(parts);
        let smaller = (0..kept.len().div_ceil(size)).find_map(|part| {
            let rest: Vec<usize> = without(&kept, part * size, size);
            runs += 1;
            (runs <= runs_max && fails(&plan.only(&rest))).then_some(rest)
        });
        match smaller {
            Some(rest) => {
                kept = rest;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    plan.only(&kept)
}

fn without(numbers: &[usize], from: usize, count: usize) -> Vec<usize> {
    let outside = |place: &usize| !(from..from + count).contains(place);
    let places = (0..numbers.len()).filter(outside);
    places.map(|place| numbers[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::simulation::plan::Size;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let plan = Plan::of(1, Size::default());
        let found = shrink(&plan, 1_000, |plan| {
            let numbers = plan.numbers();
            [4, 17, 31].iter().all(|needed| numbers.contains(needed))
        });
        assert_eq!(found.numbers(), [4, 17, 31]);
    }

    #[test]
    fn a_single_culprit_is_found_in_few_runs() {
        let plan = Plan::of(1, Size::default());
        let mut runs = 0;
        let found = shrink(&plan, 1_000, |plan| {
            runs += 1;
            plan.numbers().contains(&9)
        });
        assert_eq!(found.numbers(), [9]);
        assert!(runs < 60, "{runs}");
    }

    #[test]
    fn it_ends_when_it_has_run_often_enough_and_what_it_says_then_fails() {
        let plan = Plan::of(1, Size::default());
        let mut runs = 0;
        let fails = |plan: &Plan| plan.events.len() >= 3;
        let found = shrink(&plan, 5, |plan| {
            runs += 1;
            fails(plan)
        });
        assert!(runs <= 5 && fails(&found) && found.events.len() < plan.events.len());
    }
}
