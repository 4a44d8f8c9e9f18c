//! What the actors may not leave to chance: which of several things that are ready goes first.
//!
//! `tokio::select!` draws lots unless it begins with `biased;`. A tree that draws lots cannot be simulated from a seed.

use proc_macro2::{TokenStream, TokenTree};

/// Lines of every `select!` in this text that does not begin with `biased;`.
///
/// # Panics
/// If the text is not Rust.
pub fn selects_by_lot(name: &str, text: &str) -> Vec<usize> {
    let tokens: TokenStream = text
        .parse()
        .unwrap_or_else(|error| panic!("{name} is not Rust: {error}"));
    let mut lines = Vec::new();
    look(tokens, &mut lines);
    lines
}

fn look(tokens: TokenStream, lines: &mut Vec<usize>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for place in trees.windows(3) {
        if let [
            TokenTree::Ident(name),
            TokenTree::Punct(bang),
            TokenTree::Group(body),
        ] = place
            && name == "select"
            && bang.as_char() == '!'
            && !is_biased(body.stream())
        {
            lines.push(name.span().start().line);
        }
    }
    for tree in trees {
        if let TokenTree::Group(group) = tree {
            look(group.stream(), lines);
        }
    }
}

fn is_biased(body: TokenStream) -> bool {
    let mut trees = body.into_iter();
    matches!(
        (trees.next(), trees.next()),
        (Some(TokenTree::Ident(word)), Some(TokenTree::Punct(end))) if word == "biased" && end.as_char() == ';'
    )
}
