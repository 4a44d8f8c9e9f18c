//! The paths written in a file, found among its tokens.

use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};

/// A source file and what it names.
pub struct File {
    /// From the root of the package: `src/domain/ids.rs`.
    pub name: String,
    /// Where its items are: `["domain", "ids"]`.
    pub module: Vec<String>,
    pub mentions: Vec<Mention>,
    /// Modules it declares under `#[cfg(test)]`.
    test_modules: Vec<Vec<String>>,
}

/// One path, as written or as part of a `use` tree, with `crate`, `self` and `super` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    pub path: Path,
    pub line: usize,
    /// Compiled for tests only.
    pub in_test: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// From the root of this crate, without `crate`.
    Ours(Vec<String>),
    /// What it begins with is a crate, or something in scope: the rules know the crates.
    Other(Vec<String>),
}

impl File {
    /// # Panics
    /// If the text is not Rust: then nothing that is said about it would be true.
    pub fn read(name: &str, text: &str) -> Self {
        let tokens: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{name} is not Rust: {error}"));
        let module = module_of(name);
        let mut walk = Walk {
            mentions: Vec::new(),
            test_modules: Vec::new(),
        };
        walk.tokens(tokens, &module, false);
        Self {
            name: name.to_owned(),
            module,
            mentions: walk.mentions,
            test_modules: walk.test_modules,
        }
    }
}

/// Marks what is mentioned in files that are declared under `#[cfg(test)]`, and in files below those.
pub fn mark_test_files(mut files: Vec<File>) -> Vec<File> {
    let test_modules: Vec<Vec<String>> = files
        .iter()
        .flat_map(|file| file.test_modules.iter().cloned())
        .collect();
    for file in &mut files {
        if test_modules.iter().any(|test| file.module.starts_with(test)) {
            file.mentions
                .iter_mut()
                .for_each(|mention| mention.in_test = true);
        }
    }
    files
}

fn module_of(name: &str) -> Vec<String> {
    let inner = name.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

struct Walk {
    mentions: Vec<Mention>,
    test_modules: Vec<Vec<String>>,
}

impl Walk {
    fn tokens(&mut self, tokens: TokenStream, module: &[String], in_test: bool) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = trees.as_slice();
        let mut in_test = in_test;
        // Set by `#[cfg(test)]`, until the item it stands before ends.
        let mut item_in_test = false;
        while let Some(tree) = rest.first() {
            let test = in_test || item_in_test;
            match rest {
                [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] if hash.as_char() == '#' => {
                    item_in_test |= is_cfg_test(attribute);
                    self.tokens(attribute.stream(), module, test || item_in_test);
                    rest = &rest[2..];
                }
                [
                    TokenTree::Punct(hash),
                    TokenTree::Punct(bang),
                    TokenTree::Group(attribute),
                    ..,
                ] if hash.as_char() == '#' && bang.as_char() == '!' => {
                    in_test |= is_cfg_test(attribute);
                    self.tokens(attribute.stream(), module, in_test);
                    rest = &rest[3..];
                }
                [TokenTree::Ident(keyword), TokenTree::Ident(name), after, ..] if keyword == "mod" => {
                    let inner = [module, &[name.to_string()]].concat();
                    if let TokenTree::Group(body) = after {
                        self.tokens(body.stream(), &inner, test);
                    } else if test {
                        self.test_modules.push(inner);
                    }
                    item_in_test = false;
                    rest = &rest[3..];
                }
                [TokenTree::Ident(keyword), TokenTree::Ident(name), ..]
                    if keyword == "extern" && name == "crate" =>
                {
                    if let Some(TokenTree::Ident(library)) = rest.get(2) {
                        self.mention(vec![library.to_string()], library, module, test);
                    }
                    rest = &rest[2..];
                }
                // Not `impl Trait + use<'a>`, which names nothing.
                [TokenTree::Ident(keyword), after @ ..] if keyword == "use" && names_something(after) => {
                    let end = after
                        .iter()
                        .position(|tree| is_punct(tree, ';'))
                        .unwrap_or(after.len());
                    self.use_tree(&after[..end], &[], module, test);
                    item_in_test = false;
                    rest = &after[end..];
                }
                [TokenTree::Ident(_), ..] => rest = self.path(rest, module, test),
                _ => {
                    if let TokenTree::Group(group) = tree {
                        self.tokens(group.stream(), module, test);
                        item_in_test &= group.delimiter() != Delimiter::Brace;
                    } else if is_punct(tree, ';') {
                        item_in_test = false;
                    }
                    rest = &rest[1..];
                }
            }
        }
    }

    /// Takes `a::b::c` off the front. A single word is a name in scope, or the name of something new.
    fn path<'t>(&mut self, trees: &'t [TokenTree], module: &[String], in_test: bool) -> &'t [TokenTree] {
        let mut segments = Vec::new();
        let mut rest = trees;
        let mut first = None;
        while let [TokenTree::Ident(segment), after @ ..] = rest {
            first.get_or_insert(segment);
            segments.push(segment.to_string());
            rest = after;
            match after_colons(rest) {
                Some(after) if matches!(after.first(), Some(TokenTree::Ident(_))) => rest = after,
                Some(_) | None => break,
            }
        }
        if let (Some(first), true) = (first, segments.len() > 1) {
            self.mention(segments, first, module, in_test);
        }
        rest
    }

    /// Spreads `a::{b, c::{self, d as e}, f::*}` into its paths.
    fn use_tree(&mut self, tree: &[TokenTree], prefix: &[String], module: &[String], in_test: bool) {
        for branch in tree.split(|tree| is_punct(tree, ',')) {
            let mut segments = prefix.to_vec();
            let mut first: Option<&Ident> = None;
            let mut rest = after_colons(branch).unwrap_or(branch);
            loop {
                match rest {
                    [TokenTree::Ident(renamed), ..] if renamed == "as" => break,
                    [TokenTree::Ident(segment), after @ ..] => {
                        first.get_or_insert(segment);
                        // `a::{self}` is `a`; a leading `self` is where we are.
                        if segment != "self" || segments.is_empty() {
                            segments.push(segment.to_string());
                        }
                        rest = after_colons(after).unwrap_or(after);
                    }
                    [TokenTree::Group(group), ..] => {
                        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                        self.use_tree(&inner, &segments, module, in_test);
                        segments.clear();
                        break;
                    }
                    [star, ..] if is_punct(star, '*') => {
                        segments.push("*".to_owned());
                        let line = star.span().start().line;
                        self.push(std::mem::take(&mut segments), line, module, in_test);
                        break;
                    }
                    [_, ..] | [] => break,
                }
            }
            if let (Some(first), false) = (first, segments.is_empty()) {
                self.mention(segments, first, module, in_test);
            }
        }
    }

    fn mention(&mut self, segments: Vec<String>, at: &Ident, module: &[String], in_test: bool) {
        self.push(segments, at.span().start().line, module, in_test);
    }

    fn push(&mut self, segments: Vec<String>, line: usize, module: &[String], in_test: bool) {
        self.mentions.push(Mention {
            path: resolve(&segments, module),
            line,
            in_test,
        });
    }
}

fn resolve(segments: &[String], module: &[String]) -> Path {
    let Some((first, rest)) = segments.split_first() else {
        return Path::Other(Vec::new());
    };
    match first.as_str() {
        "crate" | "understudy" => Path::Ours(rest.to_vec()),
        "self" => Path::Ours([module, rest].concat()),
        "super" => {
            let parent = module.split_last().map_or(module, |(_, parent)| parent);
            match rest.first().map(String::as_str) {
                Some("super") => resolve(rest, parent),
                Some(_) | None => Path::Ours([parent, rest].concat()),
            }
        }
        _ => Path::Other(segments.to_vec()),
    }
}

/// What follows `::`, if `trees` begins with it.
fn after_colons(trees: &[TokenTree]) -> Option<&[TokenTree]> {
    match trees {
        [TokenTree::Punct(one), TokenTree::Punct(two), rest @ ..]
            if one.as_char() == ':' && one.spacing() == Spacing::Joint && two.as_char() == ':' =>
        {
            Some(rest)
        }
        _ => None,
    }
}

fn is_punct(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn names_something(after_use: &[TokenTree]) -> bool {
    after_use.first().is_some_and(|next| !is_punct(next, '<'))
}

fn is_cfg_test(attribute: &Group) -> bool {
    let text: String = attribute.stream().to_string().split_whitespace().collect();
    text == "cfg(test)"
}
