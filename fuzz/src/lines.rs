//! Changing texts by their lines: changes to bytes alone seldom lead from one sequence of sound lines to another.

/// Drops, repeats or exchanges lines of `text` in place, as `seed` says, and returns its new length, at most `room`.
/// `None` if there is nothing to do it with.
pub fn shuffle(text: &mut [u8], length: usize, room: usize, seed: u32) -> Option<usize> {
    let whole = std::str::from_utf8(text.get(..length)?).ok()?;
    let mut lines: Vec<&str> = whole.lines().collect();
    let count = lines.len();
    if count < 2 {
        return None;
    }
    let (first, second) = (seed as usize / 4 % count, seed as usize / 4 / count % count);
    match seed % 4 {
        0 => drop(lines.remove(first)),
        1 => lines.insert(second, lines[first]),
        2 => lines.swap(first, second),
        _ => lines.truncate(first.max(1)),
    }
    let mut changed = lines.join("\n");
    changed.push('\n');
    if changed.len() > room {
        return None;
    }
    text.get_mut(..changed.len())?.copy_from_slice(changed.as_bytes());
    Some(changed.len())
}
