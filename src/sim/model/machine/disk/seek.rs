//! Looking for files, as find(1) does.

use super::{Disk, DiskError, Node, absolute, below, name};

/// What is looked for. Everything, if it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern {
    /// How many folders down; the starting point itself is 0.
    pub depth_min: usize,
    pub depth_max: Option<usize>,
    /// Folders alone, or files alone.
    pub folders: Option<bool>,
    /// `*` and `?` stand for what they always stand for.
    pub name: Option<String>,
}

impl Pattern {
    fn takes(&self, path: &str, depth: usize, node: &Node) -> bool {
        depth >= self.depth_min
            && self.depth_max.is_none_or(|most| depth <= most)
            && self.folders.is_none_or(|folders| folders == node.is_folder())
            && self
                .name
                .as_ref()
                .is_none_or(|pattern| matches(pattern.as_bytes(), name(path).as_bytes()))
    }
}

/// Whether the whole of `text` is like `pattern`. Linear in both but for the last `*`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    (p, t) = (at + 1, from + 1);
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

impl Disk {
    /// Everything at and below `path` that is like the pattern, folders before what is in them.
    ///
    /// # Errors
    /// [`DiskError::NotFound`].
    pub fn find(&self, path: &str, pattern: &Pattern) -> Result<Vec<(&str, &Node)>, DiskError> {
        let start = absolute(path)?;
        let (start, node) = self.nodes.get_key_value(&start).ok_or(DiskError::NotFound)?;
        let prefix = below(start);
        let at_start = pattern.takes(start, 0, node).then_some((start.as_str(), node));
        let inside = self.inside(&prefix).filter_map(|(path, node)| {
            let depth = path[prefix.len()..].split('/').count();
            pattern.takes(path, depth, node).then_some((path.as_str(), node))
        });
        Ok(at_start.into_iter().chain(inside).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_name_is_compared_as_a_shell_does() {
        let like = |pattern: &str, text: &str| matches(pattern.as_bytes(), text.as_bytes());
        assert!(like("*.mp4", "a.mp4") && like("*.mp4", ".mp4") && !like("*.mp4", "a.mp4.part"));
        assert!(like("?b*d*", "abcd") && !like("?b*d*", "bcd"));
        assert!(like("*a*b*c", "aabbc") && !like("*a*b*c", "aabb"));
        assert!(like("", "") && like("**", "") && !like("", "a"));
    }
}
